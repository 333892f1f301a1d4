//! Storing readings, and finding out what the transaction did with each: see [`Judgement`].
//!
//! Readings are new by far most of the time, so they are copied in, which is the fastest way into PostgreSQL but fails as a
//! whole on the first reading that is there already. Then that attempt is undone and the group is merged, row by row in the
//! server. What follows one such group is likely to be like it (a source that goes over old ground), so the next few
//! groups are merged at once.

use sqlx::postgres::PgConnection;

use super::connection::command;
use super::copy;
use super::fault::Fault;
use super::statement::number;
use super::time::Time;
use crate::domain::{DeadLetter, Flags};
use crate::storage::CompleteBatch;
use crate::storage::judgement::{Judged, Judgement, contradiction, outcomes};

/// How the next group is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Way {
    #[default]
    Copy,
    /// Merge this many more groups that turn out to hold nothing that is stored already.
    Merge(u8),
}

/// Groups without a double until copying is tried again.
const CAUTION: u8 = 8;
/// Rows a statement.
const CHUNK: usize = 20_000;

/// Writes the readings of the group and judges each. Returns how the next group is better written.
pub(super) async fn store(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    way: Way,
) -> Result<(Judgement, Way), Fault> {
    let mut judged = Judgement::begin(batches);
    if judged.firsts.is_empty() {
        return Ok((judged, way));
    }
    let way = match way {
        Way::Copy => match try_copy(connection, &judged).await? {
            true => Way::Copy,
            false => {
                merge(connection, &mut judged).await?;
                Way::Merge(CAUTION)
            }
        },
        Way::Merge(left) => match merge(connection, &mut judged).await? {
            true => Way::Merge(CAUTION),
            false if left > 1 => Way::Merge(left - 1),
            false => Way::Copy,
        },
    };
    judged.settle();
    Ok((judged, way))
}

/// Copies the first reading of every key. `false`, and nothing done, where one of them is stored already.
async fn try_copy(connection: &mut PgConnection, judged: &Judgement) -> Result<bool, Fault> {
    command(connection, "SAVEPOINT copying").await?;
    match copy::readings(connection, judged).await {
        Ok(()) => {
            command(connection, "RELEASE SAVEPOINT copying").await?;
            Ok(true)
        }
        Err(fault) if fault.is_unique_violation() => {
            command(
                connection,
                "ROLLBACK TO SAVEPOINT copying; RELEASE SAVEPOINT copying",
            )
            .await?;
            Ok(false)
        }
        Err(fault) => Err(fault),
    }
}

/// Inserts what is not there yet, and judges the rest. Whether there was any rest.
async fn merge(connection: &mut PgConnection, judged: &mut Judgement) -> Result<bool, Fault> {
    let mut any = false;
    for from in (0..judged.firsts.len()).step_by(CHUNK) {
        let chunk = from..judged.firsts.len().min(from + CHUNK);
        let rows = || judged.firsts[chunk.clone()].iter().map(|&at| &judged.rows[at]);
        let inserted = sqlx::query(
            "INSERT INTO readings (series_id, time, value, seq, flags)
             SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::float8[], $4::bigint[], $5::smallint[])
             ON CONFLICT (series_id, time) DO NOTHING",
        )
        .bind(rows().map(|row| number(row.reading.series.0)).collect::<Vec<_>>())
        .bind(rows().map(|row| Time(row.reading.time)).collect::<Vec<_>>())
        .bind(rows().map(|row| row.reading.value).collect::<Vec<_>>())
        .bind(rows().map(|row| row.seq.0 as i64).collect::<Vec<_>>())
        .bind(rows().map(|row| i16::from(row.reading.flags.0)).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() < chunk.len() as u64 {
            any = true;
            judge_against_stored(connection, judged, chunk).await?;
        }
    }
    Ok(any)
}

/// Judges the readings of a group that is stored already, as [`store`] did then.
pub(super) async fn recall(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
) -> Result<Judgement, Fault> {
    let mut judged = Judgement::begin(batches);
    for from in (0..judged.firsts.len()).step_by(CHUNK) {
        let chunk = from..judged.firsts.len().min(from + CHUNK);
        judge_against_stored(connection, &mut judged, chunk).await?;
    }
    judged.settle();
    Ok(judged)
}

/// Reads back what is stored under the keys of `chunk`, a stretch of `firsts`. The span of their times spares the server
/// a look into every other chunk.
async fn judge_against_stored(
    connection: &mut PgConnection,
    judged: &mut Judgement,
    chunk: std::ops::Range<usize>,
) -> Result<(), Fault> {
    let rows: Vec<&Judged> = judged.firsts[chunk.clone()]
        .iter()
        .map(|&at| &judged.rows[at])
        .collect();
    let times = || rows.iter().map(|row| row.reading.time);
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Ok(());
    };
    let stored: Vec<(i64, f64, i64)> = sqlx::query_as(
        "SELECT k.place, r.value, r.seq FROM unnest($1::integer[], $2::timestamptz[]) WITH ORDINALITY AS k (series_id, time, place)
         CROSS JOIN LATERAL (SELECT value, seq FROM readings WHERE series_id = k.series_id AND time = k.time
             AND time >= $3 AND time <= $4 OFFSET 0) r",
    )
    .bind(rows.iter().map(|row| number(row.reading.series.0)).collect::<Vec<_>>())
    .bind(times().map(Time).collect::<Vec<_>>())
    .bind(Time(first))
    .bind(Time(last))
    .fetch_all(connection)
    .await?;
    for (place, value, seq) in stored {
        judged.found(judged.firsts[chunk.start + place as usize - 1], value, seq);
    }
    Ok(())
}

/// A dead letter for each reading that contradicts a stored one, with the place of its batch.
pub(super) async fn dead_letters(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    judged: &Judgement,
) -> Result<Vec<(usize, DeadLetter)>, Fault> {
    let conflicts = judged.conflicts();
    if conflicts.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<(i64, String, String, Option<String>)> = sqlx::query_as(
        "SELECT k.place, sensors.sensor_id, s.metric, s.unit FROM unnest($1::integer[]) WITH ORDINALITY AS k (id, place)
         JOIN series s ON s.id = k.id JOIN sensors ON sensors.id = s.sensor_id ORDER BY k.place",
    )
    .bind(conflicts.iter().map(|(row, _)| number(row.reading.series.0)).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut letters = Vec::with_capacity(names.len());
    for (place, sensor_id, metric, unit) in names {
        let (row, stored) = conflicts[place as usize - 1];
        letters.push((
            row.batch,
            contradiction(batches, row, stored, &sensor_id, &metric, unit.as_deref()),
        ));
    }
    Ok(letters)
}

/// Flags stored readings that made their sensor panic.
pub(super) async fn flag_poison(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
) -> Result<(), Fault> {
    let keys: Vec<_> = outcomes(batches)
        .flat_map(|(_, outcome)| &outcome.poison)
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE readings SET flags = flags | $1 FROM unnest($2::integer[], $3::timestamptz[]) AS k (series_id, time)
         WHERE readings.series_id = k.series_id AND readings.time = k.time",
    )
    .bind(i16::from(Flags::POISON.0))
    .bind(keys.iter().map(|(series, _)| number(series.0)).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, time)| Time(*time)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
