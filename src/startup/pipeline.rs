//! The pipeline: dispatcher, shards, writer and maintenance, laid out over threads and wired.
//!
//! Start order: what is written to first, what writes last; the drain goes the other way. Invariants: a pipeline that was drained
//! has committed everything that was dispatched, and a snapshot of every sensor that changed; one that was stopped in time has
//! written its journal. Whoever stops it says how long that may take.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use rustc_hash::FxHashMap;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::actors::Rails;
use crate::actors::dispatcher::{Dispatcher, NUMBER_BLOCK, ShardQueue};
use crate::actors::hub::Live;
use crate::actors::journal::{Journal, SensorObserver, TreeObserver};
use crate::actors::latest::{Latest, LatestValue};
use crate::actors::ownership::Ownership;
use crate::actors::query_cache::{self, QueryCache};
use crate::actors::registry::{FIRST_NUMBERS, Registry, RegistryLimits};
use crate::actors::shard::env::{Catalog, ShardParts, ShardSettings};
use crate::actors::shard::messages::{Queue, SnapshotSome};
use crate::actors::shard::{ShardSupervisor, ShardWork};
use crate::actors::statistics::Statistics;
use crate::actors::storage::maintenance::{self, Maintenance, Retention};
use crate::actors::storage::progress::{self, Progress};
use crate::actors::storage::writer::{Fault, StorageWriter, WriterParts, WriterQueue};
use crate::actors::supervision::{
    self, ActorPath, ActorSpec, Exhausted, Handle, Policy, RestartObserver, SupervisionTree,
};
use crate::clock::Clock;
use crate::domain::{Home, SeriesId, SourceName};
use crate::metrics::Metrics;
use crate::storage::{InstanceId, Scope, Store, StoreError};

/// How often readings are rolled up.
const MAINTENANCE_EVERY: Duration = Duration::from_secs(60);
/// How often maintenance looks for what has expired.
const EXPIRY_EVERY: Duration = Duration::from_secs(600);

/// Sensors whose newest values are read at once.
const FILL_SENSORS: usize = 500;

#[derive(Debug, Clone)]
pub struct PipelineSettings {
    pub instance: InstanceId,
    /// Whether there may be other instances on the same database.
    pub shared: bool,
    /// Name of internal batches.
    pub internal: SourceName,
    pub shards: u16,
    pub limits: RegistryLimits,
    pub shard: ShardSettings,
    pub retention: Retention,
    pub query_cache: query_cache::Limits,
    /// Policy of the long-lived actors; they never give up.
    pub policy: Policy,
}

/// Everything between sources and store, running.
pub struct Pipeline {
    pub store: Arc<dyn Store>,
    pub rails: Arc<Rails>,
    pub shards: Vec<Addr<ShardSupervisor>>,
    pub tree: SupervisionTree,
    pub latest: Arc<Latest>,
    pub statistics: Arc<Statistics>,
    pub metrics: Arc<Metrics>,
    pub queries: Arc<QueryCache>,
    pub live: Arc<Live>,
    pub journal: Journal,
    pub observer: Arc<dyn RestartObserver>,
    policy: Arc<Policy>,
    progress: watch::Receiver<Progress>,
    handles: Vec<Arc<Handle>>,
    /// An actor whose address nobody holds would end where it should restart.
    addresses: Vec<Box<dyn Any + Send + Sync>>,
    arbiters: Vec<Arbiter>,
}

