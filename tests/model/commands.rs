//! What each command does to a sensor in each mode, and how it comes back.

use std::sync::Arc;
use std::time::Duration;

use sensorhive::actors::batch::Delivery;
use sensorhive::actors::ingest::Intake;
use sensorhive::actors::sensor::Inspect;
use sensorhive::actors::shard::env::Mode;
use sensorhive::actors::shard::messages::{Command, Find, ListSensors, SensorStatus};
use sensorhive::domain::SensorKey;
use sensorhive::storage::history::RestartRow;
use sensorhive::storage::sqlite::SqliteSettings;

use super::Schedule;
use super::faulty::{Faults, Shared};
use super::world::{self, POISON, Service};

/// One sensor, `s0`; with `quarantine` it has a crash budget of two.
struct Bench {
    service: Service,
    shared: Arc<Shared>,
    _directory: tempfile::TempDir,
    key: SensorKey,
    time: i64,
}

impl Bench {
    async fn new(passivate: bool, quarantine: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = SqliteSettings::new(directory.path().join("model.db"));
        let schedule = Schedule {
            shards: 1,
            passivate,
            quarantine,
            ..Schedule::of(0)
        };
        let shared = Shared::new(0);
        let service = Service::start(schedule, settings, shared.clone()).await;
        let mut bench = Self {
            service,
            shared,
            _directory: directory,
            key: SensorKey(1),
            time: world::now() - 60_000_000,
        };
        bench.send(1.0).await;
        bench
    }

    async fn send(&mut self, value: f64) {
        self.send_all(&[value]).await;
    }

