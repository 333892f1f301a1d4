//! The ledgers: what the sensors decided plus what the transaction did, one row a sensor and a source.
//!
//! Invariant: `tail_from` is at or before the event time of every reading stored after the sensor's snapshot. A
//! complete snapshot covers the rows of its own batch too: it sets `tail_from` back to null and `unprocessed` to 0.
//! An incomplete one leaves both alone.

use rustc_hash::FxHashMap;
use sqlx::sqlite::SqliteConnection;

use super::commit::outcomes;
use super::fault::Fault;
use super::readings::{Judgement, Verdict, json};
use super::statement::MultiRow;
use crate::domain::{Flags, LedgerDelta, SensorKey, SourceName};
use crate::storage::CompleteBatch;

#[derive(Default)]
struct Change {
    delta: LedgerDelta,
    last_time: Option<i64>,
    last_seq: Option<i64>,
    tail_from: Option<i64>,
}

impl Change {
    /// Whether there is something after the snapshot and nothing but received and stored to count.
    fn is_plain(&self) -> bool {
        let counted = LedgerDelta {
            received: self.delta.received,
            stored: self.delta.stored,
            ..LedgerDelta::default()
        };
        self.delta == counted && self.tail_from.is_some()
    }
}

static SENSOR_LEDGER: MultiRow = MultiRow::new(
    "INSERT INTO sensor_ledger (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed,
     last_time, last_seq, tail_from) VALUES",
    "(?,?,?,?,?,?,?,?,?,?,?)",
    "ON CONFLICT (sensor_id) DO UPDATE SET
     received = received + excluded.received,
     stored = stored + excluded.stored,
     duplicate = duplicate + excluded.duplicate,
     rejected = rejected + excluded.rejected,
     filtered = filtered + excluded.filtered,
     late = late + excluded.late,
     unprocessed = unprocessed + excluded.unprocessed,
     last_time = max(ifnull(last_time, excluded.last_time), ifnull(excluded.last_time, last_time)),
     last_seq = max(ifnull(last_seq, excluded.last_seq), ifnull(excluded.last_seq, last_seq)),
     tail_from = min(ifnull(tail_from, excluded.tail_from), ifnull(excluded.tail_from, tail_from))",
    2048,
);

/// The same for what is common by far: every reading of the sensor was stored, and nothing else is to be said of it.
static PLAIN_SENSOR_LEDGER: MultiRow = MultiRow::new(
    "INSERT INTO sensor_ledger (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed,
     last_time, last_seq, tail_from) VALUES",
    "(?,?,?,0,0,0,0,0,?,?,?)",
    "ON CONFLICT (sensor_id) DO UPDATE SET
     received = received + excluded.received,
     stored = stored + excluded.stored,
     last_time = max(ifnull(last_time, excluded.last_time), excluded.last_time),
     last_seq = max(ifnull(last_seq, excluded.last_seq), excluded.last_seq),
     tail_from = min(ifnull(tail_from, excluded.tail_from), excluded.tail_from)",
    4096,
);

pub(super) async fn write_sensors(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
    judged: &Judgement,
) -> Result<(), Fault> {
    let covered = covered_by_snapshots(batches);
    if !covered.is_empty() {
        let sensors: Vec<SensorKey> = covered.keys().copied().collect();
        sqlx::query(
            "UPDATE sensor_ledger SET tail_from = NULL, unprocessed = 0
             WHERE sensor_id IN (SELECT value FROM json_each(?)) AND (tail_from IS NOT NULL OR unprocessed <> 0)",
        )
        .bind(json(&sensors)?)
        .execute(&mut *connection)
        .await?;
    }
    let mut changes: Vec<(SensorKey, Change)> = sum_up(batches, judged, &covered).into_iter().collect();
    changes.sort_unstable_by_key(|(sensor, _)| *sensor);
    let (plain, other): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(_, change)| change.is_plain());
    PLAIN_SENSOR_LEDGER
        .execute(connection, &plain, |values, (sensor, change)| {
            values
                .add(i64::from(sensor.0))
                .add(change.delta.received as i64)
                .add(change.delta.stored as i64)
                .add(change.last_time)
                .add(change.last_seq)
                .add(change.tail_from);
        })
        .await?;
    SENSOR_LEDGER
        .execute(connection, &other, |values, (sensor, change)| {
            values.add(i64::from(sensor.0));
            add_delta(values, &change.delta);
            values
                .add(change.last_time)
                .add(change.last_seq)
                .add(change.tail_from);
        })
        .await
}

/// The place of the last batch with a complete snapshot, by sensor.
fn covered_by_snapshots(batches: &[CompleteBatch]) -> FxHashMap<SensorKey, usize> {
    outcomes(batches)
        .flat_map(|(batch, outcome)| outcome.snapshots.iter().map(move |snapshot| (batch, snapshot)))
        .filter(|(_, snapshot)| snapshot.complete)
        .map(|(batch, snapshot)| (snapshot.sensor, batch))
        .collect()
}

/// Whether the sensor's last complete snapshot, taken in the batch at `covered`, holds what came in the one at
/// `batch`.
fn is_covered(covered: Option<&usize>, batch: usize) -> bool {
    covered.is_some_and(|&covered| batch <= covered)
}

fn sum_up(
    batches: &[CompleteBatch],
    judged: &Judgement,
    covered: &FxHashMap<SensorKey, usize>,
) -> FxHashMap<SensorKey, Change> {
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
    for run in judged.0.chunk_by(|a, b| a.sensor == b.sensor) {
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
    changes
}

static SOURCE_LEDGER: MultiRow = MultiRow::new(
    "INSERT INTO source_ledger (source, received, stored, duplicate, rejected, filtered, late, unprocessed) VALUES",
    "(?,?,?,?,?,?,?,?)",
    "ON CONFLICT (source) DO UPDATE SET
     received = received + excluded.received,
     stored = stored + excluded.stored,
     duplicate = duplicate + excluded.duplicate,
     rejected = rejected + excluded.rejected,
     filtered = filtered + excluded.filtered,
     late = late + excluded.late,
     unprocessed = unprocessed + excluded.unprocessed",
    64,
);

pub(super) async fn write_sources(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
) -> Result<(), Fault> {
    let mut changes: FxHashMap<&SourceName, LedgerDelta> = FxHashMap::default();
    for batch in batches.iter().filter(|batch| !batch.source_ledger.is_zero()) {
        *changes.entry(&batch.source).or_default() += batch.source_ledger;
    }
    let changes: Vec<_> = changes.into_iter().collect();
    SOURCE_LEDGER
        .execute(connection, &changes, |values, (source, delta)| {
            values.add(source.as_str());
            add_delta(values, delta);
        })
        .await
}

fn add_delta(values: &mut super::statement::Values, delta: &LedgerDelta) {
    values
        .add(delta.received as i64)
        .add(delta.stored as i64)
        .add(delta.duplicate as i64)
        .add(delta.rejected as i64)
        .add(delta.filtered as i64)
        .add(delta.late as i64)
        .add(delta.unprocessed as i64);
}
