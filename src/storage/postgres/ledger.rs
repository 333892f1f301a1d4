//! The ledgers: see [`tally`] for what is added to them.

use sqlx::postgres::PgConnection;

use super::fault::Fault;
use super::statement::number;
use super::time::Time;
use crate::domain::{LedgerDelta, Timestamp};
use crate::storage::CompleteBatch;
use crate::storage::judgement::Judgement;
use crate::storage::tally;

pub(super) async fn write_sensors(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    judged: &Judgement,
) -> Result<(), Fault> {
    let covered = tally::covered_by_snapshots(batches);
    if !covered.is_empty() {
        sqlx::query(
            "UPDATE sensor_ledger SET tail_from = NULL, unprocessed = 0
             WHERE sensor_id = ANY($1) AND (tail_from IS NOT NULL OR unprocessed <> 0)",
        )
        .bind(covered.keys().map(|sensor| number(sensor.0)).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    let changes = tally::of_sensors(batches, judged, &covered);
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
    // GREATEST and LEAST pass over nulls.
    sqlx::query(
        "INSERT INTO sensor_ledger AS l (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed,
             last_time, last_seq, tail_from)
         SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
             $7::bigint[], $8::bigint[], $9::timestamptz[], $10::bigint[], $11::timestamptz[])
         ON CONFLICT (sensor_id) DO UPDATE SET
             received = l.received + excluded.received,
             stored = l.stored + excluded.stored,
             duplicate = l.duplicate + excluded.duplicate,
             rejected = l.rejected + excluded.rejected,
             filtered = l.filtered + excluded.filtered,
             late = l.late + excluded.late,
             unprocessed = l.unprocessed + excluded.unprocessed,
             last_time = greatest(l.last_time, excluded.last_time),
             last_seq = greatest(l.last_seq, excluded.last_seq),
             tail_from = least(l.tail_from, excluded.tail_from)",
    )
    .bind(changes.iter().map(|(sensor, _)| number(sensor.0)).collect::<Vec<_>>())
    .bind(count(|delta| delta.received))
    .bind(count(|delta| delta.stored))
    .bind(count(|delta| delta.duplicate))
    .bind(count(|delta| delta.rejected))
    .bind(count(|delta| delta.filtered))
    .bind(count(|delta| delta.late))
    .bind(count(|delta| delta.unprocessed))
    .bind(changes.iter().map(|(_, change)| time(change.last_time)).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, change)| change.last_seq).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, change)| time(change.tail_from)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

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
