//! What Prometheus is told of Kafka sources.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::SourceName;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Source {
    source: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Partition {
    source: String,
    partition: String,
}

#[derive(Debug, Default)]
pub struct KafkaMetrics {
    lag: Family<Partition, Gauge>,
    partitions: Family<Source, Gauge>,
    messages: Family<Source, Counter>,
    missed: Family<Source, Counter>,
    rebalances: Family<Source, Counter>,
    errors: Family<Source, Counter>,
}

impl KafkaMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kafka_lag",
            "Messages between the stored position of a partition and its end",
            self.lag.clone(),
        );
        registry.register(
            "kafka_partitions",
            "Partitions that are assigned to this process",
            self.partitions.clone(),
        );
        registry.register("kafka_messages", "Messages read", self.messages.clone());
        registry.register(
            "kafka_missed_messages",
            "Messages that were deleted before they were read",
            self.missed.clone(),
        );
        registry.register(
            "kafka_rebalances",
            "Times partitions came or went",
            self.rebalances.clone(),
        );
        registry.register(
            "kafka_errors",
            "What the client complained of",
            self.errors.clone(),
        );
    }

    /// `None` where it is not known.
    pub fn lag(&self, source: &SourceName, partition: &str, lag: Option<i64>) {
        if let Some(lag) = lag {
            self.lag.get_or_create(&label(source, partition)).set(lag);
        }
    }

    /// The partition is not ours any more: its lag is another's to tell.
    pub fn gave(&self, source: &SourceName, partition: &str) {
        self.lag.remove(&label(source, partition));
    }

    pub fn assigned(&self, source: &SourceName, partitions: usize) {
        self.partitions
            .get_or_create(&named(source))
            .set(partitions as i64);
    }

    pub fn messages(&self, source: &SourceName, count: u64) {
        self.messages.get_or_create(&named(source)).inc_by(count);
    }

    pub fn missed(&self, source: &SourceName, count: u64) {
        self.missed.get_or_create(&named(source)).inc_by(count);
    }

    pub fn rebalanced(&self, source: &SourceName) {
        self.rebalances.get_or_create(&named(source)).inc();
    }

    pub fn error(&self, source: &SourceName) {
        self.errors.get_or_create(&named(source)).inc();
    }
}

fn named(source: &SourceName) -> Source {
    Source {
        source: source.to_string(),
    }
}

fn label(source: &SourceName, partition: &str) -> Partition {
    Partition {
        source: source.to_string(),
        partition: partition.to_owned(),
    }
}
