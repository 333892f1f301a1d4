//! What Prometheus is told of outputs, and the same figures for whoever asks the service.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Kind;
use crate::domain::SourceName;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    output: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    output: String,
    kind: &'static str,
}

/// The figures of all outputs.
#[derive(Debug, Default)]
pub struct OutputMetrics {
    sent: Family<KindLabel, Counter>,
    refused: Family<Label, Counter>,
    dropped: Family<Label, Counter>,
    errors: Family<Label, Counter>,
    waiting: Family<Label, Gauge<i64, AtomicI64>>,
    waiting_bytes: Family<Label, Gauge<i64, AtomicI64>>,
}

/// The figures of one output.
#[derive(Debug, Clone)]
pub struct OutputFigures {
    pub readings: Counter,
    pub windows: Counter,
    pub anomalies: Counter,
    pub alerts: Counter,
    pub refused: Counter,
    pub dropped: Counter,
    pub errors: Counter,
    pub waiting: Gauge<i64, AtomicI64>,
    pub waiting_bytes: Gauge<i64, AtomicI64>,
}

impl OutputMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "output_sent",
            "Records that the receiver has confirmed",
            self.sent.clone(),
        );
        registry.register(
            "output_refused",
            "Records that the receiver refuses for good",
            self.refused.clone(),
        );
        registry.register(
            "output_dropped",
            "Records that were too old or too many to be kept until they could be sent",
            self.dropped.clone(),
        );
        registry.register(
            "output_errors",
            "Times that sending failed, and complaints of the client",
            self.errors.clone(),
        );
        registry.register("output_waiting", "Records in the outbox", self.waiting.clone());
        registry.register(
            "output_waiting_bytes",
            "Their size in the outbox",
            self.waiting_bytes.clone(),
        );
    }

    pub fn of(&self, output: &SourceName) -> OutputFigures {
        let label = || Label {
            output: output.to_string(),
        };
        let sent = |kind: Kind| {
            let label = KindLabel {
                output: output.to_string(),
                kind: kind.as_str(),
            };
            self.sent.get_or_create(&label).clone()
        };
        OutputFigures {
            readings: sent(Kind::Reading),
            windows: sent(Kind::Window),
            anomalies: sent(Kind::Anomaly),
            alerts: sent(Kind::Alert),
            refused: self.refused.get_or_create(&label()).clone(),
            dropped: self.dropped.get_or_create(&label()).clone(),
            errors: self.errors.get_or_create(&label()).clone(),
            waiting: self.waiting.get_or_create(&label()).clone(),
            waiting_bytes: self.waiting_bytes.get_or_create(&label()).clone(),
        }
    }
}

impl OutputFigures {
    pub fn sent(&self, kind: Kind) {
        match kind {
            Kind::Reading => &self.readings,
            Kind::Window => &self.windows,
            Kind::Anomaly => &self.anomalies,
            Kind::Alert => &self.alerts,
        }
        .inc();
    }
}
