//! A service with one sensor, and short ways to tell and ask it.

use std::sync::Arc;
use std::time::Duration;

use sensorhive::actors::batch::Delivery;
use sensorhive::actors::ingest::{Intake, Payload};
use sensorhive::actors::shard::env::Mode;
use sensorhive::actors::shard::messages::{Command, ListSensors, SensorStatus};
use sensorhive::domain::SensorKey;
use sensorhive::storage::history::RestartRow;
use sensorhive::storage::sqlite::SqliteSettings;

use super::Schedule;
use super::faulty::Shared;
use super::world::{self, POISON, Service};

/// One sensor, `s0`; with `quarantine` it has a crash budget of two.
pub struct Bench {
    pub service: Service,
    pub shared: Arc<Shared>,
    _directory: tempfile::TempDir,
    pub key: SensorKey,
    pub time: i64,
}

impl Bench {
    pub async fn new(passivate: bool, quarantine: bool) -> Self {
        Self::with(Schedule {
            passivate,
            quarantine,
            ..Schedule::of(0)
        })
        .await
    }

    /// On one shard, whatever the schedule says.
    pub async fn with(schedule: Schedule) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = SqliteSettings::new(directory.path().join("model.db"));
        let schedule = Schedule {
            shards: 1,
            ..schedule
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

    pub async fn send(&mut self, value: f64) {
        self.send_all(&[value]).await;
    }

    /// One batch, a millisecond between its readings.
    pub async fn send_all(&mut self, values: &[f64]) {
        let items = values.iter().map(|value| {
            self.time += 1_000;
            let time = self.time;
            format!(r#"{{"sensor_id":"s0","metric":"m","value":{value},"timestamp":{time}}}"#)
        });
        let payload = format!("[{}]", items.collect::<Vec<_>>().join(","));
        stored(self.service.intake(0), payload).await;
    }

    pub async fn command(&self, command: Command) {
        world::command_sensor(&self.service.pipeline(), 0, self.key, command).await;
    }

    /// `None` when it is not in memory.
    pub async fn status(&self) -> Option<SensorStatus> {
        let ask = ListSensors {
            sensors: vec![self.key],
            limit: 1,
        };
        self.service.pipeline().shards[0].send(ask).await.unwrap().pop()
    }

    pub async fn comes_to(&self, mode: Mode) {
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
    pub async fn settle(&self) {
        let pipeline = self.service.pipeline();
        for _ in 0..3 {
            pipeline.settle().await;
            self.status().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn crash(&mut self) {
        self.send(POISON * 2.0).await;
        self.settle().await;
    }

    pub async fn bring_to(&mut self, mode: Mode) {
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

    pub async fn restarts(&self) -> Vec<RestartRow> {
        let pipeline = self.service.pipeline();
        pipeline.journal.flush().await;
        pipeline.store.restarts(Some("sensor/s0"), 100).await.unwrap()
    }

    /// It processes what comes, and survives one more crash.
    pub async fn works(&mut self) {
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

pub async fn stored(intake: Intake, payload: String) {
    let batch = intake.decode(Payload::plain(payload.as_bytes(), intake.now()));
    let delivery = intake.deliver(batch, payload.len(), Vec::new()).await.unwrap();
    assert!(matches!(delivery, Delivery::Stored(_)), "{payload}: {delivery:?}");
}
