//! A small world: a few sensors, sources that keep sending until they are told that it is stored, and an operator who
//! restarts whatever there is, the service itself included.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sensorhive::actors::batch::Delivery;
use sensorhive::actors::ingest::{Intake, IntakeSettings, Payload};
use sensorhive::actors::permits::Share;
use sensorhive::actors::query_cache;
use sensorhive::actors::registry::{Registry, RegistryLimits};
use sensorhive::actors::shard::env::{Catalog, ShardSettings};
use sensorhive::actors::shard::messages::{Command, CommandSensor};
use sensorhive::actors::storage::maintenance::Retention;
use sensorhive::actors::supervision::{ActorPath, Backoff, CrashBudget, Policy};
use sensorhive::clock::{Clock, SystemClock};
use sensorhive::core::{DetectorSpec, SeriesConfig, WindowSpec};
use sensorhive::decode::JsonMapping;
use sensorhive::decode::range::TimeRange;
use sensorhive::domain::{RejectReason, SeriesId, SourceName};
use sensorhive::startup::pipeline::{Pipeline, PipelineSettings};
use sensorhive::storage::sqlite::{SqliteSettings, SqliteStore};
use sensorhive::storage::{InstanceId, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::Schedule;
use super::faulty::{FaultyStore, Shared};

pub const SENSORS: u32 = 5;
pub const SOURCES: u32 = 3;
pub const MILLIS: i64 = 1_000;
/// What a source may have under way.
pub const SHARE: Share = Share {
    readings: 1_000,
    bytes: 1 << 20,
};
/// Above this a value makes its sensor panic.
pub const POISON: f64 = 1e6;
/// The database may be told to refuse this value.
pub const REFUSED: f64 = 777.0;
/// Short, so that windows close while a schedule runs.
pub const WINDOW: i64 = 100 * MILLIS;

struct Fixed(Arc<SeriesConfig>);

impl Catalog for Fixed {
    fn config(&self, _series: SeriesId) -> Arc<SeriesConfig> {
        self.0.clone()
    }
}

/// How every series is watched.
fn config(calm: bool) -> SeriesConfig {
    SeriesConfig {
        windows: vec![WindowSpec::Tumbling { size: WINDOW }],
        lateness: 50 * MILLIS,
        idle_after: if calm { 3_600_000 } else { 100 } * MILLIS,
        // Small, so that the transaction has something to judge.
        ring: 8,
        detectors: vec![
            DetectorSpec::Jump { threshold: 5.0 },
            DetectorSpec::Fault { panic_above: POISON },
        ],
        rules: Vec::new(),
    }
}

async fn start(store: Arc<dyn Store>, schedule: Schedule, shared: Arc<Shared>) -> Pipeline {
    let policy = Policy {
        budget: CrashBudget {
            crashes: if schedule.quarantine { 2 } else { 10_000 },
            within: Duration::from_secs(60),
        },
        backoff: Backoff {
            base: Duration::from_millis(1),
            max: Duration::from_millis(10),
            ..Backoff::default()
        },
        ..Policy::default()
    };
    let settings = PipelineSettings {
        instance: InstanceId("model".into()),
        shared: false,
        internal: SourceName::parse("internal").unwrap(),
        shards: schedule.shards,
        limits: RegistryLimits {
            sensors: 1000,
            series_per_sensor: 10,
        },
        shard: ShardSettings {
            snapshot_tail: 20,
            snapshot_interval: Duration::from_millis(200),
            snapshot_bytes_per_second: 1 << 20,
            passivate_after: if schedule.passivate {
                Duration::from_millis(300)
            } else {
                Duration::from_secs(600)
            },
            held_readings: 16,
            load_readings: 64,
            drain_bytes: 16 << 10,
            policy: Arc::new(policy),
        },
        retention: Retention {
            readings: None,
            dead_letters: None,
            restarts: None,
            batches: None,
            idempotency_keys: None,
        },
        query_cache: query_cache::Limits {
            bytes: 16 << 20,
            life: 60_000_000,
        },
        policy,
    };
    let catalog = |_: Arc<Registry>| Arc::new(Fixed(Arc::new(config(schedule.calm)))) as Arc<dyn Catalog>;
    let fault = Arc::new(move |fault: String| {
        eprintln!("the service cannot go on: {fault}");
        shared.injected.gave_up.fetch_add(1, Ordering::Relaxed);
    });
    Pipeline::start(store, Arc::new(SystemClock), settings, catalog, fault)
        .await
        .unwrap()
}

fn intake(pipeline: &Pipeline, source: u32) -> Intake {
    let settings = IntakeSettings {
        share: SHARE,
        time_range: TimeRange::default(),
        batch_readings: 1_000,
        mapping: JsonMapping::default(),
    };
    Intake::new(
        SourceName::parse(&format!("source-{source}")).unwrap(),
        pipeline.rails.clone(),
        settings,
    )
}

/// The service and its database: it may end at any time and begin again.
pub struct Service {
    schedule: Schedule,
    settings: SqliteSettings,
    shared: Arc<Shared>,
    pipeline: RefCell<Option<Arc<Pipeline>>>,
    intakes: RefCell<Vec<Intake>>,
    /// Of the pipelines before.
    rewinds: Cell<u64>,
    pub starts: Cell<u64>,
}

impl Service {
    pub async fn start(schedule: Schedule, settings: SqliteSettings, shared: Arc<Shared>) -> Self {
        let service = Self {
            schedule,
            settings,
            shared,
            pipeline: RefCell::default(),
            intakes: RefCell::default(),
            rewinds: Cell::new(0),
            starts: Cell::new(0),
        };
        service.begin().await;
        service
    }

    pub async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.settings).await.unwrap()
    }

    async fn begin(&self) {
        let store = self.open().await;
        let store = Arc::new(FaultyStore::new(store, self.shared.clone()));
        let pipeline = Arc::new(start(store, self.schedule, self.shared.clone()).await);
        *self.intakes.borrow_mut() = (0..SOURCES).map(|number| intake(&pipeline, number)).collect();
        *self.pipeline.borrow_mut() = Some(pipeline);
        self.starts.set(self.starts.get() + 1);
    }

    pub fn pipeline(&self) -> Arc<Pipeline> {
        self.pipeline
            .borrow()
            .clone()
            .expect("nobody asks between two lives")
    }

    pub fn intake(&self, source: u32) -> Intake {
        self.intakes.borrow()[source as usize].clone()
    }

    /// Nobody else may hold the pipeline.
    pub fn take(&self) -> Pipeline {
        let rewinds = self.rewinds();
        let pipeline = self.pipeline.borrow_mut().take().expect("it has begun");
        self.rewinds.set(rewinds);
        Arc::into_inner(pipeline).expect("nobody else holds the pipeline")
    }

    /// Ends without a drain.
    pub async fn end(&self) {
        let pipeline = self.take();
        assert!(pipeline.stop(Duration::from_secs(60)).await, "it ends");
    }

    /// Another program's connection to the database.
    pub async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(&self.settings.path);
        let patient = options.busy_timeout(Duration::from_secs(60));
        patient.connect().await.unwrap()
    }

    /// Does something to the database behind the service's back.
    pub async fn sql(&self, statement: &'static str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn restart(&self) {
        self.end().await;
        self.begin().await;
    }

    /// Ends, and begins again with a database to which something was done meanwhile.
    pub async fn restart_after(&self, statement: &'static str) {
        self.end().await;
        self.sql(statement).await;
        self.begin().await;
    }

    pub fn rewinds(&self) -> u64 {
        let now = self
            .pipeline
            .borrow()
            .as_ref()
            .map_or(0, |pipeline| pipeline.metrics.rewinds());
        self.rewinds.get() + now
    }
}

