//! A sensor's part of a batch, and where the parts of a slice come together.
//!
//! Invariants:
//! - Every reading of a slice is in exactly one [`Part`], and every part is answered exactly once: by its sensor, or by its
//!   own drop. When the last part of a slice is gone, the slice is answered; had a reading been in no part, it is broken.
//! - A part that is dropped while its sensor panics gives up what the sensor had made of it so far, takes the reading under the
//!   cursor out as a dead letter, and passes the rest through. Dropped otherwise, it passes all through.
//! - To pass through is to store, marked as unprocessed: nobody waits for a sensor that is not running.

use std::sync::Arc;

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
    gathered: Mutex<Gathered>,
    expected: usize,
}

#[derive(Default)]
struct Gathered {
    outcome: SliceOutcome,
    /// Readings of the parts that were answered.
    answered: usize,
}

impl Collector {
    /// For a slice of `expected` readings.
    pub fn new(guard: SliceGuard, expected: usize, registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self {
            guard: Some(guard),
            registry,
            gathered: Mutex::new(Gathered {
                outcome: SliceOutcome {
                    // Most readings of a large slice are of different sensors.
                    rows: Vec::with_capacity(expected),
                    ledger: Vec::with_capacity(expected),
                    ..Default::default()
                },
                answered: 0,
            }),
            expected,
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
        let Gathered { outcome, answered } = std::mem::take(self.gathered.get_mut());
        if answered == self.expected {
            guard.answer(outcome);
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

    /// Answers by storing the readings unprocessed, as its drop does.
    pub fn pass_through(self) {}

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
        let mut all = self.gathered.lock();
        all.answered += readings;
        all.outcome.append(outcome);
        if !ledger.is_zero() {
            all.outcome.ledger.push((sensor, ledger));
        }
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
            key: None,
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

#[cfg(test)]
mod tests {
    use super::super::batch::Arrived;
    use super::super::fixture::{self, Station, reading, slice};
    use super::super::supervision::{contain, install_panic_hook};
    use super::*;

    const SENSOR: SensorKey = SensorKey(1);

    struct Bench {
        station: Arc<Station>,
        collector: Arc<Collector>,
    }

    impl Bench {
        fn new(expected: usize) -> Self {
            let station = Arc::new(Station::default());
            let collector = Collector::new(slice(&station), expected, fixture::registry(1));
            Self { station, collector }
        }

        fn part(&self, readings: std::ops::Range<u32>) -> Part {
            Part::new(&self.collector, SENSOR, readings.map(reading).collect())
        }

        fn arrive(self) -> Arrived {
            drop(self.collector);
            self.station.complete()
        }
    }

    /// Index, and whether it is marked as unprocessed, of every row.
    fn rows(arrived: &Arrived) -> Vec<(u32, bool)> {
        let rows = arrived.batch.outcomes[0].rows.iter();
        rows.map(|row| (row.reading.index, row.reading.flags.has(Flags::UNPROCESSED)))
            .collect()
    }

    fn ledger(arrived: &Arrived) -> LedgerDelta {
        let mut sum = LedgerDelta::default();
        for (sensor, delta) in &arrived.batch.outcomes[0].ledger {
            assert_eq!(*sensor, SENSOR);
            sum += *delta;
        }
        sum
    }

    #[test]
    fn a_slice_is_answered_when_its_last_part_is() {
        let bench = Bench::new(3);
        let (first, second) = (bench.part(0..2), bench.part(2..3));
        assert_eq!((first.sensor(), first.readings().len()), (SENSOR, 2));
        assert_eq!(first.train().number, fixture::NUMBER.number);
        let mut outcome = SliceOutcome {
            rows: vec![Row {
                sensor: SENSOR,
                reading: reading(0),
            }],
            poison: vec![(reading(9).series, reading(9).time)],
            ..Default::default()
        };
        let duplicate = LedgerDelta {
            duplicate: 1,
            ..Default::default()
        };
        first.finish(&mut outcome, duplicate);
        assert!(
            outcome.rows.is_empty() && outcome.poison.is_empty(),
            "it is emptied"
        );
        assert!(bench.station.take().is_empty());
        second.pass_through();
        let arrived = bench.arrive();
        assert_eq!(rows(&arrived), [(0, false), (2, true)]);
        assert_eq!(arrived.batch.outcomes[0].poison.len(), 1);
        assert_eq!((ledger(&arrived).received, ledger(&arrived).duplicate), (3, 1));
    }

    #[test]
    fn a_part_without_readings_leaves_nothing_in_the_ledger() {
        let bench = Bench::new(0);
        bench
            .part(0..0)
            .finish(&mut SliceOutcome::default(), LedgerDelta::default());
        assert!(bench.arrive().batch.outcomes[0].ledger.is_empty());
    }

    #[test]
    fn a_reading_in_no_part_breaks_the_slice() {
        let bench = Bench::new(3);
        bench.part(0..2).pass_through();
        drop(bench.collector);
        assert_eq!(bench.station.broken().len(), 1);
    }

    #[test]
    fn dropped_without_a_panic_everything_passes_through() {
        let bench = Bench::new(2);
        let mut part = bench.part(0..2);
        part.take_up(1);
        drop(part);
        let arrived = bench.arrive();
        assert_eq!(rows(&arrived), [(0, true), (1, true)]);
        assert!(arrived.batch.outcomes[0].dead_letters.is_empty());
        assert_eq!(ledger(&arrived).rejected, 0);
    }

    #[test]
    fn in_a_panic_the_reading_in_hand_is_taken_out_and_the_others_pass() {
        install_panic_hook();
        let bench = Bench::new(3);
        let mut part = bench.part(0..3);
        let crash = contain(move || {
            assert_eq!(part.take_up(0), reading(0));
            assert_eq!(part.take_up(1), reading(1));
            panic!("boom");
        });
        assert!(crash.is_err());
        let arrived = bench.arrive();
        assert_eq!(rows(&arrived), [(0, true), (2, true)]);
        assert_eq!((ledger(&arrived).received, ledger(&arrived).rejected), (3, 1));
        let outcome = &arrived.batch.outcomes[0];
        let letter = &outcome.dead_letters[0];
        assert_eq!(
            (letter.reason, letter.sensor),
            (RejectReason::Panic, Some(SENSOR))
        );
        assert!(letter.detail.contains("boom"), "{}", letter.detail);
        let payload: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap();
        assert_eq!(
            (&payload["sensor_id"], &payload["value"]),
            (&"s".into(), &1.0.into())
        );
        assert_eq!((outcome.refused.len(), outcome.refused[0].index), (1, 1));
    }

    #[test]
    fn a_panic_after_the_last_reading_is_the_fault_of_none() {
        let bench = Bench::new(1);
        let mut part = bench.part(0..1);
        let crash = contain(move || {
            part.take_up(0);
            part.put_down();
            panic!("boom");
        });
        assert!(crash.is_err());
        let arrived = bench.arrive();
        assert_eq!((rows(&arrived), ledger(&arrived).rejected), (vec![(0, true)], 0));
    }

    #[test]
    fn passing_through_keeps_what_the_device_said_of_a_value() {
        let bench = Bench::new(1);
        let uncertain = Reading {
            flags: Flags::UNCERTAIN,
            ..reading(0)
        };
        Part::new(&bench.collector, SENSOR, [uncertain].into_iter().collect()).pass_through();
        let row = bench.arrive().batch.outcomes[0].rows[0];
        assert_eq!(row.reading.flags, Flags::UNCERTAIN.with(Flags::UNPROCESSED));
        assert_eq!(row.sensor, SENSOR);
    }

    #[test]
    fn what_is_refused_becomes_a_dead_letter_and_an_answer() {
        let bench = Bench::new(1);
        let part = bench.part(0..1);
        let mut outcome = SliceOutcome::default();
        part.refuse(&reading(0), RejectReason::Conflict, "no".to_owned(), &mut outcome);
        part.finish(&mut outcome, LedgerDelta::default());
        let arrived = bench.arrive();
        let outcome = &arrived.batch.outcomes[0];
        let letter = &outcome.dead_letters[0];
        assert_eq!(
            (letter.reason, letter.detail.as_str()),
            (RejectReason::Conflict, "no")
        );
        assert_eq!(letter.source, arrived.batch.source);
        let told = Refused {
            index: 0,
            reason: RejectReason::Conflict,
            detail: "no".to_owned(),
        };
        assert_eq!(outcome.refused, [told]);
    }
}