    /// One batch, a millisecond between its readings.
    async fn send_all(&mut self, values: &[f64]) {
        let items = values.iter().map(|value| {
            self.time += 1_000;
            let time = self.time;
            format!(r#"{{"sensor_id":"s0","metric":"m","value":{value},"timestamp":{time}}}"#)
        });
        let payload = format!("[{}]", items.collect::<Vec<_>>().join(","));
        stored(self.service.intake(0), payload).await;
    }

    async fn command(&self, command: Command) {
        world::command_sensor(&self.service.pipeline(), 0, self.key, command).await;
    }

    /// `None` when it is not in memory.
    async fn status(&self) -> Option<SensorStatus> {
        let ask = ListSensors {
            sensors: vec![self.key],
            limit: 1,
        };
        self.service.pipeline().shards[0].send(ask).await.unwrap().pop()
    }

    async fn comes_to(&self, mode: Mode) {
        let mut last = None;
        for _ in 0..2_000 {
            last = self.status().await;
            if last.map_or(Mode::Passive, |status| status.mode) == mode {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not come to {mode:?}: {last:?}");
    }

    /// Lets everything that was told before take effect.
    async fn settle(&self) {
        let pipeline = self.service.pipeline();
        for _ in 0..3 {
            pipeline.settle().await;
            self.status().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn crash(&mut self) {
        self.send(POISON * 2.0).await;
        self.settle().await;
    }

    async fn bring_to(&mut self, mode: Mode) {
        match mode {
            Mode::Quarantined => {
                for _ in 0..3 {
                    self.crash().await;
                }
            }
            Mode::Paused => self.command(Command::Pause).await,
            _ => {}
        }
        self.comes_to(mode).await;
    }

    async fn restarts(&self) -> Vec<RestartRow> {
        // Rows are written in the background.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let store = self.service.pipeline().store.clone();
        store.restarts(Some("sensor/s0"), 100).await.unwrap()
    }

    /// It processes what comes, and survives one more crash.
    async fn works(&mut self) {
        self.comes_to(Mode::Running).await;
        self.crash().await;
        self.comes_to(Mode::Running).await;
        self.send(2.0).await;
        let ledger = self
            .service
            .pipeline()
            .store
            .sensor_ledger(self.key)
            .await
            .unwrap()
            .ledger;
        assert_eq!(ledger.unprocessed, 0);
    }
}

async fn stored(intake: Intake, payload: String) {
    let batch = intake.decode(payload.as_bytes(), intake.now(), String::new());
    let delivery = intake.deliver(batch, payload.len(), Vec::new()).await.unwrap();
    assert!(matches!(delivery, Delivery::Stored(_)));
}

#[test]
fn each_command_in_each_mode() {
    use Command::{Pause, Reset, Restart, Resume};
    use Mode::{Paused, Quarantined, Running};
    let cases = [
        (Running, Restart, Running),
        (Running, Reset, Running),
        (Running, Pause, Paused),
        (Running, Resume, Running),
        (Paused, Restart, Paused),
        (Paused, Reset, Paused),
        (Paused, Pause, Paused),
        (Paused, Resume, Running),
        (Quarantined, Restart, Running),
        (Quarantined, Reset, Running),
        (Quarantined, Pause, Paused),
        (Quarantined, Resume, Running),
    ];
    for (from, command, to) in cases {
        println!("{command:?} while {from:?}");
        actix::System::new().block_on(async {
            let mut bench = Bench::new(false, true).await;
            bench.bring_to(from).await;
            bench.command(command).await;
            bench.settle().await;
            bench.comes_to(to).await;
            if to == Paused {
                // Whatever it was paused in.
                bench.command(Resume).await;
            }
            bench.works().await;
            bench.service.end().await;
        });
    }
}

#[test]
fn a_sensor_that_is_not_in_memory_comes_back_and_says_who_asked() {
    actix::System::new().block_on(async {
        let bench = Bench::new(true, true).await;
        bench.comes_to(Mode::Passive).await;
        bench.command(Command::Restart).await;
        bench.comes_to(Mode::Running).await;
        let rows = bench.restarts().await;
        assert!(
            rows.iter()
                .any(|row| row.reason == "admin" && row.by.as_deref() == Some("operator")),
            "{rows:?}"
        );
        bench.service.end().await;
    });
}

/// A message carries 256 readings, and a snapshot is due after 20.
#[test]
fn a_batch_of_several_messages_is_known_whole_or_not_at_all() {
    actix::System::new().block_on(async {
        let mut bench = Bench::new(false, false).await;
        let values: Vec<f64> = (0..266).map(f64::from).collect();
        bench.send_all(&values).await;
        bench.command(Command::Restart).await;
        bench.settle().await;
        bench.comes_to(Mode::Running).await;
        let find = Find(bench.key);
        let sensor = bench.service.pipeline().shards[0]
            .send(find)
            .await
            .unwrap()
            .unwrap();
        let series = sensor.send(Inspect).await.unwrap().state.series.pop().unwrap();
        assert_eq!((series.newest_value, series.newest_time.0), (265.0, bench.time));
        bench.service.end().await;
    });
}

#[test]
fn however_much_poison_there_is_the_others_have_their_turn() {
    const POISONOUS: u64 = 100;
    actix::System::new().block_on(async {
        let mut bench = Bench::new(false, false).await;
        bench.command(Command::Pause).await;
        bench.comes_to(Mode::Paused).await;
        bench.send_all(&vec![POISON * 2.0; POISONOUS as usize]).await;
        bench.command(Command::Resume).await;
        bench.comes_to(Mode::Running).await;
        let status = bench.status().await.unwrap();
        assert_eq!(u64::from(status.crashes), POISONOUS.div_ceil(8), "a crash a step");
        let pipeline = bench.service.pipeline();
        pipeline.settle().await;
        let letters = pipeline.store.dead_letters(None, 1_000).await.unwrap();
        assert_eq!(letters.len() as u64, POISONOUS);
        let ledger = pipeline.store.sensor_ledger(bench.key).await.unwrap().ledger;
        assert_eq!((ledger.stored, ledger.unprocessed), (POISONOUS + 1, 0));
        drop(pipeline);
        bench.service.end().await;
    });
}

/// Sensors leave memory after 300 ms.
#[test]
fn a_sensor_stays_until_what_it_saw_is_stored() {
    actix::System::new().block_on(async {
        let mut bench = Bench::new(true, false).await;
        bench.key = SensorKey(2);
        bench.shared.set(Faults {
            transient: 1000,
            ..Faults::NONE
        });
        let payload = |time| format!(r#"{{"sensor_id":"s1","metric":"m","value":1,"timestamp":{time}}}"#);
        let time = bench.time;
        let first = stored(bench.service.intake(0), payload(time));
        let second = async {
            tokio::time::sleep(Duration::from_millis(800)).await;
            assert_eq!(
                bench.status().await.map(|status| status.mode),
                Some(Mode::Running)
            );
            let heal = async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                bench.shared.set(Faults::NONE);
            };
            futures_util::join!(stored(bench.service.intake(1), payload(time + 1_000)), heal);
        };
        futures_util::join!(first, second);
        let find = Find(bench.key);
        let sensor = bench.service.pipeline().shards[0]
            .send(find)
            .await
            .unwrap()
            .unwrap();
        let series = sensor.send(Inspect).await.unwrap().state.series.pop().unwrap();
        assert_eq!(series.remembered, 2);
        bench.comes_to(Mode::Passive).await;
        bench.service.end().await;
    });
}
