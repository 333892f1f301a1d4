//! Answers to questions for history, given again until something changes them.
//!
//! Whoever asks the database says what he is about to read before he reads, and hands in the answer after. Invariants:
//! - An answer is never given again after a commit of ours that stored, flagged or revised anything of its series in its range
//!   was acknowledged: the writer says what changed before it acknowledges. One that was being read meanwhile is not kept.
//! - What comes from the names of things (a new series, other tags, another unit or number) ends with the registry's version, and
//!   all answers end with [`QueryCache::forget`]: after readings were deleted, or a commit's end became unknown.
//! - A range that is relative to now is answered again for less than [`RELATIVE_LIFE`], as of when it was first asked, and is
//!   taken for longer by that at both ends: a reading that came since would lie in it.
//! - No answer is given again past its life: so long may what other instances and programs do to the database stay unseen.
//!
//! What a commit costs while nothing is kept is one look at a number; while something is, one look a reading, and a lock
//! where a series may be concerned. How it fails: not at all; what does not fit is not kept.

mod interest;
#[cfg(test)]
mod oracle;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;

use self::interest::Interest;
use self::table::Table;
use super::registry::Registry;
use crate::domain::{Micros, SeriesId, Timestamp};
use crate::metrics::Metrics;
use crate::storage::{CommitGroup, CommitReport};

/// How long an answer to a range that is relative to now may be given again.
pub const RELATIVE_LIFE: Micros = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What all that is kept may take; 0 keeps nothing.
    pub bytes: u64,
    /// How long an answer may be given again.
    pub life: Micros,
}

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rows {
    Readings,
    /// By their start.
    Windows,
}

/// A question as it was asked at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Everything that its answer depends on but history, the names of things, and now.
    pub key: Arc<[u8]>,
    pub rows: Rows,
    /// What it is about: `[from, to)`.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Whether the range moves with now.
    pub relative: bool,
    pub now: Timestamp,
}

/// Which reading for an answer; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadingId(u64);

pub struct QueryCache {
    limits: Limits,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    interest: Arc<Interest>,
    table: Mutex<Table>,
}

/// Somebody reads for an answer. Dropped without [`Reading::keep`], nothing is kept.
pub struct Reading {
    cache: Arc<QueryCache>,
    id: ReadingId,
}

impl QueryCache {
    pub fn new(limits: Limits, registry: Arc<Registry>, metrics: Arc<Metrics>) -> Self {
        let interest = Arc::new(Interest::default());
        Self {
            limits,
            registry,
            metrics,
            table: Mutex::new(Table::new(limits, interest.clone())),
            interest,
        }
    }

    pub fn is_off(&self) -> bool {
        self.limits.bytes == 0
    }

    /// The answer, where it is kept and still true.
    pub fn get(&self, asked: &Asked) -> Option<Bytes> {
        let found = self.table().get(asked);
        if found.is_some() {
            self.metrics.query_cache_hit();
        }
        found
    }

    /// Whether what that one reads is an answer for somebody who asks the same now, too.
    pub fn join(&self, id: ReadingId, now: Timestamp) -> bool {
        let joins = self.table().is_current(id, now);
        if joins {
            self.metrics.query_cache_hit();
        }
        joins
    }

    /// To be called before anything of the answer is looked up, be it a name.
    pub fn begin(self: &Arc<Self>, asked: &Asked) -> Reading {
        if !self.is_off() {
            self.metrics.query_cache_miss();
        }
        Reading {
            cache: self.clone(),
            id: self.table().begin(asked),
        }
    }

    /// The group has committed, and nobody was told so yet.
    pub fn committed(&self, group: &CommitGroup, report: &CommitReport) {
        if !self.interest.any() {
            return;
        }
        let mut touched: FxHashMap<(SeriesId, Rows), (Timestamp, Timestamp)> = FxHashMap::default();
        changes(group, report, |series, rows, time| {
            if self.interest.about(series) {
                let (from, to) = touched.entry((series, rows)).or_insert((time, time));
                (*from, *to) = ((*from).min(time), (*to).max(time));
            }
        });
        if touched.is_empty() {
            return;
        }
        let mut table = self.table();
        for ((series, rows), (first, last)) in touched {
            table.touched(series, rows, first, last);
        }
        self.metrics.set_query_cache_bytes(table.bytes());
    }

    /// Nothing of what was read so far is given again.
    pub fn forget(&self) {
        let mut table = self.table();
        table.clear();
        self.metrics.set_query_cache_bytes(0);
    }

    /// Never with answers from before the last change of names.
    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock();
        table.named_as_of(self.registry.version());
        table
    }
}

impl Reading {
    pub fn id(&self) -> ReadingId {
        self.id
    }

    /// To be called before anything of these series is read.
    pub fn watch(&self, series: impl IntoIterator<Item = SeriesId>) {
        if !self.cache.is_off() {
            self.cache.table().watch(self.id, series);
        }
    }

    pub fn keep(&self, answer: Bytes) {
        if !self.cache.is_off() {
            let mut table = self.cache.table();
            table.keep(self.id, answer);
            self.cache.metrics.set_query_cache_bytes(table.bytes());
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.cache.table().leave(self.id);
    }
}

/// Tells of each change.
fn changes(group: &CommitGroup, report: &CommitReport, mut tell: impl FnMut(SeriesId, Rows, Timestamp)) {
    for outcome in group.batches.iter().flat_map(|batch| &batch.outcomes) {
        for row in &outcome.rows {
            tell(row.reading.series, Rows::Readings, row.reading.time);
        }
        for (series, time) in &outcome.poison {
            tell(*series, Rows::Readings, *time);
        }
        let closed = outcome.windows.iter().map(|window| &window.span);
        for span in closed.chain(&outcome.recompute).chain(&outcome.revise) {
            tell(span.series, Rows::Windows, span.start);
        }
    }
    for window in report.batches.iter().flat_map(|batch| &batch.revised) {
        tell(window.span.series, Rows::Windows, window.span.start);
    }
}
