//! Catching up: one way back for a panic, an admin's restart, a passivation, a pause, a start of the process and a rewind.
//!
//! The shard has waited until every batch numbered before has committed, has read snapshot and readings after it, and this is
//! the batch in which the sensor comes back: everything before it has passed by, everything after it is live.
//!
//! Invariants:
//! - What was processed before is only seen again; what it led to is stored already. What was stored unprocessed leaves its
//!   windows, anomalies and alert events in this batch, together with a snapshot.
//! - What is stored of its alerts is brought to where they are when it runs again.
//! - A reading that panics here is poison: flagged, put into dead letters, remembered as heard and never processed. The replay
//!   begins anew without it. However many there are, one step counts as one crash; past [`POISON_A_STEP`] the step ends.
//! - A step that does not reach the present leaves an incomplete snapshot. The next one must have read that, or it would
//!   find the same poison again.

use std::time::Instant;

use super::held::After;
use super::{Comeback, Sensor};
use crate::actors::part::Part;
use crate::actors::shard::env::Mode;
use crate::actors::supervision::{Crash, contain};
use crate::core::{self, Effects, SensorState, SnapshotError};
use crate::domain::{
    ActiveTime, AlertEvent, BatchNumber, BatchTime, DeadLetter, Flags, LedgerDelta, Reading, RejectReason,
    Seq, SourceName, Timestamp,
};
use crate::storage::{SliceOutcome, StoredReading, StoredSensor};

/// Poison found in one step. Each costs a replay from the beginning of the step, which keeps the thread from the neighbors.
const POISON_A_STEP: usize = 8;

/// What a replay made of the stored readings.
struct Replayed {
    state: SensorState,
    /// Of the readings that had not been processed, or not in this way.
    effects: Effects,
    readings: usize,
}

impl Sensor {
    pub(super) fn restore(&mut self, part: Part, stored: &StoredSensor, as_of: Option<BatchNumber>) {
        let mut outcome = SliceOutcome::default();
        if self.card.mode.get() == Mode::CatchingUp {
            self.catch_up(&part, stored, as_of, &mut outcome);
        }
        part.finish(&mut outcome, LedgerDelta::default());
    }

    fn catch_up(
        &mut self,
        part: &Part,
        stored: &StoredSensor,
        as_of: Option<BatchNumber>,
        outcome: &mut SliceOutcome,
    ) {
        let train = part.train();
        let (held, mut more) = match self.held.after(as_of) {
            After::Outdated => return self.ask(),
            After::Whole(held) if !stored.more => (held, false),
            // What is held comes after what did not fit into this step.
            After::Whole(_) | After::Lost => (Vec::new(), true),
        };
        let held = held.iter().map(|held| StoredReading {
            seq: Seq::new(held.batch, held.reading.index),
            at: held.at,
            reading: Reading {
                flags: held.reading.flags.with(Flags::UNPROCESSED),
                ..held.reading
            },
        });
        let mut readings: Vec<StoredReading> = stored.tail.iter().copied().chain(held).collect();
        let mut poison: Vec<(usize, Crash)> = Vec::new();
        let replayed = loop {
            let mut cursor = None;
            let now = (!more).then_some(train.at);
            match contain(|| self.replay(stored, &readings, &poison, now, &mut cursor)) {
                Ok(Ok(replayed)) => break replayed,
                Ok(Err(error)) => return self.rebuild(&error),
                Err(crash) => match cursor {
                    Some(index) if poison.iter().all(|(known, _)| *known != index) => {
                        poison.push((index, crash));
                        if poison.len() == POISON_A_STEP && index + 1 < readings.len() {
                            readings.truncate(index + 1);
                            more = true;
                        }
                    }
                    _ => {
                        // Not the fault of a reading: the snapshot itself, or what is due before one.
                        self.handle.report_crash(crash);
                        return self.ask();
                    }
                },
            }
        };
        self.report_poison(&readings, &poison, &train.source, outcome);
        self.state = replayed.state;
        outcome.windows = replayed.effects.windows;
        outcome.recompute = replayed.effects.recompute;
        outcome.anomalies = replayed.effects.anomalies;
        outcome.alerts = replayed.effects.alerts;
        if more {
            if let Some(last) = readings.last() {
                outcome.snapshots.push(self.snapshot(last.seq, train.at, false));
            }
            self.held.begin_after(Some(train.number));
            return self.ask();
        }
        self.run(train.at, train.number, replayed.readings, &stored.alerts, outcome);
    }

