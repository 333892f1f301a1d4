//! Several instances on one PostgreSQL: partitions move between them in peace and by force, and what is stored is what one instance
//! alone makes of the same messages.
//!
//! The instances are whole pipelines in this process; a [`Topic`] stands for the broker, and says who reads which partition.
//! Where PostgreSQL is not installed they say so and pass.

#[path = "../support/postgres/mod.rs"]
mod postgres_server;

mod clash;
mod moves;
mod world;
