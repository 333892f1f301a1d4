//! Kafka as a source, with a real broker: what is promised holds while broker, database and service fail.
#![cfg(target_os = "linux")]

#[path = "support/kafka/mod.rs"]
mod kafka;

#[path = "kafka/broker.rs"]
mod broker;
