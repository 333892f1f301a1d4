//! The batch: the unit of work, of atomicity and of acknowledgement.
//!
//! A batch is like a train. Readings get in at the source, what they led to gets in at the sensors, and the whole train is
//! committed with its source positions. The guards here make sure that no way out of the code forgets that:
//!
//! - [`Acknowledgement`]: its default on drop is *undelivered*.
//! - [`SliceGuard`]: a shard's part of the batch. Dropped unanswered, it breaks the train, which rewinds the pipeline.
//! - [`Part`](super::part::Part): a sensor's part. Dropped in a panic, it takes the reading under its cursor out and passes
//!   the rest through.
//!
//! Invariant: a train arrives at its terminus exactly once, complete or broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::permits::Permit;
use crate::domain::{BatchNumber, BatchTime, DeadLetter, LedgerDelta, SourceName};
use crate::storage::{
    ArrivalPage, CompleteBatch, Conflict, Position, Refused, SensorDefinition, SeriesDefinition, SliceOutcome,
};

/// What became of a batch, as its source is told.
#[derive(Debug)]
pub enum Delivery {
    /// Committed. The source may acknowledge.
    Stored(Receipt),
    /// Not committed, as far as we know. The source sends it again.
    Undelivered,
}

/// What the sensors and the transaction made of a batch's readings.
#[derive(Debug, Default, Clone)]
pub struct Receipt {
    pub number: BatchNumber,
    pub stored: u64,
    pub duplicates: u64,
    /// What the sensors refused, and what the transaction found in conflict with a stored reading.
    pub refused: Vec<Refused>,
    pub conflicts: Vec<Conflict>,
}

/// The way back to the source. Dropping it says that the batch was not delivered.
#[derive(Debug)]
pub struct Acknowledgement(Option<oneshot::Sender<Delivery>>);

impl Acknowledgement {
    pub fn new() -> (Self, oneshot::Receiver<Delivery>) {
        let (tx, rx) = oneshot::channel();
        (Self(Some(tx)), rx)
    }

    /// For internal batches: there is nobody to tell.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// The transaction that holds the batch has committed.
    pub fn stored(mut self, receipt: Receipt) {
        if let Some(tx) = self.0.take() {
            // The source may have gone away meanwhile; the readings are stored all the same.
            let _ = tx.send(Delivery::Stored(receipt));
        }
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        if let Some(tx) = self.0.take() {
            let _ = tx.send(Delivery::Undelivered);
        }
    }
}

/// What a train carries beside its readings.
#[derive(Debug)]
pub struct Cargo {
    pub source: SourceName,
    pub sensors: Vec<SensorDefinition>,
    pub series: Vec<SeriesDefinition>,
    pub positions: Vec<Position>,
    pub arrivals: Vec<ArrivalPage>,
    pub source_ledger: LedgerDelta,
    /// What was refused at the edge, with the ledgers of the sensors it named.
    pub refused: SliceOutcome,
    pub dead_letters: Vec<DeadLetter>,
    /// How many readings and refusals the decoder counted.
    pub received: u64,
    pub acknowledgement: Acknowledgement,
    pub permit: Option<Permit>,
}

/// Where trains arrive: the storage writer.
pub trait Terminus: Send + Sync {
    fn arrive(&self, arrival: Arrival);
}

/// A train at its terminus.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every one is the large one")]
pub enum Arrival {
    Complete(Arrived),
    /// A slice was lost. What is in flight must be undelivered and sent again.
    Broken {
        epoch: u64,
        ordinal: u64,
    },
}

/// A complete train: what to commit, and whom to tell.
#[derive(Debug)]
pub struct Arrived {
    pub epoch: u64,
    /// Dense within the epoch: trains are committed in this order, none is left out.
    pub ordinal: u64,
    pub batch: CompleteBatch,
    pub ticket: Ticket,
}

/// What is held until a batch is committed. Dropping it undelivers the batch and gives its room back.
#[derive(Debug)]
pub struct Ticket {
    pub acknowledgement: Acknowledgement,
    pub permit: Option<Permit>,
    pub departed: Instant,
    /// How many readings and refusals the decoder counted.
    pub received: u64,
}

