//! A PostgreSQL server to make databases on: shared by the tests of a binary, or private to one that breaks it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;

use super::installation::Installation;
use super::options::Options;
use super::process::Process;
use super::report;

/// How long a server may take to come up, or to go down, before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);
const ABSENT: &str = "PostgreSQL: not found; install postgresql";

/// A server that runs.
pub struct Server {
    /// Of a database that is there already.
    url: Url,
    version: String,
    timescale: Option<String>,
    pub(super) is_shared: bool,
}

enum Shared {
    Given(Server),
    Own(Private),
}

impl Server {
    /// The server that all tests of a binary share; it is not to be broken, and ours syncs nothing to disk. `None`,
    /// and a line that says so, where there is none.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Shared>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(async || {
            if let Ok(url) = std::env::var("SENSORHIVE_TEST_DATABASE_URL") {
                let url = url.parse().expect("SENSORHIVE_TEST_DATABASE_URL is not a URL");
                return Some(Shared::Given(Self::look(url, true).await));
            }
            let options = Options {
                settings: vec![("fsync", "off".into())],
                disk: None,
            };
            let mut own = Private::with(&options).await?;
            own.server.is_shared = true;
            Some(Shared::Own(own))
        });
        Some(match shared.await.as_ref()? {
            Shared::Given(server) => server,
            Shared::Own(private) => &private.server,
        })
    }

    /// A server of one's own.
    pub async fn private() -> Option<Private> {
        Private::with(&Options::default()).await
    }

    /// Such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The version of TimescaleDB that databases here can have.
    pub fn timescale(&self) -> Option<&str> {
        self.timescale.as_deref()
    }

    /// The URL of the database of that name.
    pub fn url(&self, database: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(database);
        url
    }

    /// A connection to a database that is not under test.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(self.url.as_str()).await.unwrap()
    }

    pub(super) fn administration(&self) -> &Url {
        &self.url
    }

    async fn look(url: Url, is_shared: bool) -> Self {
        let mut connection = match PgConnection::connect(url.as_str()).await {
            Ok(connection) => connection,
            Err(error) => panic!("the server for tests cannot be reached: {error}"),
        };
        let version: String = sqlx::query_scalar("SHOW server_version")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let timescale = sqlx::query_scalar(
            "SELECT default_version FROM pg_available_extensions
             WHERE name = 'timescaledb' AND current_setting('shared_preload_libraries') LIKE '%timescaledb%'",
        );
        let timescale = timescale.fetch_optional(&mut connection).await.unwrap();
        let _ = connection.close().await;
        Self {
            url,
            // What follows the first word names the distribution.
            version: version.split(' ').next().unwrap_or_default().to_owned(),
            timescale,
            is_shared,
        }
    }
}

/// A server that belongs to one test, to be broken. It ends with this value.
pub struct Private {
    server: Server,
    process: Process,
}

impl Private {
    /// `None`, and a line that says why, where there can be none.
    pub async fn with(options: &Options) -> Option<Self> {
        let Some(installation) = Installation::find() else {
            assert!(!report::everything_is_required(), "{ABSENT}");
            report::skipped(ABSENT);
            return None;
        };
        let process = match Process::create(installation, options) {
            Ok(process) => process,
            Err(reason) => {
                report::skipped(&reason);
                return None;
            }
        };
        let url: Url = format!("postgres://sensorhive@{}/postgres", process.address)
            .parse()
            .unwrap();
        process.spawn();
        answers(&process, &url).await;
        Some(Self {
            server: Server::look(url, false).await,
            process,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// A standby of this server, which waits for it with every commit from now on.
    pub async fn standby(&self) -> Self {
        let process = self.process.standby();
        let url: Url = format!("postgres://sensorhive@{}/postgres", process.address)
            .parse()
            .unwrap();
        process.spawn();
        answers(&process, &url).await;
        let mut connection = self.connect().await;
        for sql in [
            "ALTER SYSTEM SET synchronous_standby_names = 'standby'",
            "SELECT pg_reload_conf()",
        ] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        until("the standby to be waited for", &process, async || {
            let sync = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')",
            );
            sync.fetch_one(&mut self.connect().await).await.unwrap()
        })
        .await;
        Self {
            server: Server::look(url, false).await,
            process,
        }
    }

    /// Makes the standby that this is take writes, and wait for nobody.
    pub async fn promote(&self) {
        let mut connection = self.connect().await;
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote(wait_seconds => $1)")
            .bind(i32::try_from(PATIENCE.as_secs()).unwrap())
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert!(promoted, "the standby was not promoted: {}", self.log());
        for sql in [
            "ALTER SYSTEM RESET synchronous_standby_names",
            "SELECT pg_reload_conf()",
        ] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
    }

    /// SIGKILL to all of its processes at once. They are gone when this returns.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts it again on the same port and directory, after it was killed or stopped, or went down by itself. It
    /// takes connections when this returns.
    pub async fn start(&self) {
        self.process.spawn();
        answers(&self.process, &self.server.url).await;
    }

    /// A fast shutdown: open transactions are rolled back, connections are told, everything is written.
    pub async fn stop(&self) {
        self.process.signal(Signal::INT);
        until("the server to end", &self.process, async || {
            !self.process.is_alive()
        })
        .await;
        self.process.reap();
    }

    /// Whether it runs: it may also have gone down by itself.
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// SIGSTOP to all of its processes: connections stay, and nothing answers. All of them stand still when this
    /// returns.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// The server and its children; empty when it does not run.
    pub fn pids(&self) -> Vec<u32> {
        self.process.pids()
    }

    /// Where it and its log are.
    pub fn directory(&self) -> &Path {
        self.process.directory.path()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        self.process.directory.log()
    }

    /// Leaves that many bytes on the disk of its own.
    pub fn fill_disk(&self, left: u64) {
        self.process.directory.fill_disk(left);
    }

    /// Takes away what [`fill_disk`](Self::fill_disk) put there.
    pub fn empty_disk(&self) {
        self.process.directory.empty_disk();
    }
}

impl Deref for Private {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

async fn answers(process: &Process, url: &Url) {
    until("the server to answer", process, async || {
        assert!(
            process.is_alive(),
            "the server ended:\n{}",
            process.directory.log()
        );
        match PgConnection::connect(url.as_str()).await {
            Ok(connection) => connection.close().await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
}

async fn until(what: &str, process: &Process, is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, asking).await.is_err() {
        panic!("waited in vain for {what}:\n{}", process.directory.log());
    }
}
