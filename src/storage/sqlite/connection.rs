//! Opening the file: directories, pragmas, migrations, one writer, several readers.
//!
//! Invariants: only the writer's connection ever writes, under a mutex; readers are `query_only`. No lock is held
//! between transactions, so that a killed process leaves none behind. A connection whose state is in doubt is
//! thrown away.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::migrate::MigrateError;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite, Transaction};

use super::fault::Fault;
use crate::storage::{ErrorClass, StoreError, Wanted};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Bytes a page of a new file.
const PAGE: u64 = 4096;
/// Prepared statements kept a connection: every multi-row statement in every size.
const STATEMENTS: usize = 256;
/// Rows that a query may have ready before they are taken.
const ROWS_AHEAD: usize = 1024;
/// How long a query waits for a free reader.
const READER_WAIT: Duration = Duration::from_secs(10);
/// Virtual machine instructions between two looks at the clock: some tens of microseconds.
const INSTRUCTIONS_BETWEEN_LOOKS: i32 = 10_000;

/// When a commit is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Against power loss too.
    #[default]
    Full,
    /// Against a crash of the process; a power loss may take the last commits, never the consistency.
    Normal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSettings {
    pub path: PathBuf,
    pub synchronous: Synchronous,
    /// Connections for reading.
    pub readers: u32,
    /// How long a transaction waits for another process's lock before it fails as transient.
    pub busy_timeout: Duration,
    /// How long a query for history may take.
    pub query_timeout: Duration,
    /// The most bytes that the file may grow to, beside its log; past it, commits fail as on a full disk.
    pub max_size: Option<u64>,
    /// What is put into the outbox.
    pub outbox: Wanted,
}

impl SqliteSettings {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            synchronous: Synchronous::Full,
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            query_timeout: Duration::from_secs(10),
            max_size: None,
            outbox: Wanted::default(),
        }
    }

    /// Takes `sqlite:path` or `sqlite://path`. `None` where it is neither, or names no file.
    pub fn from_url(url: &str) -> Option<Self> {
        let path = url.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        (!path.is_empty() && path != ":memory:").then(|| Self::new(path))
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(self.busy_timeout)
            .statement_cache_capacity(STATEMENTS)
            .row_buffer_size(ROWS_AHEAD)
            // No mmap: a disk that fails would then end the process by a signal instead of an error.
            // Statements of thousands of rows have no place in a log.
            .disable_statement_logging()
    }

    fn writer_options(&self) -> SqliteConnectOptions {
        let options = match self.max_size {
            Some(bytes) => self
                .options()
                .pragma("max_page_count", (bytes / PAGE).max(1).to_string()),
            None => self.options(),
        };
        options
            .create_if_missing(true)
            .page_size(PAGE as u32)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match self.synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            })
            .pragma("cache_size", "-65536")
            // 64 MiB: few checkpoints under load, and a file that is cut back after a burst.
            .pragma("wal_autocheckpoint", "16384")
            .pragma("journal_size_limit", "67108864")
    }

    fn reader_options(&self) -> SqliteConnectOptions {
        self.options()
            .pragma("query_only", "ON")
            .pragma("cache_size", "-16384")
    }
}

/// The one connection that writes; opened anew after it was thrown away.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
}

impl Writer {
    /// Begins a transaction that holds the write lock from the start.
    pub async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, Fault> {
        // A transaction that was dropped half-way is rolled back by now, unless that failed.
        let stuck = match &mut self.connection {
            Some(connection) => connection.ping().await.is_err() || connection.is_in_transaction(),
            None => false,
        };
        if stuck {
            self.discard().await;
        }
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await?);
        }
        match &mut self.connection {
            Some(connection) => Ok(connection.begin_with("BEGIN IMMEDIATE").await?),
            None => Err(sqlx::Error::WorkerCrashed.into()),
        }
    }

    /// Closes the connection, which rolls back whatever is open on it.
    pub async fn discard(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "a connection to the database could not be closed");
        }
    }
}

/// Commits `transaction` where `result` is well, else rolls it back. The second value says whether the connection
/// is sound; one that is not must be thrown away.
pub(super) async fn finish<T>(
    transaction: Transaction<'_, Sqlite>,
    result: Result<T, Fault>,
    what: &str,
) -> (Result<T, StoreError>, bool) {
    match result {
        Ok(value) => match transaction.commit().await {
            Ok(()) => (Ok(value), true),
            Err(error) => (Err(Fault::of_commit(error, what)), false),
        },
        // SQLite ends some failed transactions by itself; the rollback then fails, and the connection goes.
        Err(fault) => {
            let sound = transaction.rollback().await.is_ok();
            (Err(fault.during(what)), sound)
        }
    }
}

/// Connections for reading, each query bounded in time.
pub(super) struct Readers {
    pool: SqlitePool,
    taken: AtomicU64,
}

impl Readers {
    /// A connection whose queries are interrupted after `limit`, where there is one.
    pub async fn take(&self, limit: Option<Duration>) -> Result<PoolConnection<Sqlite>, Fault> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let mut connection = self.pool.acquire().await?;
        let mut handle = connection.lock_handle().await?;
        match limit {
            // The handler also ends a query whose asker has gone.
            Some(limit) => {
                let deadline = Instant::now() + limit;
                handle.set_progress_handler(INSTRUCTIONS_BETWEEN_LOOKS, move || Instant::now() < deadline);
            }
            None => handle.remove_progress_handler(),
        }
        drop(handle);
        Ok(connection)
    }

    /// How often one was taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// A transaction that sees one commit and is not limited in time.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Fault> {
        let connection = self.take(None).await?;
        Ok(Transaction::begin(connection, None).await?)
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Opens the database, making directory and file where they are missing, and brings its tables up to date.
pub(super) async fn open(settings: &SqliteSettings) -> Result<(Writer, Readers), StoreError> {
    let what = || format!("opening {}", settings.path.display());
    if let Some(directory) = settings.path.parent().filter(|path| *path != Path::new("")) {
        std::fs::create_dir_all(directory)
            .map_err(|error| Fault::found(ErrorClass::Unusable, error).while_opening(what()))?;
    }
    let mut writer = Writer {
        options: settings.writer_options(),
        connection: None,
    };
    if let Err(fault) = migrate(&mut writer).await {
        writer.discard().await;
        return Err(fault.while_opening(what()));
    }
    let pool = SqlitePoolOptions::new()
        .max_connections(settings.readers.max(1))
        .acquire_timeout(READER_WAIT)
        .test_before_acquire(false)
        .connect_lazy_with(settings.reader_options());
    let taken = AtomicU64::new(0);
    Ok((writer, Readers { pool, taken }))
}

/// All migrations in one transaction: two processes that start at once do not meet half-way.
async fn migrate(writer: &mut Writer) -> Result<(), Fault> {
    let mut transaction = writer.begin().await?;
    MIGRATIONS
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Fault::Sql(error),
            MigrateError::VersionMissing(version) => Fault::found(
                ErrorClass::TooNew,
                format!("the database is at version {version}, newer than this program: run the newer one"),
            ),
            error => Fault::found(ErrorClass::Unusable, error),
        })?;
    transaction.commit().await?;
    Ok(())
}
