//! Alerts on their way to people: the real binary and a real mail server.

#[path = "faults/api.rs"]
#[allow(dead_code, reason = "the fault tests use all of it")]
mod api;
#[path = "alerting/gateway.rs"]
mod gateway;
#[path = "faults/instance.rs"]
#[allow(dead_code, reason = "the fault tests use all of it")]
mod instance;
#[path = "alerting/killed.rs"]
mod killed;
#[path = "alerting/people.rs"]
mod people;
#[path = "support/smtp/mod.rs"]
mod smtp;
#[path = "alerting/support.rs"]
mod support;
