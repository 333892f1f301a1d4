//! What Prometheus is told.
//!
//! Invariants: no label ever holds a sensor id; every label has few values. Counters are counted where things happen, gauges
//! are set when they change. The figures are for watching trends; the ledger is what accounts for readings.

mod fetched;
mod kafka;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use self::fetched::{FileFigures, FileMetrics, RedisFigures, RedisMetrics, UrlFigures, UrlMetrics};
pub use self::kafka::KafkaMetrics;
use crate::actors::hub::LiveMetrics;
use crate::actors::ingest::listener::Counters;
use crate::actors::ingest::mqtt::MqttMetrics;
use crate::actors::outputs::OutputMetrics;
use crate::archive::ArchiveStatus;
use crate::domain::{LedgerDelta, SourceName};
use crate::storage::StoreError;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Fate {
    source: String,
    fate: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Trouble {
    class: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Shard {
    shard: u16,
    mode: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    route: String,
    method: String,
    status: u16,
}

/// Every figure of the process.
pub struct Metrics {
    registry: Registry,
    readings: Family<Fate, Counter>,
    batches: Counter,
    undelivered: Counter,
    commits: Counter,
    commit_seconds: Histogram,
    latency_seconds: Histogram,
    group_readings: Histogram,
    store_errors: Family<Trouble, Counter>,
    store_failing: Gauge,
    failing_because: Mutex<Option<String>>,
    rewinds: Counter,
    condemned: Counter,
    restarts: Family<Kind, Counter>,
    crashes: Family<Kind, Counter>,
    sensors: Family<Shard, Gauge>,
    waiting: Gauge<i64, AtomicI64>,
    snapshot_bytes: Counter<u64, AtomicU64>,
    caught_up: Counter,
    replayed: Counter,
    requests: Family<Request, Counter>,
    store_reads: Counter,
    query_cache_hits: Counter,
    query_cache_misses: Counter,
    query_cache_bytes: Gauge,
    pub archive: Arc<ArchiveStatus>,
    pub mqtt: MqttMetrics,
    pub kafka: KafkaMetrics,
    pub files: FileMetrics,
    pub urls: UrlMetrics,
    pub redis: RedisMetrics,
    pub mqtt_listener: Arc<Counters>,
    pub outputs: OutputMetrics,
    pub live: LiveMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sensorhive");
        macro_rules! register {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
            ($name:literal, $help:literal, $unit:expr, $metric:expr) => {{
                let metric = $metric;
                registry.register_with_unit($name, $help, $unit, metric.clone());
                metric
            }};
        }
        let archive = Arc::new(ArchiveStatus::default());
        archive.register(&mut registry);
        let mqtt = MqttMetrics::default();
        mqtt.register(&mut registry);
        let kafka = KafkaMetrics::default();
        kafka.register(&mut registry);
        let files = FileMetrics::default();
        files.register(&mut registry);
        let urls = UrlMetrics::default();
        urls.register(&mut registry);
        let redis = RedisMetrics::default();
        redis.register(&mut registry);
        let mqtt_listener = Arc::new(Counters::default());
        mqtt_listener.register(&mut registry);
        let outputs = OutputMetrics::default();
        outputs.register(&mut registry);
        let live = LiveMetrics::default();
        live.register(&mut registry);
        let latencies = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        Self {
            readings: register!(
                "readings",
                "Readings by source and what became of them",
                Family::default()
            ),
            batches: register!("batches", "Batches committed", Counter::default()),
            undelivered: register!(
                "batches_undelivered",
                "Batches given up and sent again",
                Counter::default()
            ),
            commits: register!("commits", "Transactions committed", Counter::default()),
            commit_seconds: register!("commit", "Time a transaction took", Unit::Seconds, latencies()),
            latency_seconds: register!(
                "processing_latency",
                "Time from a batch's departure to its commit",
                Unit::Seconds,
                latencies()
            ),
            group_readings: register!(
                "group_readings",
                "Readings a transaction",
                Histogram::new(exponential_buckets(1.0, 4.0, 10))
            ),
            store_errors: register!(
                "store_errors",
                "Failures of the store, by what can be done about them and by cause",
                Family::default()
            ),
            store_failing: register!(
                "store_failing",
                "1 while the store does not commit",
                Gauge::default()
            ),
            failing_because: Mutex::new(None),
            rewinds: register!(
                "rewinds",
                "Times the pipeline began anew from the store",
                Counter::default()
            ),
            condemned: register!(
                "sensors_condemned",
                "Parts of batches that the database refused, by sensor and batch",
                Counter::default()
            ),
            restarts: register!(
                "actor_restarts",
                "Actors put back to work by kind",
                Family::default()
            ),
            crashes: register!("actor_crashes", "Panics of actors by kind", Family::default()),
            sensors: register!("sensors", "Sensor actors by shard and mode", Family::default()),
            waiting: register!(
                "batches_waiting",
                "Batches that wait for their commit",
                Gauge::default()
            ),
            snapshot_bytes: register!(
                "snapshot",
                "Bytes of snapshots taken",
                Unit::Bytes,
                Counter::default()
            ),
            caught_up: register!(
                "sensors_caught_up",
                "Sensors brought back from the store",
                Counter::default()
            ),
            replayed: register!(
                "readings_replayed",
                "Stored readings seen again by a catch-up",
                Counter::default()
            ),
            requests: register!(
                "http_requests",
                "HTTP requests by route and status",
                Family::default()
            ),
            store_reads: register!(
                "store_reads",
                "How often the database was asked something, beside commits",
                Counter::default()
            ),
            query_cache_hits: register!(
                "query_cache_hits",
                "Questions for history answered without asking the database",
                Counter::default()
            ),
            query_cache_misses: register!(
                "query_cache_misses",
                "Questions for history that the database was asked",
                Counter::default()
            ),
            query_cache_bytes: register!(
                "query_cache",
                "What the answers take that are kept to be given again",
                Unit::Bytes,
                Gauge::default()
            ),
            archive,
            mqtt,
            kafka,
            files,
            urls,
            redis,
            mqtt_listener,
            outputs,
            live,
            registry,
        }
    }
}

impl Metrics {
    /// The text that Prometheus scrapes (OpenMetrics).
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to memory does not fail; if a metric's own encoding did, say so in the page.
            let _ = writeln!(text, "# encoding failed");
        }
        text
    }

    /// As the store counts them.
    pub fn set_store_reads(&self, reads: u64) {
        self.store_reads.inner().store(reads, Ordering::Relaxed);
    }

    pub fn ledger(&self, source: &SourceName, delta: &LedgerDelta) {
        let fates = [
            ("received", delta.received),
            ("stored", delta.stored),
            ("duplicate", delta.duplicate),
            ("rejected", delta.rejected),
            ("filtered", delta.filtered),
        ];
        for (fate, count) in fates {
            if count > 0 {
                let label = Fate {
                    source: source.to_string(),
                    fate,
                };
                self.readings.get_or_create(&label).inc_by(count);
            }
        }
    }

    pub fn committed(&self, took: Duration, batches: usize, readings: u64) {
        self.commits.inc();
        self.batches.inc_by(batches as u64);
        self.commit_seconds.observe(took.as_secs_f64());
        self.group_readings.observe(readings as f64);
        self.set_store_failing(None);
    }

    pub fn latency(&self, latency: Duration) {
        self.latency_seconds.observe(latency.as_secs_f64());
    }

    pub fn set_waiting(&self, batches: usize) {
        self.waiting.set(batches as i64);
    }

    pub fn undelivered(&self) {
        self.undelivered.inc();
    }

    pub fn store_error(&self, error: &StoreError) {
        self.store_errors
            .get_or_create(&Trouble {
                class: error.class.as_str(),
                cause: error.cause.as_str(),
            })
            .inc();
    }

    /// Why the store does not commit; `None` when it does again.
    pub fn set_store_failing(&self, because: Option<String>) {
        self.store_failing.set(i64::from(because.is_some()));
        *self.failing_because.lock() = because;
    }

    pub fn store_failing(&self) -> Option<String> {
        self.failing_because.lock().clone()
    }

    pub fn rewound(&self) {
        self.rewinds.inc();
    }

    pub fn condemned(&self, sensors: usize) {
        self.condemned.inc_by(sensors as u64);
    }

    pub fn rewinds(&self) -> u64 {
        self.rewinds.get()
    }

    pub fn restarted(&self, kind: &'static str) {
        self.restarts.get_or_create(&Kind { kind }).inc();
    }

    pub fn crashed(&self, kind: &'static str) {
        self.crashes.get_or_create(&Kind { kind }).inc();
    }

    pub fn set_sensors(&self, shard: u16, mode: &'static str, count: usize) {
        self.sensors
            .get_or_create(&Shard { shard, mode })
            .set(count as i64);
    }

    pub fn snapshot(&self, bytes: usize) {
        self.snapshot_bytes.inc_by(bytes as u64);
    }

    pub fn caught_up(&self, replayed: usize) {
        self.caught_up.inc();
        self.replayed.inc_by(replayed as u64);
    }

    pub fn request(&self, route: String, method: String, status: u16) {
        self.requests
            .get_or_create(&Request {
                route,
                method,
                status,
            })
            .inc();
    }

    pub fn query_cache_hit(&self) {
        self.query_cache_hits.inc();
    }

    pub fn query_cache_miss(&self) {
        self.query_cache_misses.inc();
    }

    pub fn set_query_cache_bytes(&self, bytes: u64) {
        self.query_cache_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Hits and misses.
    pub fn query_cache(&self) -> (u64, u64) {
        (self.query_cache_hits.get(), self.query_cache_misses.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_follows_the_conventions() {
        let metrics = Metrics::default();
        let source = SourceName::parse("http").unwrap();
        metrics.ledger(
            &source,
            &LedgerDelta {
                received: 3,
                stored: 3,
                ..Default::default()
            },
        );
        metrics.committed(Duration::from_millis(3), 2, 3);
        let page = metrics.render();
        assert!(
            page.contains("sensorhive_readings_total{source=\"http\",fate=\"stored\"} 3\n"),
            "{page}"
        );
        assert!(page.contains("sensorhive_commit_seconds_count 1\n"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
