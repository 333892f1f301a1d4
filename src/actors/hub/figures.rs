//! What the hub counts, for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::outlet::Close;

/// Clones are the same figures.
#[derive(Debug, Clone, Default)]
pub struct LiveMetrics {
    connections: Gauge,
    subscriptions: Gauge,
    frames: Counter,
    bytes: Counter,
    rendered: Counter,
    closed: Family<Why, Counter>,
    resyncs: Counter,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

impl LiveMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "live_connections",
            "WebSocket connections",
            self.connections.clone(),
        );
        registry.register(
            "live_subscriptions",
            "What they are subscribed to",
            self.subscriptions.clone(),
        );
        registry.register("live_frames", "Messages sent over WebSocket", self.frames.clone());
        registry.register_with_unit(
            "live_sent",
            "Bytes of those messages",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "live_rendered",
            "Snapshots and deltas that were written, each for all who get the same",
            self.rendered.clone(),
        );
        registry.register(
            "live_closed",
            "WebSocket connections that were closed, by cause",
            self.closed.clone(),
        );
        registry.register(
            "live_resyncs",
            "Subscriptions that had to begin anew",
            self.resyncs.clone(),
        );
    }

    pub(super) fn set_connections(&self, count: usize) {
        self.connections.set(count as i64);
    }

    pub(super) fn set_subscriptions(&self, count: usize) {
        self.subscriptions.set(count as i64);
    }

    pub fn sent(&self, bytes: usize) {
        self.frames.inc();
        self.bytes.inc_by(bytes as u64);
    }

    pub(super) fn rendered(&self) {
        self.rendered.inc();
    }

    pub fn closed(&self, close: Close) {
        self.closed.get_or_create(&Why { why: close.as_str() }).inc();
    }

    pub(super) fn resync(&self) {
        self.resyncs.inc();
    }

    /// Connections that were closed for that.
    pub fn closed_for(&self, close: Close) -> u64 {
        self.closed.get_or_create(&Why { why: close.as_str() }).get()
    }

    /// Snapshots and deltas that were written.
    pub fn renderings(&self) -> u64 {
        self.rendered.get()
    }
}
