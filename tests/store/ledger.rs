//! Random batches against an oracle in memory: rows, verdicts, ledgers and tails agree, whatever comes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sensorhive::domain::*;
use sensorhive::storage::*;

use crate::support::*;

const SERIES: u32 = 6;

/// One step: a reading, or a complete snapshot of a sensor at the end of the batch.
#[derive(Debug, Clone)]
enum Step {
    Reading {
        series: u32,
        time: i64,
        value: f64,
        flags: Flags,
    },
    Snapshot {
        sensor: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        4 => Just(Flags::NONE),
        1 => Just(Flags::LATE),
        1 => Just(Flags::UNPROCESSED),
    ];
    // Few times and values, so that duplicates and conflicts are common.
    let value = prop_oneof![Just(0.0), Just(-0.0), Just(1.5), Just(-1e300)];
    let reading =
        (0..SERIES, -8..8_i64, value, flags).prop_map(|(series, time, value, flags)| Step::Reading {
            series,
            time,
            value,
            flags,
        });
    prop_oneof![12 => reading, 1 => (0..SERIES / 2).prop_map(|sensor| Step::Snapshot { sensor })]
}

/// Groups of batches of steps.
fn groups() -> impl Strategy<Value = Vec<Vec<Vec<Step>>>> {
    let batch = prop::collection::vec(step(), 0..20);
    prop::collection::vec(prop::collection::vec(batch, 1..5), 1..6)
}

#[derive(Default)]
struct Oracle {
    rows: BTreeMap<(u32, i64), (f64, Seq)>,
    ledgers: BTreeMap<u32, LedgerDelta>,
    snapshots: BTreeMap<u32, Seq>,
}

impl Oracle {
    fn apply(&mut self, number: BatchNumber, steps: &[Step]) -> BatchReport {
        let mut report = BatchReport::default();
        for (index, step) in steps.iter().enumerate() {
            let &Step::Reading {
                series,
                time,
                value,
                flags,
            } = step
            else {
                continue;
            };
            let ledger = self.ledgers.entry(sensor_of(series).0).or_default();
            ledger.received += 1;
            match self.rows.get(&(series, time)) {
                None => {
                    self.rows
                        .insert((series, time), (value, Seq::new(number, index as u32)));
                    ledger.stored += 1;
                    ledger.late += u64::from(flags.has(Flags::LATE));
                    ledger.unprocessed += u64::from(flags.has(Flags::UNPROCESSED));
                    report.stored += 1;
                }
                Some(&(stored, _)) if stored == value => {
                    ledger.duplicate += 1;
                    report.duplicates.push(index as u32);
                }
                Some(&(stored, _)) => {
                    ledger.rejected += 1;
                    report.conflicts.push(Conflict {
                        index: index as u32,
                        stored,
                    });
                }
            }
        }
        for step in steps {
            if let Step::Snapshot { sensor } = *step {
                self.snapshots.insert(sensor, number.end());
                if let Some(ledger) = self.ledgers.get_mut(&sensor) {
                    ledger.unprocessed = 0;
                }
            }
        }
        report
    }

    fn tail(&self, sensor: u32) -> Vec<(Seq, u32, i64)> {
        let after = self.snapshots.get(&sensor).copied();
        let mut tail: Vec<_> = self
            .rows
            .iter()
            .filter(|((series, _), (_, seq))| sensor_of(*series).0 == sensor && Some(*seq) > after)
            .map(|(&(series, time), &(_, seq))| (seq, series, time))
            .collect();
        tail.sort();
        tail
    }
}

fn to_batch(number: u64, steps: &[Step]) -> CompleteBatch {
    let mut made = batch(number, SliceOutcome::default());
    // Two slices, as two shards would answer.
    made.outcomes.push(SliceOutcome::default());
    for (index, step) in steps.iter().enumerate() {
        match *step {
            Step::Reading {
                series,
                time,
                value,
                flags,
            } => {
                let sensor = sensor_of(series);
                let reading = Reading {
                    series: SeriesId(series),
                    time: Timestamp(time),
                    value,
                    index: index as u32,
                    flags,
                };
                let slice = &mut made.outcomes[sensor.0 as usize % 2];
                slice.rows.push(Row { sensor, reading });
                slice.ledger.push((
                    sensor,
                    LedgerDelta {
                        received: 1,
                        ..Default::default()
                    },
                ));
            }
            Step::Snapshot { sensor } => made.outcomes[sensor as usize % 2].snapshots.push(Snapshot {
                sensor: SensorKey(sensor),
                seq: BatchNumber(number).end(),
                state: Vec::new(),
                deadline: None,
                complete: true,
            }),
        }
    }
    made
}