/// What a source was told: for each (sensor, µs), the value that came first, and whether it was poison.
pub type Told = BTreeMap<(u32, i64), f64>;

/// A source of its own times: no two sources ever send the same time of the same sensor, so what must be stored is known.
pub struct Source<'s> {
    pub number: u32,
    service: &'s Service,
    rng: ChaCha8Rng,
    start: i64,
    step: i64,
    pub told: Told,
    /// What the database refused. It may be stored all the same: by an earlier attempt, whose answer was lost.
    pub refused: BTreeSet<(u32, i64)>,
    pub received: u64,
    pub undelivered: u64,
}

impl<'s> Source<'s> {
    pub fn new(number: u32, service: &'s Service, seed: u64, start: i64) -> Self {
        Self {
            number,
            service,
            rng: ChaCha8Rng::seed_from_u64(seed ^ (u64::from(number) << 32)),
            start,
            step: 0,
            told: Told::new(),
            refused: BTreeSet::new(),
            received: 0,
            undelivered: 0,
        }
    }

    /// One batch, sent until it is stored.
    pub async fn send(&mut self) {
        let readings: Vec<(u32, i64, f64)> = if self.rng.random_ratio(1, 30) {
            // More than one message can carry.
            let sensor = self.rng.random_range(0..SENSORS);
            (0..300).map(|_| self.next(sensor)).collect()
        } else {
            (0..self.rng.random_range(1..12))
                .map(|_| self.reading())
                .collect()
        };
        let mut payload = String::from("[");
        for (sensor, time, value) in &readings {
            if payload.len() > 1 {
                payload.push(',');
            }
            payload.push_str(&format!(
                r#"{{"sensor_id":"s{sensor}","metric":"m","value":{value},"timestamp":{time}}}"#
            ));
        }
        if self.rng.random_ratio(1, 10) {
            payload.push_str(r#",{"sensor_id":"s0","metric":"m","value":"broken"}"#);
        }
        payload.push(']');
        let receipt = loop {
            let intake = self.intake();
            let batch = intake.decode(Payload::plain(payload.as_bytes(), intake.now()));
            match intake.deliver(batch, payload.len(), Vec::new()).await.unwrap() {
                Delivery::Stored(receipt) => break receipt,
                Delivery::Undelivered => self.undelivered += 1,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        self.received += readings.len() as u64;
        let refused = receipt.refused.iter();
        let refused: BTreeSet<u32> = refused
            .filter(|refused| refused.reason == RejectReason::Refused)
            .map(|refused| refused.index)
            .collect();
        let refused: BTreeSet<(u32, i64)> = (0..)
            .zip(&readings)
            .filter(|(index, _)| refused.contains(index))
            .map(|(_, (sensor, time, _))| (*sensor, *time))
            .collect();
        for (sensor, time, value) in readings {
            // What was judged against a reading that was refused then is gone with it.
            if !refused.contains(&(sensor, time)) {
                self.told.entry((sensor, time)).or_insert(value);
            }
        }
        self.refused.extend(refused);
    }

    pub fn intake(&self) -> Intake {
        self.service.intake(self.number)
    }

    /// Mostly the next in time; now and then the same again, another value for the same time, an old one, or poison.
    fn reading(&mut self) -> (u32, i64, f64) {
        let sensor = self.rng.random_range(0..SENSORS);
        let known: Vec<((u32, i64), f64)> = if self.rng.random_ratio(1, 4) {
            self.told.iter().map(|(key, value)| (*key, *value)).collect()
        } else {
            Vec::new()
        };
        if let Some(((sensor, time), value)) = known.choose(&mut self.rng) {
            let value = if self.rng.random_ratio(1, 3) {
                value + 1.0
            } else {
                *value
            };
            return (*sensor, *time, value);
        }
        self.next(sensor)
    }

    fn next(&mut self, sensor: u32) -> (u32, i64, f64) {
        self.step += 1;
        let back = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(0..50),
            1 => self.rng.random_range(0..2_000),
            _ => 0,
        };
        let slot = (self.step * 4 - back).max(0);
        let time = self.start + (slot * i64::from(SOURCES) + i64::from(self.number)) * MILLIS;
        let value = match self.rng.random_range(0..100) {
            0 => POISON * 2.0,
            1 => REFUSED,
            n => f64::from(n) / 10.0,
        };
        (sensor, time, value)
    }
}

/// Restarts and commands at random.
pub async fn operate(service: &Service, until: tokio::sync::watch::Receiver<bool>) {
    let schedule = service.schedule;
    let mut rng = ChaCha8Rng::seed_from_u64(schedule.seed ^ 0xABCD);
    while !*until.borrow() {
        tokio::time::sleep(Duration::from_millis(rng.random_range(1..15))).await;
        if schedule.kill && rng.random_ratio(1, 20) {
            service.restart().await;
        }
        let pipeline = service.pipeline();
        let path = match rng.random_range(0..20) {
            0 => Some("storage/writer".to_owned()),
            1 => Some(format!("shards/{}", rng.random_range(0..pipeline.shards.len()))),
            _ => None,
        };
        match path {
            Some(path) => pipeline
                .tree
                .get(&ActorPath::new(path))
                .unwrap()
                .restart("operator", "at random"),
            None => {
                let id = format!("s{}", rng.random_range(0..SENSORS));
                let Some(info) = pipeline.rails.registry().sensor_named(&id) else {
                    continue;
                };
                let command = *Command::ALL.choose(&mut rng).unwrap();
                command_sensor(&pipeline, info.shard, info.key, command).await;
            }
        }
    }
}

pub async fn command_sensor(
    pipeline: &Pipeline,
    shard: u16,
    sensor: sensorhive::domain::SensorKey,
    command: Command,
) {
    let message = CommandSensor {
        sensor,
        command,
        by: "operator".into(),
        why: "at random".into(),
    };
    // A shard that is being restarted answers later or, if it is just ending, not at all.
    let _ = pipeline.shards[usize::from(shard)].send(message).await;
}

pub fn now() -> i64 {
    SystemClock.now().0
}
