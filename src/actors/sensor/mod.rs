//! A sensor: its [`SensorState`], and what becomes of its readings.
//!
//! The [`SensorActor`] is a thin shell around it, with a life, a mailbox and commands of its own. Its shard, on the same thread,
//! reaches the sensor directly: readings that would be the next in the mailbox need not go through it, which costs more than
//! all the rest with many sensors.
//!
//! Invariants:
//! - Readings and everything else come in one order: directly only while nothing waits in the mailbox.
//! - It is [`Mode::Running`], or its readings pass through: stored, marked, held for it where it will catch up. It never lets
//!   anybody wait.
//! - Its state equals what the stored readings since its snapshot make of it. A snapshot leaves in the batch it was taken at,
//!   and everything that changes the state without a live reading brings one.
//! - After a panic nothing of the state is used again: the sensor comes back from the store.
//!
//! How it fails: it panics; the part in its hands takes the reading out, its supervisor catches the panic, and past the crash
//! budget it is quarantined. A panic while the shard had reached in is contained there and goes on in the actor.

mod actor;
mod held;
mod messages;
mod restore;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

pub use actor::SensorActor;
pub use messages::{Act, Inspect, Inspection, Observe, Relapse, Rest, Rewound, SensorWork};

use self::held::Held;
use super::part::Part;
use super::shard::env::{Card, Mode, ShardEnv, first_snapshot_at};
use super::shard::messages::Wanted;
use super::supervision::{Crash, Handle};
use crate::core::{self, SensorState, Verdict};
use crate::domain::{
    BatchNumber, BatchTime, Flags, LedgerDelta, RejectReason, SensorId, SensorKey, Seq, Timestamp,
};
use crate::storage::history::RestartRow;
use crate::storage::{Row, SliceOutcome, Snapshot};

pub struct Sensor {
    key: SensorKey,
    id: SensorId,
    env: Rc<ShardEnv>,
    card: Rc<Card>,
    handle: Arc<Handle>,
    state: SensorState,
    held: Held,
    /// The last batch that had something for it.
    seen: Option<BatchNumber>,
    /// The state differs from that of the last snapshot.
    changed: bool,
    /// Readings since the last snapshot, and when that was.
    tail: u32,
    snapshot_at: Timestamp,
    /// Begin with empty windows and detectors once caught up.
    reset_wanted: bool,
    /// The batch that the last reset is in: a rewind takes it back, and it must be done again.
    reset_in: Option<BatchNumber>,
    /// Since when it is on its way back, and why.
    coming_back: Option<(Instant, Comeback)>,
}

/// Why a sensor comes back from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Comeback {
    /// It was restarted: its supervisor knows why.
    Restart,
    Rewind,
    Resume {
        by: String,
        why: String,
    },
}

impl Sensor {
    pub fn new(
        key: SensorKey,
        id: SensorId,
        env: Rc<ShardEnv>,
        card: Rc<Card>,
        handle: Arc<Handle>,
        now: Timestamp,
    ) -> Self {
        let settings = &env.parts.settings;
        let mut held = Held::new(settings.held_readings);
        // What was read for one that was here before, and left or was lost, is outdated.
        held.begin_after(env.last.get());
        let snapshot_at = first_snapshot_at(now, key, settings.snapshot_interval);
        Self {
            key,
            id,
            env,
            card,
            handle,
            state: SensorState::new(),
            held,
            seen: None,
            changed: false,
            tail: 0,
            snapshot_at,
            reset_wanted: false,
            reset_in: None,
            coming_back: None,
        }
    }

    /// Asks memory for what its next reading will need that is not in itself.
    pub fn fetch(&self) {
        self.state.fetch();
    }

