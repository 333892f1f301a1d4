//! What a sensor is told and asked.

use actix::prelude::*;

use super::{Comeback, SensorActor};
use crate::actors::part::Part;
use crate::actors::shard::env::Mode;
use crate::actors::supervision::{Crash, SupervisionEvent};
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

/// A batch that it had seen will not be committed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Rewound {
    pub committed: Option<BatchNumber>,
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

impl SensorActor {
    fn took_message(&mut self, part: &Part) {
        self.seen = Some(part.train().number);
        self.card.queued.set(self.card.queued.get().saturating_sub(1));
    }
}

impl Handler<Observe> for SensorActor {
    type Result = ();

    fn handle(&mut self, Observe { part, rest }: Observe, _ctx: &mut Context<Self>) {
        self.took_message(&part);
        match self.card.mode.get() {
            Mode::Running => self.observe(part, rest),
            _ => self.pass_by(part),
        }
    }
}

impl Handler<Act> for SensorActor {
    type Result = ();

    fn handle(&mut self, Act { part, work }: Act, _ctx: &mut Context<Self>) {
        self.took_message(&part);
        match work {
            SensorWork::Advance => self.advance(part),
            SensorWork::Restore(stored, as_of) => self.restore(part, &stored, as_of),
            SensorWork::Pause => self.pause(part),
            SensorWork::Resume { by, why } => self.resume_by(part, by, why),
            SensorWork::Reset { by, why } => self.reset(part, by, why),
            SensorWork::Passivate => self.passivate(part),
            SensorWork::Snapshot => self.snapshot_into(part),
        }
    }
}

impl Handler<Rewound> for SensorActor {
    type Result = ();

    fn handle(&mut self, Rewound { committed }: Rewound, _ctx: &mut Context<Self>) {
        self.rewound(committed);
    }
}

impl Handler<Inspect> for SensorActor {
    type Result = Inspection;

    fn handle(&mut self, _: Inspect, _ctx: &mut Context<Self>) -> Inspection {
        Inspection {
            sensor: self.key,
            mode: self.card.mode.get(),
            state: self.state.inspect(),
            mailbox: self.card.queued.get(),
            restarts: self.handle.restarts(),
            crashes: self.handle.crashes(),
            last_crash: self.handle.last_crash(),
            events: self.handle.recent_events(),
            memory: self.state.memory() + size_of::<Self>(),
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
