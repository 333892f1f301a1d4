//! The pipeline against a simple oracle: random schedules of sources, slices, panics, commit failures, lost answers to COMMIT,
//! data that the database refuses, rewinds, commands, quarantines, passivations, unreadable snapshots and ends without a drain, on the real database. After each: nothing acknowledged is lost, nothing is
//! counted twice, every reading is accounted for, and the state of every sensor is what its stored readings make of it.
//!
//! `SENSORHIVE_MODEL_SEEDS=from..to` runs other schedules.

#![cfg(feature = "faults")]

mod answers;
mod bench;
mod check;
mod commands;
mod drain;
mod faulty;
mod moved;
mod refused;
mod unreadable;
mod world;

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use faulty::{Faults, Shared};
use sensorhive::storage::sqlite::{SqliteSettings, Synchronous};
use world::{SOURCES, Service, Source};

/// What a schedule is made of.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    seed: u64,
    shards: u16,
    batches: u32,
    faults: Faults,
    operator: bool,
    passivate: bool,
    /// Sensors have a small crash budget.
    quarantine: bool,
    /// The service ends now and then and begins again.
    kill: bool,
    /// The database refuses some readings and some snapshots for good.
    refuse: bool,
    /// No series is ever idle, so that nothing happens by itself.
    calm: bool,
}

impl Schedule {
    fn of(seed: u64) -> Self {
        let faults = match seed % 4 {
            0 => Faults::NONE,
            1 => Faults {
                transient: 100,
                slow: 300,
                ..Faults::NONE
            },
            2 => Faults {
                lost_after: 60,
                lost_before: 60,
                slow: 300,
                failed_reads: 100,
                ..Faults::NONE
            },
            _ => Faults {
                transient: 50,
                lost_after: 30,
                lost_before: 30,
                refused: 40,
                slow: 500,
                failed_reads: 100,
                orphan: 200,
                unreadable: 50,
            },
        };
        Self {
            seed,
            shards: 1 + (seed % 3) as u16,
            batches: 60,
            faults,
            operator: seed % 8 >= 2,
            passivate: seed % 3 == 1,
            quarantine: seed % 5 == 3,
            kill: seed % 5 >= 3,
            refuse: seed % 4 == 3 || seed % 8 == 4,
            calm: false,
        }
    }
}

#[test]
fn random_schedules_lose_nothing_and_count_nothing_twice() {
    let seeds = std::env::var("SENSORHIVE_MODEL_SEEDS").unwrap_or_else(|_| "0..24".to_owned());
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .init();
    }
    let (from, to) = seeds
        .split_once("..")
        .expect("SENSORHIVE_MODEL_SEEDS is FROM..TO");
    let mut sum = check::Sum::default();
    for seed in from.parse().unwrap()..to.parse().unwrap() {
        let schedule = Schedule::of(seed);
        let outcome = actix::System::new().block_on(async {
            // Generous: it is there so that a schedule that hangs says which one it is.
            let limit = Duration::from_secs(120);
            tokio::time::timeout(limit, run(schedule))
                .await
                .unwrap_or_else(|_| panic!("{schedule:?} hangs"))
        });
        sum.add(&outcome);
    }
    // Past the capture of the test harness: what happened is the proof that something did.
    writeln!(std::io::stderr(), "model: {sum}").unwrap();
    sum.assert_all_happened(to.parse::<u64>().unwrap() - from.parse::<u64>().unwrap());
}

async fn run(schedule: Schedule) -> check::Outcome {
    let directory = tempfile::tempdir().unwrap();
    let settings = SqliteSettings {
        path: directory.path().join("model.db"),
        synchronous: Synchronous::Normal,
        readers: 2,
        busy_timeout: Duration::from_secs(5),
        query_timeout: Duration::from_secs(30),
        max_size: None,
        ..SqliteSettings::new(directory.path())
    };
    let shared = Shared::new(schedule.seed);
    let service = Service::start(schedule, settings, shared.clone()).await;
    if schedule.refuse {
        service.sql(refused::READINGS).await;
        service.sql(refused::SNAPSHOTS).await;
    }
    shared.set(schedule.faults);

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let start = world::now() - 600_000 * world::MILLIS;
    let sources = (0..SOURCES).map(|number| {
        let mut source = Source::new(number, &service, schedule.seed, start);
        async move {
            for _ in 0..schedule.batches {
                source.send().await;
            }
            source
        }
    });
    let work = async {
        let sources = futures_util::future::join_all(sources).await;
        stop.send_replace(true);
        sources
    };
    let operator = async {
        if schedule.operator {
            world::operate(&service, stopped).await;
        }
    };
    let (sources, ()) = futures_util::future::join(work, operator).await;

    shared.set(Faults::NONE);
    service.sql("DROP TRIGGER IF EXISTS refuse_snapshots").await;
    let outcome = check::check(&service.pipeline(), &sources, schedule.seed).await;
    let injected = &shared.injected;
    let outcome = check::Outcome {
        lost: injected.lost_after.load(Ordering::Relaxed),
        orphans: injected.orphans.load(Ordering::Relaxed),
        unreadable: injected.unreadable.load(Ordering::Relaxed),
        rewinds: service.rewinds(),
        starts: service.starts.get(),
        ..outcome
    };
    assert_eq!(injected.gave_up.load(Ordering::Relaxed), 0, "{schedule:?}");
    service.end().await;
    outcome
}
