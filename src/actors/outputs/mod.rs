//! Outputs: what was stored is sent on, from the outbox, after the commit.
//!
//! Each output is an actor with a cursor of its own. Its [`Pump`](pump) reads rows in order, has its [`Sink`] send them, and moves the
//! cursor when everything in them is confirmed.
//!
//! Invariants: an output never holds up the pipeline; it only reads what is committed. Whatever is sent twice has the same id.
//! Records of a sensor are sent in the order in which they were stored, by the instance that stored them.

mod encode;
mod figures;
mod kafka;
mod mqtt;
mod pump;
mod status;

use async_trait::async_trait;

use crate::domain::{MetricName, SensorId, Tags};

pub use figures::{OutputFigures, OutputMetrics};
pub use kafka::{KafkaSink, KafkaTopics};
pub use mqtt::{MqttPublisher, MqttSink, TopicTemplate};
pub use pump::{Output, OutputParts};
pub use status::{OutputCommand, OutputState, OutputStatus, Sent, WaitingRecords};

/// Writes to topics of Kafka.
pub type KafkaOut = Output<KafkaSink>;
/// Publishes to an MQTT broker.
pub type MqttOut = Output<MqttSink>;

/// What kind of thing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Reading,
    Window,
    Anomaly,
    Alert,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Reading => "readings",
            Kind::Window => "windows",
            Kind::Anomaly => "anomalies",
            Kind::Alert => "alerts",
        }
    }
}

/// One record, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub kind: Kind,
    /// The same however often it is sent.
    pub id: String,
    pub sensor: SensorId,
    pub metric: MetricName,
    pub json: Vec<u8>,
}

/// Whether a series is sent.
pub type Filter = Box<dyn Fn(&SensorId, &MetricName, &Tags) -> bool + Send + Sync>;

/// A message that is not taken, now or ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its place among those that were to be sent.
    pub place: usize,
    pub why: String,
}

/// Nothing is known of the messages; they are to be sent again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// Where messages go.
#[async_trait(?Send)]
pub trait Sink: Unpin + 'static {
    /// Sends all of them in order, and resolves when each is confirmed or refused for good. Dropped before, some may have arrived.
    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Refusal>, SinkError>;

    /// Called about once a second between messages.
    async fn idle(&mut self) {}

    /// Forgets what is under way and begins anew.
    fn reset(&mut self);
}
