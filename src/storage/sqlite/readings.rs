//! Storing readings, and finding out what the transaction did with each: see [`Judgement`].

use std::ops::Range;

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::fault::Fault;
use super::statement::MultiRow;
use crate::domain::{DeadLetter, Flags, Timestamp};
use crate::storage::judgement::{Judged, Judgement, contradiction, key, outcomes};
use crate::storage::{CompleteBatch, ErrorClass};

/// Readings a statement.
const CHUNK: usize = 4096;

static READINGS: MultiRow = MultiRow::new(
    "INSERT INTO readings (series_id, time, value, seq, flags) VALUES",
    "(?,?,?,?,?)",
    "ON CONFLICT DO NOTHING",
    CHUNK,
);

/// Writes the readings of the group and judges each.
pub(super) async fn store(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
) -> Result<Judgement, Fault> {
    let mut judged = Judgement::begin(batches);
    let mut done = 0;
    while done < judged.firsts.len() {
        let rows = &judged.rows;
        let chunk = &judged.firsts[done..];
        let chunk = done..done + READINGS.chunk(chunk.len());
        let inserted = READINGS
            .execute_chunk(connection, &judged.firsts[chunk.clone()], |values, &at| {
                let Judged { reading, seq, .. } = &rows[at];
                values
                    .add(i64::from(reading.series.0))
                    .add(reading.time.0)
                    .add(reading.value)
                    .add(seq.0 as i64)
                    .add(i64::from(reading.flags.0));
            })
            .await?;
        done = chunk.end;
        if inserted < chunk.len() as u64 {
            judge_against_stored(connection, &mut judged, chunk).await?;
        }
    }
    judged.settle();
    Ok(judged)
}

/// Judges the readings of a group that is stored already, as [`store`] did then.
pub(super) async fn recall(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
) -> Result<Judgement, Fault> {
    let mut judged = Judgement::begin(batches);
    for from in (0..judged.firsts.len()).step_by(CHUNK) {
        let to = judged.firsts.len().min(from + CHUNK);
        judge_against_stored(connection, &mut judged, from..to).await?;
    }
    judged.settle();
    Ok(judged)
}

/// Reads back what is stored under the keys of `chunk`, a stretch of `firsts`.
async fn judge_against_stored(
    connection: &mut SqliteConnection,
    judged: &mut Judgement,
    chunk: Range<usize>,
) -> Result<(), Fault> {
    let keys: Vec<(u32, i64)> = judged.firsts[chunk.clone()]
        .iter()
        .map(|&at| key(&judged.rows[at]))
        .collect();
    let stored: Vec<(i64, f64, i64)> = sqlx::query_as(
        "SELECT keys.key, r.value, r.seq FROM json_each(?) keys CROSS JOIN readings r
         ON r.series_id = json_extract(keys.value, '$[0]') AND r.time = json_extract(keys.value, '$[1]')",
    )
    .bind(json(&keys)?)
    .fetch_all(connection)
    .await?;
    for (place, value, seq) in stored {
        judged.found(judged.firsts[chunk.start + place as usize], value, seq);
    }
    Ok(())
}

/// A dead letter for each reading that contradicts a stored one, with the place of its batch.
pub(super) async fn dead_letters(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
    judged: &Judgement,
) -> Result<Vec<(usize, DeadLetter)>, Fault> {
    let conflicts = judged.conflicts();
    if conflicts.is_empty() {
        return Ok(Vec::new());
    }
    let series: Vec<u32> = conflicts.iter().map(|(row, _)| row.reading.series.0).collect();
    let names: Vec<(i64, String, String, Option<String>)> = sqlx::query_as(
        "SELECT keys.key, sensors.sensor_id, s.metric, s.unit FROM json_each(?) keys
         CROSS JOIN series s ON s.id = keys.value JOIN sensors ON sensors.id = s.sensor_id ORDER BY keys.key",
    )
    .bind(json(&series)?)
    .fetch_all(connection)
    .await?;
    let mut letters = Vec::with_capacity(names.len());
    for (place, sensor_id, metric, unit) in names {
        let (row, stored) = conflicts[place as usize];
        letters.push((
            row.batch,
            contradiction(batches, row, stored, &sensor_id, &metric, unit.as_deref()),
        ));
    }
    Ok(letters)
}

/// Flags stored readings that made their sensor panic.
pub(super) async fn flag_poison(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
) -> Result<(), Fault> {
    let keys: Vec<(u32, i64)> = outcomes(batches)
        .flat_map(|(_, outcome)| &outcome.poison)
        .map(|&(series, Timestamp(time))| (series.0, time))
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE readings SET flags = flags | ? WHERE (series_id, time) IN
         (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))",
    )
    .bind(i64::from(Flags::POISON.0))
    .bind(json(&keys)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// A list of numbers as one parameter, for `json_each`.
pub(super) fn json<T: Serialize>(list: &[T]) -> Result<String, Fault> {
    serde_json::to_string(list).map_err(|error| Fault::found(ErrorClass::Refused, error))
}
