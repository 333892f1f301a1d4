//! MQTT: readings from the user's broker.
//!
//! A [`MqttSource`] keeps one connection to one of its brokers. What comes is decoded into batches at once, without linger;
//! a message is acknowledged when the transaction that holds its readings has committed, in the order in which the
//! messages came. So the broker keeps what is not stored, and sends it again after whatever went wrong.
//!
//! Invariants: no message with QoS 1 or 2 is acknowledged before it is stored, or is a dead letter; none is acknowledged on
//! another connection than it came by. What is held has a limit: beyond it, messages with QoS 0 are dropped and counted, and
//! nothing more is read, while the connection is kept alive.
//!
//! How it fails: whatever is wrong ends the connection, and another is made after a pause, to the next broker. What is
//! undelivered ends it, too, without an acknowledgement.

mod batches;
mod figures;
pub(in crate::actors) mod frames;
mod message;
mod options;
pub(in crate::actors) mod packets;
pub(in crate::actors) mod session;
mod source;
mod traffic;
mod transport;
mod undelivered;

pub use figures::{MqttDetail, MqttFigures, MqttMetrics};
pub use options::{Broker, MqttOptions, StatusTopics, TlsFiles};
pub use packets::{Qos, Version};
pub use source::MqttSource;
