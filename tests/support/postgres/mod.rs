//! Real PostgreSQL servers for tests: one that all tests of a binary share, private ones to be broken, and a proxy
//! that breaks connections.
//!
//! A test binary takes it in with `#[path = "support/postgres/mod.rs"] mod postgres;`, on Linux. Servers are made
//! from the programs that are installed here, listen on 127.0.0.1 alone, and neither they nor their directories
//! outlive the test process, however that ends. `SENSORHIVE_TEST_DATABASE_URL` names a server to be shared instead;
//! its role must be allowed to create databases, and to create the extension in them.
//!
//! How it fails: what is not installed is `None`, and a line past the capture of the test harness says so, once a
//! process. With `SENSORHIVE_TEST_REQUIRE=all` a missing PostgreSQL is a panic; a missing TimescaleDB never is.
//! Anything else that goes wrong is a panic.

// Each test binary uses a part of it.
#![allow(dead_code, unused_imports)]

mod database;
mod directory;
mod installation;
mod options;
mod port;
mod process;
mod proxy;
mod report;
mod server;
mod watchdog;

pub use database::{Database, Flavor};
pub use options::{Disk, Options};
pub use process::runs;
pub use proxy::{Mode, Proxy};
pub use server::{Private, Server};
