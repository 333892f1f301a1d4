//! Sensorhive: a service that watches sensors, one supervised actor each.

pub mod actors;
pub mod cli;
pub mod clock;
pub mod core;
pub mod decode;
pub mod domain;
pub mod machine;
pub mod metrics;
pub mod settings;
pub mod simulate;
pub mod startup;
pub mod storage;
pub mod telemetry;
pub mod web;
