//! Bringing sensors back from the store, many at once.
//!
//! A load begins when every batch that had come out of the queue when its sensors asked has committed; what it read is put into
//! the queue as the shard's own work. So it sees all that its sensors have seen and do not hold, and need not wait for the commit of
//! the load before it. One load at a time: what asks meanwhile is in the next. Of those that were read, [`AHEAD`] may wait for their
//! commit, so that what is in memory is bounded.
//!
//! How it fails: a failed load is tried again for as long as it takes; the sensors' readings pass through meanwhile. Where what is
//! stored of a sensor cannot be read, it is found by halves and quarantined, and the others come back.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use actix::prelude::*;
use rustc_hash::FxHashMap;

use super::env::Mode;
use super::messages::Wanted;
use super::{ShardSupervisor, ShardWork};
use crate::actors::sensor::SensorWork;
use crate::actors::storage::{progress, retry};
use crate::actors::supervision::Crash;
use crate::domain::SensorKey;
use crate::storage::{ErrorClass, Loaded, Scope, Store, StoreError};

/// Sensors brought back in one load.
const LOAD_SENSORS: usize = 2_048;

/// Loads that have come out of the queue and have not committed, while the next one is read.
const AHEAD: usize = 2;

/// Stored readings that a state is rebuilt from when its snapshot cannot be read.
const REBUILD_READINGS: usize = 10_000;

#[derive(Default)]
pub(super) struct CatchUp {
    queue: VecDeque<SensorKey>,
    /// Who is in the queue, and how many ordinals had come out of the shard's queue when it asked last.
    asked: FxHashMap<SensorKey, u64>,
    /// Sensors with one among them that cannot be read, to be loaded by themselves.
    suspects: Vec<Asked>,
    /// How many ordinals had come out with each of the last loads.
    performed: VecDeque<u64>,
    loading: bool,
    /// A pump is on its way.
    scheduled: bool,
    failures: u32,
}

/// Sensors to be loaded together when every ordinal below `seen` has committed.
struct Asked {
    sensors: Vec<SensorKey>,
    seen: u64,
}

impl CatchUp {
    /// A sensor asks when `seen` ordinals have come out of the shard's queue.
    fn want(&mut self, sensor: SensorKey, seen: u64) {
        match self.asked.entry(sensor) {
            Entry::Vacant(new) => {
                new.insert(seen);
                self.queue.push_back(sensor);
            }
            Entry::Occupied(mut again) => {
                let seen = seen.max(*again.get());
                again.insert(seen);
            }
        }
    }

    /// A load has come out of the queue, the last of `seen` ordinals.
    pub(super) fn performed(&mut self, seen: u64) {
        self.performed.push_back(seen);
        if self.performed.len() > AHEAD {
            self.performed.pop_front();
        }
    }

    /// Ordinals begin anew, and all that was dispatched before is committed or lost.
    pub(super) fn rewind(&mut self) {
        self.performed.clear();
        self.asked.values_mut().for_each(|seen| *seen = 0);
        self.suspects.iter_mut().for_each(|asked| asked.seen = 0);
    }

    pub(super) fn wanted(&self) -> usize {
        let suspects: usize = self.suspects.iter().map(|asked| asked.sensors.len()).sum();
        self.queue.len() + suspects
    }

    fn take(&mut self, many: usize) -> Asked {
        if let Some(suspects) = self.suspects.pop() {
            return suspects;
        }
        let many = many.min(self.queue.len());
        let sensors: Vec<SensorKey> = self.queue.drain(..many).collect();
        let seen = sensors.iter().filter_map(|sensor| self.asked.remove(sensor));
        Asked {
            seen: seen.max().unwrap_or(0),
            sensors,
        }
    }
}

