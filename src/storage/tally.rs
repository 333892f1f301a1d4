//! What a group adds to the ledgers: what the sensors decided plus what the transaction did, one change a sensor and
//! a source.
//!
//! Invariant: `tail_from` is at or before the event time of every reading stored after the sensor's snapshot. A
//! complete snapshot covers the rows of its own batch too: it sets `tail_from` back to nothing and `unprocessed` to 0.
//! An incomplete one leaves both alone.

use rustc_hash::FxHashMap;

use super::CompleteBatch;
use super::judgement::{Judgement, Verdict, outcomes};
use crate::domain::{Flags, LedgerDelta, SensorKey, SourceName};

/// What a group adds to one sensor's row.
#[derive(Default)]
pub(super) struct Change {
    pub delta: LedgerDelta,
    pub last_time: Option<i64>,
    pub last_seq: Option<i64>,
    pub tail_from: Option<i64>,
}

impl Change {
    /// Adds what a later group adds.
    pub fn add(&mut self, later: &Self) {
        self.delta += later.delta;
        self.last_time = self.last_time.max(later.last_time);
        self.last_seq = self.last_seq.max(later.last_seq);
        self.tail_from = match (self.tail_from, later.tail_from) {
            (Some(from), Some(later)) => Some(from.min(later)),
            (from, later) => from.or(later),
        };
    }
}

/// The place of the last batch with a complete snapshot, by sensor.
pub(super) fn covered_by_snapshots(batches: &[CompleteBatch]) -> FxHashMap<SensorKey, usize> {
    outcomes(batches)
        .flat_map(|(batch, outcome)| outcome.snapshots.iter().map(move |snapshot| (batch, snapshot)))
        .filter(|(_, snapshot)| snapshot.complete)
        .map(|(batch, snapshot)| (snapshot.sensor, batch))
        .collect()
}

/// The changes of all sensors that the group speaks of, by sensor.
pub(super) fn of_sensors(
    batches: &[CompleteBatch],
    judged: &Judgement,
    covered: &FxHashMap<SensorKey, usize>,
) -> Vec<(SensorKey, Change)> {
    let mut changes: FxHashMap<SensorKey, Change> = FxHashMap::default();
    for (batch, outcome) in outcomes(batches) {
        for (sensor, delta) in &outcome.ledger {
            let mut delta = *delta;
            if is_covered(covered.get(sensor), batch) {
                delta.unprocessed = 0;
            }
            changes.entry(*sensor).or_default().delta += delta;
        }
    }
    // Rows lie sorted by series, so a sensor's come in runs.
    for run in judged.rows.chunk_by(|a, b| a.sensor == b.sensor) {
        let sensor = run[0].sensor;
        let covered = covered.get(&sensor);
        let change = changes.entry(sensor).or_default();
        for row in run {
            match row.verdict {
                Verdict::Stored => {
                    let (time, flags) = (row.reading.time.0, row.reading.flags);
                    change.delta.stored += 1;
                    change.delta.late += u64::from(flags.has(Flags::LATE));
                    change.last_time = change.last_time.max(Some(time));
                    change.last_seq = change.last_seq.max(Some(row.seq.0 as i64));
                    if !is_covered(covered, row.batch) {
                        change.delta.unprocessed += u64::from(flags.has(Flags::UNPROCESSED));
                        change.tail_from = Some(change.tail_from.map_or(time, |from| from.min(time)));
                    }
                }
                Verdict::Duplicate => change.delta.duplicate += 1,
                Verdict::Conflict { .. } => change.delta.rejected += 1,
            }
        }
    }
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_unstable_by_key(|(sensor, _)| *sensor);
    changes
}

/// Input without a sensor, by source.
pub(super) fn of_sources(batches: &[CompleteBatch]) -> Vec<(&SourceName, LedgerDelta)> {
    let mut changes: FxHashMap<&SourceName, LedgerDelta> = FxHashMap::default();
    for batch in batches.iter().filter(|batch| !batch.source_ledger.is_zero()) {
        *changes.entry(&batch.source).or_default() += batch.source_ledger;
    }
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_unstable_by_key(|(source, _)| *source);
    changes
}

/// Whether the sensor's last complete snapshot, taken in the batch at `covered`, holds what came in the one at
/// `batch`.
fn is_covered(covered: Option<&usize>, batch: usize) -> bool {
    covered.is_some_and(|&covered| batch <= covered)
}
