//! A pipeline whose clock is moved by hand, and whose sensors are missed when nothing was heard of them for a minute.

use std::sync::Arc;
use std::time::Duration;

use sensorhive::actors::ingest::{Intake, IntakeSettings};
use sensorhive::actors::permits::Share;
use sensorhive::actors::query_cache;
use sensorhive::actors::registry::{Registry, RegistryLimits};
use sensorhive::actors::shard::env::{Catalog, ShardSettings};
use sensorhive::actors::storage::maintenance::Retention;
use sensorhive::actors::supervision::Policy;
use sensorhive::clock::{Clock, ManualClock, SystemClock};
use sensorhive::core::{DetectorSpec, SeriesConfig};
use sensorhive::decode::JsonMapping;
use sensorhive::decode::range::TimeRange;
use sensorhive::domain::{Anomaly, Micros, SeriesId, SourceName, Timestamp};
use sensorhive::startup::pipeline::{Pipeline, PipelineSettings};
use sensorhive::storage::history::Page;
use sensorhive::storage::sqlite::{SqliteSettings, SqliteStore};
use sensorhive::storage::{InstanceId, Scope};

use crate::instance::until;

const SECOND: Micros = 1_000_000;
/// µs
pub const MINUTE: Micros = 60 * SECOND;

pub struct Ear {
    pub pipeline: Pipeline,
    pub source: SourceName,
    clock: Arc<ManualClock>,
    _directory: tempfile::TempDir,
}

struct Watched(Arc<SeriesConfig>);

impl Catalog for Watched {
    fn config(&self, _: SeriesId) -> Arc<SeriesConfig> {
        self.0.clone()
    }
}

impl Ear {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&SqliteSettings::new(directory.path().join("ear.db"))).await;
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let config = Arc::new(SeriesConfig {
            detectors: vec![DetectorSpec::Silence { after: MINUTE }],
            ..SeriesConfig::default()
        });
        let pipeline = Pipeline::start(
            Arc::new(store.unwrap()),
            clock.clone(),
            settings(),
            |_: Arc<Registry>| Arc::new(Watched(config)) as Arc<dyn Catalog>,
            Arc::new(|fault| panic!("{fault}")),
        );
        Self {
            pipeline: pipeline.await.unwrap(),
            source: SourceName::parse("plant").unwrap(),
            clock,
            _directory: directory,
        }
    }

    pub fn intake(&self) -> Intake {
        let settings = IntakeSettings {
            share: Share {
                readings: 1_000,
                bytes: 1 << 20,
            },
            time_range: TimeRange::default(),
            batch_readings: 100,
            mapping: JsonMapping::default(),
        };
        Intake::new(self.source.clone(), self.pipeline.rails.clone(), settings)
    }

    /// A reading of the time that it is.
    pub fn reading(&self, value: u32) -> String {
        let time = self.clock.now().0 / 1_000;
        serde_json::json!({"sensor_id": "s", "metric": "m", "value": value, "timestamp": time}).to_string()
    }

    pub async fn stored(&self, readings: u64) {
        until("readings to be stored", async || {
            (self.pipeline.statistics.summary(self.clock.now()).total_events >= readings).then_some(())
        })
        .await;
    }

    pub async fn deaf(&self, deaf: bool) {
        until("the source to hear, or not to", async || {
            (self.pipeline.rails.is_deaf(&self.source) == deaf).then_some(())
        })
        .await;
    }

    /// Lets time pass, and says how much of it counts.
    pub fn pass(&self, time: Micros) -> Micros {
        let before = self.pipeline.rails.tick().active;
        for _ in 0..time / SECOND {
            self.clock.advance(SECOND);
            self.pipeline.rails.tick();
        }
        self.pipeline.rails.tick().active - before
    }

    pub async fn silences(&self) -> Vec<Anomaly> {
        self.pipeline.settle().await;
        let store = &self.pipeline.store;
        let (_, series) = store.load_registry(&Scope::All).await.unwrap();
        let series: Vec<SeriesId> = series.iter().map(|series| series.id).collect();
        let ever = Page {
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            limit: 100,
            newest_first: false,
        };
        store.anomalies(&series, &ever).await.unwrap()
    }

    /// Until the sensor was missed so often.
    pub async fn missed(&self, times: usize) {
        until("the sensor to be missed", async || {
            (self.silences().await.len() == times).then_some(())
        })
        .await;
    }

    pub async fn end(self) {
        assert!(self.pipeline.stop(Duration::from_secs(60)).await, "it ends");
    }
}

fn settings() -> PipelineSettings {
    PipelineSettings {
        instance: InstanceId("ear".into()),
        shared: false,
        internal: SourceName::parse("internal").unwrap(),
        shards: 1,
        limits: RegistryLimits {
            sensors: 10,
            series_per_sensor: 10,
        },
        shard: ShardSettings {
            snapshot_tail: 1_000,
            snapshot_interval: Duration::from_secs(60),
            snapshot_bytes_per_second: 1 << 20,
            passivate_after: Duration::from_secs(86_400),
            held_readings: 100,
            load_readings: 1_000,
            drain_bytes: 1 << 20,
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
            bytes: 1 << 20,
            life: SECOND,
        },
        policy: Policy::default(),
    }
}
