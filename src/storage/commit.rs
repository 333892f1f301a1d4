//! What a transaction is made of, and what it reports.
//!
//! Invariant: a [`CompleteBatch`] holds everything that its readings led to; nothing about them is written elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    ActiveTime, AlertEvent, Anomaly, BatchNumber, BatchTime, DeadLetter, Home, LedgerDelta, Reading,
    RejectReason, SensorId, SensorKey, Seq, SeriesId, SourceName, Tags, Timestamp, WindowResult, WindowSpan,
};

/// A process's name in the `writers` table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceId(pub String);

/// Batches that are committed together, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct CommitGroup {
    pub instance: InstanceId,
    pub batches: Vec<CompleteBatch>,
}

/// A batch with every slice answered.
#[derive(Debug, Clone)]
pub struct CompleteBatch {
    pub number: BatchNumber,
    pub at: BatchTime,
    pub source: SourceName,
    /// Rows that are not known to be stored yet. Writing one again changes nothing but tags and unit.
    pub sensors: Vec<SensorDefinition>,
    pub series: Vec<SeriesDefinition>,
    pub positions: Vec<Position>,
    pub arrivals: Vec<ArrivalPage>,
    /// Input without a sensor: counted on the source. The store adds nothing to it.
    pub source_ledger: LedgerDelta,
    pub dead_letters: Vec<DeadLetter>,
    pub outcomes: Vec<SliceOutcome>,
}

/// What the sensors of one shard made of their part of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SliceOutcome {
    /// Readings to store. The store counts each as stored (and, by its flags, late or unprocessed), duplicate or, in
    /// conflict with a stored one, rejected with a dead letter.
    pub rows: Vec<Row>,
    /// Closed windows. One that is stored already and differs is computed anew from the stored rows.
    pub windows: Vec<WindowResult>,
    /// Windows to be computed anew from the stored rows, those of this batch included. Stored with the revision after
    /// the one that is stored, or 0; removed if all that the stored one was computed from is poison.
    pub recompute: Vec<WindowSpan>,
    /// Windows to be computed anew from the stored rows where they are stored: those that `rows` fall in of sensors that
    /// several instances have. Only a store that instances share looks at it.
    pub revise: Vec<WindowSpan>,
    /// The sensors that this was done for, each of which has a row. Where another one is found to come through several homes, the
    /// transaction fails with [`super::ErrorClass::Moved`].
    pub scattered: Vec<SensorKey>,
    pub anomalies: Vec<Anomaly>,
    /// In the order of what they are events of. One that is stored already changes nothing.
    pub alerts: Vec<AlertEvent>,
    pub snapshots: Vec<Snapshot>,
    pub dead_letters: Vec<DeadLetter>,
    /// Received, and what the sensors decided; what the store decides about `rows` comes on top.
    pub ledger: Vec<(SensorKey, LedgerDelta)>,
    /// Stored readings that made their sensor panic in a replay: to be flagged.
    pub poison: Vec<(SeriesId, Timestamp)>,
    /// What to tell the sender about single readings. Not stored: the dead letters say the same.
    pub refused: Vec<Refused>,
}

impl SliceOutcome {
    /// Takes over all that `other` holds.
    pub fn append(&mut self, other: &mut Self) {
        self.rows.append(&mut other.rows);
        // Nearly always there is nothing else, and to move ten times nothing takes longer than to look.
        if other.is_empty() {
            return;
        }
        self.windows.append(&mut other.windows);
        self.recompute.append(&mut other.recompute);
        self.revise.append(&mut other.revise);
        self.scattered.append(&mut other.scattered);
        self.anomalies.append(&mut other.anomalies);
        self.alerts.append(&mut other.alerts);
        self.snapshots.append(&mut other.snapshots);
        self.dead_letters.append(&mut other.dead_letters);
        self.ledger.append(&mut other.ledger);
        self.poison.append(&mut other.poison);
        self.refused.append(&mut other.refused);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.windows.is_empty()
            && self.recompute.is_empty()
            && self.revise.is_empty()
            && self.scattered.is_empty()
            && self.anomalies.is_empty()
            && self.alerts.is_empty()
            && self.snapshots.is_empty()
            && self.dead_letters.is_empty()
            && self.ledger.is_empty()
            && self.poison.is_empty()
            && self.refused.is_empty()
    }
}

