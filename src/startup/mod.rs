//! Builds the service, wires it, and takes it down again.
//!
//! Start: address, store, pipeline, sources, web server. Drain, the other way: requests under way are answered, sources stop,
//! what is on its way is committed with a snapshot of every sensor, the store closes. Invariant: a start that fails leaves
//! nothing behind but the database; the address is bound before that is opened. One service at a time runs on a database, or
//! several that say so.

pub mod alerting;
pub mod catalog;
mod file;
mod http_poll;
pub mod kafka;
mod listener;
pub mod live;
mod mqtt;
mod outputs;
pub mod pipeline;
mod plan;
pub mod receivers;
mod redis;
mod sources;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use secrecy::SecretString;
use tokio::sync::mpsc;

use self::catalog::SettingsCatalog;
pub use self::kafka::KafkaSetupError;
pub use self::listener::ListenerError;
use self::pipeline::Pipeline;
use crate::actors::ingest::{HttpIngest, Intake, SourceCommand, SourceState};
use crate::actors::outputs::{OutputCommand, OutputState};
use crate::actors::storage::archivist::Archivist;
use crate::archive::{ArchiveError, Archiver, Objects};
use crate::clock::{Clock, SystemClock};
use crate::domain::SourceName;
use crate::machine::MachineError;
use crate::settings::{Settings, StorageUrl};
use crate::simulate::SimulatorError;
use crate::storage::postgres::SessionLock;
use crate::storage::sqlite::{ServiceLock, SqliteStore};
use crate::storage::{ErrorClass, InstanceId, PostgresSettings, PostgresStore, Store, StoreError, Wanted};
use crate::web::tokens::TokenError;
use crate::web::{self, Answers, AppState, ServeError, Shared, TokenService};

/// How long actors and store may take to end at least, whatever the drain took.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a server that cannot be reached at the start is waited for.
const SERVER_WAIT: Duration = Duration::from_secs(60);
const SERVER_PAUSE: Duration = Duration::from_secs(2);
/// How often the archive looks for days that are due.
const ARCHIVE_EVERY: Duration = Duration::from_secs(600);

/// Why the service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the first token could not be made: {0}")]
    Token(#[from] TokenError),
    #[error("the machine's figures cannot be read: {0}")]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Listener(#[from] ListenerError),
    #[error("source `{name}`: {error}")]
    Simulator { name: SourceName, error: SimulatorError },
    #[error("source `{name}`: {error}")]
    HttpPoll {
        name: SourceName,
        error: http_poll::HttpPollSetupError,
    },
    #[error("source `{name}`: {error}")]
    Redis {
        name: SourceName,
        error: redis::RedisSetupError,
    },
    #[error("source `{name}`: {error}")]
    Kafka {
        name: SourceName,
        error: KafkaSetupError,
    },
    #[error(transparent)]
    Receiver(receivers::ReceiverError),
    #[error("the pages behind links cannot be made: {0}")]
    Page(String),
    #[error("output `{name}`: {error}")]
    KafkaOutput {
        name: SourceName,
        error: KafkaSetupError,
    },
    #[error("output `{name}`: {error}")]
    RedisOutput {
        name: SourceName,
        error: redis::RedisSetupError,
    },
}

/// The service, running.
pub struct Service {
    pub address: SocketAddr,
    /// Where MQTT devices connect, if anywhere.
    pub mqtt_address: Option<SocketAddr>,
    /// Shown once: the token that was made because there was none.
    pub first_token: Option<SecretString>,
    pub state: Arc<AppState>,
    pub pipeline: Pipeline,
    server: ServerHandle,
    drain_timeout: Duration,
    faults: mpsc::UnboundedReceiver<String>,
    _lock: Lock,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything that had come in was stored.
    Drained,
    /// Time ran out before; what was not stored was not acknowledged.
    GaveUp,
}

