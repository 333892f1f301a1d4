//! What becomes of each reading of a group, whatever the database.
//!
//! Invariants: of readings with the same series and time the one with the smallest sequence is the first, whether
//! it is stored already or comes in the same group; a later one with an equal value is a duplicate, with another
//! value a conflict. Rows are sorted by key: neighbors land on the same page, and what is doubled within the group
//! lies side by side.

use super::{BatchReport, CompleteBatch, Conflict, SliceOutcome};
use crate::decode::encode_reading;
use crate::domain::{DeadLetter, Reading, RejectReason, SensorKey, Seq};

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

/// Every reading of the group, sorted by series, time and sequence, and the places of the first of each key.
pub(super) struct Judgement {
    pub rows: Vec<Judged>,
    pub firsts: Vec<usize>,
}

impl Judgement {
    /// Begins with every reading of the group as stored.
    pub fn begin(batches: &[CompleteBatch]) -> Self {
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
        Self { rows, firsts }
    }

    /// Judges the row at `at` against what is stored under its key: where the sequence is not its own, somebody was
    /// there before.
    pub fn found(&mut self, at: usize, value: f64, seq: i64) {
        let row = &mut self.rows[at];
        if row.seq.0 as i64 != seq {
            row.verdict = verdict(row.reading.value, value);
        }
    }

    /// Judges what came after the first of its key against what is stored under it now.
    pub fn settle(&mut self) {
        if self.firsts.len() == self.rows.len() {
            return;
        }
        for same in self.rows.chunk_by_mut(|a, b| key(a) == key(b)) {
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

    /// Readings that contradict a stored one, with its value, by sequence.
    pub fn conflicts(&self) -> Vec<(&Judged, f64)> {
        let mut conflicts: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| match row.verdict {
                Verdict::Conflict { stored } => Some((row, stored)),
                Verdict::Stored | Verdict::Duplicate => None,
            })
            .collect();
        conflicts.sort_unstable_by_key(|(row, _)| row.seq);
        conflicts
    }

    /// One report a batch, without `revised`.
    pub fn reports(&self, batches: usize) -> Vec<BatchReport> {
        let mut reports = vec![BatchReport::default(); batches];
        for row in &self.rows {
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

/// The dead letter of a reading that contradicts `stored`.
pub(super) fn contradiction(
    batches: &[CompleteBatch],
    row: &Judged,
    stored: f64,
    sensor_id: &str,
    metric: &str,
    unit: Option<&str>,
) -> DeadLetter {
    DeadLetter {
        source: batches[row.batch].source.clone(),
        position: String::new(),
        key: None,
        sensor: Some(row.sensor),
        payload: encode_reading(sensor_id, metric, unit, &row.reading),
        reason: RejectReason::Conflict,
        detail: format!(
            "value {} contradicts {stored}, stored for the same time",
            row.reading.value
        ),
    }
}

/// Every outcome with the place of its batch in the group.
pub(super) fn outcomes(batches: &[CompleteBatch]) -> impl Iterator<Item = (usize, &SliceOutcome)> {
    batches
        .iter()
        .enumerate()
        .flat_map(|(at, batch)| batch.outcomes.iter().map(move |outcome| (at, outcome)))
}

pub(super) fn key(row: &Judged) -> (u32, i64) {
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