/// A reading that a sensor did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the batch.
    pub index: u32,
    pub reason: RejectReason,
    pub detail: String,
}

/// One reading to store; its sequence is the batch's number and `reading.index`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub sensor: SensorKey,
    pub reading: Reading,
}

/// A sensor's state as of `seq`.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub sensor: SensorKey,
    pub seq: Seq,
    pub state: Vec<u8>,
    /// When the sensor must be looked at even if it stays silent.
    pub deadline: Option<ActiveTime>,
    /// Whether every reading of this sensor up to the end of this batch is in it, so that none is unprocessed any more
    /// and the ledger says so. A step of a long catch-up is not complete.
    pub complete: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SensorDefinition {
    pub key: SensorKey,
    pub id: SensorId,
    pub tags: Tags,
    /// Stored where none is; where another one is, both become [`Home::several`].
    pub home: Option<Home>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SeriesDefinition {
    pub id: SeriesId,
    pub sensor: SensorKey,
    pub metric: crate::domain::MetricName,
    pub unit: Option<String>,
}

/// How far a source has been stored, such as (`orders`, `topic/3`) → 1734.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub source: SourceName,
    pub partition: String,
    pub offset: i64,
    /// Given, the transaction fails with [`super::ErrorClass::Moved`] unless this is the epoch of the last claim.
    pub epoch: Option<i64>,
}

/// Some of the messages that a session brought one after the other, and when each came first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalPage {
    pub source: SourceName,
    pub session: String,
    /// The row of the session that it is written into, over what is there.
    pub slot: u32,
    /// Its number; those of a session only grow.
    pub page: u64,
    /// It may go after that.
    pub kept_until: Timestamp,
    /// Means nothing to a store.
    pub entries: Vec<u8>,
}

/// What a claim of a partition gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// To be named with every position, so that it is stored only until the next claim.
    pub epoch: i64,
    /// How far the partition is stored; `None` if it never was.
    pub offset: Option<i64>,
}

/// The partitions of which the batches name epochs, each once an epoch.
pub(super) fn epochs(batches: &[CompleteBatch]) -> BTreeSet<(&SourceName, &str, i64)> {
    let all = batches.iter().flat_map(|batch| &batch.positions);
    all.filter_map(|position| Some((&position.source, position.partition.as_str(), position.epoch?)))
        .collect()
}

/// What to say of a partition that somebody else has claimed.
pub(super) fn moved(source: &SourceName, partition: &str) -> String {
    format!("partition {partition} of source {source} was claimed anew since")
}

/// The last position of each partition, in the order of their names, with the time of its batch.
pub(super) fn newest_positions(batches: &[CompleteBatch]) -> Vec<(BatchTime, &Position)> {
    let all = batches
        .iter()
        .flat_map(|batch| batch.positions.iter().map(|position| (batch.at, position)));
    let newest: BTreeMap<_, _> = all
        .map(|(at, position)| ((&position.source, &position.partition), (at, position)))
        .collect();
    newest.into_values().collect()
}

/// What is written last into each row of arrivals, in the order of their keys.
pub(super) fn newest_arrivals(batches: &[CompleteBatch]) -> Vec<&ArrivalPage> {
    let all = batches.iter().flat_map(|batch| &batch.arrivals);
    let newest: BTreeMap<_, _> = all
        .map(|page| ((&page.source, &page.session, page.slot), page))
        .collect();
    newest.into_values().collect()
}

/// Fresh numbers, which nobody was given before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Numbers {
    pub sensors: std::ops::Range<u32>,
    pub series: std::ops::Range<u32>,
}

/// What to say of sensors or series that somebody else has made.
pub(super) const MADE_ELSEWHERE: &str = "another instance has made a sensor or series of the same name since";

/// What a committed group came to: one report a batch, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommitReport {
    pub batches: Vec<BatchReport>,
}

/// What the transaction did with a batch's rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchReport {
    pub stored: u64,
    /// Indices of readings that the transaction found stored already.
    pub duplicates: Vec<u32>,
    pub conflicts: Vec<Conflict>,
    /// What became of `recompute`, and of closed windows that differ from what was stored for them. In a group, each is
    /// told with the last batch that asked.
    pub revised: Vec<WindowResult>,
}

/// A reading that contradicts a stored one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conflict {
    pub index: u32,
    pub stored: f64,
}