impl ShardSupervisor {
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        self.catch_up.scheduled = false;
        if self.catch_up.loading {
            return;
        }
        let Asked { sensors, seen } = self.catch_up.take(LOAD_SENSORS);
        let (mut rebuild, plain): (Vec<SensorKey>, Vec<SensorKey>) =
            sensors.into_iter().partition(|key| self.must_rebuild(*key));
        let parts = self.env.parts.clone();
        let at_once = (parts.settings.load_readings / REBUILD_READINGS).max(1);
        for later in rebuild.drain(at_once.min(rebuild.len())..) {
            self.catch_up.want(later, seen);
        }
        let sensors = [plain.as_slice(), &rebuild].concat();
        if sensors.is_empty() {
            return;
        }
        self.catch_up.loading = true;
        let epoch = self.epoch;
        let behind = match self.catch_up.performed.front() {
            Some(first) if self.catch_up.performed.len() == AHEAD => *first,
            _ => 0,
        };
        let pause = (self.catch_up.failures > 0).then(|| retry::pause(self.catch_up.failures - 1));
        let load = async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            if !progress::committed(parts.progress, epoch, seen.max(behind)).await {
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
            let seen = if shard.epoch == epoch { seen } else { 0 };
            let parts = &shard.env.parts;
            let restored = match loaded {
                Ok(Some(loaded)) => {
                    shard.catch_up.failures = 0;
                    // If the epoch has ended meanwhile, a commit left over from it may have landed after the read.
                    parts.dispatcher.dispatch_work_in(epoch, parts.shard, ShardWork::Restore(loaded))
                }
                Ok(None) => false,
                Err(Failed::Unreadable(error)) => {
                    shard.narrow_down(sensors, seen, &error);
                    return shard.pump(ctx);
                }
                Err(Failed::Load(error)) => {
                    tracing::warn!(%error, sensors = sensors.len(), "sensors could not be loaded, trying again");
                    shard.catch_up.failures += 1;
                    false
                }
            };
            if !restored {
                sensors.into_iter().for_each(|sensor| shard.catch_up.want(sensor, seen));
            }
            // At the next sweep, if the shard has not come to the new epoch yet.
            if restored || shard.epoch != epoch || shard.catch_up.failures > 0 {
                shard.pump(ctx);
            }
        }));
    }

    /// What is stored of one of `sensors` cannot be read.
    fn narrow_down(&mut self, mut sensors: Vec<SensorKey>, seen: u64, error: &StoreError) {
        if sensors.len() > 1 {
            let half = sensors.split_off(sensors.len() / 2);
            let halves = [sensors, half].map(|sensors| Asked { sensors, seen });
            return self.catch_up.suspects.extend(halves);
        }
        if let Some(slot) = sensors.first().and_then(|one| self.slots.get(one))
            && slot.card.mode.get() == Mode::CatchingUp
        {
            let why = format!("what is stored of it cannot be read: {error}");
            slot.handle.quarantine(Crash::new(why));
        }
    }

    fn must_rebuild(&self, key: SensorKey) -> bool {
        self.slots.get(&key).is_some_and(|slot| slot.card.rebuild.get())
    }

    /// What has to be brought back of the sensors in `scope`, at a start or when they come to us: who has stored readings after its
    /// snapshot, and who has a deadline.
    pub(super) fn wake_who_is_behind(&mut self, scope: Scope, ctx: &mut Context<Self>) {
        let store = self.env.parts.store.clone();
        let mut progress = self.env.parts.progress.clone();
        // After a crash of the shard what is under way is committed or lost when the next epoch has begun.
        let ended = if self.restarted { self.epoch } else { 0 };
        let read = async move {
            // The writer goes last: without it nobody waits for the answer.
            let _ = progress.wait_for(|progress| progress.epoch > ended).await;
            let mut attempt = 0;
            loop {
                match read_start(store.as_ref(), &scope).await {
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
            let mine = |key: &SensorKey| registry.shard_of_key(*key) == Some(own) && registry.is_ours(*key);
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
        self.catch_up.want(sensor, self.seen);
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

async fn read_start(store: &dyn Store, scope: &Scope) -> Result<Start, StoreError> {
    Ok(Start {
        paused: store.paused().await?,
        deadlines: store.deadlines(scope).await?,
        behind: store.sensors_behind(scope).await?,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: std::ops::Range<u32>) -> Vec<SensorKey> {
        numbers.map(SensorKey).collect()
    }

    #[test]
    fn a_load_waits_for_what_its_own_sensors_have_seen() {
        let mut catch_up = CatchUp::default();
        for (sensor, seen) in [(1, 0), (2, 0), (3, 7), (1, 4)] {
            catch_up.want(SensorKey(sensor), seen);
        }
        let first = catch_up.take(2);
        assert_eq!((first.sensors, first.seen), (keys(1..3), 4), "it asked again");
        // It is under way, and asks anew.
        catch_up.want(SensorKey(1), 9);
        let second = catch_up.take(2);
        assert_eq!(
            (second.sensors, second.seen),
            (vec![SensorKey(3), SensorKey(1)], 9)
        );
        assert_eq!((catch_up.take(2).sensors, catch_up.wanted()), (Vec::new(), 0));
    }

    #[test]
    fn after_a_rewind_there_is_nothing_to_wait_for() {
        let mut catch_up = CatchUp::default();
        catch_up.want(SensorKey(1), 5);
        catch_up.suspects.push(Asked {
            sensors: keys(2..4),
            seen: 6,
        });
        catch_up.performed(5);
        catch_up.rewind();
        assert_eq!(catch_up.take(9).seen, 0);
        assert_eq!(catch_up.take(9).seen, 0);
        assert!(catch_up.performed.is_empty());
    }
}
