//! What a shard and its sensors share on their one thread.
//!
//! Invariant: nothing here is borrowed across a call that could come back here; what a sensor that panics leaves in the scratch is
//! thrown away by the next that uses it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::watch;

use super::timers::Timers;
use super::{ShardSupervisor, ShardWork};
use crate::actors::Rails;
use crate::actors::hub::Live;
use crate::actors::hub::board::{Board, ShownMode};
use crate::actors::journal::Journal;
use crate::actors::latest::Latest;
use crate::actors::sensor::SensorWork;
use crate::actors::storage::progress::Progress;
use crate::actors::supervision::{Policy, RestartObserver};
use crate::core::{Effects, SeriesConfig};
use crate::domain::{ActiveTime, BatchNumber, Micros, SensorKey, SeriesId, Timestamp};
use crate::metrics::Metrics;
use crate::storage::{SliceOutcome, Store};

/// What each series is watched with.
pub trait Catalog: Send + Sync {
    fn config(&self, series: SeriesId) -> Arc<SeriesConfig>;
}

#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// A snapshot is due when this many readings came since the last one.
    pub snapshot_tail: u32,
    /// A snapshot is due when the last one is this old and readings came since.
    pub snapshot_interval: Duration,
    /// What the snapshots of one shard may amount to a second; those that a change of mode needs are taken all the same.
    pub snapshot_bytes_per_second: u64,
    /// A sensor not heard for so long (in active time) leaves memory.
    pub passivate_after: Duration,
    /// Readings that pass a sensor by while it catches up are kept in memory up to this number.
    pub held_readings: usize,
    /// Stored readings that are loaded at once.
    pub load_readings: usize,
    /// Bytes of state whose snapshots one batch of a drain takes.
    pub drain_bytes: usize,
    pub policy: Arc<Policy>,
}

/// Given to each shard; all of it may cross threads.
#[derive(Clone)]
pub struct ShardParts {
    pub shard: u16,
    pub dispatcher: Arc<Rails>,
    pub store: Arc<dyn Store>,
    pub catalog: Arc<dyn Catalog>,
    pub settings: ShardSettings,
    pub progress: watch::Receiver<Progress>,
    pub metrics: Arc<Metrics>,
    pub latest: Arc<Latest>,
    pub live: Arc<Live>,
    pub journal: Journal,
    /// Hears of what happens to the sensor actors.
    pub observer: Arc<dyn RestartObserver>,
}

pub struct ShardEnv {
    pub parts: ShardParts,
    pub address: OnceCell<Addr<ShardSupervisor>>,
    pub timers: RefCell<Timers>,
    pub scratch: RefCell<Scratch>,
    /// The last batch that came out of the queue and may be committed.
    pub last: Cell<Option<BatchNumber>>,
    /// Bytes of snapshots that may be taken now; negative when mandatory ones have overdrawn it.
    budget: Cell<i64>,
}

/// Room for what a sensor makes of its readings, reused.
#[derive(Default)]
pub struct Scratch {
    pub effects: Effects,
    pub outcome: SliceOutcome,
}

impl Scratch {
    /// Throws away what a panic has left here.
    pub fn clean(&mut self) {
        if !self.effects.is_empty() || !self.outcome.is_empty() {
            *self = Self::default();
        }
    }

    /// Moves the effects into the outcome.
    pub fn settle(&mut self) {
        if self.effects.is_empty() {
            return;
        }
        self.outcome.windows.append(&mut self.effects.windows);
        self.outcome.recompute.append(&mut self.effects.recompute);
        self.outcome.anomalies.append(&mut self.effects.anomalies);
        self.outcome.alerts.append(&mut self.effects.alerts);
    }
}

impl ShardEnv {
    pub fn new(parts: ShardParts) -> Rc<Self> {
        let budget = i64::try_from(parts.settings.snapshot_bytes_per_second).unwrap_or(i64::MAX);
        Rc::new(Self {
            parts,
            address: OnceCell::new(),
            timers: RefCell::default(),
            scratch: RefCell::default(),
            last: Cell::default(),
            budget: Cell::new(budget),
        })
    }

