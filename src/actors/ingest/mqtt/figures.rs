//! What an MQTT source has done and how it is, for people and for Prometheus.
//!
//! Counters belong to the process: they go on when the source is restarted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Qos;
use crate::domain::SourceName;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Source {
    source: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Received {
    source: String,
    qos: u8,
}

/// Of all MQTT sources.
#[derive(Debug, Default)]
pub struct MqttMetrics {
    received: Family<Received, Counter>,
    connected: Family<Source, Gauge>,
    connections: Family<Source, Counter>,
    sessions_lost: Family<Source, Counter>,
    unacknowledged: Family<Source, Gauge>,
    lost: Family<Source, Counter>,
    oversized: Family<Source, Counter>,
    ignored: Family<Source, Counter>,
}

/// Of one source.
#[derive(Debug)]
pub struct MqttFigures {
    received: [Counter; 3],
    pub connected: Gauge,
    pub connections: Counter,
    pub sessions_lost: Counter,
    pub unacknowledged: Gauge,
    pub lost: Counter,
    pub oversized: Counter,
    pub ignored: Counter,
}

/// What `GET /api/sources` tells of an MQTT source beside what it tells of any.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct MqttDetail {
    pub connected: bool,
    /// Where it is connected to, or tries to be.
    pub broker: String,
    pub client_id: String,
    /// Connections that were made anew.
    pub reconnects: u64,
    /// How often the broker had forgotten the session, and what it had kept for us.
    pub sessions_lost: u64,
    /// Messages, with what comes again counted again.
    pub received_qos0: u64,
    pub received_qos1: u64,
    pub received_qos2: u64,
    /// Messages with QoS 1 or 2 that are not acknowledged yet.
    pub waiting_for_ack: i64,
    /// Messages with QoS 0 that could not be taken or were not stored.
    pub lost_qos0: u64,
    /// Messages larger than `max_packet`; they are dead letters.
    pub oversized: u64,
    /// Messages that the settings leave out: retained ones, and topics that are no longer among them.
    pub ignored: u64,
    /// Why there is no connection, or which topics the broker refuses.
    pub last_error: Option<String>,
}

impl MqttMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "mqtt_messages",
            "MQTT messages by source and QoS, with what comes again counted again",
            self.received.clone(),
        );
        registry.register(
            "mqtt_connected",
            "1 while the source is connected to a broker",
            self.connected.clone(),
        );
        registry.register(
            "mqtt_connections",
            "Connections to brokers made",
            self.connections.clone(),
        );
        registry.register(
            "mqtt_sessions_lost",
            "Times a broker had forgotten the session",
            self.sessions_lost.clone(),
        );
        registry.register(
            "mqtt_unacknowledged",
            "Messages with QoS 1 or 2 not acknowledged yet",
            self.unacknowledged.clone(),
        );
        registry.register(
            "mqtt_lost",
            "Messages with QoS 0 that could not be taken or were not stored",
            self.lost.clone(),
        );
        registry.register(
            "mqtt_oversized",
            "Messages larger than max_packet",
            self.oversized.clone(),
        );
        registry.register(
            "mqtt_ignored",
            "Messages that the settings leave out",
            self.ignored.clone(),
        );
    }

    pub fn of(&self, source: &SourceName) -> MqttFigures {
        let labels = Source {
            source: source.as_str().to_owned(),
        };
        let received = |qos| {
            let source = labels.source.clone();
            self.received.get_or_create(&Received { source, qos }).clone()
        };
        MqttFigures {
            received: [received(0), received(1), received(2)],
            connected: self.connected.get_or_create(&labels).clone(),
            connections: self.connections.get_or_create(&labels).clone(),
            sessions_lost: self.sessions_lost.get_or_create(&labels).clone(),
            unacknowledged: self.unacknowledged.get_or_create(&labels).clone(),
            lost: self.lost.get_or_create(&labels).clone(),
            oversized: self.oversized.get_or_create(&labels).clone(),
            ignored: self.ignored.get_or_create(&labels).clone(),
        }
    }
}

impl MqttFigures {
    pub fn received(&self, qos: Qos) -> &Counter {
        &self.received[qos as usize]
    }

    pub fn detail(&self, broker: String, client_id: String, last_error: Option<String>) -> MqttDetail {
        MqttDetail {
            connected: self.connected.get() == 1,
            broker,
            client_id,
            reconnects: self.connections.get().saturating_sub(1),
            sessions_lost: self.sessions_lost.get(),
            received_qos0: self.received(Qos::AtMostOnce).get(),
            received_qos1: self.received(Qos::AtLeastOnce).get(),
            received_qos2: self.received(Qos::ExactlyOnce).get(),
            waiting_for_ack: self.unacknowledged.get(),
            lost_qos0: self.lost.get(),
            oversized: self.oversized.get(),
            ignored: self.ignored.get(),
            last_error,
        }
    }
}
