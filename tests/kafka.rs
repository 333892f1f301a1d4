//! Kafka as a source, with a real broker and the real binary: what is promised holds while broker, database and service fail.
#![cfg(target_os = "linux")]

#[path = "faults/api.rs"]
#[allow(dead_code)]
mod api;
#[path = "support/ear.rs"]
mod ear;
#[path = "faults/instance.rs"]
#[allow(dead_code)]
mod instance;
#[path = "support/kafka/mod.rs"]
mod kafka;

#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/commands.rs"]
mod commands;
#[path = "kafka/crashes.rs"]
mod crashes;
#[path = "kafka/fleet/mod.rs"]
mod fleet;
#[path = "kafka/groups.rs"]
mod groups;
#[path = "kafka/mocked.rs"]
mod mocked;
#[path = "kafka/outages.rs"]
mod outages;
#[path = "kafka/plant.rs"]
mod plant;
#[path = "kafka/poison.rs"]
mod poison;
#[path = "support/postgres/mod.rs"]
mod postgres;
#[path = "kafka/reading.rs"]
mod reading;
#[path = "kafka/silence.rs"]
mod silence;
#[path = "kafka/unkeyed.rs"]
mod unkeyed;
