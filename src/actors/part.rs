//! A sensor's part of a batch, and where the parts of a slice come together.
//!
//! Invariants:
//! - Every reading of a slice is in exactly one [`Part`], and every part is answered exactly once: by its sensor, or by its
//!   own drop. When the last part of a slice is gone, the slice is answered; had a reading been in no part, it is broken.
//! - A part that is dropped while its sensor panics gives up what the sensor had made of it so far, takes the reading under the
//!   cursor out as a dead letter, and passes the rest through. Dropped otherwise, it passes all through.
//! - To pass through is to store, marked as unprocessed: nobody waits for a sensor that is not running.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::batch::{SliceGuard, Train};
use super::registry::Registry;
use super::supervision::unwinding;
use crate::domain::{DeadLetter, Flags, LedgerDelta, Reading, RejectReason, SensorKey};
use crate::storage::{Refused, Row, SliceOutcome};

/// Readings of one sensor. Most batches bring one or two a sensor.
pub type Readings = SmallVec<[Reading; 2]>;

/// Gathers what the sensors of a shard make of a slice.
pub struct Collector {
    guard: Option<SliceGuard>,
    registry: Arc<Registry>,
    outcome: Mutex<SliceOutcome>,
    expected: usize,
    answered: AtomicUsize,
}

impl Collector {
    /// For a slice of `expected` readings.
    pub fn new(guard: SliceGuard, expected: usize, registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self {
            guard: Some(guard),
            registry,
            outcome: Mutex::new(SliceOutcome {
                rows: Vec::with_capacity(expected),
                ..Default::default()
            }),
            expected,
            answered: AtomicUsize::new(0),
        })
    }

    fn train(&self) -> &Train {
        match &self.guard {
            Some(guard) => guard.train(),
            None => unreachable!("only drop takes the guard"),
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        if *self.answered.get_mut() == self.expected {
            guard.answer(std::mem::take(self.outcome.get_mut()));
        }
        // Else readings got lost on the way here: the guard's drop breaks the train, and all is sent again.
    }
}

/// What one sensor has to answer.
pub struct Part {
    collector: Arc<Collector>,
    sensor: SensorKey,
    readings: Readings,
    cursor: Option<usize>,
    answered: bool,
}

impl Part {
    pub fn new(collector: &Arc<Collector>, sensor: SensorKey, readings: Readings) -> Self {
        Self {
            collector: collector.clone(),
            sensor,
            readings,
            cursor: None,
            answered: false,
        }
    }

    pub fn train(&self) -> &Train {
        self.collector.train()
    }

    pub fn sensor(&self) -> SensorKey {
        self.sensor
    }

    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// The reading at `index`, which is to blame for a panic until the next is asked for.
    pub fn take_up(&mut self, index: usize) -> Reading {
        self.cursor = Some(index);
        self.readings[index]
    }

    /// Nothing that follows is the fault of a reading.
    pub fn put_down(&mut self) {
        self.cursor = None;
    }

    /// Answers with what the sensor made of its readings. The ledger's `received` is added here; `outcome` is emptied.
    pub fn finish(mut self, outcome: &mut SliceOutcome, mut ledger: LedgerDelta) {
        self.answered = true;
        ledger.received = self.readings.len() as u64;
        self.collector
            .merge(outcome, self.sensor, ledger, self.readings.len());
    }

    /// Answers by storing the readings unprocessed.
    pub fn pass_through(mut self) {
        self.answer_without_sensor(None);
    }

    fn answer_without_sensor(&mut self, poison: Option<usize>) {
        self.answered = true;
        let mut outcome = SliceOutcome::default();
        let mut ledger = LedgerDelta {
            received: self.readings.len() as u64,
            ..Default::default()
        };
        for (index, reading) in self.readings.iter().enumerate() {
            if poison == Some(index) {
                ledger.rejected += 1;
                let crash = unwinding().map_or_else(String::new, |crash| crash.to_string());
                let detail = format!("the sensor panicked on this reading: {crash}");
                self.collector
                    .refuse(self.sensor, reading, RejectReason::Panic, detail, &mut outcome);
            } else {
                let flags = reading.flags.with(Flags::UNPROCESSED);
                let reading = Reading { flags, ..*reading };
                outcome.rows.push(Row {
                    sensor: self.sensor,
                    reading,
                });
            }
        }
        self.collector
            .merge(&mut outcome, self.sensor, ledger, self.readings.len());
    }

    /// Puts a refused reading into dead letters and into what the sender is told.
    pub fn refuse(
        &self,
        reading: &Reading,
        reason: RejectReason,
        detail: String,
        outcome: &mut SliceOutcome,
    ) {
        self.collector
            .refuse(self.sensor, reading, reason, detail, outcome);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.answered {
            let poison = if std::thread::panicking() {
                self.cursor
            } else {
                None
            };
            self.answer_without_sensor(poison);
        }
    }
}

impl Collector {
    fn merge(&self, outcome: &mut SliceOutcome, sensor: SensorKey, ledger: LedgerDelta, readings: usize) {
        {
            let mut all = self.outcome.lock();
            all.rows.append(&mut outcome.rows);
            all.windows.append(&mut outcome.windows);
            all.recompute.append(&mut outcome.recompute);
            all.anomalies.append(&mut outcome.anomalies);
            all.snapshots.append(&mut outcome.snapshots);
            all.dead_letters.append(&mut outcome.dead_letters);
            all.poison.append(&mut outcome.poison);
            all.refused.append(&mut outcome.refused);
            if !ledger.is_zero() {
                all.ledger.push((sensor, ledger));
            }
        }
        self.answered.fetch_add(readings, Ordering::Relaxed);
    }

    fn refuse(
        &self,
        sensor: SensorKey,
        reading: &Reading,
        reason: RejectReason,
        detail: String,
        outcome: &mut SliceOutcome,
    ) {
        let train = self.train();
        let payload = match self.registry.name(reading.series) {
            Some(name) => name.canonical(reading),
            None => Vec::new(),
        };
        outcome.dead_letters.push(DeadLetter {
            source: train.source.clone(),
            position: String::new(),
            sensor: Some(sensor),
            payload,
            reason,
            detail: detail.clone(),
        });
        outcome.refused.push(Refused {
            index: reading.index,
            reason,
            detail,
        });
    }
}
