//! A topic, instances that read it, and what a single one makes of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sensorhive::actors::batch::Delivery;
use sensorhive::actors::ingest::{Intake, IntakeSettings, Payload};
use sensorhive::actors::ownership::Ownership;
use sensorhive::actors::permits::Share;
use sensorhive::actors::query_cache;
use sensorhive::actors::registry::{Registry, RegistryLimits, Tenure};
use sensorhive::actors::shard::env::{Catalog, Mode, ShardSettings};
use sensorhive::actors::shard::messages::ListSensors;
use sensorhive::actors::storage::maintenance::Retention;
use sensorhive::actors::supervision::Policy;
use sensorhive::clock::SystemClock;
use sensorhive::core::{DetectorSpec, SeriesConfig, WindowSpec};
use sensorhive::decode::JsonMapping;
use sensorhive::decode::range::TimeRange;
use sensorhive::domain::{Anomaly, Home, SeriesId, SourceName, Timestamp, WindowResult};
use sensorhive::startup::pipeline::{Pipeline, PipelineSettings};
use sensorhive::storage::history::{Page, StoredPoint};
use sensorhive::storage::{
    Claimed, InstanceId, Position, PostgresSettings, PostgresStore, Scope, Store, Timescale,
};

use super::postgres_server::{Database, Flavor, Server};

pub const MILLIS: i64 = 1_000;
pub const PARTITIONS: usize = 4;
/// 2023-11-14.
const BEGIN: i64 = 1_700_000_000_000_000;

const EVER: Page = Page {
    from: Timestamp::MIN,
    to: Timestamp::MAX,
    limit: 1_000_000,
    newest_first: false,
};

/// `None` where there is no PostgreSQL.
pub async fn database() -> Option<Database> {
    Server::shared().await?.database(Flavor::Plain).await
}

pub fn source() -> SourceName {
    SourceName::parse("topic").unwrap()
}

pub fn name(partition: usize) -> String {
    format!("t/{partition}")
}

/// Messages by partition; a message's offset is its place.
#[derive(Default)]
pub struct Topic(pub RefCell<Vec<Vec<String>>>);

impl Topic {
    pub fn new() -> Rc<Self> {
        let topic = Self::default();
        topic.0.borrow_mut().resize_with(PARTITIONS, Vec::new);
        Rc::new(topic)
    }

    /// A message keyed by its sensor.
    pub fn send(&self, sensor: usize, index: i64) {
        self.send_to(sensor % PARTITIONS, &format!("s{sensor}"), index);
    }

