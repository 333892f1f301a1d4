//! Bringing sensors back from the store, many at once.
//!
//! A load begins when every batch that came out of the queue before has committed; what it read is put into the queue as the
//! shard's own work. One load at a time: what asks meanwhile is in the next.
//!
//! How it fails: a failed load is tried again for as long as it takes; the sensors' readings pass through meanwhile. Where what is
//! stored of a sensor cannot be read, it is found by halves and quarantined, and the others come back.

use std::collections::VecDeque;

use actix::prelude::*;
use rustc_hash::FxHashSet;

use super::env::Mode;
use super::messages::Wanted;
use super::{ShardSupervisor, ShardWork};
use crate::actors::sensor::SensorWork;
use crate::actors::storage::{progress, retry};
use crate::actors::supervision::Crash;
use crate::domain::SensorKey;
use crate::storage::{ErrorClass, Loaded, Store, StoreError};

/// Sensors brought back in one load.
const LOAD_SENSORS: usize = 2_048;

/// Stored readings that a state is rebuilt from when its snapshot cannot be read.
const REBUILD_READINGS: usize = 10_000;

#[derive(Default)]
pub(super) struct CatchUp {
    queue: VecDeque<SensorKey>,
    queued: FxHashSet<SensorKey>,
    /// Sensors with one among them that cannot be read, to be loaded by themselves.
    suspects: Vec<Vec<SensorKey>>,
    loading: bool,
    /// A pump is on its way.
    scheduled: bool,
    failures: u32,
}

impl CatchUp {
    pub(super) fn want(&mut self, sensor: SensorKey) {
        if self.queued.insert(sensor) {
            self.queue.push_back(sensor);
        }
    }

    pub(super) fn wanted(&self) -> usize {
        self.queue.len()
    }

    fn take(&mut self, many: usize) -> Vec<SensorKey> {
        if let Some(suspects) = self.suspects.pop() {
            return suspects;
        }
        let many = many.min(self.queue.len());
        let taken: Vec<SensorKey> = self.queue.drain(..many).collect();
        for sensor in &taken {
            self.queued.remove(sensor);
        }
        taken
    }
}

