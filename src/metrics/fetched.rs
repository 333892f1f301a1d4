//! What Prometheus is told of files, polled URLs and Redis as sources.
//!
//! Counters belong to the process: they go on when a source is restarted. No label has a path, a URL or a key.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::{SourceName, Timestamp};

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Source {
    source: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    source: String,
    result: &'static str,
}

/// Of all sources of files.
#[derive(Debug, Default)]
pub struct FileMetrics {
    files: Family<Source, Gauge>,
    open: Family<Source, Gauge>,
    unread: Family<Source, Gauge>,
    lines: Family<Source, Counter>,
    read: Family<Source, Counter>,
    failing: Family<Source, Gauge>,
}

/// Of one.
#[derive(Debug, Default)]
pub struct FileFigures {
    pub files: Gauge,
    pub open: Gauge,
    pub unread: Gauge,
    pub lines: Counter,
    pub read: Counter,
    pub failing: Gauge,
}

/// Of all sources of URLs.
#[derive(Debug, Default)]
pub struct UrlMetrics {
    requests: Family<Request, Counter>,
    failing: Family<Source, Gauge>,
    last_success: Family<Source, Gauge<f64, AtomicU64>>,
}

/// Of one.
#[derive(Debug, Default)]
pub struct UrlFigures {
    pub stored: Counter,
    pub unchanged: Counter,
    pub failed: Counter,
    pub failing: Gauge,
    last_success: Gauge<f64, AtomicU64>,
}

/// Of all sources in Redis.
#[derive(Debug, Default)]
pub struct RedisMetrics {
    connected: Family<Source, Gauge>,
    entries: Family<Source, Counter>,
    claimed: Family<Source, Counter>,
    lost: Family<Source, Counter>,
    errors: Family<Source, Counter>,
    waiting: Family<Source, Gauge>,
}

/// Of one.
#[derive(Debug, Default)]
pub struct RedisFigures {
    pub connected: Gauge,
    pub entries: Counter,
    pub claimed: Counter,
    pub lost: Counter,
    pub errors: Counter,
    pub waiting: Gauge,
}

impl FileMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("file_files", "Files that are followed", self.files.clone());
        registry.register("file_open", "Files that are held open", self.open.clone());
        registry.register_with_unit(
            "file_unread",
            "Bytes between what is stored and the ends of all files that are not compressed",
            Unit::Bytes,
            self.unread.clone(),
        );
        registry.register("file_lines", "Lines stored or refused", self.lines.clone());
        registry.register_with_unit(
            "file_read",
            "Bytes of these lines",
            Unit::Bytes,
            self.read.clone(),
        );
        registry.register(
            "file_failing",
            "Files that cannot be read, and 1 more where files cannot be looked for",
            self.failing.clone(),
        );
    }

    pub fn of(&self, source: &SourceName) -> FileFigures {
        let label = named(source);
        FileFigures {
            files: self.files.get_or_create(&label).clone(),
            open: self.open.get_or_create(&label).clone(),
            unread: self.unread.get_or_create(&label).clone(),
            lines: self.lines.get_or_create(&label).clone(),
            read: self.read.get_or_create(&label).clone(),
            failing: self.failing.get_or_create(&label).clone(),
        }
    }
}

impl UrlMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "http_poll_requests",
            "Requests by result: stored, unchanged, failed",
            self.requests.clone(),
        );
        registry.register(
            "http_poll_failing",
            "URLs whose last request failed",
            self.failing.clone(),
        );
        registry.register_with_unit(
            "http_poll_last_success",
            "When a URL of the source last answered, since 1970",
            Unit::Seconds,
            self.last_success.clone(),
        );
    }

    pub fn of(&self, source: &SourceName) -> UrlFigures {
        let label = named(source);
        let requests = |result| {
            let source = source.to_string();
            self.requests.get_or_create(&Request { source, result }).clone()
        };
        UrlFigures {
            stored: requests("stored"),
            unchanged: requests("unchanged"),
            failed: requests("failed"),
            failing: self.failing.get_or_create(&label).clone(),
            last_success: self.last_success.get_or_create(&label).clone(),
        }
    }
}

impl UrlFigures {
    pub fn answered(&self, now: Timestamp) {
        self.last_success.set(now.0 as f64 / 1e6);
    }
}

impl RedisMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "redis_connected",
            "1 while the source is connected",
            self.connected.clone(),
        );
        registry.register(
            "redis_entries",
            "Entries and messages taken",
            self.entries.clone(),
        );
        registry.register(
            "redis_claimed_entries",
            "Entries of a stream taken over from other consumers",
            self.claimed.clone(),
        );
        registry.register(
            "redis_lost_messages",
            "Messages of channels for which there was no room",
            self.lost.clone(),
        );
        registry.register(
            "redis_errors",
            "Connections that failed or ended",
            self.errors.clone(),
        );
        registry.register(
            "redis_waiting",
            "Entries of the list, or of the stream for its group, that are not taken yet",
            self.waiting.clone(),
        );
    }

    pub fn of(&self, source: &SourceName) -> RedisFigures {
        let label = named(source);
        RedisFigures {
            connected: self.connected.get_or_create(&label).clone(),
            entries: self.entries.get_or_create(&label).clone(),
            claimed: self.claimed.get_or_create(&label).clone(),
            lost: self.lost.get_or_create(&label).clone(),
            errors: self.errors.get_or_create(&label).clone(),
            waiting: self.waiting.get_or_create(&label).clone(),
        }
    }
}

fn named(source: &SourceName) -> Source {
    Source {
        source: source.to_string(),
    }
}
