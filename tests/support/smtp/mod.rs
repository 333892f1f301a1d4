//! Mail servers for tests: a real one, aiosmtpd, and one that misbehaves as it is told.
//!
//! A test binary takes it in with `#[path = "support/smtp/mod.rs"] mod smtp;`. Servers listen on 127.0.0.1 alone, on a
//! free port, and do not outlive the test process, however that ends.
//!
//! How it fails: without aiosmtpd [`Server::start`] is `None`, and a line past the capture of the test harness says so,
//! once a process. With `SENSORHIVE_TEST_REQUIRE=all` it is a panic.

#![allow(dead_code, unused_imports)]
// It has files in common with the harness of PostgreSQL, which may be there as well.
#![allow(clippy::duplicate_mod)]

mod bad;
mod certificates;
#[path = "../postgres/port.rs"]
mod port;
#[path = "../postgres/report.rs"]
mod report;
mod server;

pub use bad::{Bad, Behavior};
pub use certificates::Certificates;
pub use port::free_port;
pub use server::{Options, Received, Server};
