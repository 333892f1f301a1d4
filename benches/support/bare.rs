//! The ceiling of storing in SQLite: the same rows into the same table by multi-row inserts in big transactions, and nothing
//! else.

use std::path::Path;

use sensorhive::domain::{Reading, Seq};
use sensorhive::storage::Store;
use sensorhive::storage::sqlite::{SqliteSettings, SqliteStore};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

/// Rows a statement.
const STATEMENT: usize = 5_000;

/// A connection with the store's pragmas to a file with the store's tables.
pub struct Bare {
    connection: SqliteConnection,
}

impl Bare {
    pub async fn new(path: &Path) -> Self {
        SqliteStore::open(&SqliteSettings::new(path))
            .await
            .unwrap()
            .close()
            .await;
        let url = format!("sqlite://{}", path.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        for pragma in [
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "PRAGMA cache_size = -65536",
            "PRAGMA wal_autocheckpoint = 16384",
            "PRAGMA journal_size_limit = 67108864",
        ] {
            sqlx::query(pragma).execute(&mut connection).await.unwrap();
        }
        Self { connection }
    }

    /// In one transaction.
    pub async fn insert(&mut self, rows: &[(Seq, Reading)]) {
        let mut transaction = self.connection.begin().await.unwrap();
        for chunk in rows.chunks(STATEMENT) {
            let values = vec!["(?,?,?,?,?)"; chunk.len()].join(",");
            let text = format!("INSERT INTO readings (series_id, time, value, seq, flags) VALUES {values}");
            let mut query = sqlx::query(AssertSqlSafe(text));
            for (seq, reading) in chunk {
                query = query
                    .bind(i64::from(reading.series.0))
                    .bind(reading.time.0)
                    .bind(reading.value)
                    .bind(seq.0 as i64)
                    .bind(i64::from(reading.flags.0));
            }
            query.execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }
}
