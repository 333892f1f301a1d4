//! What a shard is told and asked.

use actix::prelude::*;

use crate::actors::batch::SliceGuard;
use crate::actors::dispatcher::{Incoming, Rewind, ShardQueue};
use crate::actors::registry::HomeId;
use crate::actors::sensor::SensorActor;
use crate::actors::shard::env::Mode;
use crate::actors::shard::{ShardSupervisor, ShardWork};
use crate::domain::SensorKey;
use crate::storage::Scope;

/// A shard's part of a batch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Slice {
    pub guard: SliceGuard,
    pub readings: Vec<Incoming>,
}

/// Work of the shard at its place in the order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Perform {
    pub guard: SliceGuard,
    pub work: ShardWork,
}

/// A sensor asks to be brought back from the store.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wanted(pub SensorKey);

impl Message for Rewind {
    type Result = ();
}

/// A sensor's actor, brought into memory if it is not.
#[derive(Message)]
#[rtype(result = "Option<Addr<SensorActor>>")]
pub struct Find(pub SensorKey);

/// What an admin wants of one sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Throw the state away and come back from the store.
    Restart,
    /// Empty windows and detectors; history stays.
    Reset,
    /// Store, do not process.
    Pause,
    /// Out of pause or quarantine.
    Resume,
}

impl Command {
    pub const ALL: [Command; 4] = [Command::Restart, Command::Reset, Command::Pause, Command::Resume];

    pub fn as_str(self) -> &'static str {
        match self {
            Command::Restart => "restart",
            Command::Reset => "reset",
            Command::Pause => "pause",
            Command::Resume => "resume",
        }
    }
}

/// `false` where the shard does not know the sensor.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct CommandSensor {
    pub sensor: SensorKey,
    pub command: Command,
    pub by: String,
    pub why: String,
}

/// The modes of the sensors in memory, and of those not in memory that are asked for and have crashed or were restarted.
#[derive(Message)]
#[rtype(result = "Vec<SensorStatus>")]
pub struct ListSensors {
    /// Only these; empty: all, up to `limit`.
    pub sensors: Vec<SensorKey>,
    pub limit: usize,
}

/// A sensor from its shard's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensorStatus {
    pub sensor: SensorKey,
    pub mode: Mode,
    pub mailbox: u32,
    /// Since the process began.
    pub restarts: u32,
    pub crashes: u32,
}

/// Sends off a batch with snapshots of sensors that changed; answers whether there are more. For the drain.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct SnapshotSome;

/// Sends off a batch in which sensors of these homes leave memory, with a snapshot; answers whether there are more.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Release(pub Vec<HomeId>);

/// Drops the sensors that are not ours, without a snapshot.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Forget;

/// Sensors have come to us: brings those back that have something to do.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake {
    pub homes: Vec<HomeId>,
    /// The same homes.
    pub scope: Scope,
}

/// How many sensors are in each mode.
#[derive(Message)]
#[rtype(result = "ShardStatus")]
pub struct Status;

#[derive(Debug, Clone, PartialEq, Eq, MessageResponse)]
pub struct ShardStatus {
    pub shard: u16,
    pub sensors: Vec<(Mode, usize)>,
    /// Sensors that wait to be brought back.
    pub wanted: usize,
    pub timers: usize,
}

/// The queue into a shard; bounded by the permits that the trains carry.
pub struct Queue(pub Addr<ShardSupervisor>);

#[expect(
    clippy::disallowed_methods,
    reason = "a train carries its permit, and internal ones are few"
)]
impl ShardQueue<ShardWork> for Queue {
    fn slice(&self, guard: SliceGuard, readings: Vec<Incoming>) {
        self.0.do_send(Slice { guard, readings });
    }

    fn work(&self, guard: SliceGuard, work: ShardWork) {
        self.0.do_send(Perform { guard, work });
    }

    fn rewind(&self, rewind: Rewind) {
        self.0.do_send(rewind);
    }
}
