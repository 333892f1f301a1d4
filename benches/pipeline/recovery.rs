//! A process with 100,000 sensors is killed, with stored readings after every snapshot; then all is started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sensorhive::storage::Store as _;

use crate::load::{Load, payload};
use crate::place;
use crate::table::Row;
use crate::world::{self, THREADS};

const SENSORS: u32 = 100_000;
/// Readings of each sensor before its snapshot and after.
const BEFORE: u32 = 4;
const TAIL: u32 = 10;
const BATCH: usize = 5_000;
/// Asking costs the shards a look at every sensor.
const POLL: Duration = Duration::from_millis(50);

/// In a process of its own, which says when it is ready and waits to be killed.
pub fn prepare(path: &Path) {
    actix::System::new().block_on(async {
        let pipeline = world::start(place::open(path).await).await;
        let share = SENSORS / THREADS;
        let mut loads: Vec<_> = (0..THREADS)
            .map(|n| {
                let intake = world::intake(&pipeline, &format!("source-{n}"));
                (intake, Load::new(n * share, share, world::past()))
            })
            .collect();
        for rounds in [BEFORE, TAIL] {
            for _ in 0..rounds {
                let work: Vec<_> = loads
                    .iter_mut()
                    .map(|(intake, load)| (intake.clone(), load.payloads(share as usize, BATCH)))
                    .collect();
                world::send(&work);
            }
            if rounds == BEFORE {
                pipeline.drain().await;
            }
        }
        println!("ready");
        std::future::pending::<()>().await;
    });
}

pub fn run() -> Vec<Row> {
    let directory = place::directory();
    let path = directory.path().join("recovery.db");
    let mut child = crate::alone("prepare-recovery")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(said.trim(), "ready");
    actix::System::new().block_on(restart(&path))
}

async fn restart(path: &Path) -> Vec<Row> {
    let behind = behind(path).await;
    let began = Instant::now();
    let pipeline = world::start(place::open(path).await).await;
    let started = began.elapsed();
    let intake = world::intake(&pipeline, "live");
    let mut live = Load::new(0, SENSORS, world::now());
    world::store(&intake, &payload(&[live.next()])).await;
    let serving = began.elapsed();
    loop {
        let (all, running) = world::running(&pipeline).await;
        if all == SENSORS as usize && running == all {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let took = began.elapsed() - started;
    world::stop(pipeline).await;
    let rate = behind as f64 / took.as_secs_f64();
    println!(
        "recovery, {SENSORS} sensors: started after {started:.2?}, first reading stored after {serving:.2?}, {behind} stored readings \
         caught up in {took:.2?}"
    );
    vec![
        Row {
            name: format!("start after kill -9, {SENSORS} sensors: storing"),
            measured: format!("{:.2} s", serving.as_secs_f64()),
            ceiling: String::new(),
            ratio: String::new(),
            target: "10 s",
            met: serving <= Duration::from_secs(10),
        },
        Row {
            name: format!("start after kill -9: {behind} readings caught up"),
            measured: format!("{:.0} k/s, {:.1} s", rate / 1e3, took.as_secs_f64()),
            ceiling: String::new(),
            ratio: String::new(),
            target: "300 k/s",
            met: rate >= 300_000.0,
        },
    ]
}

/// Stored readings after the snapshots.
async fn behind(path: &Path) -> usize {
    let store = place::open(path).await;
    let sensors = store
        .sensors_behind(&sensorhive::storage::Scope::All)
        .await
        .unwrap();
    let mut readings = 0;
    for some in sensors.chunks(500) {
        let loaded = store.load_sensors(some, 1_000_000).await.unwrap();
        readings += loaded
            .sensors
            .iter()
            .map(|sensor| sensor.tail.len())
            .sum::<usize>();
    }
    store.close().await;
    readings
}