/// A numbered batch under way.
pub struct Train {
    pub epoch: u64,
    pub ordinal: u64,
    pub number: BatchNumber,
    pub at: BatchTime,
    pub source: SourceName,
    cargo: Mutex<Option<Cargo>>,
    outcomes: Mutex<Vec<SliceOutcome>>,
    waiting: AtomicUsize,
    broken: AtomicBool,
    departed: Instant,
    terminus: Arc<dyn Terminus>,
}

/// What numbering gives a train.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    pub epoch: u64,
    pub ordinal: u64,
    pub number: BatchNumber,
    pub at: BatchTime,
}

impl Train {
    /// Sends the train off with `slices` slices; with none it arrives at once.
    pub fn depart(
        number: Number,
        cargo: Cargo,
        slices: usize,
        terminus: Arc<dyn Terminus>,
    ) -> Vec<SliceGuard> {
        let train = Arc::new(Train {
            epoch: number.epoch,
            ordinal: number.ordinal,
            number: number.number,
            at: number.at,
            source: cargo.source.clone(),
            cargo: Mutex::new(Some(cargo)),
            outcomes: Mutex::new(Vec::with_capacity(slices + 1)),
            // One more than the slices, so that it cannot arrive before all guards are made.
            waiting: AtomicUsize::new(slices + 1),
            broken: AtomicBool::new(false),
            departed: Instant::now(),
            terminus,
        });
        let guards = (0..slices).map(|_| SliceGuard(Some(train.clone()))).collect();
        train.leave();
        guards
    }

    fn leave(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.arrive();
        }
    }

    fn arrive(&self) {
        if self.broken.load(Ordering::Acquire) {
            // Dropping the cargo undelivers it.
            self.cargo.lock().take();
            self.terminus.arrive(Arrival::Broken {
                epoch: self.epoch,
                ordinal: self.ordinal,
            });
            return;
        }
        let Some(cargo) = self.cargo.lock().take() else {
            return;
        };
        let mut outcomes = std::mem::take(&mut *self.outcomes.lock());
        outcomes.push(cargo.refused);
        self.terminus.arrive(Arrival::Complete(Arrived {
            epoch: self.epoch,
            ordinal: self.ordinal,
            batch: CompleteBatch {
                number: self.number,
                at: self.at,
                source: cargo.source,
                sensors: cargo.sensors,
                series: cargo.series,
                positions: cargo.positions,
                arrivals: cargo.arrivals,
                source_ledger: cargo.source_ledger,
                dead_letters: cargo.dead_letters,
                outcomes,
            },
            ticket: Ticket {
                acknowledgement: cargo.acknowledgement,
                permit: cargo.permit,
                departed: self.departed,
                received: cargo.received,
            },
        }));
    }
}

impl Arrived {
    /// How many readings the outcomes account for. Differs from what was received only by a defect.
    pub fn accounted(&self) -> u64 {
        let sensors = self.batch.outcomes.iter().flat_map(|outcome| &outcome.ledger);
        self.batch.source_ledger.received + sensors.map(|(_, delta)| delta.received).sum::<u64>()
    }
}

/// A shard's part of a train. It must be answered; dropping it breaks the train.
pub struct SliceGuard(Option<Arc<Train>>);

impl SliceGuard {
    pub fn train(&self) -> &Train {
        match &self.0 {
            Some(train) => train,
            None => unreachable!("only answer and drop take the train, and both end the guard"),
        }
    }

    pub fn answer(mut self, outcome: SliceOutcome) {
        if let Some(train) = self.0.take() {
            train.outcomes.lock().push(outcome);
            train.leave();
        }
    }
}