    pub fn send_to(&self, partition: usize, sensor: &str, index: i64) {
        let time = BEGIN + index * 10 * MILLIS;
        // Jumps now and then.
        let value = (index % 7) as f64 + if index % 50 == 0 { 100.0 } else { 0.0 };
        let message =
            format!(r#"{{"sensor_id":"{sensor}","metric":"m","value":{value},"timestamp":{time}}}"#);
        self.0.borrow_mut()[partition].push(message);
    }

    pub fn end(&self, partition: usize) -> i64 {
        self.0.borrow()[partition].len() as i64
    }
}

struct Fixed(Arc<SeriesConfig>);

impl Catalog for Fixed {
    fn config(&self, _: SeriesId) -> Arc<SeriesConfig> {
        self.0.clone()
    }
}

/// One process, as far as the others can tell.
pub struct Instance {
    pub pipeline: Pipeline,
    pub ownership: Ownership,
    pub intake: Intake,
    pub topic: Rc<Topic>,
}

impl Instance {
    /// Series are idle after `idle_after` µs.
    pub async fn start(database: &Database, name: &str, topic: &Rc<Topic>, idle_after: i64) -> Rc<Self> {
        let mut settings = PostgresSettings::from_url(database.url()).unwrap();
        (settings.timescale, settings.readers, settings.shared) = (Timescale::Off, 2, true);
        let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&settings).await.unwrap());
        let settings = PipelineSettings {
            instance: InstanceId(name.into()),
            shared: true,
            internal: SourceName::parse("internal").unwrap(),
            shards: 2,
            limits: RegistryLimits {
                sensors: 1_000,
                series_per_sensor: 10,
            },
            shard: ShardSettings {
                snapshot_tail: 25,
                snapshot_interval: Duration::from_millis(300),
                snapshot_bytes_per_second: 1 << 20,
                passivate_after: Duration::from_secs(600),
                held_readings: 16,
                load_readings: 64,
                drain_bytes: 1 << 10,
                policy: Arc::new(Policy::default()),
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
                life: 1_000_000,
            },
            policy: Policy::default(),
        };
        let config = Arc::new(SeriesConfig {
            windows: vec![WindowSpec::Tumbling { size: 100 * MILLIS }],
            lateness: 20 * MILLIS,
            idle_after,
            ring: 8,
            detectors: vec![DetectorSpec::Jump { threshold: 20.0 }],
            rules: Vec::new(),
        });
        let pipeline = Pipeline::start(
            store,
            Arc::new(SystemClock),
            settings,
            |_: Arc<Registry>| Arc::new(Fixed(config)) as Arc<dyn Catalog>,
            Arc::new(|fault| panic!("{fault}")),
        )
        .await
        .unwrap();
        let intake = IntakeSettings {
            share: Share {
                readings: 10_000,
                bytes: 1 << 22,
            },
            time_range: TimeRange::default(),
            batch_readings: 1_000,
            mapping: JsonMapping::default(),
        };
        Rc::new(Self {
            ownership: pipeline.ownership(),
            intake: Intake::new(source(), pipeline.rails.clone(), intake),
            pipeline,
            topic: topic.clone(),
        })
    }

    pub async fn claim(&self, partition: usize) -> Claimed {
        loop {
            match self
                .pipeline
                .store
                .claim_positions(&source(), &[name(partition)])
                .await
            {
                Ok(claimed) => return claimed[0],
                Err(error) => eprintln!("claiming again: {error}"),
            }
        }
    }

    /// As a member of a group is given a partition.
    pub async fn take(self: &Rc<Self>, partition: usize) -> Reader {
        let claimed = self.claim(partition).await;
        let tenures = self.ownership.assigned(&source(), &[name(partition)]).await;
        Reader::start(self.clone(), partition, claimed, tenures)
    }

    /// How many sensors are in memory, in whatever mode.
    pub async fn sensors(&self) -> usize {
        let mut count = 0;
        for shard in &self.pipeline.shards {
            let all = ListSensors {
                sensors: Vec::new(),
                limit: 10_000,
            };
            let sensors = shard.send(all).await.unwrap();
            count += sensors
                .iter()
                .filter(|sensor| sensor.mode != Mode::Passive)
                .count();
        }
        count
    }

    /// Nobody else may hold it.
    pub async fn end(self: Rc<Self>) {
        let instance = Rc::into_inner(self).expect("nobody else holds the instance");
        drop((instance.ownership, instance.intake));
        assert!(instance.pipeline.stop(Duration::from_secs(60)).await, "it ends");
    }

    /// Everything that is stored of every sensor, by its name.
    pub async fn stored(&self) -> BTreeMap<String, Stored> {
        let store = &self.pipeline.store;
        let (sensors, series) = store.load_registry(&Scope::All).await.unwrap();
        let mut all = BTreeMap::new();
        for sensor in sensors {
            let of_sensor: Vec<_> = series
                .iter()
                .filter(|series| series.sensor == sensor.key)
                .collect();
            assert_eq!(of_sensor.len(), 1, "{sensor:?}");
            let series = of_sensor[0].id;
            let ledger = store.sensor_ledger(sensor.key).await.unwrap().ledger;
            assert!(ledger.balances(), "{sensor:?}: {ledger:?}");
            let readings = store.readings(series, &EVER).await.unwrap();
            assert_eq!(ledger.stored, readings.len() as u64, "{sensor:?}");
            assert_eq!(
                (ledger.duplicate, ledger.rejected),
                (0, 0),
                "{sensor:?}: {ledger:?}"
            );
            let stored = Stored {
                home: sensor.home,
                unprocessed: ledger.unprocessed,
                readings,
                windows: store.windows(series, &EVER).await.unwrap(),
                anomalies: store.anomalies(&[series], &EVER).await.unwrap(),
            };
            all.insert(sensor.id.to_string(), stored);
        }
        all
    }
}

