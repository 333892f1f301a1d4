//! One of a thousand sensors is restarted, again and again, under 5,000 readings a second into SQLite: how long until its
//! readings are stored and processed again, and what the others notice.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use sensorhive::actors::ingest::Intake;
use sensorhive::actors::shard::env::Mode;
use sensorhive::actors::shard::messages::{Command, CommandSensor, ListSensors};
use sensorhive::startup::pipeline::Pipeline;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::load::{Load, id, payload};
use crate::place;
use crate::table::{Row, quantile};
use crate::world;

/// The last one is the one that is restarted; it speaks only when it is asked to.
const SENSORS: u32 = 1_000;
const BATCH: usize = 50;
const EVERY: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_secs(10);
const RESTARTS: usize = 100;

pub fn run() -> Vec<Row> {
    let directory = place::directory();
    let (mut stored, mut processed) = (Vec::new(), Vec::new());
    let others = RefCell::new(Vec::new());
    let (mut quiet, mut amid) = (Vec::new(), Vec::new());
    actix::System::new().block_on(async {
        let pipeline = world::start(place::open(&directory.path().join("restart.db")).await).await;
        let feed = feed(world::intake(&pipeline, "others"), &others);
        let one = world::intake(&pipeline, "one");
        let mut load = Load::new(SENSORS - 1, 1, world::past());
        let restarts = async {
            for _ in 0..200 {
                world::store(&one, &payload(&[load.next()])).await;
            }
            others.borrow_mut().clear();
            sleep(QUIET).await;
            quiet = others.take();
            for _ in 0..RESTARTS {
                restart(&pipeline).await;
                let (began, text) = (Instant::now(), payload(&[load.next()]));
                let store = async {
                    world::store(&one, &text).await;
                    stored.push(began.elapsed());
                };
                let run = async {
                    runs_again(&pipeline).await;
                    processed.push(began.elapsed());
                };
                futures_util::future::join(store, run).await;
                sleep(QUIET / RESTARTS as u32).await;
            }
            amid = others.take();
        };
        tokio::select! {
            () = feed => {}
            () = restarts => {}
        }
        pipeline.settle().await;
        world::stop(pipeline).await;
    });
    let millis = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1e3);
    let told = |what: &str, samples: &mut Vec<Duration>| {
        let (half, nearly) = (quantile(samples, 0.5), quantile(samples, 0.99));
        println!(
            "restart, {what}: p50 {}, p99 {}, of {}",
            millis(half),
            millis(nearly),
            samples.len()
        );
        (half, nearly)
    };
    let (_, before) = told("commits of the others before", &mut quiet);
    let (_, during) = told("commits of the others between restarts", &mut amid);
    let (half, stored) = told("until its next reading is stored", &mut stored);
    let (running, processed) = told("until it runs again", &mut processed);
    let row =
        |name: &str, measured: String, ceiling: String, ratio: f64, target: &'static str, met: bool| Row {
            name: format!("restart of 1 in {SENSORS}: {name}"),
            measured,
            ceiling,
            ratio: if ratio > 0.0 {
                format!("{ratio:.2}")
            } else {
                String::new()
            },
            target,
            met,
        };
    let both = |half, nearly| format!("p50 {}, p99 {}", millis(half), millis(nearly));
    let moved = during.as_secs_f64() / before.as_secs_f64();
    vec![
        row(
            "stored again",
            both(half, stored),
            format!("a commit: p99 {}", millis(before)),
            0.0,
            "10 ms",
            stored <= Duration::from_millis(10),
        ),
        row(
            "processed again",
            both(running, processed),
            String::new(),
            0.0,
            "p99 1 s",
            processed <= Duration::from_secs(1),
        ),
        row(
            "p99 of the others",
            millis(during),
            format!("{} without", millis(before)),
            moved,
            "not moved",
            moved <= 1.2,
        ),
    ]
}

/// A batch every few milliseconds, whatever becomes of those before; notes from sending to commit.
async fn feed(intake: Intake, took: &RefCell<Vec<Duration>>) {
    let mut load = Load::new(0, SENSORS - 1, world::past());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = futures_util::stream::FuturesUnordered::new();
    loop {
        use futures_util::StreamExt as _;
        tokio::select! {
            _ = ticks.tick() => {
                let said: Vec<_> = (0..BATCH).map(|_| load.next()).collect();
                let (intake, text) = (intake.clone(), payload(&said));
                under_way.push(async move {
                    let began = Instant::now();
                    world::store(&intake, &text).await;
                    began.elapsed()
                });
            }
            Some(latency) = under_way.next(), if !under_way.is_empty() => took.borrow_mut().push(latency),
        }
    }
}

async fn restart(pipeline: &Pipeline) {
    let Some(info) = pipeline.rails.registry().sensor_named(&id(SENSORS - 1)) else {
        unreachable!("it has spoken before")
    };
    let command = CommandSensor {
        sensor: info.key,
        command: Command::Restart,
        by: "bench".into(),
        why: "to see how long it takes".into(),
    };
    assert!(
        pipeline.shards[usize::from(info.shard)]
            .send(command)
            .await
            .unwrap()
    );
}

async fn runs_again(pipeline: &Pipeline) {
    let Some(info) = pipeline.rails.registry().sensor_named(&id(SENSORS - 1)) else {
        unreachable!("it has spoken before")
    };
    loop {
        let list = ListSensors {
            sensors: vec![info.key],
            limit: 1,
        };
        let status = pipeline.shards[usize::from(info.shard)].send(list).await.unwrap();
        if status.iter().all(|sensor| sensor.mode == Mode::Running) {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
}
