//! Real Kafka brokers for tests: one that all tests of a binary share, and private ones to be broken.
//!
//! A test binary takes it in with `#[path = "support/kafka/mod.rs"] mod kafka;`, on Linux. A broker is a single node that is
//! its own controller, run by the Java that is installed from the jars that `need_kafka` in `scripts/setup.sh` fetches. It
//! listens on 127.0.0.1 alone, and neither it nor its directory outlives the test process, however that ends. Each test makes
//! topics of its own. `SENSORHIVE_TEST_KAFKA` names a running broker (`host:port`) to be shared instead.
//!
//! How it fails: what is not installed is `None`, and a line past the capture of the test harness says so, once a process.
//! With `SENSORHIVE_TEST_REQUIRE=all` it is a panic. Anything else that goes wrong is a panic.

// Each test binary uses a part of it.
#![allow(dead_code, unused_imports)]

mod broker;
mod client;
mod installation;
mod process;
#[path = "../postgres/report.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "a test binary may have PostgreSQL's harness, too"
)]
mod report;

pub use broker::{Broker, Private};
pub use client::{Record, Topic};