pub struct Stored {
    pub home: Option<Home>,
    pub unprocessed: u64,
    pub readings: Vec<StoredPoint>,
    pub windows: Vec<WindowResult>,
    pub anomalies: Vec<Anomaly>,
}

impl Stored {
    /// All of it without numbers, which differ from one database to another.
    pub fn plain(&self) -> (Vec<(i64, f64)>, Vec<String>, Vec<String>) {
        let readings = self.readings.iter().map(|point| (point.time.0, point.value));
        let window = |window: &WindowResult| {
            let mut window = *window;
            window.span.series = SeriesId(0);
            format!("{window:?}")
        };
        let anomaly = |anomaly: &Anomaly| {
            let mut anomaly = anomaly.clone();
            anomaly.series = SeriesId(0);
            format!("{anomaly:?}")
        };
        (
            readings.collect(),
            self.windows.iter().map(window).collect(),
            self.anomalies.iter().map(anomaly).collect(),
        )
    }
}

/// Reads one partition, for as long as it is told to.
pub struct Reader {
    pub partition: usize,
    pub instance: Rc<Instance>,
    pub tenures: Vec<Tenure>,
    stop: Rc<Cell<bool>>,
    undelivered: Rc<Cell<u64>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Reader {
    pub fn start(instance: Rc<Instance>, partition: usize, claimed: Claimed, tenures: Vec<Tenure>) -> Self {
        let (stop, undelivered) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        #[expect(
            clippy::disallowed_methods,
            reason = "it is waited for, and its panics with it"
        )]
        let spawn = tokio::task::spawn_local::<_>;
        let read = read(
            instance.clone(),
            partition,
            claimed,
            stop.clone(),
            undelivered.clone(),
        );
        Self {
            partition,
            instance,
            tenures,
            stop,
            undelivered,
            task: Some(spawn(read)),
        }
    }

    /// Returns when nothing is under way any more, with how often something was undelivered.
    pub async fn stop(mut self) -> u64 {
        self.stop.set(true);
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
        self.undelivered.get()
    }

    pub fn undelivered(&self) -> u64 {
        self.undelivered.get()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.set(true);
    }
}

async fn read(
    instance: Rc<Instance>,
    partition: usize,
    claimed: Claimed,
    stop: Rc<Cell<bool>>,
    undelivered: Rc<Cell<u64>>,
) {
    let home = Home::partition(&source(), &name(partition));
    let home = instance.intake.registry().home(&home);
    let mut next = claimed.offset.unwrap_or(0);
    while !stop.get() {
        let many = 1 + (next % 20) as usize;
        let messages: Vec<String> = {
            let topic = instance.topic.0.borrow();
            topic[partition]
                .iter()
                .skip(next as usize)
                .take(many)
                .cloned()
                .collect()
        };
        if messages.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        let mut filling = instance.intake.fill();
        filling.come_through(home);
        for message in &messages {
            filling.add(Payload::plain(message.as_bytes(), instance.intake.now()));
        }
        let after = next + messages.len() as i64;
        let position = Position {
            source: source(),
            partition: name(partition),
            offset: after,
            epoch: Some(claimed.epoch),
        };
        match instance
            .intake
            .deliver(filling.finish(), 100, vec![position])
            .await
            .unwrap()
        {
            Delivery::Stored(_) => next = after,
            Delivery::Undelivered => {
                undelivered.set(undelivered.get() + 1);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Waits until it holds.
pub async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..6_000 {
        if let Some(found) = holds().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come about: {what}");
}

/// Waits until everything that was sent is stored.
pub async fn all_stored(instance: &Instance) {
    for partition in 0..PARTITIONS {
        let end = instance.topic.end(partition);
        if end > 0 {
            until("all is stored", async || {
                let position = instance
                    .pipeline
                    .store
                    .position(&source(), &name(partition))
                    .await;
                (position.unwrap() == Some(end)).then_some(())
            })
            .await;
        }
    }
}

/// Runs on threads of actors and a server of its own; skipped where there is none.
pub fn with_postgres(test: impl AsyncFnOnce(Database)) {
    if std::env::var_os("RUST_LOG").is_some() {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .try_init();
    }
    actix::System::new().block_on(async {
        if let Some(database) = database().await {
            test(database).await;
        }
    });
}
