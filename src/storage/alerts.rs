//! Alerts as they are stored, what people do to them, and silences.
//!
//! Invariants: a row is the last event of its episode that was stored, and events of an episode are stored once each. What the
//! sensor says and what people say lie in columns apart: neither writes those of the other.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{CompleteBatch, StoreError};
use crate::domain::{AlertEvent, AlertState, Episode, Level, SeriesId, Timestamp};

/// What people ask of the alerts of a database, and do to them.
#[async_trait]
pub trait Alerts: Send + Sync {
    /// The newest by their begin.
    async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<StoredAlert>, StoreError>;

    async fn alert(&self, episode: Episode) -> Result<Option<StoredAlert>, StoreError>;

    /// The last events of one, oldest first.
    async fn alert_events(&self, episode: Episode, limit: usize) -> Result<Vec<AlertEvent>, StoreError>;

    /// The first one stays. `false` where there is no such alert, or somebody was first.
    async fn acknowledge(&self, episode: Episode, by: &Acknowledgement) -> Result<bool, StoreError>;

    /// Puts one off until then; nobody is told of it before. `None` ends that. `false` where there is no such alert.
    async fn shelve(&self, episode: Episode, shelf: Option<&Shelf>) -> Result<bool, StoreError>;

    /// How many there are that are not resolved.
    async fn alert_counts(&self) -> Result<AlertCounts, StoreError>;

    /// Those that have not ended at `now`, the newest first.
    async fn silences(&self, now: Timestamp) -> Result<Vec<Silence>, StoreError>;

    /// Its number.
    async fn add_silence(&self, silence: &NewSilence) -> Result<i64, StoreError>;

    /// Ends it at `now`. `false` where there is none, or it has ended.
    async fn end_silence(&self, id: i64, now: Timestamp) -> Result<bool, StoreError>;
}

/// What is not given accepts all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertFilter {
    pub states: Option<Vec<AlertState>>,
    pub levels: Option<Vec<Level>>,
    pub series: Option<Vec<SeriesId>>,
    pub rule: Option<String>,
    /// Only what comes after this begin and episode, in the order of the list.
    pub after: Option<(Timestamp, Episode)>,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StoredAlert {
    pub last: AlertEvent,
    /// When it was resolved.
    pub ended: Option<Timestamp>,
    pub said: Said,
}

/// What people have said to an alert.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    pub acknowledged: Option<Acknowledgement>,
    pub shelved: Option<Shelf>,
}

/// Nobody is to be told of it before then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelf {
    pub by: String,
    pub at: Timestamp,
    pub until: Timestamp,
    pub comment: String,
}

/// Alerts that are not resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlertCounts {
    /// By level, the least grave first.
    pub by_level: [u64; 4],
    /// Those of them that nobody has acknowledged.
    pub unacknowledged: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    pub by: String,
    pub at: Timestamp,
    pub comment: String,
}

/// Alerts that nobody is to be told of for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSilence {
    /// Patterns by label: `sensor`, `metric`, `rule`, `level`, or a tag. All must match.
    pub matchers: BTreeMap<String, String>,
    pub from: Timestamp,
    pub until: Timestamp,
    pub by: String,
    pub comment: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    pub id: i64,
    pub said: NewSilence,
}

/// An event with the number of its batch.
pub(super) type Numbered<'a> = (u64, &'a AlertEvent);

/// Every event of the group, and the last of each episode, both in the order of the batches.
pub(super) fn events(batches: &[CompleteBatch]) -> (Vec<(usize, Numbered<'_>)>, Vec<Numbered<'_>>) {
    let mut all = Vec::new();
    for (place, batch) in batches.iter().enumerate() {
        let events = batch.outcomes.iter().flat_map(|outcome| &outcome.alerts);
        all.extend(events.map(|event| (place, (batch.number.0, event))));
    }
    let mut last: BTreeMap<Episode, Numbered<'_>> = BTreeMap::new();
    for (_, (batch, event)) in &all {
        let row = last.entry(event.episode).or_insert((*batch, event));
        if event.ordinal >= row.1.ordinal {
            *row = (*batch, event);
        }
    }
    (all, last.into_values().collect())
}

/// When it ended, if it did.
pub(super) fn ended(event: &AlertEvent) -> Option<Timestamp> {
    (event.state == AlertState::Resolved).then_some(event.time)
}
