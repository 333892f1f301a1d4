//! Readings a second into SQLite: whole batches through the store, beside bare multi-row inserts of the same rows into
//! the same table of a second file, turn by turn in one run; then the same rows read back as tails.
//!
//! `cargo bench --bench store -- [rows]`; the files lie in `SENSORHIVE_BENCH_DIR` or the system's temporary directory.

#[path = "support/bare.rs"]
mod bare;

use std::path::Path;
use std::time::{Duration, Instant};

use bare::Bare;
use sensorhive::domain::*;
use sensorhive::storage::*;

/// Readings a batch, as a source brings them.
const BATCH: usize = 1_000;
/// Batches a group, as they gather while the one before is committed.
const GROUP: usize = 50;
/// Rows a transaction of the bare inserts.
const BARE_TRANSACTION: usize = 2 * BATCH * GROUP;

fn main() {
    let rows = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for series in [1_000, 100_000] {
        runtime.block_on(compare(series, rows));
    }
}

async fn compare(series: u32, rows: usize) {
    let directory = match std::env::var_os("SENSORHIVE_BENCH_DIR") {
        Some(path) => tempfile::tempdir_in(path).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let groups = groups(series, rows);
    let store = store(&directory.path().join("store.db"), series).await;
    let mut bare = Bare::new(&directory.path().join("bare.db")).await;
    let (mut stored_in, mut inserted_in) = (Duration::ZERO, Duration::ZERO);
    // Turn by turn, so that whatever else the machine does hits both.
    for some in groups.chunks(BARE_TRANSACTION / (BATCH * GROUP)) {
        let began = Instant::now();
        for group in some {
            let report = store.commit(group).await.unwrap();
            let stored: u64 = report.batches.iter().map(|batch| batch.stored).sum();
            assert_eq!(stored as usize, rows_of(group).count());
        }
        stored_in += began.elapsed();
        let rows: Vec<(Seq, Reading)> = some.iter().flat_map(rows_of).collect();
        let began = Instant::now();
        bare.insert(&rows).await;
        inserted_in += began.elapsed();
    }
    let rate = |took: Duration| rows as f64 / took.as_secs_f64() / 1_000.0;
    println!(
        "{series:>7} series, {rows} rows: store {:.0} k rows/s, bare {:.0} k rows/s, ratio {:.0} %",
        rate(stored_in),
        rate(inserted_in),
        100.0 * inserted_in.as_secs_f64() / stored_in.as_secs_f64()
    );
    let sensors = store.sensors_behind().await.unwrap();
    let began = Instant::now();
    let mut loaded = 0;
    for some in sensors.chunks(500) {
        let answer = store.load_sensors(some, 1_000_000).await.unwrap();
        loaded += answer
            .sensors
            .iter()
            .map(|sensor| sensor.tail.len())
            .sum::<usize>();
    }
    assert_eq!(loaded, rows);
    println!(
        "{series:>7} series: {} tails with {loaded} rows read back at {:.0} k rows/s",
        sensors.len(),
        rate(began.elapsed())
    );
    store.close().await;
}

fn rows_of(group: &CommitGroup) -> impl Iterator<Item = (Seq, Reading)> {
    group.batches.iter().flat_map(|batch| {
        let rows = &batch.outcomes[0].rows;
        rows.iter()
            .map(|row| (Seq::new(batch.number, row.reading.index), row.reading))
    })
}

/// Every series in turn, a second apart, as sensors send.
fn groups(series: u32, rows: usize) -> Vec<CommitGroup> {
    let mut made = 0;
    let mut number = 2;
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
            time: Timestamp::from_seconds(1_700_000_000 + round),
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
        }],
        source_ledger: LedgerDelta::default(),
        dead_letters: Vec::new(),
        outcomes: vec![outcome],
    }
}

fn instance() -> InstanceId {
    InstanceId("bench".into())
}

/// A store that knows its sensors already.
async fn store(path: &Path, series: u32) -> SqliteStore {
    let store = SqliteStore::open(&SqliteSettings::new(path)).await.unwrap();
    store.claim_writer(&instance()).await.unwrap();
    let mut first = batch(1, series, 0, 0);
    for n in 0..series {
        first.sensors.push(SensorDefinition {
            key: SensorKey(n),
            id: SensorId::parse(&format!("sensor-{n}")).unwrap(),
            tags: Tags::new(),
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
    store
}