    /// Live readings of a sensor that runs.
    pub fn observe(&mut self, mut part: Part, rest: Rest) {
        let at = part.train().at;
        self.seen = Some(part.train().number);
        self.card.heard.set(at.active);
        let env = self.env.clone();
        let scratch = &mut *env.scratch.borrow_mut();
        scratch.clean();
        let mut ledger = LedgerDelta::default();
        let config = |series| env.parts.catalog.config(series);
        for index in 0..part.readings().len() {
            let mut reading = part.take_up(index);
            match self.state.observe(&reading, at, &config, &mut scratch.effects) {
                Verdict::Accepted { late, .. } | Verdict::Unjudged { late } => {
                    if late {
                        reading.flags = reading.flags.with(Flags::LATE);
                    }
                    scratch.outcome.rows.push(Row {
                        sensor: self.key,
                        reading,
                    });
                }
                Verdict::Duplicate => ledger.duplicate += 1,
                Verdict::Conflict { stored } => {
                    ledger.rejected += 1;
                    let detail = format!(
                        "`value` {} contradicts {stored}, which is stored for the same time",
                        reading.value
                    );
                    part.refuse(&reading, RejectReason::Conflict, detail, &mut scratch.outcome);
                }
            }
        }
        part.put_down();
        scratch.settle();
        self.changed = true;
        self.tail += part.readings().len() as u32;
        if rest == Rest::None && self.snapshot_due(at) {
            let snapshot = self.snapshot(part.train().number.end(), at, true);
            scratch.outcome.snapshots.push(snapshot);
        }
        self.schedule();
        part.finish(&mut scratch.outcome, ledger);
    }

    fn pass_by(&mut self, part: Part) {
        self.seen = Some(part.train().number);
        if matches!(self.card.mode.get(), Mode::CatchingUp | Mode::BackingOff) {
            let train = part.train();
            self.held.push(train.number, train.at, part.readings());
        }
        part.pass_through();
    }

    /// Does what is due.
    fn advance(&mut self, part: Part) {
        let at = part.train().at;
        let mut outcome = SliceOutcome::default();
        if self.card.mode.get() == Mode::Running {
            let mut effects = core::Effects::default();
            self.state.advance(at, &mut effects);
            if !effects.is_empty() {
                outcome.windows = effects.windows;
                outcome.recompute = effects.recompute;
                outcome.anomalies = effects.anomalies;
                outcome.alerts = effects.alerts;
                outcome
                    .snapshots
                    .push(self.snapshot(part.train().number.end(), at, true));
            }
            self.schedule();
        }
        part.finish(&mut outcome, LedgerDelta::default());
    }

    /// Takes a snapshot that `part`'s batch carries, if the sensor runs and the stored one is not of this very state.
    fn snapshot_into(&mut self, part: Part) {
        self.snapshot_with(part, SliceOutcome::default());
    }

    fn snapshot_with(&mut self, part: Part, mut outcome: SliceOutcome) {
        if self.card.mode.get() == Mode::Running && self.changed {
            let train = part.train();
            outcome
                .snapshots
                .push(self.snapshot(train.number.end(), train.at, true));
        }
        part.finish(&mut outcome, LedgerDelta::default());
    }

    fn pause(&mut self, part: Part) {
        self.snapshot_into(part);
        self.held.begin_after(None);
        self.card.mode.set(Mode::Paused);
    }

    fn reset(&mut self, part: Part, by: String, why: String) {
        match self.card.mode.get() {
            Mode::Running => {
                let mut effects = core::Effects::default();
                self.state.reset(part.train().at, &mut effects);
                self.reset_in = Some(part.train().number);
                self.schedule();
                self.changed = true;
                let outcome = SliceOutcome {
                    alerts: effects.alerts,
                    ..SliceOutcome::default()
                };
                self.snapshot_with(part, outcome);
                self.note("reset", why, Some(by), None);
            }
            mode => {
                self.reset_wanted = true;
                part.finish(&mut SliceOutcome::default(), LedgerDelta::default());
                if mode == Mode::Quarantined {
                    self.handle.revive(by, why);
                }
            }
        }
    }

    fn passivate(&mut self, part: Part) {
        self.snapshot_into(part);
        self.card.mode.set(Mode::Passive);
        self.handle.stop();
    }

    fn resume_by(&mut self, part: Part, by: String, why: String) {
        part.finish(&mut SliceOutcome::default(), LedgerDelta::default());
        match self.card.mode.get() {
            Mode::Quarantined => self.handle.revive(by, why),
            Mode::Paused => {
                // It may have been paused in quarantine.
                self.handle.revive(by.clone(), why.clone());
                self.held.begin_after(self.seen);
                self.coming_back = None;
                self.come_back(Comeback::Resume { by, why });
            }
            Mode::Running | Mode::CatchingUp | Mode::BackingOff | Mode::Passive => {}
        }
    }

