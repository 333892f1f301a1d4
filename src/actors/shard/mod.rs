//! A shard: the sensors of one thread, and what they have in common.
//!
//! Invariants:
//! - Slices come out of the queue in the order in which they commit, and each sensor gets its readings in that order.
//! - A sensor that was never stored starts running; any other starts by catching up. So it makes no difference whether a
//!   sensor was passive, or the process was killed.
//! - Timers, passivation and everything else that the shard does by itself is numbered like a batch and done when it comes
//!   out of the queue.
//!
//! How it fails: if the shard itself panics, the slice in its hands is lost, which breaks its train and rewinds the pipeline; its
//! sensors leave memory and come back from the store.

mod catch_up;
mod commands;
mod drain;
pub mod env;
mod handover;
pub mod messages;
mod sweep;
pub mod timers;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use indexmap::IndexMap;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use self::catch_up::CatchUp;
use self::env::{Card, Mode, ShardEnv, ShardParts};
use self::messages::{Perform, Slice};
use super::batch::SliceGuard;
use super::dispatcher::{Incoming, Rewind};
use super::latest::LatestValue;
use super::part::{Collector, Part, Readings};
use super::sensor::{Act, Observe, Relapse, Rest, Rewound, Sensor, SensorActor, SensorWork};
use super::supervision::{self, ActorPath, ActorSpec, Handle, Supervise, contain};
use crate::domain::{BatchNumber, BatchTime, SensorKey};
use crate::prefetch::prefetch;
use crate::storage::Loaded;

/// A message carries at most this many readings, so that a mailbox never holds its thread for long.
const MESSAGE_READINGS: usize = 256;

/// How many sensors ahead of its turn a sensor is fetched from memory, and how many ahead what it points to. With 100,000 sensors
/// fetching (with 8 and 4) saved 0.3 of 1.55 µs a reading; 32 and 12 are no better than these.
const FETCH_AHEAD: usize = 16;
const FETCH_BEHIND_AHEAD: usize = 8;

/// What a shard does by itself, at its place in the order.
pub enum ShardWork {
    /// Deadlines of these sensors are due.
    Advance(Vec<SensorKey>),
    /// These sensors come back.
    Restore(Loaded),
    /// Those of these sensors that are still idle leave memory.
    Passivate(Vec<SensorKey>),
    /// These sensors leave memory, since somebody else will have them.
    Release(Vec<SensorKey>),
    /// Those of these sensors that run take a snapshot.
    Snapshot(Vec<SensorKey>),
    One(SensorKey, SensorWork),
}

pub struct ShardSupervisor {
    env: Rc<ShardEnv>,
    /// Its places stay the same while a slice is in hand.
    slots: IndexMap<SensorKey, Slot, FxBuildHasher>,
    /// Places of the sensors that the slice in hand has readings for.
    touched: Vec<usize>,
    paused: FxHashSet<SensorKey>,
    /// What happened to sensors that have left memory; most have nothing to tell.
    past: FxHashMap<SensorKey, Past>,
    catch_up: CatchUp,
    /// In a drain: whose snapshots are still to be taken.
    to_snapshot: Option<Vec<SensorKey>>,
    epoch: u64,
    /// Every ordinal of the epoch below it has come out of the queue, as far as it concerns this shard.
    seen: u64,
    ever_started: bool,
    /// Sensors were lost with a crash.
    restarted: bool,
    look_round_at: tokio::time::Instant,
}

/// How often a sensor was restarted and how often it crashed since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Past {
    restarts: u32,
    crashes: u32,
}

/// A sensor in memory.
struct Slot {
    address: Addr<SensorActor>,
    handle: Arc<Handle>,
    card: Rc<Card>,
    sensor: Rc<RefCell<Sensor>>,
    /// Its readings of the slice in hand.
    readings: Readings,
}

impl ShardSupervisor {
    pub fn new(parts: ShardParts) -> Self {
        Self {
            env: ShardEnv::new(parts),
            slots: IndexMap::default(),
            touched: Vec::new(),
            paused: FxHashSet::default(),
            past: FxHashMap::default(),
            catch_up: CatchUp::default(),
            to_snapshot: None,
            epoch: 1,
            seen: 0,
            ever_started: false,
            restarted: false,
            look_round_at: tokio::time::Instant::now(),
        }
    }

