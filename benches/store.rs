//! Readings a second into SQLite: whole batches through the store, beside bare multi-row inserts of the same rows into
//! the same table of a second file, turn by turn in one run; then the same rows read back as tails.
//!
//! `cargo bench --bench store -- [rows]`; the files lie in `SENSORHIVE_BENCH_DIR` or the system's temporary directory.

#[path = "support/bare.rs"]
mod bare;
#[path = "support/groups.rs"]
mod groups;

use std::path::Path;
use std::time::{Duration, Instant};

use bare::Bare;
use groups::{BATCH, GROUP, groups, prepare, rows_of};
use sensorhive::domain::*;
use sensorhive::storage::*;

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
    let sensors = store.sensors_behind(&Scope::All).await.unwrap();
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

/// A store that knows its sensors already.
async fn store(path: &Path, series: u32) -> SqliteStore {
    let store = SqliteStore::open(&SqliteSettings::new(path)).await.unwrap();
    prepare(&store, series).await;
    store
}
