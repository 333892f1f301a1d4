//! A database of a test's own.

use std::time::Duration;

use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::report;
use super::server::Server;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Without the extension, also where it could be had.
    Plain,
    /// With TimescaleDB created in it.
    Timescale,
}

/// Empty but for the extension. Dropped with this value, connections and all, where the server answers.
pub struct Database {
    name: String,
    url: Url,
    /// Where to drop it.
    administration: Url,
}

impl Server {
    /// A new database. `None`, and a line that says so, where TimescaleDB is asked for and cannot be had.
    pub async fn database(&self, flavor: Flavor) -> Option<Database> {
        let postgres = format!("PostgreSQL {}", self.version());
        let ran_on = match (flavor, self.timescale()) {
            (Flavor::Plain, _) => postgres,
            (Flavor::Timescale, Some(version)) => format!("TimescaleDB {version}"),
            (Flavor::Timescale, None) => {
                report::skipped(&format!(
                    "TimescaleDB: not installed, or not loaded, in {postgres}"
                ));
                return None;
            }
        };
        if self.is_shared {
            report::ran_on(&ran_on);
        }
        let name = format!("sensorhive_test_{:016x}", getrandom::u64().unwrap());
        // From template0: nobody is ever connected to it, so that it can always be copied.
        run(
            self.administration(),
            &format!("CREATE DATABASE {name} TEMPLATE template0"),
        )
        .await
        .unwrap();
        let database = Database {
            url: self.url(&name),
            name,
            administration: self.administration().clone(),
        };
        if flavor == Flavor::Timescale {
            run(&database.url, "CREATE EXTENSION timescaledb").await.unwrap();
        }
        Some(database)
    }
}

impl Database {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `postgres://sensorhive@127.0.0.1:PORT/NAME`
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// A connection beside those under test.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(self.url()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let administration = self.administration.clone();
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // On a thread and a runtime of its own: the test's may be ending. What fails is left behind.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let patience = Duration::from_secs(10);
            let _ =
                runtime.block_on(async { tokio::time::timeout(patience, run(&administration, &sql)).await });
        });
        let _ = dropping.join();
    }
}

async fn run(url: &Url, sql: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url.as_str()).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}