    fn distribute(&mut self, guard: SliceGuard, readings: &[Incoming]) {
        let env = self.env.clone();
        let train = guard.train();
        let (number, at) = (train.number, train.at);
        self.seen = train.ordinal + 1;
        self.env.last.set(Some(number));
        let collector = Collector::new(guard, readings.len(), env.parts.dispatcher.registry().clone());
        env.parts.latest.offer(
            env.parts.shard,
            readings.iter().map(|incoming| {
                let reading = &incoming.reading;
                let value = LatestValue {
                    sensor: incoming.sensor,
                    time: reading.time,
                    value: reading.value,
                };
                (reading.series, value)
            }),
        );
        env.parts.live.heard(env.parts.shard, readings);
        // After a rewind something may be stored of a sensor that was new when its readings were resolved.
        let pristine = self.epoch == 1 && !self.restarted;
        for (incoming, place) in readings.iter().zip(self.places(readings)) {
            let mode = if incoming.fresh && pristine && !self.is_stored(incoming.sensor) {
                Mode::Running
            } else {
                Mode::CatchingUp
            };
            let place = place.filter(|place| !self.slots[*place].card.ended.get());
            let Some(place) = place.or_else(|| self.place(incoming.sensor, mode, at)) else {
                continue;
            };
            let slot = &mut self.slots[place];
            let first = slot.readings.is_empty();
            if slot.readings.len() == MESSAGE_READINGS {
                slot.observe(incoming.sensor, number, &collector, Rest::Follows);
            }
            slot.readings.push(incoming.reading);
            if first {
                self.touched.push(place);
            }
        }
        for (n, place) in self.touched.iter().enumerate() {
            if let Some(ahead) = self.touched.get(n + FETCH_AHEAD) {
                self.slots[*ahead].fetch();
            }
            if let Some(ahead) = self.touched.get(n + FETCH_BEHIND_AHEAD) {
                self.slots[*ahead].fetch_behind();
            }
            if let Some((key, slot)) = self.slots.get_index_mut(*place) {
                slot.observe(*key, number, &collector, Rest::None);
            }
        }
        self.touched.clear();
    }

    /// Where the sensors of these readings are, if they are in memory. The loop does nothing else, so that the processor looks for
    /// several at once.
    fn places(&self, readings: &[Incoming]) -> Vec<Option<usize>> {
        let place = |incoming: &Incoming| {
            let (place, _, slot) = self.slots.get_full(&incoming.sensor)?;
            prefetch(slot);
            prefetch(&*slot.card);
            Some(place)
        };
        readings.iter().map(place).collect()
    }

    /// A batch may have waited for room since it was decoded, and its sensor come and gone meanwhile.
    fn is_stored(&self, key: SensorKey) -> bool {
        self.env.parts.dispatcher.registry().is_saved(key)
    }

    fn perform(&mut self, guard: SliceGuard, work: ShardWork) {
        let train = guard.train();
        let (number, at) = (train.number, train.at);
        self.seen = train.ordinal + 1;
        self.env.last.set(Some(number));
        let collector = Collector::new(guard, 0, self.env.parts.dispatcher.registry().clone());
        match work {
            ShardWork::Advance(sensors) => {
                for key in sensors {
                    self.act(key, number, &collector, SensorWork::Advance);
                }
            }
            ShardWork::Restore(loaded) => {
                self.catch_up.performed(self.seen);
                let as_of = loaded.as_of;
                for stored in loaded.sensors {
                    self.act(
                        stored.sensor,
                        number,
                        &collector,
                        SensorWork::Restore(Box::new(stored), as_of),
                    );
                }
            }
            ShardWork::Passivate(sensors) => {
                for key in sensors
                    .into_iter()
                    .filter(|key| self.is_idle(*key, at))
                    .collect::<Vec<_>>()
                {
                    self.put_away(key, number, &collector);
                }
            }
            ShardWork::Release(sensors) => {
                for key in sensors {
                    self.put_away(key, number, &collector);
                }
            }
            ShardWork::Snapshot(sensors) => {
                for key in sensors {
                    self.act(key, number, &collector, SensorWork::Snapshot);
                }
            }
            ShardWork::One(key, work) => {
                match &work {
                    SensorWork::Pause => drop(self.paused.insert(key)),
                    SensorWork::Resume { .. } => drop(self.paused.remove(&key)),
                    _ => {}
                }
                if self.is_ours(key) && self.slot(key, Mode::CatchingUp, at).is_some() {
                    self.act(key, number, &collector, work);
                }
            }
        }
    }