impl ShardSupervisor {
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        self.catch_up.scheduled = false;
        if self.catch_up.loading {
            return;
        }
        let taken = self.catch_up.take(LOAD_SENSORS).into_iter();
        let (mut rebuild, plain): (Vec<SensorKey>, Vec<SensorKey>) =
            taken.partition(|key| self.must_rebuild(*key));
        let parts = self.env.parts.clone();
        let at_once = (parts.settings.load_readings / REBUILD_READINGS).max(1);
        for later in rebuild.drain(at_once.min(rebuild.len())..) {
            self.catch_up.want(later);
        }
        let sensors = [plain.as_slice(), &rebuild].concat();
        if sensors.is_empty() {
            return;
        }
        self.catch_up.loading = true;
        let (epoch, seen) = (self.epoch, self.seen);
        let pause = (self.catch_up.failures > 0).then(|| retry::pause(self.catch_up.failures - 1));
        let load = async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            if !progress::committed(parts.progress, epoch, seen).await {
                return Ok(None);
            }
            let store = parts.store.as_ref();
            match load(store, &plain, &rebuild, parts.settings.load_readings).await {
                Ok(loaded) => Ok(Some(loaded)),
                Err(error) if is_lasting(&error) && answers(store).await => Err(Failed::Unreadable(error)),
                Err(error) => Err(Failed::Load(error)),
            }
        };
        ctx.spawn(load.into_actor(self).map(move |loaded, shard, ctx| {
            shard.catch_up.loading = false;
            let parts = &shard.env.parts;
            let restored = match loaded {
                Ok(Some(loaded)) => {
                    shard.catch_up.failures = 0;
                    // If the epoch has ended meanwhile, a commit left over from it may have landed after the read.
                    parts.dispatcher.dispatch_work_in(epoch, parts.shard, ShardWork::Restore(loaded))
                }
                Ok(None) => false,
                Err(Failed::Unreadable(error)) => {
                    shard.narrow_down(&sensors, &error);
                    return shard.pump(ctx);
                }
                Err(Failed::Load(error)) => {
                    tracing::warn!(%error, sensors = sensors.len(), "sensors could not be loaded, trying again");
                    shard.catch_up.failures += 1;
                    false
                }
            };
            if !restored {
                sensors.into_iter().for_each(|sensor| shard.catch_up.want(sensor));
            }
            // At the next sweep, if the shard has not come to the new epoch yet.
            if restored || shard.epoch != epoch || shard.catch_up.failures > 0 {
                shard.pump(ctx);
            }
        }));
    }

    /// What is stored of one of `sensors` cannot be read.
    fn narrow_down(&mut self, sensors: &[SensorKey], error: &StoreError) {
        let [one] = sensors else {
            let (left, right) = sensors.split_at(sensors.len() / 2);
            return self.catch_up.suspects.extend([left.to_vec(), right.to_vec()]);
        };
        if let Some(slot) = self.slots.get(one)
            && slot.card.mode.get() == Mode::CatchingUp
        {
            let why = format!("what is stored of it cannot be read: {error}");
            slot.handle.quarantine(Crash::new(why));
        }
    }

    fn must_rebuild(&self, key: SensorKey) -> bool {
        self.slots.get(&key).is_some_and(|slot| slot.card.rebuild.get())
    }

    /// What a start of the process has to bring back: who has stored readings after its snapshot, and who has a deadline.
    pub(super) fn wake_who_is_behind(&mut self, ctx: &mut Context<Self>) {
        let store = self.env.parts.store.clone();
        let mut progress = self.env.parts.progress.clone();
        // After a crash of the shard what is under way is committed or lost when the next epoch has begun.
        let ended = if self.restarted { self.epoch } else { 0 };
        let read = async move {
            // The writer goes last: without it nobody waits for the answer.
            let _ = progress.wait_for(|progress| progress.epoch > ended).await;
            let mut attempt = 0;
            loop {
                match read_start(store.as_ref()).await {
                    Ok(start) => return start,
                    Err(error) => {
                        tracing::warn!(%error, attempt, "who is behind could not be read, trying again");
                        tokio::time::sleep(retry::pause(attempt)).await;
                        attempt += 1;
                    }
                }
            }
        };
        ctx.spawn(read.into_actor(self).map(|start, shard, ctx| {
            let parts = &shard.env.parts;
            let (registry, own) = (parts.dispatcher.registry().clone(), parts.shard);
            let mine = |key: &SensorKey| registry.shard_of_key(*key) == Some(own);
            for key in start.paused.into_iter().filter(mine) {
                shard.paused.insert(key);
                if shard.slots.contains_key(&key) {
                    parts
                        .dispatcher
                        .dispatch_work(own, ShardWork::One(key, SensorWork::Pause));
                }
            }
            for (key, deadline) in start.deadlines.into_iter().filter(|(key, _)| mine(key)) {
                shard.env.timers.borrow_mut().schedule(key, deadline);
            }
            let at = shard.env.parts.dispatcher.tick();
            for key in start.behind.into_iter().filter(mine) {
                // A sensor whose readings came first is in memory already, and catches up by itself.
                shard.slot(key, Mode::CatchingUp, at);
            }
            shard.pump(ctx);
        }));
    }
}

impl Handler<Wanted> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, Wanted(sensor): Wanted, ctx: &mut Context<Self>) {
        self.catch_up.want(sensor);
        // What is wanted at the same moment is loaded together.
        if !self.catch_up.loading && !std::mem::replace(&mut self.catch_up.scheduled, true) {
            ctx.spawn(
                tokio::task::yield_now()
                    .into_actor(self)
                    .map(|(), shard, ctx| shard.pump(ctx)),
            );
        }
    }
}

struct Start {
    paused: Vec<SensorKey>,
    deadlines: Vec<(SensorKey, crate::domain::ActiveTime)>,
    behind: Vec<SensorKey>,
}

async fn read_start(store: &dyn Store) -> Result<Start, StoreError> {
    Ok(Start {
        paused: store.paused().await?,
        deadlines: store.deadlines().await?,
        behind: store.sensors_behind().await?,
    })
}

/// Why nothing was loaded.
enum Failed {
    Load(StoreError),
    /// It would be the same the next time.
    Unreadable(StoreError),
}

fn is_lasting(error: &StoreError) -> bool {
    matches!(error.class, ErrorClass::Unusable | ErrorClass::Refused)
}

/// Whether it is not the database itself that cannot be read.
async fn answers(store: &dyn Store) -> bool {
    store.load_sensors(&[], 0).await.is_ok()
}

async fn load(
    store: &dyn Store,
    plain: &[SensorKey],
    rebuild: &[SensorKey],
    readings: usize,
) -> Result<Loaded, StoreError> {
    // The first read says what all of them have seen, even if nothing is asked of it.
    let mut loaded = store.load_sensors(plain, readings).await?;
    for key in rebuild {
        let mut recent = store.load_recent(*key, REBUILD_READINGS).await?;
        for sensor in &mut recent.sensors {
            // What has committed since is held for it.
            sensor
                .tail
                .retain(|reading| Some(reading.seq.batch()) <= loaded.as_of);
        }
        loaded.sensors.extend(recent.sensors);
    }
    Ok(loaded)
}
