//! Trains on their way into transactions: in order, and as many at once as have arrived.
//!
//! Invariants: trains leave in the order of their ordinals and none is left out; a group holds at least one train and stops
//! growing at [`GROUP_READINGS`]. Those of a group that was refused leave again one by one. Trains of another epoch are dropped,
//! which undelivers them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::batch::{Arrived, Ticket};
use crate::storage::CompleteBatch;

/// A group takes no further train once it holds this many readings.
const GROUP_READINGS: usize = 100_000;

/// Trains that have arrived and are not committed.
#[derive(Debug, Default)]
pub struct Siding {
    epoch: u64,
    next: u64,
    /// Trains before this one leave alone.
    alone_until: u64,
    waiting: BTreeMap<u64, Arrived>,
}

impl Siding {
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            next: 0,
            alone_until: 0,
            waiting: BTreeMap::new(),
        }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many trains of this epoch have left.
    pub fn left(&self) -> u64 {
        self.next
    }

    pub fn park(&mut self, train: Arrived) {
        if train.epoch == self.epoch && train.ordinal >= self.next {
            self.waiting.insert(train.ordinal, train);
        }
    }

    /// The trains that may leave now, in order; empty while the next one is still under way.
    pub fn depart(&mut self) -> Vec<Arrived> {
        let mut group = Vec::new();
        let mut readings = 0;
        while readings < GROUP_READINGS
            && let Some(train) = self.waiting.remove(&self.next)
        {
            readings += train
                .batch
                .outcomes
                .iter()
                .map(|outcome| outcome.rows.len())
                .sum::<usize>();
            group.push(train);
            self.next += 1;
            if self.next <= self.alone_until {
                break;
            }
        }
        group
    }

    /// Takes the trains back that left last: they leave again, one at a time.
    pub fn put_back(&mut self, batches: Vec<CompleteBatch>, tickets: Vec<Ticket>) {
        self.alone_until = self.next;
        self.next -= batches.len() as u64;
        for (ordinal, (batch, ticket)) in (self.next..).zip(batches.into_iter().zip(tickets)) {
            let train = Arrived {
                epoch: self.epoch,
                ordinal,
                batch,
                ticket,
            };
            self.waiting.insert(ordinal, train);
        }
    }

    /// Drops what waits here and begins anew.
    pub fn rewind(&mut self, epoch: u64) {
        *self = Self::new(epoch);
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the longest-waiting train here departed from its source.
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.values().map(|train| train.ticket.departed).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::batch::{Acknowledgement, Delivery};
    use crate::domain::{
        ActiveTime, BatchNumber, BatchTime, Flags, LedgerDelta, Reading, SensorKey, SeriesId, SourceName,
        Timestamp,
    };
    use crate::storage::{Row, SliceOutcome};

    fn train(epoch: u64, ordinal: u64, rows: usize, acknowledgement: Acknowledgement) -> Arrived {
        let reading = Reading {
            series: SeriesId(1),
            time: Timestamp(0),
            value: 0.0,
            index: 0,
            flags: Flags::NONE,
        };
        let rows = vec![
            Row {
                sensor: SensorKey(1),
                reading
            };
            rows
        ];
        Arrived {
            epoch,
            ordinal,
            batch: CompleteBatch {
                number: BatchNumber(ordinal),
                at: BatchTime {
                    now: Timestamp(0),
                    active: ActiveTime(0),
                },
                source: SourceName::parse("test").unwrap(),
                sensors: Vec::new(),
                series: Vec::new(),
                positions: Vec::new(),
                arrivals: Vec::new(),
                source_ledger: LedgerDelta::default(),
                dead_letters: Vec::new(),
                outcomes: vec![SliceOutcome {
                    rows,
                    ..Default::default()
                }],
            },
            ticket: Ticket {
                acknowledgement,
                permit: None,
                departed: Instant::now(),
                received: 0,
            },
        }
    }

    fn leave(siding: &mut Siding) -> Vec<u64> {
        siding.depart().iter().map(|train| train.ordinal).collect()
    }

    #[test]
    fn trains_leave_in_order_and_none_is_left_out() {
        let mut siding = Siding::new(1);
        for ordinal in [2, 1, 4] {
            siding.park(train(1, ordinal, 1, Acknowledgement::nobody()));
        }
        assert_eq!(leave(&mut siding), [] as [u64; 0]);
        siding.park(train(1, 0, 1, Acknowledgement::nobody()));
        assert_eq!(leave(&mut siding), [0, 1, 2]);
        assert_eq!((siding.left(), siding.waiting()), (3, 1));
        siding.park(train(1, 3, 1, Acknowledgement::nobody()));
        assert_eq!(leave(&mut siding), [3, 4]);
    }

    #[test]
    fn a_group_stops_growing_when_it_is_large() {
        let mut siding = Siding::new(1);
        for ordinal in 0..3 {
            siding.park(train(1, ordinal, GROUP_READINGS / 2, Acknowledgement::nobody()));
        }
        assert_eq!(leave(&mut siding), [0, 1]);
        assert_eq!(leave(&mut siding), [2]);
    }

    #[test]
    fn what_is_put_back_leaves_one_by_one_and_what_follows_does_not() {
        let mut siding = Siding::new(1);
        for ordinal in 0..3 {
            siding.park(train(1, ordinal, 1, Acknowledgement::nobody()));
        }
        let left = siding.depart();
        for ordinal in 3..5 {
            siding.park(train(1, ordinal, 1, Acknowledgement::nobody()));
        }
        let (batches, tickets) = left.into_iter().map(|train| (train.batch, train.ticket)).unzip();
        siding.put_back(batches, tickets);
        assert_eq!((siding.left(), siding.waiting()), (0, 5));
        assert_eq!(leave(&mut siding), [0]);
        assert_eq!(leave(&mut siding), [1]);
        assert_eq!(leave(&mut siding), [2]);
        assert_eq!(leave(&mut siding), [3, 4]);
    }

    #[test]
    fn a_rewind_undelivers_what_waits_and_what_comes_late() {
        let mut siding = Siding::new(1);
        let (acknowledgement, mut waiting) = Acknowledgement::new();
        siding.park(train(1, 1, 1, acknowledgement));
        siding.rewind(2);
        assert!(matches!(waiting.try_recv(), Ok(Delivery::Undelivered)));
        let (acknowledgement, mut late) = Acknowledgement::new();
        siding.park(train(1, 0, 1, acknowledgement));
        assert!(matches!(late.try_recv(), Ok(Delivery::Undelivered)));
        assert_eq!((siding.epoch(), siding.oldest()), (2, None));
        siding.park(train(2, 0, 1, Acknowledgement::nobody()));
        assert_eq!(leave(&mut siding), [0]);
    }
}
