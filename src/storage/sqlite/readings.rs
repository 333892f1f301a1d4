//! Storing readings, and judging each by what the transaction did.
//!
//! Invariants: of readings with the same series and time the one with the smallest sequence is the first, whether
//! it is stored already or comes in the same group; a later one with an equal value is a duplicate, with another
//! value a conflict. Rows go in sorted by key: neighbors land on the same page, and what is doubled within the
//! group lies side by side.

use std::borrow::Cow;

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::commit::outcomes;
use super::fault::Fault;
use super::statement::MultiRow;
use crate::decode::{Draft, encode_canonical};
use crate::domain::{DeadLetter, Flags, Reading, RejectReason, SensorKey, Seq, Timestamp};
use crate::storage::{BatchReport, CompleteBatch, Conflict, ErrorClass};

/// A reading of the group, and what became of it.
pub(super) struct Judged {
    pub reading: Reading,
    pub sensor: SensorKey,
    pub seq: Seq,
    /// Place of its batch in the group.
    pub batch: usize,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    Stored,
    Duplicate,
    Conflict { stored: f64 },
}

/// Every reading of the group, sorted by series, time and sequence.
pub(super) struct Judgement(pub Vec<Judged>);

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
    let (mut rows, firsts) = sorted(batches);
    let mut rest = firsts.as_slice();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(READINGS.chunk(rest.len()));
        let inserted = READINGS
            .execute_chunk(connection, chunk, |values, &at| {
                let Judged { reading, seq, .. } = &rows[at];
                values
                    .add(i64::from(reading.series.0))
                    .add(reading.time.0)
                    .add(reading.value)
                    .add(seq.0 as i64)
                    .add(i64::from(reading.flags.0));
            })
            .await?;
        if inserted < chunk.len() as u64 {
            judge_against_stored(connection, &mut rows, chunk).await?;
        }
        rest = after;
    }
    if firsts.len() < rows.len() {
        judge_within_group(&mut rows);
    }
    Ok(Judgement(rows))
}

/// Judges the readings of a group that is stored already, as [`store`] did then.
pub(super) async fn recall(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
) -> Result<Judgement, Fault> {
    let (mut rows, firsts) = sorted(batches);
    for chunk in firsts.chunks(CHUNK) {
        judge_against_stored(connection, &mut rows, chunk).await?;
    }
    judge_within_group(&mut rows);
    Ok(Judgement(rows))
}

/// The group's readings by key, and the places of the first of each key.
fn sorted(batches: &[CompleteBatch]) -> (Vec<Judged>, Vec<usize>) {
    let mut rows = Vec::with_capacity(outcomes(batches).map(|(_, outcome)| outcome.rows.len()).sum());
    for (batch, outcome) in outcomes(batches) {
        rows.extend(outcome.rows.iter().map(|row| Judged {
            reading: row.reading,
            sensor: row.sensor,
            seq: Seq::new(batches[batch].number, row.reading.index),
            batch,
            verdict: Verdict::Stored,
        }));
    }
    rows.sort_unstable_by_key(|row| (key(row), row.seq));
    let firsts = (0..rows.len())
        .filter(|&at| at == 0 || key(&rows[at]) != key(&rows[at - 1]))
        .collect();
    (rows, firsts)
}

fn key(row: &Judged) -> (u32, i64) {
    (row.reading.series.0, row.reading.time.0)
}

/// `==` on finite values: 0.0 and −0.0 are the same reading.
fn verdict(value: f64, stored: f64) -> Verdict {
    if value == stored {
        Verdict::Duplicate
    } else {
        Verdict::Conflict { stored }
    }
}

/// Reads back what is stored under the keys of `chunk`: where the sequence is not ours, somebody was there before.
async fn judge_against_stored(
    connection: &mut SqliteConnection,
    rows: &mut [Judged],
    chunk: &[usize],
) -> Result<(), Fault> {
    let keys: Vec<(u32, i64)> = chunk.iter().map(|&at| key(&rows[at])).collect();
    let stored: Vec<(i64, f64, i64)> = sqlx::query_as(
        "SELECT keys.key, r.value, r.seq FROM json_each(?) keys CROSS JOIN readings r
         ON r.series_id = json_extract(keys.value, '$[0]') AND r.time = json_extract(keys.value, '$[1]')",
    )
    .bind(json(&keys)?)
    .fetch_all(connection)
    .await?;
    for (place, value, seq) in stored {
        let row = &mut rows[chunk[place as usize]];
        if row.seq.0 as i64 != seq {
            row.verdict = verdict(row.reading.value, value);
        }
    }
    Ok(())
}

/// Judges what came after the first of its key against what is stored under it now.
fn judge_within_group(rows: &mut [Judged]) {
    for same in rows.chunk_by_mut(|a, b| key(a) == key(b)) {
        let [first, later @ ..] = same else { continue };
        let stored = match first.verdict {
            Verdict::Conflict { stored } => stored,
            Verdict::Stored | Verdict::Duplicate => first.reading.value,
        };
        for row in later {
            row.verdict = verdict(row.reading.value, stored);
        }
    }
}

impl Judgement {
    /// One report a batch, without `revised`.
    pub fn reports(&self, batches: usize) -> Vec<BatchReport> {
        let mut reports = vec![BatchReport::default(); batches];
        for row in &self.0 {
            let report = &mut reports[row.batch];
            match row.verdict {
                Verdict::Stored => report.stored += 1,
                Verdict::Duplicate => report.duplicates.push(row.reading.index),
                Verdict::Conflict { stored } => report.conflicts.push(Conflict {
                    index: row.reading.index,
                    stored,
                }),
            }
        }
        for report in &mut reports {
            report.duplicates.sort_unstable();
            report.conflicts.sort_unstable_by_key(|conflict| conflict.index);
        }
        reports
    }
}

/// A dead letter for each reading that contradicts a stored one, with the place of its batch.
pub(super) async fn dead_letters(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
    judged: &Judgement,
) -> Result<Vec<(usize, DeadLetter)>, Fault> {
    let mut conflicts: Vec<(&Judged, f64)> = Vec::new();
    for row in &judged.0 {
        if let Verdict::Conflict { stored } = row.verdict {
            conflicts.push((row, stored));
        }
    }
    if conflicts.is_empty() {
        return Ok(Vec::new());
    }
    conflicts.sort_unstable_by_key(|(row, _)| row.seq);
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
        let draft = Draft {
            sensor: sensor_id.into(),
            metric: metric.into(),
            value: row.reading.value,
            time: Some(row.reading.time),
            unit: unit.map(Cow::Owned),
            quality: row.reading.flags.quality(),
            tags: None,
            item: 0,
        };
        let mut payload = Vec::new();
        encode_canonical(&draft, &mut payload);
        letters.push((
            row.batch,
            DeadLetter {
                source: batches[row.batch].source.clone(),
                position: String::new(),
                sensor: Some(row.sensor),
                payload,
                reason: RejectReason::Conflict,
                detail: format!(
                    "value {} contradicts {stored}, stored for the same time",
                    row.reading.value
                ),
            },
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
