//! Connections: one that writes, several that read, each bounded in time.
//!
//! Invariants: a connection is taken out of its place while it works and put back only when it is known to be at rest,
//! so that one whose work was dropped half-way, or did not end in time, is closed, and the server undoes what it had
//! begun. Whoever writes has made sure that the server is not a standby. A session that lost its client ends by itself,
//! since it may hold what the next one waits for.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Postgres};
use tokio::sync::MutexGuard;

use super::PostgresSettings;
use super::fault::Fault;
use crate::storage::{ErrorClass, StoreError};

/// How long a query waits for a free reader.
const READER_WAIT: Duration = Duration::from_secs(10);

/// The servers of the cluster.
pub(super) struct Servers {
    options: Vec<PgConnectOptions>,
    timeout: Duration,
    /// Place of the one that took writes last.
    primary: AtomicUsize,
}

impl Servers {
    pub fn new(settings: &PostgresSettings) -> Self {
        let named = |options: &PgConnectOptions| {
            // Statements of thousands of rows have no place in a log.
            let options = options.clone().disable_statement_logging();
            match options.get_application_name() {
                Some(_) => options,
                None => options.application_name("sensorhive"),
            }
        };
        Self {
            options: settings.servers.iter().map(named).collect(),
            timeout: settings.connect_timeout,
            primary: AtomicUsize::new(0),
        }
    }

    /// How long a connection may take to come about, or a trifle to be answered.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Where the database is, without secrets.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self
            .options
            .iter()
            .map(|options| match options.get_socket() {
                Some(socket) => socket.display().to_string(),
                None => format!("{}:{}", options.get_host(), options.get_port()),
            })
            .collect();
        let database = self.options.first().and_then(PgConnectOptions::get_database);
        format!("{}/{}", hosts.join(","), database.unwrap_or_default())
    }

    fn are_several(&self) -> bool {
        self.options.len() > 1
    }

    /// Connects to the server that takes writes, beginning with the one that did so last.
    pub async fn connect(&self) -> Result<PgConnection, Fault> {
        let first = self.primary.load(Ordering::Relaxed);
        let mut why = Fault::found(ErrorClass::Unusable, "no server is named");
        for at in (0..self.options.len()).map(|step| (first + step) % self.options.len()) {
            match within(self.timeout, self.try_one(&self.options[at])).await {
                Ok(connection) => {
                    if at != first {
                        tracing::info!(
                            server = self.options[at].get_host(),
                            "another server takes writes now"
                        );
                    }
                    self.primary.store(at, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(fault) => why = fault,
            }
        }
        Err(why)
    }

    async fn try_one(&self, options: &PgConnectOptions) -> Result<PgConnection, Fault> {
        let mut connection = options.connect().await?;
        let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
            .fetch_one(&mut connection)
            .await?;
        if standby {
            return Err(Fault::Standby(options.get_host().to_owned()));
        }
        Ok(connection)
    }
}

/// The one connection that writes batches; opened anew after it was thrown away.
pub(super) struct Writer {
    slot: tokio::sync::Mutex<Option<PgConnection>>,
    /// How long the work of a transaction may take.
    pub limit: Duration,
    synchronous: bool,
}

/// A transaction on the writer's connection. Dropped, it closes the connection, which undoes it.
pub(super) struct Writing<'a> {
    slot: MutexGuard<'a, Option<PgConnection>>,
    connection: PgConnection,
    limit: Duration,
}

impl Writer {
    pub fn new(settings: &PostgresSettings) -> Self {
        Self {
            slot: tokio::sync::Mutex::new(None),
            limit: settings.write_timeout,
            synchronous: settings.synchronous,
        }
    }

    pub async fn begin(&self, servers: &Servers) -> Result<Writing<'_>, Fault> {
        let mut slot = self.slot.lock().await;
        // The server may have ended the old connection while nothing was to be written.
        let kept = match slot.take() {
            Some(mut connection) => within(servers.timeout, command(&mut connection, "BEGIN"))
                .await
                .is_ok()
                .then_some(connection),
            None => None,
        };
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let mut connection = servers.connect().await?;
                within(
                    servers.timeout,
                    prepare(&mut connection, self.limit, self.synchronous),
                )
                .await?;
                within(servers.timeout, command(&mut connection, "BEGIN")).await?;
                connection
            }
        };
        Ok(Writing {
            slot,
            connection,
            limit: self.limit,
        })
    }

    pub async fn close(&self) {
        if let Some(connection) = self.slot.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "a connection to the database could not be closed");
        }
    }
}

impl Writing<'_> {
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Commits where `result` is well, else rolls back.
    pub async fn finish<T>(mut self, what: &str, result: Result<T, Fault>) -> Result<T, StoreError> {
        match result {
            Ok(value) => match within(self.limit, command(&mut self.connection, "COMMIT")).await {
                Ok(()) => {
                    *self.slot = Some(self.connection);
                    Ok(value)
                }
                Err(fault) => Err(fault.of_commit(what)),
            },
            Err(fault) => self.undo(what, Err(fault)).await,
        }
    }

    /// Rolls back, whatever `result` is.
    pub async fn undo<T>(mut self, what: &str, result: Result<T, Fault>) -> Result<T, StoreError> {
        let usable = match &result {
            Ok(_) => true,
            Err(fault) => fault.leaves_connection_usable(),
        };
        if usable
            && within(self.limit, command(&mut self.connection, "ROLLBACK"))
                .await
                .is_ok()
        {
            *self.slot = Some(self.connection);
        }
        result.map_err(|fault| fault.during(what))
    }
}

