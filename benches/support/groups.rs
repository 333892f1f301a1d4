//! Groups of batches as the writer makes them, for benches of stores.

use std::sync::OnceLock;

use sensorhive::clock::{Clock, SystemClock};
use sensorhive::domain::*;
use sensorhive::storage::*;

/// Readings a batch, as a source brings them.
pub const BATCH: usize = 1_000;
/// Batches a group, as they gather while the one before is committed.
pub const GROUP: usize = 50;

pub fn rows_of(group: &CommitGroup) -> impl Iterator<Item = (Seq, Reading)> {
    group.batches.iter().flat_map(|batch| {
        let rows = &batch.outcomes[0].rows;
        rows.iter()
            .map(|row| (Seq::new(batch.number, row.reading.index), row.reading))
    })
}

/// Every series in turn, a second apart, as sensors send.
pub fn groups(series: u32, rows: usize) -> Vec<CommitGroup> {
    let mut made = 0;
    // 1 makes the series known, 2 may warm the store up.
    let mut number = 3;
    let mut groups = Vec::new();
    while made < rows {
        let mut batches = Vec::new();
        while batches.len() < GROUP && made < rows {
            let size = BATCH.min(rows - made);
            batches.push(batch(number, series, made, size));
            number += 1;
            made += size;
        }
        groups.push(CommitGroup {
            instance: instance(),
            batches,
        });
    }
    groups
}

fn batch(number: u64, series: u32, made: usize, size: usize) -> CompleteBatch {
    let mut outcome = SliceOutcome::default();
    for n in made..made + size {
        let (place, round) = (n as u32 % series, (n / series as usize) as i64);
        let reading = Reading {
            series: SeriesId(place),
            time: Timestamp(start().0 + round * 1_000_000),
            value: 20.0 + (n % 977) as f64 / 100.0,
            index: (n - made) as u32,
            flags: Flags::NONE,
        };
        outcome.rows.push(Row {
            sensor: SensorKey(place),
            reading,
        });
        outcome.ledger.push((
            SensorKey(place),
            LedgerDelta {
                received: 1,
                ..Default::default()
            },
        ));
    }
    CompleteBatch {
        number: BatchNumber(number),
        at: BatchTime {
            now: Timestamp(number as i64),
            active: ActiveTime(0),
        },
        source: SourceName::parse("bench").unwrap(),
        sensors: Vec::new(),
        series: Vec::new(),
        positions: vec![Position {
            source: SourceName::parse("bench").unwrap(),
            partition: "0".into(),
            offset: made as i64,
            epoch: None,
        }],
        arrivals: Vec::new(),
        source_ledger: LedgerDelta::default(),
        dead_letters: Vec::new(),
        outcomes: vec![outcome],
    }
}

/// An hour ago: what is older than a week is compressed by TimescaleDB as soon as it is there, beside the measurement.
fn start() -> Timestamp {
    static START: OnceLock<Timestamp> = OnceLock::new();
    *START.get_or_init(|| Timestamp(SystemClock.now().0 - 3_600_000_000))
}

fn instance() -> InstanceId {
    InstanceId("bench".into())
}

/// Claims the writer, and makes sensors and series known.
pub async fn prepare(store: &impl Store, series: u32) {
    store.claim_writer(&instance()).await.unwrap();
    let mut first = batch(1, series, 0, 0);
    for n in 0..series {
        first.sensors.push(SensorDefinition {
            key: SensorKey(n),
            id: SensorId::parse(&format!("sensor-{n}")).unwrap(),
            tags: Tags::new(),
            home: None,
        });
        first.series.push(SeriesDefinition {
            id: SeriesId(n),
            sensor: SensorKey(n),
            metric: MetricName::parse("temperature").unwrap(),
            unit: None,
        });
    }
    let group = CommitGroup {
        instance: instance(),
        batches: vec![first],
    };
    store.commit(&group).await.unwrap();
}