impl Service {
    /// Starts everything; returns when requests are answered.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        let listener = web::bind(settings.http.listen)?;
        let mqtt = listener::prepare(settings)?;
        let instance = settings.storage.shared.then(|| plan::instance(settings));
        let lock = lock_database(settings, instance).await?;
        let store = open_store(settings).await?;
        tracing::info!(store = store.describe(), "the store is open");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let started_at = clock.now();
        let first_token = TokenService::ensure_first_admin(store.as_ref(), started_at).await?;
        let (report_fault, faults) = mpsc::unbounded_channel();
        let mut pipeline = Pipeline::start(
            store.clone(),
            clock,
            plan::pipeline(settings),
            |registry| Arc::new(SettingsCatalog::new(&settings.series, &settings.rules, registry)),
            Arc::new(move |fault| {
                // Nobody listens any more: the service is going down already.
                let _ = report_fault.send(fault);
            }),
        )
        .await?;

        let intakes = plan::intakes(settings);
        let pushed = Intake::new(plan::name("http"), pipeline.rails.clone(), intakes.clone());
        let ingest = HttpIngest::new(pushed, store.clone(), settings.http.request_timeout);
        let outputs = outputs::start(&mut pipeline, settings).await?;
        let alerting = alerting::start(&mut pipeline, settings).await?;
        let mut sources = sources::start(&mut pipeline, settings, &intakes)?;
        let tokens = Arc::new(TokenService::new(store.clone()));
        let mqtt_address = mqtt.as_ref().map(|mqtt| mqtt.address);
        sources.extend(mqtt.map(|mqtt| {
            let settings = &settings.mqtt_listener;
            listener::start(&mut pipeline, mqtt, settings, &intakes, tokens.clone())
        }));
        start_archive(&mut pipeline, settings);
        let live = live::start(&mut pipeline, &settings.live, started_at);
        let state = Arc::new(AppState {
            store,
            rails: pipeline.rails.clone(),
            shards: pipeline.shards.clone(),
            tree: pipeline.tree.clone(),
            latest: pipeline.latest.clone(),
            statistics: pipeline.statistics.clone(),
            metrics: pipeline.metrics.clone(),
            answers: Answers::new(pipeline.queries.clone()),
            ledger: Shared::default(),
            live,
            ingest: Arc::new(ingest),
            sources,
            outputs,
            alerting,
            tokens,
            started_at,
            shutting_down: Arc::new(AtomicBool::new(false)),
        });
        let (address, server) = web::serve(listener, &settings.http, state.clone())?;
        let handle = server.handle();
        #[expect(
            clippy::disallowed_methods,
            reason = "the server watches over its own workers"
        )]
        actix::spawn(server);
        let drain_timeout = settings.pipeline.drain_timeout;
        Ok(Self {
            address,
            mqtt_address,
            first_token,
            state,
            pipeline,
            server: handle,
            drain_timeout,
            faults,
            _lock: lock,
        })
    }

    /// Resolves when the service cannot go on, with the reason.
    pub async fn fault(&mut self) -> String {
        match self.faults.recv().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// Drains within the time allowed, and ends.
    pub async fn stop(self) -> Stopped {
        let began = Instant::now();
        tracing::info!("stopping: draining what is on its way");
        self.state.shutting_down.store(true, Ordering::Relaxed);
        let drain = async {
            let live = &self.state.live.live;
            live.sessions.stop(&live.metrics);
            self.server.stop(true).await;
            stop_sources(&self.state).await;
            self.pipeline.drain().await;
            stop_outputs(&self.state).await;
        };
        let stopped = match tokio::time::timeout(self.drain_timeout, drain).await {
            Ok(()) => Stopped::Drained,
            Err(_) => Stopped::GaveUp,
        };
        let left = match stopped {
            Stopped::Drained => self.drain_timeout.saturating_sub(began.elapsed()),
            // What kept the drain waiting, such as another program's lock, would keep this waiting, too.
            Stopped::GaveUp => Duration::ZERO,
        };
        if !self.pipeline.stop(left.max(END_TIMEOUT)).await {
            tracing::warn!("actors and store did not end in time");
        }
        tracing::info!(took = ?began.elapsed(), drained = stopped == Stopped::Drained, "stopped");
        stopped
    }
}

