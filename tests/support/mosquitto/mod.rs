//! Real MQTT brokers for tests: Mosquitto, each with a port, a directory and settings of its own, to be broken.
//!
//! A test binary takes it in with `#[path = "support/mosquitto/mod.rs"] mod mosquitto;`, on Linux. Brokers are made from
//! the programs that are installed here, listen on 127.0.0.1 alone, and neither they nor their directories outlive the test
//! process, however that ends.
//!
//! How it fails: what is not installed is `None`, and a line past the capture of the test harness says so, once a process.
//! With `SENSORHIVE_TEST_REQUIRE=all` it is a panic. Anything else that goes wrong is a panic.

// Each test binary uses a part of it.
#![allow(dead_code, unused_imports)]
// It has files in common with the harness of PostgreSQL, which may be there as well.
#![allow(clippy::duplicate_mod)]

mod broker;
mod options;
#[path = "../postgres/port.rs"]
mod port;
mod programs;
#[path = "../postgres/report.rs"]
mod report;
#[path = "../postgres/watchdog.rs"]
mod watchdog;

pub use broker::Broker;
pub use options::{Options, User};
pub use port::free_port;
pub use programs::publisher;
