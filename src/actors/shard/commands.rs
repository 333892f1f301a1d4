//! Commands of an admin on one sensor.
//!
//! Nothing is done to a sensor that another instance has.
//!
//! Invariant: what changes a sensor's state takes its place in the order like everything else.

use actix::prelude::*;

use super::ShardSupervisor;
use super::env::Mode;
use super::messages::{Command, CommandSensor, Find};
use crate::actors::sensor::{SensorActor, SensorWork};

impl Handler<CommandSensor> for ShardSupervisor {
    type Result = bool;

    fn handle(&mut self, command: CommandSensor, _ctx: &mut Context<Self>) -> bool {
        let CommandSensor {
            sensor,
            command,
            by,
            why,
        } = command;
        if !self.is_ours(sensor) {
            return false;
        }
        let at = self.env.parts.dispatcher.tick();
        let env = self.env.clone();
        let Some(slot) = self.slot(sensor, Mode::CatchingUp, at) else {
            return false;
        };
        match command {
            Command::Restart => slot.handle.restart(by, why),
            Command::Resume => env.perform(sensor, SensorWork::Resume { by, why }),
            Command::Reset => env.perform(sensor, SensorWork::Reset { by, why }),
            Command::Pause => env.perform(sensor, SensorWork::Pause),
        }
        true
    }
}

impl Handler<Find> for ShardSupervisor {
    type Result = Option<Addr<SensorActor>>;

    fn handle(&mut self, Find(sensor): Find, _ctx: &mut Context<Self>) -> Self::Result {
        if !self.is_ours(sensor) {
            return None;
        }
        let at = self.env.parts.dispatcher.tick();
        self.slot(sensor, Mode::CatchingUp, at)
            .map(|slot| slot.address.clone())
    }
}
