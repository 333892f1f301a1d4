//! Sensorhive: a service that watches sensors, one supervised actor each.

pub mod actors;
pub mod core;
pub mod domain;
