//! The MQTT listener of the real binary, met by devices: good ones, other programs' ones, and hostile ones.
//!
//! Nothing here depends on how fast something is. That an answer is not given yet is seen by that of a later question.
#![cfg(target_os = "linux")]

#[path = "faults/api.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod api;
#[path = "faults/instance.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod instance;
#[path = "support/mosquitto/mod.rs"]
mod mosquitto;

#[path = "listener/access.rs"]
mod access;
#[path = "listener/clients.rs"]
mod clients;
#[path = "listener/crash.rs"]
mod crash;
#[path = "listener/device.rs"]
mod device;
#[path = "listener/hostile.rs"]
mod hostile;
#[path = "listener/life.rs"]
mod life;
#[path = "listener/messages.rs"]
mod messages;
