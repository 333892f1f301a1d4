//! The real binary under faults: killed, told to stop, short of disk, locked out, with sensors that panic.
//!
//! Each test has a data directory and an instance of its own, asks it over HTTP as anybody would, and prints one line with
//! its figures past the capture of the test harness, so that a run of all tests shows them. Nothing here depends on how
//! fast something is: what takes time is asked for again and again until it holds, or a deadline of a minute or two has passed.

#![cfg(all(feature = "faults", target_os = "linux"))]

mod api;
mod equality;
mod expected;
mod instance;
mod kill;
mod outages;
mod panics;
#[path = "../support/postgres/mod.rs"]
mod postgres_server;
mod shared;
mod start;
mod stop;
mod store;
mod traffic;
