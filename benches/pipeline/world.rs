//! The pipeline as the service runs it, with the default settings on two threads, and its intakes.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use sensorhive::actors::batch::Delivery;
use sensorhive::actors::ingest::{Intake, IntakeSettings, Payload};
use sensorhive::actors::permits::Share;
use sensorhive::actors::query_cache;
use sensorhive::actors::registry::{Registry, RegistryLimits};
use sensorhive::actors::shard::env::{Catalog, Mode, ShardSettings};
use sensorhive::actors::shard::messages::Status;
use sensorhive::actors::storage::maintenance::Retention;
use sensorhive::actors::supervision::Policy;
use sensorhive::clock::{Clock, SystemClock};
use sensorhive::core::{DetectorSpec, SeriesConfig};
use sensorhive::decode::JsonMapping;
use sensorhive::decode::range::TimeRange;
use sensorhive::domain::{SeriesId, SourceName, Timestamp};
use sensorhive::startup::pipeline::{Pipeline, PipelineSettings};
use sensorhive::storage::{InstanceId, Store};

pub const THREADS: u32 = 2;
/// Batches of a thousand readings that a source has under way at once: as many as its share permits.
const LANES: usize = 32;
const HOUR: i64 = 3_600_000_000;

struct Fixed(Arc<SeriesConfig>);

impl Catalog for Fixed {
    fn config(&self, _series: SeriesId) -> Arc<SeriesConfig> {
        self.0.clone()
    }
}

/// The default window and ring, jump and threshold.
fn config() -> SeriesConfig {
    SeriesConfig {
        detectors: vec![
            DetectorSpec::Jump { threshold: 5.0 },
            DetectorSpec::Threshold { above: 80.0 },
        ],
        ..SeriesConfig::default()
    }
}

pub async fn start(store: Arc<dyn Store>) -> Pipeline {
    let policy = Policy::default();
    let shards = THREADS as u16;
    let settings = PipelineSettings {
        instance: InstanceId("bench".into()),
        shared: false,
        internal: name("internal"),
        shards,
        limits: RegistryLimits {
            sensors: 1_000_000,
            series_per_sensor: 256,
        },
        shard: ShardSettings {
            snapshot_tail: 1_024,
            snapshot_interval: Duration::from_secs(60),
            snapshot_bytes_per_second: (4 << 20) / u64::from(shards),
            passivate_after: Duration::from_secs(600),
            held_readings: 4_096,
            load_readings: 200_000,
            drain_bytes: 4 << 20,
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
    let catalog = |_: Arc<Registry>| Arc::new(Fixed(Arc::new(config()))) as Arc<dyn Catalog>;
    let fault = Arc::new(|fault: String| panic!("the pipeline cannot go on: {fault}"));
    Pipeline::start(store, Arc::new(SystemClock), settings, catalog, fault)
        .await
        .unwrap()
}

pub async fn stop(pipeline: Pipeline) {
    assert!(
        pipeline.stop(Duration::from_secs(60)).await,
        "nothing keeps it waiting"
    );
}

pub fn name(name: &str) -> SourceName {
    SourceName::parse(name).unwrap()
}

pub fn intake(pipeline: &Pipeline, source: &str) -> Intake {
    intake_by(pipeline, source, JsonMapping::default())
}

pub fn intake_by(pipeline: &Pipeline, source: &str, mapping: JsonMapping) -> Intake {
    let settings = IntakeSettings {
        share: Share {
            readings: 33_000,
            bytes: 20 << 20,
        },
        time_range: TimeRange::default(),
        batch_readings: 10_000,
        mapping,
    };
    Intake::new(name(source), pipeline.rails.clone(), settings)
}

/// Sends the payloads, each source on a thread of its own, several under way at once, until all are stored.
pub fn send(sources: &[(Intake, Vec<String>)]) {
    std::thread::scope(|scope| {
        for (intake, payloads) in sources {
            scope.spawn(move || {
                let waiting = RefCell::new(payloads.iter());
                let lane = || async {
                    loop {
                        let next = waiting.borrow_mut().next();
                        let Some(payload) = next else { return };
                        store(intake, payload).await;
                    }
                };
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(futures_util::future::join_all((0..LANES).map(|_| lane())));
            });
        }
    });
}

/// Sends one payload and waits until it is stored.
pub async fn store(intake: &Intake, payload: &str) {
    let decode = || intake.decode(Payload::plain(payload.as_bytes(), intake.now()));
    let mut batch = decode();
    // Names that are new wait for their numbers.
    while batch.is_incomplete() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        batch = decode();
    }
    let delivery = intake.deliver(batch, payload.len(), Vec::new()).await.unwrap();
    assert!(matches!(delivery, Delivery::Stored(_)), "nothing fails here");
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// Some hours ago, so that a long run does not reach the future.
pub fn past() -> Timestamp {
    now().saturating_sub(20 * HOUR)
}

/// Sensors in memory, and how many of them run.
pub async fn running(pipeline: &Pipeline) -> (usize, usize) {
    let (mut all, mut running) = (0, 0);
    for shard in &pipeline.shards {
        let status = shard.send(Status).await.unwrap();
        for (mode, count) in status.sensors {
            all += count;
            if mode == Mode::Running {
                running += count;
            }
        }
    }
    (all, running)
}
