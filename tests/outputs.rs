//! Outputs, with real brokers and the real binary: what was stored is sent, in order and at least once, while everything fails.
#![cfg(target_os = "linux")]

#[path = "faults/api.rs"]
#[allow(dead_code)]
mod api;
#[path = "support/authority.rs"]
mod authority;
#[path = "faults/instance.rs"]
#[allow(dead_code)]
mod instance;
#[path = "support/kafka/mod.rs"]
mod kafka;
#[path = "support/mosquitto/mod.rs"]
mod mosquitto;
#[path = "support/postgres/mod.rs"]
mod postgres;
#[path = "support/redis/mod.rs"]
mod redis_server;

#[path = "outputs/plant.rs"]
mod plant;
#[path = "outputs/subscriber.rs"]
mod subscriber;
#[path = "outputs/to_kafka.rs"]
mod to_kafka;
#[path = "outputs/to_mqtt.rs"]
mod to_mqtt;
#[path = "outputs/to_redis.rs"]
mod to_redis;
