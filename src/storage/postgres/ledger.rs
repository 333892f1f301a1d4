//! The ledgers: see [`tally`] for what is added to them, and [`entries`] for what becomes of it where there are very many
//! sensors.

use rustc_hash::FxHashMap;
use sqlx::postgres::PgConnection;

use super::EntrySettings;
use super::entries::{self, Pending, Sums};
use super::fault::Fault;
use super::statement::number;
use super::time::Time;
use crate::domain::{BatchNumber, LedgerDelta, SensorKey, Timestamp};
use crate::storage::judgement::Judgement;
use crate::storage::tally::{self, Change};
use crate::storage::{CommitGroup, CompleteBatch};

/// Writes what the group adds. Returns what there is then that waits to be added up.
pub(super) async fn write_sensors(
    connection: &mut PgConnection,
    group: &CommitGroup,
    judged: &Judgement,
    pending: Pending,
    settings: EntrySettings,
) -> Result<Pending, Fault> {
    let batches = &group.batches;
    let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
        return Ok(pending);
    };
    let mut pending = match pending {
        Pending::Known(sums) => sums,
        Pending::Unknown => {
            entries::settle(connection, &group.instance).await?;
            Sums::default()
        }
    };
    let covered = tally::covered_by_snapshots(batches);
    if !covered.is_empty() {
        covered.keys().for_each(|sensor| pending.cover(*sensor));
        cover(connection, &covered, first.number).await?;
    }
    let changes = tally::of_sensors(batches, judged, &covered);
    let (few, waits) = (changes.len() < settings.sensors, !pending.is_empty());
    if few && !waits {
        add(connection, &changes).await?;
        return Ok(Pending::Known(pending));
    }
    pending.add(&changes);
    if few || pending.changes() >= settings.changes {
        add(connection, &pending.take()).await?;
        entries::clear(connection, &group.instance).await?;
    } else {
        entries::append(connection, &group.instance, last.number.0 as i64, &changes).await?;
    }
    Ok(Pending::Known(pending))
}

/// Complete snapshots hold what came before `first`, the first batch of their group.
async fn cover(
    connection: &mut PgConnection,
    covered: &FxHashMap<SensorKey, usize>,
    first: BatchNumber,
) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO sensor_ledger (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed, covered)
         SELECT sensor_id, 0, 0, 0, 0, 0, 0, 0, $2 FROM unnest($1::integer[]) AS covered (sensor_id)
         ON CONFLICT (sensor_id) DO UPDATE SET tail_from = NULL, unprocessed = 0, covered = excluded.covered",
    )
    .bind(covered.keys().map(|sensor| number(sensor.0)).collect::<Vec<_>>())
    .bind(first.0 as i64 - 1)
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds changes to the sensors' rows.
async fn add(connection: &mut PgConnection, changes: &[(SensorKey, Change)]) -> Result<(), Fault> {
    if changes.is_empty() {
        return Ok(());
    }
    let count = |of: fn(&LedgerDelta) -> u64| -> Vec<i64> {
        changes
            .iter()
            .map(|(_, change)| of(&change.delta) as i64)
            .collect()
    };
    let time = |micros: Option<i64>| micros.map(|micros| Time(Timestamp(micros)));
    let sensors: Vec<i32> = changes.iter().map(|(sensor, _)| number(sensor.0)).collect();
    let last_times: Vec<_> = changes.iter().map(|(_, change)| time(change.last_time)).collect();
    let last_seqs: Vec<_> = changes.iter().map(|(_, change)| change.last_seq).collect();
    let tails: Vec<_> = changes.iter().map(|(_, change)| time(change.tail_from)).collect();
    let counts = [
        count(|delta| delta.received),
        count(|delta| delta.stored),
        count(|delta| delta.duplicate),
        count(|delta| delta.rejected),
        count(|delta| delta.filtered),
        count(|delta| delta.late),
        count(|delta| delta.unprocessed),
    ];
    let mut changed = 0;
    for sql in [UPDATE_SENSORS, INSERT_SENSORS] {
        if changed == sensors.len() as u64 {
            break;
        }
        let mut query = sqlx::query(sql).bind(&sensors);
        for counts in &counts {
            query = query.bind(counts);
        }
        let done = query
            .bind(&last_times)
            .bind(&last_seqs)
            .bind(&tails)
            .execute(&mut *connection)
            .await?;
        changed += done.rows_affected();
    }
    Ok(())
}

/// A join finds the rows of many sensors in two thirds of the time that looking each up for a conflict takes. GREATEST and LEAST
/// pass over nulls.
const UPDATE_SENSORS: &str = "UPDATE sensor_ledger AS l SET
         received = l.received + c.received,
         stored = l.stored + c.stored,
         duplicate = l.duplicate + c.duplicate,
         rejected = l.rejected + c.rejected,
         filtered = l.filtered + c.filtered,
         late = l.late + c.late,
         unprocessed = l.unprocessed + c.unprocessed,
         last_time = greatest(l.last_time, c.last_time),
         last_seq = greatest(l.last_seq, c.last_seq),
         tail_from = least(l.tail_from, c.tail_from)
     FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
         $8::bigint[], $9::timestamptz[], $10::bigint[], $11::timestamptz[])
         AS c (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed, last_time, last_seq, tail_from)
     WHERE l.sensor_id = c.sensor_id";
/// Those that were not there.
const INSERT_SENSORS: &str = "INSERT INTO sensor_ledger (sensor_id, received, stored, duplicate, rejected, filtered, late,
         unprocessed, last_time, last_seq, tail_from)
     SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
         $8::bigint[], $9::timestamptz[], $10::bigint[], $11::timestamptz[])
         AS c (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed, last_time, last_seq, tail_from)
     ON CONFLICT (sensor_id) DO NOTHING";

pub(super) async fn write_sources(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
) -> Result<(), Fault> {
    let changes = tally::of_sources(batches);
    if changes.is_empty() {
        return Ok(());
    }
    let count = |of: fn(&LedgerDelta) -> u64| -> Vec<i64> {
        changes.iter().map(|(_, delta)| of(delta) as i64).collect()
    };
    sqlx::query(
        "INSERT INTO source_ledger AS l (source, received, stored, duplicate, rejected, filtered, late, unprocessed)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
             $7::bigint[], $8::bigint[])
         ON CONFLICT (source) DO UPDATE SET
             received = l.received + excluded.received,
             stored = l.stored + excluded.stored,
             duplicate = l.duplicate + excluded.duplicate,
             rejected = l.rejected + excluded.rejected,
             filtered = l.filtered + excluded.filtered,
             late = l.late + excluded.late,
             unprocessed = l.unprocessed + excluded.unprocessed",
    )
    .bind(changes.iter().map(|(source, _)| source.as_str()).collect::<Vec<_>>())
    .bind(count(|delta| delta.received))
    .bind(count(|delta| delta.stored))
    .bind(count(|delta| delta.duplicate))
    .bind(count(|delta| delta.rejected))
    .bind(count(|delta| delta.filtered))
    .bind(count(|delta| delta.late))
    .bind(count(|delta| delta.unprocessed))
    .execute(connection)
    .await?;
    Ok(())
}