/// A session that writes: what bounds it should we vanish, and what makes a commit safe. Each statement is planned for the rows that
/// it brings, which may be one or tens of thousands.
async fn prepare(connection: &mut PgConnection, limit: Duration, synchronous: bool) -> Result<(), Fault> {
    let limit = limit.as_millis();
    // A server may be set to something stronger than `on`, which stays.
    let synchronous = match synchronous {
        true => {
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        }
        false => "SET synchronous_commit = off",
    };
    let settings = format!(
        "SET statement_timeout = {limit}; SET lock_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit};
         SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
         SET client_connection_check_interval = 1000; SET jit = off; SET plan_cache_mode = force_custom_plan;
         {synchronous};
         SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', false)
         FROM pg_extension WHERE extname = 'timescaledb'"
    );
    connection.execute(AssertSqlSafe(settings)).await?;
    Ok(())
}

/// Connections for reading, and for what little is written beside the batches.
pub(super) struct Readers {
    pool: Mutex<(usize, PgPool)>,
    most: u32,
    query_timeout: Duration,
    taken: AtomicU64,
}

impl Readers {
    pub fn new(servers: &Servers, settings: &PostgresSettings) -> Self {
        let primary = servers.primary.load(Ordering::Relaxed);
        let (most, query_timeout) = (settings.readers.max(1), settings.query_timeout);
        Self {
            pool: Mutex::new((primary, pool(&servers.options[primary], most, query_timeout))),
            most,
            query_timeout,
            taken: AtomicU64::new(0),
        }
    }

    /// A connection whose every query is limited in time.
    pub async fn take(&self, servers: &Servers) -> Result<Reader, Fault> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        if servers.are_several() {
            // Whoever only reads would never learn from the writer that another one is the primary now.
            match within(servers.timeout, self.current(servers).acquire()).await {
                Ok(connection) => return Ok(Reader(Some(connection))),
                Err(_) => drop(servers.connect().await?),
            }
        }
        let connection = self.current(servers).acquire().await?;
        Ok(Reader(Some(connection)))
    }

    /// How often one was taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// How long to wait for the answer to a query: a little longer than the server lets it run.
    pub fn patience(&self) -> Duration {
        self.query_timeout + Duration::from_secs(2)
    }

    /// How long a question may take.
    pub fn query_timeout(&self) -> Duration {
        self.query_timeout
    }

    pub async fn close(&self) {
        let pool = self.pool.lock().1.clone();
        pool.close().await;
    }

    /// The pool of the server that takes writes: another one may answer from the past.
    fn current(&self, servers: &Servers) -> PgPool {
        let primary = servers.primary.load(Ordering::Relaxed);
        let mut pool_of = self.pool.lock();
        if pool_of.0 != primary {
            *pool_of = (
                primary,
                pool(&servers.options[primary], self.most, self.query_timeout),
            );
        }
        pool_of.1.clone()
    }
}

fn pool(options: &PgConnectOptions, most: u32, query_timeout: Duration) -> PgPool {
    // Should we vanish or stand still amid a transaction, what it has locked is free after a while.
    // A plan that is kept does not know which partitions the next question is about, nor that an empty one has filled since.
    let limit = query_timeout.as_millis();
    let settings = format!(
        "SET statement_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit};
         SET default_transaction_read_only = on; SET jit = off; SET plan_cache_mode = force_custom_plan;
         SET client_connection_check_interval = 1000; SET tcp_keepalives_idle = 30"
    );
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(READER_WAIT)
        .after_connect(move |connection, _| {
            let settings = AssertSqlSafe(settings.clone());
            Box::pin(async move {
                connection.execute(settings).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.clone())
}

/// A connection from the pool. It goes back there by [`Reader::finish`]; dropped before, it is closed, and the server ends
/// whatever it was doing for us.
pub(super) struct Reader(Option<PoolConnection<Postgres>>);

impl Reader {
    pub fn connection(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Some(connection) => connection,
            None => unreachable!("it is taken out at the end alone"),
        }
    }

    /// Gives it back where `result` is well or leaves it usable, with any transaction ended.
    pub async fn finish<T>(mut self, result: Result<T, Fault>, transaction: bool) -> Result<T, Fault> {
        let usable = match &result {
            Ok(_) => true,
            Err(fault) => fault.leaves_connection_usable(),
        };
        if usable {
            let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
            let ended = match transaction {
                true => command(self.connection(), end).await,
                false => Ok(()),
            };
            match (result, ended) {
                (result, Ok(())) => {
                    drop(self.0.take());
                    return result;
                }
                (Ok(_), Err(fault)) => return Err(fault),
                (result, Err(_)) => return result,
            }
        }
        result
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

pub(super) async fn command(connection: &mut PgConnection, sql: &'static str) -> Result<(), Fault> {
    sqlx::raw_sql(sql).execute(connection).await?;
    Ok(())
}

/// `work`, unless it takes longer than `limit`.
pub(super) async fn within<T, F>(
    limit: Duration,
    work: impl Future<Output = Result<T, F>>,
) -> Result<T, Fault>
where
    Fault: From<F>,
{
    match tokio::time::timeout(limit, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Fault::NoAnswer),
    }
}
