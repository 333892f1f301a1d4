//! MQTT as a source: the real binary and real Mosquitto, while broker, database and service fail.
#![cfg(target_os = "linux")]

#[path = "faults/api.rs"]
#[allow(dead_code)]
mod api;
#[path = "support/authority.rs"]
mod authority;
#[path = "support/ear.rs"]
mod ear;
#[path = "faults/instance.rs"]
#[allow(dead_code)]
mod instance;
#[path = "support/mosquitto/mod.rs"]
mod mosquitto;

#[path = "support/postgres/mod.rs"]
mod postgres;

#[path = "mqtt/brokers.rs"]
mod brokers;
#[path = "mqtt/input.rs"]
mod input;
#[path = "mqtt/killed.rs"]
mod killed;
#[path = "mqtt/publisher.rs"]
mod publisher;
#[path = "mqtt/retained.rs"]
mod retained;
#[path = "mqtt/secrets.rs"]
mod secrets;
#[path = "mqtt/silence.rs"]
mod silence;
#[path = "mqtt/simulated.rs"]
mod simulated;
#[path = "mqtt/stored.rs"]
mod stored;
#[path = "mqtt/support.rs"]
mod support;
#[path = "mqtt/undelivered.rs"]
mod undelivered;
