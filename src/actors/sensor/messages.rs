//! What a sensor is told and asked.

use actix::prelude::*;

use super::{Comeback, Sensor, SensorActor};
use crate::actors::part::Part;
use crate::actors::shard::env::Mode;
use crate::actors::supervision::{Crash, SupervisionEvent, relay};
use crate::core::SensorView;
use crate::domain::{BatchNumber, SensorKey};
use crate::storage::StoredSensor;

/// Live readings.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Observe {
    pub part: Part,
    pub rest: Rest,
}

/// What the batch has for the sensor after this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    None,
    /// More readings: a snapshot now would claim to know them.
    Follows,
}

/// Something to do at this point of the order, with a part to answer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Act {
    pub part: Part,
    pub work: SensorWork,
}

pub enum SensorWork {
    /// Deadlines are due.
    Advance,
    /// What the store has of it, read when everything up to the batch had committed.
    Restore(Box<StoredSensor>, Option<BatchNumber>),
    Pause,
    /// Out of pause or quarantine.
    Resume {
        by: String,
        why: String,
    },
    /// Empty windows and detectors; history stays.
    Reset {
        by: String,
        why: String,
    },
    /// Take a snapshot and leave memory.
    Passivate,
    /// Take a snapshot.
    Snapshot,
}

/// The sensor panicked while its shard had reached in.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Relapse(pub Crash);

/// A batch that it had seen will not be committed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Rewound {
    pub committed: Option<BatchNumber>,
    /// Why the database refuses what this sensor made of that batch, where it does.
    pub refused: Option<String>,
}

/// The full state, for people.
#[derive(Message)]
#[rtype(result = "Inspection")]
pub struct Inspect;

/// A sensor's actor from the inside.
#[derive(Debug, Clone, MessageResponse)]
pub struct Inspection {
    pub sensor: SensorKey,
    pub mode: Mode,
    pub state: SensorView,
    /// Messages waiting in its mailbox, this one not counted.
    pub mailbox: u32,
    pub restarts: u32,
    pub crashes: u32,
    pub last_crash: Option<Crash>,
    pub events: Vec<SupervisionEvent>,
    /// Bytes, estimated: the state and the actor around it.
    pub memory: usize,
}

impl Sensor {
    /// A message has come out of the mailbox.
    fn took_message(&self) {
        self.card.queued.set(self.card.queued.get().saturating_sub(1));
    }
}

impl Handler<Observe> for SensorActor {
    type Result = ();

    fn handle(&mut self, Observe { part, rest }: Observe, _ctx: &mut Context<Self>) {
        let mut sensor = self.sensor.borrow_mut();
        sensor.took_message();
        match sensor.card.mode.get() {
            Mode::Running => sensor.observe(part, rest),
            _ => sensor.pass_by(part),
        }
    }
}

impl Handler<Act> for SensorActor {
    type Result = ();

    fn handle(&mut self, Act { part, work }: Act, _ctx: &mut Context<Self>) {
        let mut sensor = self.sensor.borrow_mut();
        sensor.took_message();
        sensor.seen = Some(part.train().number);
        match work {
            SensorWork::Advance => sensor.advance(part),
            SensorWork::Restore(stored, as_of) => sensor.restore(part, &stored, as_of),
            SensorWork::Pause => sensor.pause(part),
            SensorWork::Resume { by, why } => sensor.resume_by(part, by, why),
            SensorWork::Reset { by, why } => sensor.reset(part, by, why),
            SensorWork::Passivate => sensor.passivate(part),
            SensorWork::Snapshot => sensor.snapshot_into(part),
        }
    }
}

impl Handler<Relapse> for SensorActor {
    type Result = ();

    fn handle(&mut self, Relapse(crash): Relapse, _ctx: &mut Context<Self>) {
        self.sensor.borrow().took_message();
        relay(crash);
    }
}

impl Handler<Rewound> for SensorActor {
    type Result = ();

    fn handle(&mut self, Rewound { committed, refused }: Rewound, _ctx: &mut Context<Self>) {
        let mut sensor = self.sensor.borrow_mut();
        sensor.took_message();
        if let Some(words) = refused {
            sensor.refused(words);
        }
        sensor.rewound(committed);
    }
}

impl Handler<Inspect> for SensorActor {
    type Result = Inspection;

    fn handle(&mut self, _: Inspect, _ctx: &mut Context<Self>) -> Inspection {
        let sensor = self.sensor.borrow();
        Inspection {
            sensor: sensor.key,
            mode: sensor.card.mode.get(),
            state: sensor.state.inspect(),
            mailbox: sensor.card.queued.get(),
            restarts: sensor.handle.restarts(),
            crashes: sensor.handle.crashes(),
            last_crash: sensor.handle.last_crash(),
            events: sensor.handle.recent_events(),
            memory: sensor.state.memory() + size_of::<Sensor>(),
        }
    }
}

impl Comeback {
    /// Reason, detail and who asked, for the journal.
    pub(super) fn describe(&self, events: &[SupervisionEvent]) -> (&'static str, String, Option<String>) {
        use crate::actors::supervision::{EventKind, ExitReason};
        match self {
            Comeback::Rewind => ("rewind", "a batch was not committed".to_owned(), None),
            Comeback::Resume { by, why } => ("resume", why.clone(), Some(by.clone())),
            Comeback::Restart => {
                let told = events.iter().rev().find_map(|event| match &event.kind {
                    EventKind::Restarted {
                        reason: ExitReason::Admin { by, why },
                        ..
                    } => Some(("admin", why.clone(), Some(by.clone()))),
                    EventKind::Revived { by, why } => Some(("revive", why.clone(), Some(by.clone()))),
                    EventKind::Restarted {
                        reason: ExitReason::Panicked(crash),
                        ..
                    }
                    | EventKind::Crashed { crash, .. }
                    | EventKind::Contained { crash } => Some(("panic", crash.to_string(), None)),
                    _ => None,
                });
                told.unwrap_or(("start", String::new(), None))
            }
        }
    }
}
