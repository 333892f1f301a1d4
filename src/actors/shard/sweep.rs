//! What a shard does several times a second: deadlines, idle sensors, figures.

use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::env::Mode;
use super::messages::{ListSensors, SensorStatus, ShardStatus, Status};
use super::{ShardSupervisor, ShardWork, Slot};
use crate::domain::{BatchTime, Micros, SensorKey};

/// Deadlines dealt with in one batch.
const SWEEP_SENSORS: usize = 10_000;

/// After a look at every sensor comes a rest this many times as long, so that a million sensors cost no more of the thread
/// than a thousand.
const REST: u32 = 100;

impl ShardSupervisor {
    pub(super) fn sweep(&mut self, elapsed: Duration, ctx: &mut Context<Self>) {
        self.env.refill(elapsed);
        let at = self.env.parts.dispatcher.tick();
        let due = self.take_due(at);
        let parts = &self.env.parts;
        if !due.is_empty() {
            parts
                .dispatcher
                .dispatch_work(parts.shard, ShardWork::Advance(due));
        }
        let now = Instant::now();
        if now >= self.look_round_at {
            self.look_round(at);
            self.look_round_at = now + now.elapsed() * REST;
        }
        self.pump(ctx);
    }

    /// Looks at every sensor: who is idle, and what they all do.
    fn look_round(&mut self, at: BatchTime) {
        self.forget_strangers();
        let parts = &self.env.parts;
        let idle = self.slots.iter().filter(|(_, slot)| self.idles(slot, at));
        let idle: Vec<SensorKey> = idle.map(|(key, _)| *key).take(SWEEP_SENSORS).collect();
        if !idle.is_empty() {
            parts
                .dispatcher
                .dispatch_work(parts.shard, ShardWork::Passivate(idle));
        }
        for (mode, count) in self.modes() {
            parts.metrics.set_sensors(parts.shard, mode.as_str(), count);
        }
    }

    /// Sensors with something to do now. A sensor that is not in memory is brought back first, and has its deadline then.
    fn take_due(&mut self, at: BatchTime) -> Vec<SensorKey> {
        let mut due = Vec::new();
        for _ in 0..SWEEP_SENSORS {
            let Some(key) = self.env.timers.borrow_mut().pop_due(at.active) else {
                break;
            };
            let Some(slot) = self.slots.get(&key) else {
                if self.is_ours(key) {
                    self.slot(key, Mode::CatchingUp, at);
                }
                continue;
            };
            slot.card.scheduled.set(None);
            match slot.card.deadline.get() {
                Some(deadline) if deadline > at.active => {
                    slot.card.scheduled.set(Some(deadline));
                    self.env.timers.borrow_mut().schedule(key, deadline);
                }
                Some(_) if slot.card.mode.get() == Mode::Running => due.push(key),
                // One that does not run finds its deadline when it comes back.
                Some(_) | None => {}
            }
        }
        due
    }

    pub(super) fn is_idle(&self, key: SensorKey, at: BatchTime) -> bool {
        self.slots.get(&key).is_some_and(|slot| self.idles(slot, at))
    }

    fn idles(&self, slot: &Slot, at: BatchTime) -> bool {
        let after = self.env.parts.settings.passivate_after;
        let after = Micros::try_from(after.as_micros()).unwrap_or(Micros::MAX);
        let card = &slot.card;
        let idle = at.active - card.heard.get() >= after;
        let timer_soon = card.deadline.get().is_some_and(|deadline| deadline <= at.active);
        // Else it would be taken for one that was never stored, when it speaks again.
        let committed = || Some(card.last_batch.get()) <= self.env.parts.progress.borrow().last;
        let quiet = card.mode.get() == Mode::Running && card.queued.get() == 0;
        idle && !timer_soon && quiet && committed()
    }

    fn modes(&self) -> Vec<(Mode, usize)> {
        let mut counts = Mode::ALL.map(|mode| (mode, 0));
        for slot in self.slots.values() {
            if let Some((_, count)) = counts.iter_mut().find(|(mode, _)| *mode == slot.card.mode.get()) {
                *count += 1;
            }
        }
        counts.to_vec()
    }
}

impl Handler<Status> for ShardSupervisor {
    type Result = ShardStatus;

    fn handle(&mut self, _: Status, _ctx: &mut Context<Self>) -> ShardStatus {
        ShardStatus {
            shard: self.env.parts.shard,
            sensors: self.modes(),
            wanted: self.catch_up.wanted(),
            timers: self.env.timers.borrow().len(),
        }
    }
}

impl Handler<ListSensors> for ShardSupervisor {
    type Result = Vec<SensorStatus>;

    fn handle(&mut self, asked: ListSensors, _ctx: &mut Context<Self>) -> Vec<SensorStatus> {
        let status = |key: &SensorKey| {
            let (mode, mailbox, past) = match self.slots.get(key) {
                Some(slot) => (slot.card.mode.get(), slot.card.queued.get(), slot.past()),
                None => (Mode::Passive, 0, *self.past.get(key)?),
            };
            Some(SensorStatus {
                sensor: *key,
                mode,
                mailbox,
                restarts: past.restarts,
                crashes: past.crashes,
            })
        };
        if asked.sensors.is_empty() {
            self.slots.keys().take(asked.limit).filter_map(status).collect()
        } else {
            asked
                .sensors
                .iter()
                .take(asked.limit)
                .filter_map(status)
                .collect()
        }
    }
}