/// Begins to archive, where that is wanted.
fn start_archive(pipeline: &mut Pipeline, settings: &Settings) {
    let Some((location, limits)) = plan::archive(&settings.storage) else {
        return;
    };
    let archiver = Archiver::new(location, limits, pipeline.metrics.archive.clone());
    let archivist = Archivist {
        store: pipeline.store.clone(),
        clock: pipeline.rails.clock().clone(),
        archiver: Arc::new(archiver),
        queries: pipeline.queries.clone(),
        every: ARCHIVE_EVERY,
    };
    let arbiter = pipeline.arbiter();
    pipeline.supervise(&arbiter, "storage/archivist", "Archivist", move || archivist);
}

/// Opens the place of the archive that the settings name; `None` where they name none.
pub fn open_archive(settings: &Settings) -> Result<Option<Objects>, ArchiveError> {
    let location = plan::archive(&settings.storage).map(|(location, _)| location);
    location.map(|location| Objects::open(&location)).transpose()
}

/// Opens the database that the settings name, and brings it up to date.
pub async fn open_store(settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    let storage = &settings.storage;
    Ok(match &storage.url {
        StorageUrl::Sqlite(path) => {
            Arc::new(SqliteStore::open(&plan::sqlite(path, storage, outputs::wanted(settings))).await?)
        }
        StorageUrl::Postgres(url) => {
            Arc::new(PostgresStore::open(&plan::postgres(url, storage, outputs::wanted(settings))?).await?)
        }
    })
}

/// Keeps every other service off the database for as long as it lives.
pub enum Lock {
    File(ServiceLock),
    Session(SessionLock),
}

/// Keeps the database for ourselves, or, as `instance`, for us and others who say who they are. Fails with
/// [`ErrorClass::Unusable`] where somebody runs on it with whom it is not shared.
pub async fn lock_database(settings: &Settings, instance: Option<InstanceId>) -> Result<Lock, StoreError> {
    let storage = &settings.storage;
    Ok(match &storage.url {
        StorageUrl::Sqlite(path) => Lock::File(ServiceLock::take(path)?),
        StorageUrl::Postgres(url) => {
            let database = plan::postgres(url, storage, Wanted::default())?;
            Lock::Session(wait_for_server(&database, instance.as_ref()).await?)
        }
    })
}

/// A server that starts beside us, or is failing over, is waited for.
async fn wait_for_server(
    settings: &PostgresSettings,
    instance: Option<&InstanceId>,
) -> Result<SessionLock, StoreError> {
    let until = Instant::now() + SERVER_WAIT;
    loop {
        match SessionLock::take(settings, instance).await {
            Err(error) if error.class == ErrorClass::Transient && Instant::now() < until => {
                tracing::warn!(%error, "the database cannot be reached, trying again");
                tokio::time::sleep(SERVER_PAUSE).await;
            }
            taken => return taken,
        }
    }
}

/// Tells all sources to stop, and waits until what they have under way is stored.
async fn stop_sources(state: &AppState) {
    for (name, source) in &state.sources {
        while let Ok(status) = source.control.send(SourceCommand::Stop).await {
            if status.under_way == 0 {
                debug_assert_eq!(status.state, SourceState::Stopping);
                break;
            }
            tracing::debug!(
                source = name.as_str(),
                under_way = status.under_way,
                "waiting for a source"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Lets all outputs send what is left, which they may for a moment; the rest stays in the outbox.
async fn stop_outputs(state: &AppState) {
    for command in [OutputCommand::Stop, OutputCommand::Report] {
        for output in state.outputs.values() {
            while let Ok(status) = output.control.send(command).await {
                if command == OutputCommand::Stop || status.state == OutputState::Stopped {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// What is known of the sources, by name.
type Sources = BTreeMap<SourceName, web::SourceEntry>;
