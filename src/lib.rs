//! Sensorhive: a service that watches sensors, one supervised actor each.
//!
//! The map of the house; dependencies point down this list, never up:
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`cli`] | the command line, exit codes |
//! | [`startup`] | builds the tree, wires it, drains it |
//! | [`web`] | HTTP: routes, roles, problems, the page |
//! | [`actors`] | the way of a reading: sources, dispatcher, shards, sensors, writer; supervision |
//! | [`settings`], [`telemetry`], [`metrics`] | what is configured, logged and counted |
//! | [`archive`] | the cold archive: days to Parquet objects, and back |
//! | [`storage`] | what is asked of a database, SQLite and PostgreSQL; the only place with SQL |
//! | [`core`] | the pure heart: windows, watermark, duplicates, detectors, snapshots |
//! | [`decode`], [`simulate`], [`machine`] | bytes to readings; made-up ones; this machine's |
//! | [`clock`], [`tls`] | the one place where the clock is read; the one cryptography for TLS |
//! | [`shown`] | how what is stored is written as JSON |
//! | [`prefetch`] | what will be needed soon; the only place with unsafe code |
//! | [`domain`] | the plain words: ids, times, readings, ledgers |
//!
//! `docs/architecture.md` draws how they work together, and states what must stay true.

pub mod actors;
pub mod archive;
pub mod cli;
pub mod clock;
pub mod core;
pub mod decode;
pub mod domain;
pub mod machine;
pub mod metrics;
pub mod prefetch;
pub mod settings;
pub mod shown;
pub mod simulate;
pub mod startup;
pub mod storage;
pub mod telemetry;
pub mod tls;
pub mod web;