impl Drop for SliceGuard {
    fn drop(&mut self) {
        if let Some(train) = self.0.take() {
            train.broken.store(true, Ordering::Release);
            train.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{NUMBER, Station, cargo};
    use super::super::permits::{Permits, Share};
    use super::*;
    use crate::domain::SensorKey;

    fn outcome(sensor: u32, received: u64) -> SliceOutcome {
        let ledger = LedgerDelta {
            received,
            ..Default::default()
        };
        SliceOutcome {
            ledger: vec![(SensorKey(sensor), ledger)],
            ..Default::default()
        }
    }

    fn sensors(arrived: &Arrived) -> Vec<u32> {
        let outcomes = arrived.batch.outcomes.iter();
        outcomes.map(|outcome| outcome.ledger[0].0.0).collect()
    }

    #[test]
    fn it_arrives_with_the_last_slice_and_what_was_refused_at_the_edge() {
        let station = Arc::new(Station::default());
        let (acknowledgement, mut delivery) = Acknowledgement::new();
        let mut cargo = cargo(6, acknowledgement);
        cargo.refused = outcome(9, 1);
        cargo.source_ledger.received = 2;
        let mut guards = Train::depart(NUMBER, cargo, 2, station.clone());
        assert_eq!(guards[1].train().number, NUMBER.number);
        guards.pop().unwrap().answer(outcome(2, 1));
        assert!(station.take().is_empty());
        guards.pop().unwrap().answer(outcome(1, 2));
        let arrived = station.complete();
        assert_eq!(sensors(&arrived), [2, 1, 9]);
        assert_eq!((arrived.epoch, arrived.ordinal), (3, 7));
        assert_eq!(
            (arrived.batch.number, arrived.batch.at),
            (NUMBER.number, NUMBER.at)
        );
        assert_eq!((arrived.accounted(), arrived.ticket.received), (6, 6));
        assert!(delivery.try_recv().is_err(), "nothing is said before the commit");
        arrived.ticket.acknowledgement.stored(Receipt {
            stored: 4,
            ..Default::default()
        });
        assert!(matches!(delivery.try_recv(), Ok(Delivery::Stored(receipt)) if receipt.stored == 4));
    }

    #[test]
    fn without_slices_it_arrives_at_once() {
        let station = Arc::new(Station::default());
        assert!(Train::depart(NUMBER, cargo(0, Acknowledgement::nobody()), 0, station.clone()).is_empty());
        assert_eq!(station.complete().batch.outcomes.len(), 1);
    }

    #[test]
    fn one_lost_slice_breaks_it_when_the_others_are_in() {
        let station = Arc::new(Station::default());
        for lost_first in [true, false] {
            let (acknowledgement, mut delivery) = Acknowledgement::new();
            let mut guards = Train::depart(NUMBER, cargo(1, acknowledgement), 2, station.clone());
            let (lost, other) = (guards.pop().unwrap(), guards.pop().unwrap());
            if lost_first {
                drop(lost);
                assert!(station.take().is_empty());
                other.answer(outcome(1, 1));
            } else {
                other.answer(outcome(1, 1));
                assert!(station.take().is_empty());
                drop(lost);
            }
            assert_eq!(station.broken(), [(3, 7)]);
            assert!(matches!(delivery.try_recv(), Ok(Delivery::Undelivered)));
        }
    }

    #[test]
    fn it_holds_its_room_while_it_is_under_way() {
        let permits = Permits::new(Share {
            readings: 5,
            bytes: 5,
        });
        let station = Arc::new(Station::default());
        let depart = || {
            let permit = permits.try_acquire(5, 5).ok();
            let cargo = Cargo {
                permit,
                ..cargo(5, Acknowledgement::nobody())
            };
            Train::depart(NUMBER, cargo, 1, station.clone()).pop().unwrap()
        };
        let lost = depart();
        assert_eq!(permits.available(), 0);
        drop(lost);
        assert_eq!(permits.available(), 5);
        depart().answer(outcome(1, 5));
        let arrived = station.complete();
        assert_eq!(permits.available(), 0, "it is not committed yet");
        drop(arrived.ticket);
        assert_eq!(permits.available(), 5);
    }

    #[test]
    fn a_ticket_that_is_dropped_undelivers_and_gives_its_room_back() {
        let permits = Permits::new(Share {
            readings: 5,
            bytes: 5,
        });
        let (acknowledgement, mut delivery) = Acknowledgement::new();
        let ticket = Ticket {
            acknowledgement,
            permit: permits.try_acquire(5, 5).ok(),
            departed: Instant::now(),
            received: 0,
        };
        assert_eq!(permits.available(), 0);
        drop(ticket);
        assert_eq!(permits.available(), 5);
        assert!(matches!(delivery.try_recv(), Ok(Delivery::Undelivered)));
    }
}