    fn run(
        &mut self,
        at: BatchTime,
        number: BatchNumber,
        replayed: usize,
        alerts: &[AlertEvent],
        outcome: &mut SliceOutcome,
    ) {
        let mut effects = Effects {
            alerts: std::mem::take(&mut outcome.alerts),
            ..Effects::default()
        };
        if std::mem::take(&mut self.reset_wanted) {
            self.state.reset(at, &mut effects);
            self.reset_in = Some(number);
        }
        self.state.reconcile(at.now, alerts, &mut effects);
        outcome.alerts = effects.alerts;
        self.held.begin_after(None);
        self.card.mode.set(Mode::Running);
        self.card.rebuild.set(false);
        outcome.snapshots.push(self.snapshot(number.end(), at, true));
        self.schedule();
        self.env.parts.metrics.caught_up(replayed);
        let (since, why) = self
            .coming_back
            .take()
            .unwrap_or((Instant::now(), Comeback::Restart));
        let (reason, detail, by) = why.describe(&self.handle.recent_events());
        // A start of the process brings back every sensor; that is no event in the life of one.
        if reason != "start" {
            self.note(reason, detail, by, Some(since));
        }
    }

    /// Sees the stored readings again, and does what is due by `now`. `cursor` is the reading in hand.
    fn replay(
        &self,
        stored: &StoredSensor,
        readings: &[StoredReading],
        poison: &[(usize, Crash)],
        now: Option<BatchTime>,
        cursor: &mut Option<usize>,
    ) -> Result<Replayed, SnapshotError> {
        let config = |series| self.env.parts.catalog.config(series);
        let (since, mut state) = match &stored.snapshot {
            Some((seq, bytes)) if bytes.is_empty() => (*seq, SensorState::amid_history()),
            Some((seq, bytes)) => (*seq, core::decode(bytes, &config)?),
            None => (Seq::default(), SensorState::new()),
        };
        if self.reset_wanted {
            // What is to be forgotten need not be understood, and may be what made the sensor crash. What is stored of its alerts ends
            // when it runs.
            let at = now.or_else(|| readings.first().map(|first| first.at));
            let at = at.unwrap_or(BatchTime {
                now: Timestamp(0),
                active: ActiveTime(0),
            });
            state.reset(at, &mut Effects::default());
        }
        // What comes after a reading that was processed once and is poison now may have other effects than it had then.
        let differs = poison.iter().map(|(index, _)| *index).min();
        let mut kept = Effects::default();
        let mut seen = Effects::default();
        for (index, stored) in readings.iter().enumerate() {
            *cursor = Some(index);
            seen.clear();
            let skip = self.reset_wanted
                || stored.reading.flags.has(Flags::POISON)
                || poison.iter().any(|(poisoned, _)| *poisoned == index);
            if skip {
                state.remember_only(&stored.reading, stored.at, &config, &mut seen);
            } else {
                state.observe(&stored.reading, stored.at, &config, &mut seen);
            }
            let unprocessed = stored.reading.flags.has(Flags::UNPROCESSED) && stored.seq > since;
            if unprocessed || differs.is_some_and(|first| first <= index) {
                kept.windows.append(&mut seen.windows);
                kept.recompute.append(&mut seen.recompute);
                kept.anomalies.append(&mut seen.anomalies);
                kept.alerts.append(&mut seen.alerts);
            }
        }
        *cursor = None;
        if let Some(now) = now {
            // It may have been done before, by a reading that was not stored.
            state.advance(now, &mut kept);
        }
        Ok(Replayed {
            state,
            effects: kept,
            readings: readings.len(),
        })
    }

    fn rebuild(&mut self, error: &SnapshotError) {
        tracing::warn!(sensor = self.id.as_str(), %error, "a snapshot cannot be read, the state is rebuilt");
        self.note(
            "snapshot",
            format!("{error}; the state is rebuilt from stored readings"),
            None,
            None,
        );
        self.card.rebuild.set(true);
        self.ask();
    }

    fn report_poison(
        &self,
        readings: &[StoredReading],
        poison: &[(usize, Crash)],
        source: &SourceName,
        outcome: &mut SliceOutcome,
    ) {
        for (index, crash) in poison {
            let reading = &readings[*index].reading;
            let name = self.env.parts.dispatcher.registry().name(reading.series);
            outcome.poison.push((reading.series, reading.time));
            outcome.dead_letters.push(DeadLetter {
                source: source.clone(),
                position: String::new(),
                key: None,
                sensor: Some(self.key),
                payload: name.map_or_else(Vec::new, |name| name.canonical(reading)),
                reason: RejectReason::Panic,
                detail: format!("the sensor panicked on this stored reading, it stays stored: {crash}"),
            });
        }
        if let Some((_, crash)) = poison.last() {
            self.handle.report_crash(crash.clone());
        }
    }
}