impl Pipeline {
    /// Starts it on threads of its own. `catalog` is made from the registry that is read from the store.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: PipelineSettings,
        catalog: impl FnOnce(Arc<Registry>) -> Arc<dyn Catalog>,
        fault: Fault,
    ) -> Result<Self, StoreError> {
        supervision::install_panic_hook();
        let claimed = store.claim_writer(&settings.instance).await?;
        let first = store.reserve_batches(NUMBER_BLOCK).await?;
        let (sensors, series) = store.load_registry(&Scope::All).await?;
        let numbers = store.reserve_numbers(FIRST_NUMBERS).await?;
        let total = store.ledger_total().await?.stored;

        let registry = Arc::new(Registry::new(settings.limits, settings.shards, sensors, series));
        registry.add_numbers(numbers);
        if settings.shared {
            registry.share();
            registry.own(&[registry.home(&Home::instance(&settings.instance.0))]);
        }
        let catalog = catalog(registry.clone());
        let metrics = Arc::new(Metrics::default());
        let live = Live::new(settings.shards, registry.clone(), metrics.live.clone());
        let live = Arc::new(live);
        let (journal, write_journal) = Journal::new(store.clone(), Some(live.clone()));
        let observer: Arc<dyn RestartObserver> = Arc::new(TreeObserver {
            journal: journal.clone(),
            metrics: metrics.clone(),
        });
        let queries = QueryCache::new(settings.query_cache, registry.clone(), metrics.clone());
        let queries = Arc::new(queries);
        let (progress_tx, progress) = watch::channel(Progress::default());
        let rails = Arc::new(Dispatcher::new(
            registry,
            clock.clone(),
            first,
            claimed.active,
            settings.internal,
        ));
        let mut pipeline = Self {
            store: store.clone(),
            rails: rails.clone(),
            shards: Vec::new(),
            tree: SupervisionTree::default(),
            latest: Arc::new(Latest::new(settings.shards)),
            statistics: Arc::new(Statistics::new(total)),
            metrics: metrics.clone(),
            queries: queries.clone(),
            live: live.clone(),
            journal,
            observer,
            policy: Arc::new(Policy {
                exhausted: Exhausted::KeepTrying,
                ..settings.policy
            }),
            progress,
            handles: Vec::new(),
            addresses: Vec::new(),
            arbiters: Vec::new(),
        };

        let storage = pipeline.arbiter();
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the last journal and contains its errors"
        )]
        storage.spawn(write_journal);
        let parts = WriterParts {
            store: store.clone(),
            instance: settings.instance,
            dispatcher: rails.clone(),
            catalog: catalog.clone(),
            progress: Arc::new(progress_tx),
            statistics: pipeline.statistics.clone(),
            metrics,
            queries: queries.clone(),
            live,
            fault,
        };
        let (writer, _) = pipeline.supervise(&storage, "storage/writer", "StorageWriter", move || {
            StorageWriter::new(parts, claimed.last_batch)
        });
        let retention = settings.retention;
        let (registry, statistics) = (rails.registry().clone(), pipeline.statistics.clone());
        pipeline.supervise(&storage, "storage/maintenance", "Maintenance", move || {
            Maintenance {
                store,
                clock,
                queries,
                retention,
                registry,
                statistics,
                every: MAINTENANCE_EVERY,
                expire_every: EXPIRY_EVERY,
                state: maintenance::Progress::default(),
            }
        });
        let queues = pipeline.start_shards(settings.shards, &settings.shard, &catalog);
        rails.connect(Arc::new(WriterQueue(writer)), queues);
        let fill = fill_latest(
            pipeline.store.clone(),
            rails.registry().clone(),
            pipeline.latest.clone(),
        );
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends by itself and contains its errors"
        )]
        storage.spawn(fill);
        Ok(pipeline)
    }

    /// A thread for actors, which ends with the pipeline.
    pub fn arbiter(&mut self) -> ArbiterHandle {
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        self.arbiters.push(arbiter);
        handle
    }

    /// Starts a long-lived actor and puts it into the tree.
    pub fn supervise<A: supervision::Supervise>(
        &mut self,
        arbiter: &ArbiterHandle,
        path: &str,
        kind: &'static str,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> (Addr<A>, Arc<Handle>) {
        let spec = ActorSpec::new(ActorPath::new(path))
            .policy(self.policy.clone())
            .observer(self.observer.clone());
        let (address, handle) = supervision::start_in_arbiter(arbiter, spec, |_, _| make());
        self.tree.register(kind, &handle);
        self.handles.push(handle.clone());
        self.addresses.push(Box::new(address.clone()));
        (address, handle)
    }

    fn start_shards(
        &mut self,
        shards: u16,
        settings: &ShardSettings,
        catalog: &Arc<dyn Catalog>,
    ) -> Vec<Box<dyn ShardQueue<ShardWork>>> {
        let sensors: Arc<dyn RestartObserver> = Arc::new(SensorObserver(self.metrics.clone()));
        let mut queues: Vec<Box<dyn ShardQueue<ShardWork>>> = Vec::new();
        for shard in 0..shards {
            let parts = ShardParts {
                shard,
                dispatcher: self.rails.clone(),
                store: self.store.clone(),
                catalog: catalog.clone(),
                settings: settings.clone(),
                progress: self.progress.clone(),
                metrics: self.metrics.clone(),
                latest: self.latest.clone(),
                live: self.live.clone(),
                journal: self.journal.clone(),
                observer: sensors.clone(),
            };
            let arbiter = self.arbiter();
            let path = format!("shards/{shard}");
            let (address, _) =
                self.supervise(&arbiter, &path, "ShardSupervisor", || ShardSupervisor::new(parts));
            self.shards.push(address.clone());
            queues.push(Box::new(Queue(address)));
        }
        queues
    }

    /// Waits until everything that was dispatched so far has committed.
    pub async fn settle(&self) {
        progress::settled(&self.rails, &self.progress).await;
    }

    /// Tells of every commit.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// For sources whose partitions come and go.
    pub fn ownership(&self) -> Ownership {
        Ownership {
            rails: self.rails.clone(),
            store: self.store.clone(),
            shards: self.shards.clone(),
            latest: self.latest.clone(),
            progress: self.progress.clone(),
        }
    }

    /// Commits what was dispatched and a snapshot of every sensor, some at a time. Sources must have stopped.
    pub async fn drain(&self) {
        loop {
            self.settle().await;
            let asked = self.shards.iter().map(|shard| shard.send(SnapshotSome));
            let more = futures_util::future::join_all(asked).await;
            // A shard that has ended has no sensors.
            if !more.into_iter().any(|more| more.unwrap_or(false)) {
                break;
            }
        }
        self.settle().await;
    }

    /// Ends all actors and threads, drained or not, and writes the journal, unless that takes longer than `within`: then it
    /// returns `false`, and what has not ended by itself ends with the process. What is not committed is undelivered.
    pub async fn stop(self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let end = async {
            for handle in self.handles.iter().rev() {
                handle.stop();
                handle.ended().await;
            }
            self.journal.flush().await;
        };
        let ended = timeout_at(deadline, end).await.is_ok();
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        let close = async {
            self.store.close().await;
            let (done, joined) = oneshot::channel();
            // Not one of the runtime's threads: it would wait for this one at its end.
            std::thread::spawn(move || {
                for arbiter in self.arbiters {
                    // A thread that panicked has ended, too.
                    let _ = arbiter.join();
                }
                let _ = done.send(());
            });
            let _ = joined.await;
        };
        ended & timeout_at(deadline, close).await.is_ok()
    }
}

