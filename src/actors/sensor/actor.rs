//! The actor of a sensor: its mailbox and its life.
//!
//! Invariant: the sensor is borrowed for the length of one call, here and by the shard, and no call leads from one to the other.

use std::cell::RefCell;
use std::rc::Rc;

use actix::prelude::*;

use super::Sensor;
use crate::actors::shard::env::Card;
use crate::actors::supervision::Supervise;

pub struct SensorActor {
    pub(super) sensor: Rc<RefCell<Sensor>>,
    card: Rc<Card>,
}

impl SensorActor {
    pub fn new(sensor: Rc<RefCell<Sensor>>) -> Self {
        let card = sensor.borrow().card.clone();
        Self { sensor, card }
    }
}

impl Actor for SensorActor {
    type Context = Context<Self>;
}

impl Supervised for SensorActor {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        self.sensor.borrow_mut().restarting();
    }
}

impl Supervise for SensorActor {
    fn resume(&mut self, _ctx: &mut Context<Self>) {
        self.sensor.borrow_mut().resume();
    }

    fn quarantined(&mut self, _ctx: &mut Context<Self>) {
        self.sensor.borrow_mut().quarantined();
    }
}

impl Drop for SensorActor {
    fn drop(&mut self) {
        self.card.ended.set(true);
    }
}
