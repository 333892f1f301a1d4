//! Sensorhive: a service that watches sensors, one supervised actor each.

pub mod actors;
pub mod decode;
pub mod domain;
pub mod storage;