/// Fills in the newest stored values, so that those of silent sensors are shown after a start. Live ones are newer and stay.
async fn fill_latest(store: Arc<dyn Store>, registry: Arc<Registry>, latest: Arc<Latest>) {
    let mut after = None;
    loop {
        let sensors = registry.list(after, FILL_SENSORS, |_, _| true);
        let Some(last) = sensors.last() else { return };
        after = Some(last.key);
        // Those of another instance are not heard here: what is shown of them is what is stored when it is asked for.
        let sensors: Vec<_> = sensors
            .into_iter()
            .filter(|sensor| registry.is_ours(sensor.key))
            .collect();
        let series: Vec<SeriesId> = sensors
            .iter()
            .flat_map(|sensor| sensor.series.iter().map(|(_, series)| *series))
            .collect();
        let stored = match store.latest(&series).await {
            Ok(stored) => stored.into_iter().collect::<FxHashMap<_, _>>(),
            Err(error) => {
                tracing::warn!(%error, "the newest stored values could not be read, they appear with the next reading");
                return;
            }
        };
        for sensor in &sensors {
            let values = sensor.series.iter().filter_map(|(_, series)| {
                let point = stored.get(series)?;
                let value = LatestValue {
                    sensor: sensor.key,
                    time: point.time,
                    value: point.value,
                };
                Some((*series, value))
            });
            latest.offer(sensor.shard, values);
        }
    }
}