    /// What it made of a batch cannot be stored. If that goes on, it is better off in quarantine, where it makes nothing.
    fn refused(&mut self, words: String) {
        self.note("refused", words.clone(), None, None);
        self.handle.report_crash(Crash::new(words));
    }

    fn rewound(&mut self, committed: Option<BatchNumber>) {
        self.seen = committed;
        self.reset_wanted |= self.reset_in > committed;
        self.held.begin_after(committed);
        match self.card.mode.get() {
            Mode::Running | Mode::CatchingUp => {
                self.state = SensorState::new();
                self.come_back(Comeback::Rewind);
            }
            Mode::BackingOff | Mode::Paused | Mode::Quarantined | Mode::Passive => {}
        }
    }

    /// Asks to be brought back from the store.
    fn come_back(&mut self, why: Comeback) {
        self.card.mode.set(Mode::CatchingUp);
        self.coming_back.get_or_insert((Instant::now(), why));
        self.ask();
    }

    #[expect(clippy::disallowed_methods, reason = "one message a comeback, not a reading")]
    fn ask(&self) {
        if let Some(shard) = self.env.address.get() {
            shard.do_send(Wanted(self.key));
        }
    }

    /// Bytes of a state that no snapshot has yet, estimated.
    pub fn unsaved(&self) -> Option<usize> {
        let running = self.card.mode.get() == Mode::Running;
        (running && self.changed).then(|| self.state.memory())
    }

    fn snapshot_due(&self, at: BatchTime) -> bool {
        let settings = &self.env.parts.settings;
        let old = at.now.since(self.snapshot_at) >= settings.snapshot_interval.as_micros() as i64;
        self.changed && (old || self.tail >= settings.snapshot_tail) && self.env.snapshots_allowed()
    }

    fn snapshot(&mut self, seq: Seq, at: BatchTime, complete: bool) -> Snapshot {
        let state = core::encode(&self.state);
        self.env.spend(state.len());
        self.env.parts.metrics.snapshot(state.len());
        self.changed = false;
        self.tail = 0;
        self.snapshot_at = at.now;
        Snapshot {
            sensor: self.key,
            seq,
            state,
            deadline: self.state.next_deadline(),
            complete,
        }
    }

    /// Makes sure that the timers know of the next deadline.
    fn schedule(&self) {
        let deadline = self.state.next_deadline();
        self.card.deadline.set(deadline);
        if let Some(deadline) = deadline
            && self
                .card
                .scheduled
                .get()
                .is_none_or(|scheduled| deadline < scheduled)
        {
            self.card.scheduled.set(Some(deadline));
            self.env.timers.borrow_mut().schedule(self.key, deadline);
        }
    }

    fn note(&self, reason: &str, detail: String, by: Option<String>, since: Option<Instant>) {
        self.env.parts.journal.record(RestartRow {
            time: self.env.parts.dispatcher.clock().now(),
            actor: format!("sensor/{}", self.id),
            reason: reason.to_owned(),
            detail,
            by,
            took_us: since.and_then(|since| i64::try_from(since.elapsed().as_micros()).ok()),
        });
    }

    /// Its state is not to be used again.
    fn restarting(&mut self) {
        self.state = SensorState::new();
        self.coming_back
            .get_or_insert((Instant::now(), Comeback::Restart));
        match self.card.mode.get() {
            Mode::Running | Mode::Quarantined => {
                self.held.begin_after(self.seen);
                self.card.mode.set(Mode::BackingOff);
            }
            Mode::CatchingUp => self.card.mode.set(Mode::BackingOff),
            Mode::BackingOff | Mode::Paused | Mode::Passive => {}
        }
    }

    /// It may work.
    fn resume(&mut self) {
        match self.card.mode.get() {
            Mode::Quarantined => {
                self.held.begin_after(self.seen);
                self.come_back(Comeback::Restart);
            }
            Mode::CatchingUp | Mode::BackingOff => self.come_back(Comeback::Restart),
            Mode::Running | Mode::Paused | Mode::Passive => {}
        }
    }

    fn quarantined(&mut self) {
        self.held.begin_after(None);
        self.coming_back = None;
        self.card.mode.set(Mode::Quarantined);
        let crash = self
            .handle
            .last_crash()
            .map_or_else(String::new, |crash| crash.to_string());
        self.note("quarantine", crash, None, None);
    }
}
