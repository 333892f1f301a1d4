//! What people ask of a database: history, ledgers, dead letters, restarts, the audit log, tokens.
//!
//! Invariants: every list is bounded by a limit and goes on from a cursor; every query is bounded in time by the
//! store.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{ArrivalPage, StoreError};
use crate::domain::{
    Anomaly, DeadLetter, Flags, Ledger, Micros, SensorKey, Seq, SeriesId, SourceName, Timestamp, WindowResult,
};

#[async_trait]
pub trait History: Send + Sync + 'static {
    /// Readings of the series in `[from, to)` by time, ascending, or descending where `newest_first`.
    async fn readings(&self, series: SeriesId, range: &Page) -> Result<Vec<StoredPoint>, StoreError>;

    /// Closed windows that start in `[from, to)`. Those that start with the last one are all there, even past the
    /// limit, so that a next page can begin after it.
    async fn windows(&self, series: SeriesId, range: &Page) -> Result<Vec<WindowResult>, StoreError>;

    /// Anomalies of any of `series` (empty: of all) in `[from, to)`; at the limit as with [`Self::windows`].
    async fn anomalies(&self, series: &[SeriesId], range: &Page) -> Result<Vec<Anomaly>, StoreError>;

    /// One row a bucket of `step` µs (aligned to the epoch) with every aggregate, in the order of the page; empty
    /// buckets are absent, poisonous readings not counted.
    async fn buckets(&self, series: SeriesId, range: &Page, step: i64) -> Result<Vec<Bucket>, StoreError>;

    /// The readings in `[from, to)` as one bucket, as of [`Self::buckets`]; `None` where there are none.
    async fn summary(
        &self,
        series: SeriesId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Bucket>, StoreError> {
        let page = Page {
            from,
            to,
            limit: 2,
            newest_first: false,
        };
        let found = self.buckets(series, &page, WHOLE).await?;
        Ok(found.into_iter().reduce(|earlier, later| earlier.join(&later)))
    }

    /// Newest stored reading of each of `series` that has one.
    async fn latest(&self, series: &[SeriesId]) -> Result<Vec<(SeriesId, StoredPoint)>, StoreError>;

    async fn sensor_ledger(&self, sensor: SensorKey) -> Result<SensorRecord, StoreError>;
    /// Input that no sensor could be named for, by source.
    async fn source_ledgers(&self) -> Result<Vec<(SourceName, Ledger)>, StoreError>;
    /// The sum over all sensors and sources.
    async fn ledger_total(&self) -> Result<Ledger, StoreError>;

    /// Dead letters with an id below `before`, newest first.
    async fn dead_letters(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, StoreError>;
    async fn dead_letter(&self, id: i64) -> Result<Option<StoredDeadLetter>, StoreError>;
    /// Notes when it was replayed; `false` where there is no such letter.
    async fn mark_replayed(&self, id: i64, at: Timestamp) -> Result<bool, StoreError>;

    /// Writes the rows in one transaction.
    async fn record_restarts(&self, restarts: &[RestartRow]) -> Result<(), StoreError>;
    /// Restarts of `actor` (`None`: of all), newest first.
    async fn restarts(&self, actor: Option<&str>, limit: usize) -> Result<Vec<RestartRow>, StoreError>;

    async fn record_audit(&self, entry: &AuditRow) -> Result<(), StoreError>;
    async fn audit_log(&self, limit: usize) -> Result<Vec<AuditRow>, StoreError>;

    async fn add_token(&self, token: &TokenRow) -> Result<(), StoreError>;
    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError>;
    /// `false` where there is no such token.
    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError>;

    async fn position(&self, source: &SourceName, partition: &str) -> Result<Option<i64>, StoreError>;

    /// Positions of a source whose names begin so, each with when it was last stored.
    async fn positions_of(
        &self,
        _source: &SourceName,
        _prefix: &str,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        Ok(Vec::new())
    }

    /// Forgets those of `partitions` that were last stored before a time. Returns how many those were.
    async fn forget_positions(
        &self,
        _source: &SourceName,
        _partitions: &[String],
        _before: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(0)
    }
    /// What is remembered of a session, in no order.
    async fn arrivals(&self, source: &SourceName, session: &str) -> Result<Vec<ArrivalPage>, StoreError>;

    /// A sensor's pause must outlive the process.
    async fn set_paused(&self, sensor: SensorKey, paused: bool) -> Result<(), StoreError>;
    async fn paused(&self) -> Result<Vec<SensorKey>, StoreError>;

    /// Deletes what is past its age: readings perhaps only once a whole chunk or partition of them is. Returns how many rows,
    /// chunks and partitions went.
    async fn expire(&self, limits: &Expiry) -> Result<u64, StoreError>;
}

/// A bounded stretch of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub from: Timestamp,
    pub to: Timestamp,
    pub limit: usize,
    pub newest_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredPoint {
    pub time: Timestamp,
    pub value: f64,
    pub seq: Seq,
    pub flags: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub start: Timestamp,
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub sum: f64,
    pub first: f64,
    pub last: f64,
    /// The times of `first` and `last`.
    pub first_time: Timestamp,
    pub last_time: Timestamp,
}

/// A step that is longer than all there is: one bucket on either side of 1970.
pub const WHOLE: Micros = Micros::MAX / 8;

impl Bucket {
    /// Both as one, with the earlier start. The readings of either may come before those of the other, or among them, as
    /// those of another series do.
    pub fn join(&self, other: &Bucket) -> Bucket {
        // At the same time, this one's comes first.
        let first = if other.first_time < self.first_time {
            other
        } else {
            self
        };
        let last = if other.last_time > self.last_time {
            other
        } else {
            self
        };
        Bucket {
            start: self.start.min(other.start),
            count: self.count + other.count,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
            first: first.first,
            last: last.last,
            first_time: first.first_time,
            last_time: last.last_time,
        }
    }
}

/// A sensor's row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct SensorRecord {
    #[serde(flatten)]
    pub ledger: Ledger,
    /// Sequence of the newest snapshot, and its size in bytes.
    pub snapshot_seq: Option<Seq>,
    pub snapshot_bytes: Option<u64>,
    /// Largest event time stored.
    pub last_time: Option<Timestamp>,
    pub last_seq: Option<Seq>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StoredDeadLetter {
    pub id: i64,
    pub time: Timestamp,
    pub letter: DeadLetter,
    pub replayed_at: Option<Timestamp>,
}

/// One restart: who, when, why, and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestartRow {
    pub time: Timestamp,
    /// Path in the supervision tree; for a sensor `sensor/` and its id.
    pub actor: String,
    /// `panic`, `admin`, `rewind`, `passivation`, `start`, `quarantine`, `revive`.
    pub reason: String,
    /// Panic message and place, or the words of the admin.
    pub detail: String,
    /// Who asked for it, where somebody did.
    pub by: Option<String>,
    /// Microseconds from the crash or the command until it worked again.
    pub took_us: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    pub time: Timestamp,
    pub who: String,
    pub what: String,
    pub target: String,
    pub detail: String,
}

/// An API token; `hash` is the SHA-256 of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub id: String,
    pub name: String,
    pub role: String,
    pub hash: Vec<u8>,
    pub created_at: Timestamp,
}

/// What may go: rows older than each of these times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expiry {
    pub readings_before: Option<Timestamp>,
    pub dead_letters_before: Option<Timestamp>,
    pub restarts_before: Option<Timestamp>,
    /// Batch times are needed only for as long as a reading may be replayed.
    pub batches_before: Option<Timestamp>,
    /// Positions that remember an idempotency key, by the arrival that they remember.
    pub idempotency_before: Option<Timestamp>,
    /// Arrivals of sessions that are kept for no longer than that.
    pub arrivals_before: Option<Timestamp>,
}