    /// Has one sensor do something at its place in the order.
    pub fn perform(&self, sensor: SensorKey, work: SensorWork) {
        self.parts
            .dispatcher
            .dispatch_work(self.parts.shard, ShardWork::One(sensor, work));
    }

    pub fn snapshots_allowed(&self) -> bool {
        self.budget.get() > 0
    }

    pub fn spend(&self, bytes: usize) {
        self.budget.set(
            self.budget
                .get()
                .saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX)),
        );
    }

    /// Adds what `elapsed` allows; unspent budget does not pile up beyond a second's worth.
    pub fn refill(&self, elapsed: Duration) {
        let rate = self.parts.settings.snapshot_bytes_per_second as f64;
        let allowed = self.budget.get() as f64 + rate * elapsed.as_secs_f64();
        self.budget.set(allowed.min(rate) as i64);
    }
}

/// What a sensor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Readings go through its windows and detectors.
    Running,
    /// It is being brought back from the store; readings pass through and are held for it.
    CatchingUp,
    /// It crashed and waits before it catches up.
    BackingOff,
    /// An admin paused it: readings are stored, not processed.
    Paused,
    /// It crashed too often: readings are stored, not processed, until an admin resumes it.
    Quarantined,
    /// It is not in memory; it comes back with its next reading or deadline.
    Passive,
}

impl Mode {
    pub const ALL: [Mode; 6] = [
        Mode::Running,
        Mode::CatchingUp,
        Mode::BackingOff,
        Mode::Paused,
        Mode::Quarantined,
        Mode::Passive,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Running => "running",
            Mode::CatchingUp => "catching_up",
            Mode::BackingOff => "backing_off",
            Mode::Paused => "paused",
            Mode::Quarantined => "quarantined",
            Mode::Passive => "passive",
        }
    }
}

/// What a shard and one of its sensors know of each other without a message.
pub struct Card {
    pub mode: ShownMode,
    /// Messages in the sensor's mailbox.
    pub queued: Cell<u32>,
    /// The last batch that had something for the sensor.
    pub last_batch: Cell<BatchNumber>,
    pub heard: Cell<ActiveTime>,
    pub deadline: Cell<Option<ActiveTime>>,
    /// The earliest entry of the sensor in the timers.
    pub scheduled: Cell<Option<ActiveTime>>,
    /// The snapshot cannot be read: build the state from recent readings.
    pub rebuild: Cell<bool>,
    /// The actor is gone.
    pub ended: Cell<bool>,
}

impl Card {
    pub fn new(mode: Mode, heard: ActiveTime, sensor: SensorKey, board: &Arc<Board>) -> Rc<Self> {
        Rc::new(Self {
            mode: ShownMode::new(mode, sensor, board.clone()),
            queued: Cell::new(0),
            last_batch: Cell::new(BatchNumber(0)),
            heard: Cell::new(heard),
            deadline: Cell::new(None),
            scheduled: Cell::new(None),
            rebuild: Cell::new(false),
            ended: Cell::new(false),
        })
    }

    /// A message goes into the sensor's mailbox.
    pub fn count_message(&self) {
        self.queued.set(self.queued.get() + 1);
    }
}

/// When the first snapshot of a sensor is due: spread over the interval by its number.
pub fn spread(key: SensorKey, interval: Duration) -> Micros {
    let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    // Fibonacci hashing: neighboring numbers land far apart.
    (u64::from(key.0).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1) as i64 % interval
}

/// When a snapshot was last taken, in wall time, such that the first is due after `spread`.
pub fn first_snapshot_at(now: Timestamp, key: SensorKey, interval: Duration) -> Timestamp {
    now.saturating_sub(spread(key, interval))
}
