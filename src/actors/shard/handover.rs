//! Sensors that come from another instance or go to one, home by home.
//!
//! Invariants: a sensor that is not ours does nothing here: it may be in memory for a moment after it was taken from us, but what the
//! shard would have it do drops it instead. One that goes in peace leaves a snapshot, in a batch of its own; one that was taken
//! leaves none, since its new owner goes by what is stored.

use std::sync::Arc;

use actix::prelude::*;

use super::env::Mode;
use super::messages::{Forget, Release, Wake};
use super::{ShardSupervisor, ShardWork};
use crate::actors::part::Collector;
use crate::actors::sensor::SensorWork;
use crate::domain::{BatchNumber, SensorKey};

impl ShardSupervisor {
    pub(super) fn is_ours(&self, key: SensorKey) -> bool {
        self.env.parts.dispatcher.registry().is_ours(key)
    }

    /// The sensor leaves memory, with a snapshot if it runs.
    pub(super) fn put_away(&mut self, key: SensorKey, number: BatchNumber, collector: &Arc<Collector>) {
        self.hand(key, number, collector, SensorWork::Passivate);
        if let Some(slot) = self.slots.swap_remove(&key) {
            self.remember(key, slot.past());
        }
    }

    /// The sensor leaves memory as it is.
    pub(super) fn forget(&mut self, key: SensorKey) {
        if let Some(slot) = self.slots.swap_remove(&key) {
            slot.card.mode.set(Mode::Passive);
            slot.handle.stop();
            self.remember(key, slot.past());
        }
    }

    pub(super) fn forget_strangers(&mut self) {
        let registry = self.env.parts.dispatcher.registry().clone();
        if registry.is_shared() {
            for key in registry.strangers(self.slots.keys().copied()) {
                self.forget(key);
            }
        }
    }
}

impl Handler<Release> for ShardSupervisor {
    type Result = bool;

    fn handle(&mut self, Release(homes): Release, _ctx: &mut Context<Self>) -> bool {
        let parts = &self.env.parts;
        let registry = parts.dispatcher.registry();
        let mut leaving = registry.among(self.slots.keys().copied(), &homes).into_iter();
        let (mut some, mut bytes) = (Vec::new(), 0);
        while bytes < parts.settings.drain_bytes
            && let Some(key) = leaving.next()
        {
            let unsaved = |slot: &super::Slot| slot.sensor.borrow().unsaved();
            bytes += self.slots.get(&key).and_then(unsaved).unwrap_or(0);
            some.push(key);
        }
        if !some.is_empty() {
            parts
                .dispatcher
                .dispatch_work(parts.shard, ShardWork::Release(some));
        }
        leaving.next().is_some()
    }
}

impl Handler<Forget> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, _: Forget, _ctx: &mut Context<Self>) {
        self.forget_strangers();
    }
}

impl Handler<Wake> for ShardSupervisor {
    type Result = ();

    fn handle(&mut self, Wake { homes, scope }: Wake, ctx: &mut Context<Self>) {
        // Whether they are paused now is read with the rest.
        let registry = self.env.parts.dispatcher.registry();
        for key in registry.among(self.paused.iter().copied(), &homes) {
            self.paused.remove(&key);
        }
        self.wake_who_is_behind(scope, ctx);
    }
}