    /// Has a sensor do something, unless it is not ours any more.
    fn act(&mut self, key: SensorKey, number: BatchNumber, collector: &Arc<Collector>, work: SensorWork) {
        if self.is_ours(key) {
            self.hand(key, number, collector, work);
        } else {
            self.forget(key);
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "bounded by the shard's own work, one message a sensor"
    )]
    fn hand(&mut self, key: SensorKey, number: BatchNumber, collector: &Arc<Collector>, work: SensorWork) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.card.last_batch.set(number);
            slot.card.count_message();
            let part = Part::new(collector, key, Readings::new());
            slot.address.do_send(Act { part, work });
        }
    }

    /// The sensor's slot; started in `mode` if it is not in memory.
    fn slot(&mut self, key: SensorKey, mode: Mode, at: BatchTime) -> Option<&mut Slot> {
        let place = self.place(key, mode, at)?;
        Some(&mut self.slots[place])
    }

    fn place(&mut self, key: SensorKey, mode: Mode, at: BatchTime) -> Option<usize> {
        let (mode, past) = match self.slots.get_full(&key) {
            Some((place, _, slot)) if !slot.card.ended.get() => return Some(place),
            // It could not even answer in quarantine; a new one waits for an admin.
            Some((_, _, slot)) => (Mode::Paused, slot.past()),
            None => {
                let past = self.past.get(&key).copied().unwrap_or_default();
                let is_paused = self.paused.contains(&key);
                (if is_paused { Mode::Paused } else { mode }, past)
            }
        };
        let slot = Slot::start(&self.env, key, mode, at)?;
        slot.handle.carry_over(past.restarts, past.crashes);
        self.past.remove(&key);
        Some(self.slots.insert_full(key, slot).0)
    }

    /// A sensor leaves memory.
    fn remember(&mut self, key: SensorKey, past: Past) {
        if past != Past::default() {
            self.past.insert(key, past);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "one message a sensor and rewind")]
    fn rewind(&mut self, rewind: &Rewind) {
        self.epoch = rewind.epoch;
        self.seen = 0;
        self.catch_up.rewind();
        self.env.last.set(rewind.committed);
        let touched = |(_, slot): &(&SensorKey, &Slot)| {
            Some(slot.card.last_batch.get()) > rewind.committed || slot.card.mode.get() != Mode::Running
        };
        for (key, slot) in self.slots.iter().filter(touched) {
            slot.card.count_message();
            slot.address.do_send(Rewound {
                committed: rewind.committed,
                refused: rewind.condemned.get(key).cloned(),
            });
        }
    }
}

impl Slot {
    fn past(&self) -> Past {
        Past {
            restarts: self.handle.restarts(),
            crashes: self.handle.crashes(),
        }
    }

    fn start(env: &Rc<ShardEnv>, key: SensorKey, mode: Mode, at: BatchTime) -> Option<Self> {
        let info = env.parts.dispatcher.registry().sensor_id(key)?;
        let path = ActorPath::new(format!("sensor/{info}"));
        let spec = ActorSpec::new(path)
            .policy(env.parts.settings.policy.clone())
            .observer(env.parts.observer.clone());
        let card = Card::new(mode, at.active, key, &env.parts.live.board);
        let mut sensor = None;
        let (address, handle) = supervision::start(spec, |_, handle| {
            let made = Sensor::new(key, info, env.clone(), card.clone(), handle.clone(), at.now);
            SensorActor::new(sensor.insert(Rc::new(RefCell::new(made))).clone())
        });
        Some(Self {
            address,
            handle,
            card,
            sensor: sensor?,
            readings: Readings::new(),
        })
    }

    /// Asks memory for the sensor.
    fn fetch(&self) {
        prefetch(&*self.sensor);
    }

    /// Asks memory for what the sensor points to.
    fn fetch_behind(&self) {
        self.sensor.borrow().fetch();
    }

    #[expect(clippy::disallowed_methods, reason = "the readings' train carries its permit")]
    fn observe(&mut self, key: SensorKey, number: BatchNumber, collector: &Arc<Collector>, rest: Rest) {
        self.card.last_batch.set(number);
        let part = Part::new(collector, key, std::mem::take(&mut self.readings));
        if self.card.mode.get() != Mode::Running || self.card.queued.get() > 0 {
            self.card.count_message();
            return self.address.do_send(Observe { part, rest });
        }
        // It would be the next message; the actor has no hand in it unless it panics.
        if let Err(crash) = contain(|| self.sensor.borrow_mut().observe(part, rest)) {
            self.card.count_message();
            self.address.do_send(Relapse(crash));
        }
    }
}

impl Actor for ShardSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Set once; a restart keeps the address.
        let _ = self.env.address.set(ctx.address());
    }
}

impl Supervised for ShardSupervisor {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        self.restarted = true;
        for (key, slot) in std::mem::take(&mut self.slots) {
            slot.card.mode.set(Mode::Passive);
            self.remember(key, slot.past());
        }
        self.touched.clear();
        self.catch_up = CatchUp::default();
        self.to_snapshot = None;
        self.env.timers.borrow_mut().clear();
    }
}

impl Supervise for ShardSupervisor {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.ever_started, true) {
            // What the lost sensors had seen and not stored must be sent again.
            self.env.parts.dispatcher.report_broken(self.epoch);
        }
        self.wake_who_is_behind(self.env.parts.dispatcher.registry().ours(), ctx);
        let mut last = tokio::time::Instant::now();
        ctx.run_interval(Duration::from_millis(250), move |shard, ctx| {
            let elapsed = last.elapsed();
            last = tokio::time::Instant::now();
            shard.sweep(elapsed, ctx);
        });
    }
}

impl Handler<Slice> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, Slice { guard, readings }: Slice, ctx: &mut Context<Self>) {
        self.distribute(guard, &readings);
        // A mailbox is drained until it is empty: let the sensors work before the next slice.
        ctx.wait(tokio::task::yield_now().into_actor(self));
    }
}

impl Handler<Perform> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, Perform { guard, work }: Perform, _ctx: &mut Context<Self>) {
        self.perform(guard, work);
    }
}

impl Handler<Rewind> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, rewind: Rewind, _ctx: &mut Context<Self>) {
        self.rewind(&rewind);
    }
}
