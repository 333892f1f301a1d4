//! One order for everything: numbering a batch and putting its slices into the queues of all shards is one step.
//!
//! Invariants:
//! - Under one lock a batch gets its ordinal (dense within the epoch), its number (from the database's blocks, growing for
//!   ever) and its time, and its slices enter the queues. So every shard sees batches in the order in which they commit.
//! - Time never goes backwards from batch to batch. The active clock goes on only while ticks come regularly, nothing holds
//!   the pipeline, and no source has been deaf for less than [`LONGEST_DEAF`]; also while the wall clock, having been set back, has to come up with the last batch's time.
//! - A rewind begins a new epoch in the same way: in each queue, what comes behind it belongs to the new epoch.
//!
//! How it fails: without numbers left (the database has been away for half a million batches, which the permits rule out) a
//! batch is undelivered at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::batch::{Acknowledgement, Arrival, Cargo, Number, SliceGuard, Terminus, Train};
use super::registry::Registry;
use crate::clock::Clock;
use crate::domain::{
    ActiveTime, BatchNumber, BatchTime, LedgerDelta, Micros, Reading, SensorKey, SourceName, Timestamp,
};
use crate::storage::SliceOutcome;

/// How many batch numbers are taken from the database at once.
pub const NUMBER_BLOCK: u64 = 1 << 20;

/// The longest step of the active clock: ticks come several times a second, and a longer gap means that we did not run.
const LONGEST_TICK: Micros = 1_000_000;

/// What a source without its broker may hold of the active clock until it has the broker again. Beyond that its sensors are
/// taken for silent, so that those of other sources are heard of.
const LONGEST_DEAF: Micros = 3_600_000_000;

/// A reading on its way to its shard.
#[derive(Debug, Clone, Copy)]
pub struct Incoming {
    pub sensor: SensorKey,
    pub shard: u16,
    /// The sensor was never stored: it starts running, with nothing to catch up.
    pub fresh: bool,
    pub reading: Reading,
}

/// A queue into a shard. What is put in comes out in order.
pub trait ShardQueue<W>: Send + Sync {
    fn slice(&self, guard: SliceGuard, readings: Vec<Incoming>);
    /// Work of the shard itself.
    fn work(&self, guard: SliceGuard, work: W);
    fn rewind(&self, rewind: Rewind);
}

/// Everything after this belongs to `epoch`; what came after `committed` was not stored as the sensors saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewind {
    pub epoch: u64,
    pub committed: Option<BatchNumber>,
    pub condemned: Arc<Condemned>,
}

/// Sensors of whose part in a batch the database refuses to store anything, each with the database's words.
pub type Condemned = FxHashMap<SensorKey, String>;

/// Numbers batches and sends them off. `W` is the shards' own work.
pub struct Dispatcher<W> {
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    order: Mutex<Order>,
    rails: OnceLock<Rails<W>>,
    held: AtomicBool,
    numbers_low: Notify,
    internal: SourceName,
}

struct Rails<W> {
    terminus: Arc<dyn Terminus>,
    shards: Vec<Box<dyn ShardQueue<W>>>,
}

struct Order {
    epoch: u64,
    ordinal: u64,
    block: std::ops::Range<u64>,
    next_block: Option<std::ops::Range<u64>>,
    at: BatchTime,
    /// Sources that would not hear their sensors, and how much of the active clock each has held.
    deaf: FxHashMap<SourceName, Micros>,
    /// What the clock last said; before `at.now` if it was set back.
    clock: Timestamp,
}

impl<W> Dispatcher<W> {
    /// `first` begins a block of [`NUMBER_BLOCK`] fresh numbers; `active` is where the active clock stood.
    pub fn new(
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        first: BatchNumber,
        active: ActiveTime,
        internal: SourceName,
    ) -> Self {
        let at = BatchTime {
            now: clock.now(),
            active,
        };
        Self {
            registry,
            clock,
            order: Mutex::new(Order {
                epoch: 1,
                ordinal: 0,
                block: first.0..first.0 + NUMBER_BLOCK,
                next_block: None,
                at,
                deaf: FxHashMap::default(),
                clock: at.now,
            }),
            rails: OnceLock::new(),
            held: AtomicBool::new(false),
            numbers_low: Notify::new(),
            internal,
        }
    }

