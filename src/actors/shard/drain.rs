//! The last snapshots: of all sensors that changed, a batch at a time.
//!
//! Invariant: a batch takes snapshots of as many sensors as come to the size that the settings allow, at least of one. Whoever
//! asks waits for its commit before asking again, so that no more than that is in memory.

use actix::prelude::*;

use super::messages::SnapshotSome;
use super::{ShardSupervisor, ShardWork};
use crate::domain::SensorKey;

impl Handler<SnapshotSome> for ShardSupervisor {
    type Result = bool;

    fn handle(&mut self, _: SnapshotSome, _ctx: &mut Context<Self>) -> bool {
        let all = || self.slots.keys().copied().collect();
        let mut left: Vec<SensorKey> = self.to_snapshot.take().unwrap_or_else(all);
        let parts = &self.env.parts;
        let (mut some, mut bytes) = (Vec::new(), 0);
        while bytes < parts.settings.drain_bytes
            && let Some(key) = left.pop()
        {
            let unsaved = |slot: &super::Slot| slot.sensor.borrow().unsaved();
            if let Some(size) = self.slots.get(&key).and_then(unsaved) {
                bytes += size;
                some.push(key);
            }
        }
        if !some.is_empty() {
            parts
                .dispatcher
                .dispatch_work(parts.shard, ShardWork::Snapshot(some));
        }
        self.to_snapshot = (!left.is_empty()).then_some(left);
        self.to_snapshot.is_some()
    }
}