async fn check<F: Fixture>(groups: &[Vec<Vec<Step>>]) {
    let Some(fixture) = F::new().await else { return };
    let mut store = opened(&fixture, SERIES).await;
    let mut oracle = Oracle::default();
    let mut conflicts = 0;
    let mut number = 2;
    for group_of_steps in groups {
        let mut batches = Vec::new();
        let mut expected = Vec::new();
        for steps in group_of_steps {
            batches.push(to_batch(number, steps));
            expected.push(oracle.apply(BatchNumber(number), steps));
            number += 1;
        }
        let committed = group(batches);
        let report = commit_in_the_end(&store, &committed).await;
        assert_eq!(report.batches, expected);
        assert_eq!(store.recall(&committed).await.unwrap(), report);
        conflicts += expected.iter().map(|batch| batch.conflicts.len()).sum::<usize>();
        check_sensors(&store, &oracle).await;
        if number % 3 == 0 {
            // Another process goes on.
            store.close().await;
            store = fixture.open().await;
            store.claim_writer(&instance()).await.unwrap();
            check_sensors(&store, &oracle).await;
        }
    }
    for series in 0..SERIES {
        let expected: Vec<_> = oracle
            .rows
            .range((series, i64::MIN)..=(series, i64::MAX))
            .collect();
        let points = store.readings(SeriesId(series), &everything()).await.unwrap();
        let points: Vec<_> = points
            .iter()
            .map(|point| (point.time.0, point.value, point.seq))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|((_, time), (value, seq))| (*time, *value, *seq))
            .collect();
        assert_eq!(points, expected);
    }
    assert_eq!(store.dead_letters(None, 10_000).await.unwrap().len(), conflicts);
    store.close().await;
}

/// A commit that meets the compression of its chunks may be told to come again.
async fn commit_in_the_end(store: &impl Store, group: &CommitGroup) -> CommitReport {
    loop {
        match store.commit(group).await {
            Err(error) if error.class == ErrorClass::Transient => {}
            report => return report.unwrap(),
        }
    }
}

async fn check_sensors(store: &impl Store, oracle: &Oracle) {
    let sensors: Vec<_> = (0..SERIES / 2).map(SensorKey).collect();
    let loaded = store.load_sensors(&sensors, 10_000).await.unwrap();
    let behind = store.sensors_behind(&Scope::All).await.unwrap();
    for (sensor, loaded) in sensors.iter().zip(&loaded.sensors) {
        let tail: Vec<_> = loaded
            .tail
            .iter()
            .map(|stored| (stored.seq, stored.reading.series.0, stored.reading.time.0))
            .collect();
        assert_eq!(tail, oracle.tail(sensor.0));
        assert_eq!(behind.contains(sensor), !tail.is_empty());
        let ledger = store.sensor_ledger(*sensor).await.unwrap().ledger;
        assert_eq!(ledger, oracle.ledgers.get(&sensor.0).copied().unwrap_or_default());
        assert!(ledger.balances());
    }
    let total = store.ledger_total().await.unwrap();
    let mut sum = LedgerDelta::default();
    oracle.ledgers.values().for_each(|ledger| sum += *ledger);
    assert_eq!(total, sum);
}

pub async fn random_batches_agree_with_an_oracle<F: Fixture>(fixture: F) {
    drop(fixture);
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        let mut runner = TestRunner::new(Config {
            cases: F::CASES,
            failure_persistence: None,
            ..Config::default()
        });
        let result = runner.run(&groups(), |groups| {
            runtime.block_on(check::<F>(&groups));
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}