    /// Lays the rails, once, before anything is dispatched.
    pub fn connect(&self, terminus: Arc<dyn Terminus>, shards: Vec<Box<dyn ShardQueue<W>>>) {
        let laid = self.rails.set(Rails { terminus, shards });
        debug_assert!(laid.is_ok(), "rails are laid once");
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Sends a batch off. The readings' indices are given here, in their order.
    pub fn dispatch(&self, readings: Vec<Incoming>, cargo: Cargo) {
        self.dispatch_if(readings, cargo, |_| true);
    }

    /// As [`Self::dispatch`], but only while `epoch` lasts; `false` if it did not depart, which undelivers it.
    pub fn dispatch_in(&self, epoch: u64, readings: Vec<Incoming>, cargo: Cargo) -> bool {
        self.dispatch_if(readings, cargo, |now| now == epoch)
    }

    fn dispatch_if(
        &self,
        mut readings: Vec<Incoming>,
        cargo: Cargo,
        wanted: impl FnOnce(u64) -> bool,
    ) -> bool {
        for (index, incoming) in readings.iter_mut().enumerate() {
            incoming.reading.index = index as u32;
        }
        let mut slices = self.split(readings);
        let Some(rails) = self.rails.get() else {
            return false;
        };
        let mut order = self.order.lock();
        if !wanted(order.epoch) {
            return false;
        }
        let Some(number) = self.number(&mut order) else {
            return false;
        };
        let guards = Train::depart(number, cargo, slices.len(), rails.terminus.clone());
        for (guard, (shard, readings)) in guards.into_iter().zip(slices.drain(..)) {
            rails.shards[usize::from(shard)].slice(guard, readings);
        }
        true
    }

    /// Sends off a batch without readings, in which a shard does what it has to do by itself.
    pub fn dispatch_work(&self, shard: u16, work: W) {
        self.dispatch_work_if(shard, work, |_| true);
    }

    /// As [`Self::dispatch_work`], but only while `epoch` lasts; `false` if it has ended.
    pub fn dispatch_work_in(&self, epoch: u64, shard: u16, work: W) -> bool {
        self.dispatch_work_if(shard, work, |now| now == epoch)
    }

    fn dispatch_work_if(&self, shard: u16, work: W, wanted: impl FnOnce(u64) -> bool) -> bool {
        let Some(rails) = self.rails.get() else {
            return false;
        };
        let cargo = Cargo {
            source: self.internal.clone(),
            sensors: Vec::new(),
            series: Vec::new(),
            positions: Vec::new(),
            arrivals: Vec::new(),
            source_ledger: LedgerDelta::default(),
            refused: SliceOutcome::default(),
            dead_letters: Vec::new(),
            received: 0,
            acknowledgement: Acknowledgement::nobody(),
            permit: None,
        };
        let mut order = self.order.lock();
        if !wanted(order.epoch) {
            return false;
        }
        let Some(number) = self.number(&mut order) else {
            return false;
        };
        if let Some(guard) = Train::depart(number, cargo, 1, rails.terminus.clone()).pop() {
            rails.shards[usize::from(shard)].work(guard, work);
        }
        true
    }

    /// Begins a new epoch: what is under way will not be committed.
    pub fn rewind(&self, committed: Option<BatchNumber>, condemned: Condemned) -> u64 {
        let mut order = self.order.lock();
        order.epoch += 1;
        order.ordinal = 0;
        let rewind = Rewind {
            epoch: order.epoch,
            committed,
            condemned: Arc::new(condemned),
        };
        for shard in self.rails.get().iter().flat_map(|rails| &rails.shards) {
            shard.rewind(rewind.clone());
        }
        order.epoch
    }

    /// The epoch, and how many batches of it were dispatched.
    pub fn dispatched(&self) -> (u64, u64) {
        let order = self.order.lock();
        (order.epoch, order.ordinal)
    }

    /// Somebody has lost what he had seen of `epoch`.
    pub fn report_broken(&self, epoch: u64) {
        if let Some(rails) = self.rails.get() {
            rails.terminus.arrive(Arrival::Broken {
                epoch,
                ordinal: u64::MAX,
            });
        }
    }

    /// Moves the active clock on and tells the time. To be called several times a second.
    pub fn tick(&self) -> BatchTime {
        let mut order = self.order.lock();
        self.advance(&mut order)
    }

    /// While held, the active clock stands still: nobody is silent while we do not listen.
    pub fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    pub fn held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether a source that is far from its sensors hears what they say. While one does not, the active clock stands still, for
    /// an hour at most.
    pub fn set_deaf(&self, source: &SourceName, deaf: bool) {
        let mut order = self.order.lock();
        // What was before was as before.
        self.advance(&mut order);
        if deaf {
            order.deaf.entry(source.clone()).or_default();
        } else {
            order.deaf.remove(source);
        }
    }

    pub fn is_deaf(&self, source: &SourceName) -> bool {
        self.order.lock().deaf.contains_key(source)
    }

    /// Resolves when another block of numbers should be fetched.
    pub async fn numbers_low(&self) {
        self.numbers_low.notified().await;
    }

    pub fn add_numbers(&self, first: BatchNumber) {
        let mut order = self.order.lock();
        // A block that was begun meanwhile may be a later one.
        if first.0 >= order.block.end {
            order.next_block = Some(first.0..first.0 + NUMBER_BLOCK);
        }
    }

    /// The next batch has the first number of this block, which nobody else was given: what it brings of a sensor that came from
    /// another instance has greater sequences than all that the other one stored. And its active clock stands no earlier than
    /// `active`, where the other one's stood.
    pub fn begin_block(&self, first: BatchNumber, active: ActiveTime) {
        let mut order = self.order.lock();
        if first.0 >= order.block.end {
            order.block = first.0..first.0 + NUMBER_BLOCK;
            order.next_block = None;
        }
        order.at.active = order.at.active.max(active);
    }

    fn number(&self, order: &mut Order) -> Option<Number> {
        let at = self.advance(order);
        if order.block.is_empty() {
            order.block = order.next_block.take()?;
        }
        let number = BatchNumber(order.block.next()?);
        if order.next_block.is_none() && order.block.end - order.block.start < NUMBER_BLOCK / 2 {
            self.numbers_low.notify_one();
        }
        let ordinal = order.ordinal;
        order.ordinal += 1;
        Some(Number {
            epoch: order.epoch,
            ordinal,
            number,
            at,
        })
    }

    fn advance(&self, order: &mut Order) -> BatchTime {
        let clock = self.clock.now();
        let step = clock.since(order.clock).clamp(0, LONGEST_TICK);
        if !self.held() && !order.holds(step) {
            order.at.active = order.at.active + step;
        }
        order.clock = clock;
        order.at.now = order.at.now.max(clock);
        order.at
    }

    fn split(&self, readings: Vec<Incoming>) -> Vec<(u16, Vec<Incoming>)> {
        let Some(first) = readings.first().map(|incoming| incoming.shard) else {
            return Vec::new();
        };
        if readings.iter().all(|incoming| incoming.shard == first) {
            return vec![(first, readings)];
        }
        let count = usize::from(self.registry.shards());
        // Twice the mean is nearly always enough.
        let each = 2 * readings.len() / count.max(1);
        let mut shards: Vec<Vec<Incoming>> = Vec::new();
        shards.resize_with(count, || Vec::with_capacity(each));
        for incoming in readings {
            shards[usize::from(incoming.shard)].push(incoming);
        }
        (0..)
            .zip(shards)
            .filter(|(_, readings)| !readings.is_empty())
            .collect()
    }
}

impl Order {
    /// Whether a deaf source holds this step of the active clock.
    fn holds(&mut self, step: Micros) -> bool {
        let mut any = false;
        for held in self.deaf.values_mut().filter(|held| **held < LONGEST_DEAF) {
            *held += step;
            any = true;
        }
        any
    }
}

#[cfg(test)]
mod tests;
