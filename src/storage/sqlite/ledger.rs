//! The ledgers: see [`tally`] for what is added to them.

use sqlx::sqlite::SqliteConnection;

use super::fault::Fault;
use super::readings::json;
use super::statement::MultiRow;
use crate::domain::{LedgerDelta, SensorKey};
use crate::storage::CompleteBatch;
use crate::storage::judgement::Judgement;
use crate::storage::tally::{self, Change};

/// Whether there is something after the snapshot and nothing but received and stored to count.
fn is_plain(change: &Change) -> bool {
    let counted = LedgerDelta {
        received: change.delta.received,
        stored: change.delta.stored,
        ..LedgerDelta::default()
    };
    change.delta == counted && change.tail_from.is_some()
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
    let covered = tally::covered_by_snapshots(batches);
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
    let (plain, other): (Vec<_>, Vec<_>) = tally::of_sensors(batches, judged, &covered)
        .into_iter()
        .partition(|(_, change)| is_plain(change));
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
    SOURCE_LEDGER
        .execute(
            connection,
            &tally::of_sources(batches),
            |values, (source, delta)| {
                values.add(source.as_str());
                add_delta(values, delta);
            },
        )
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
