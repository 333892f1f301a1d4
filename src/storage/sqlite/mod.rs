//! The embedded store: one SQLite file in WAL mode.
//!
//! Invariants: one connection writes, one transaction at a time; readers see the last commit and never wait for it.
//! A claim of a writer's name raises its epoch in the file, and every commit checks it there. A future that is
//! dropped half-way leaves no open transaction: it is rolled back before the next one begins.
//!
//! How it fails: a locked or full file is transient, a failed COMMIT unknown, a file that is damaged or no database
//! unusable.

mod alerts;
mod archives;
mod arrivals;
mod commit;
mod connection;
mod expire;
mod fault;
mod history;
mod ledger;
mod lock;
mod notices;
mod outbox;
mod positions;
mod readings;
mod records;
mod restore;
mod restored;
mod series;
mod statement;
mod windows;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, Transaction};

use self::connection::{Readers, Writer, finish};
use self::fault::Fault;
use super::{
    Alerts, Archives, Claimed, CommitGroup, CommitReport, ErrorClass, InstanceId, Loaded, Notices, Numbers,
    Outbox, Scope, SensorDefinition, SeriesDefinition, Store, StoreError, Wanted, WriterState,
};
use crate::domain::{ActiveTime, BatchNumber, SensorKey, SourceName};

pub use self::connection::{SqliteSettings, Synchronous};
pub use self::lock::ServiceLock;

/// A database in one file.
pub struct SqliteStore {
    path: PathBuf,
    writer: tokio::sync::Mutex<Writer>,
    readers: Readers,
    query_timeout: Duration,
    outbox: Wanted,
    /// The epoch of each instance that was claimed here.
    epochs: Mutex<HashMap<InstanceId, i64>>,
}

impl SqliteStore {
    /// Opens the file, making it and its directory where they are missing, and brings its tables up to date.
    ///
    /// Fails with [`ErrorClass::TooNew`], [`ErrorClass::Unusable`], or, where another process holds the file,
    /// [`ErrorClass::Transient`].
    pub async fn open(settings: &SqliteSettings) -> Result<Self, StoreError> {
        let (writer, readers) = connection::open(settings).await?;
        Ok(Self {
            path: std::path::absolute(&settings.path).unwrap_or_else(|_| settings.path.clone()),
            writer: tokio::sync::Mutex::new(writer),
            readers,
            query_timeout: settings.query_timeout,
            outbox: settings.outbox,
            epochs: Mutex::new(HashMap::new()),
        })
    }

    /// A connection for a question of people, whose time is limited.
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, Fault> {
        self.readers.take(Some(self.query_timeout)).await
    }

    /// A read transaction for the service itself, which takes the time it needs. It ends when it is dropped.
    async fn snapshot(&self, what: &str) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().await.map_err(|fault| fault.during(what))
    }

    /// The epoch of the last claim.
    fn claimed(&self, instance: &InstanceId, what: &str) -> Result<i64, StoreError> {
        let epoch = self.epochs.lock().get(instance).copied();
        epoch.ok_or_else(|| StoreError::new(ErrorClass::Fenced, what, "the writer was not claimed"))
    }

    /// Runs one statement that writes, in a transaction of its own.
    async fn write<'q>(
        &self,
        what: &str,
        query: sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<sqlx::sqlite::SqliteQueryResult, StoreError> {
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
        let result = query.execute(&mut *transaction).await.map_err(Fault::from);
        let (result, sound) = finish(transaction, result, what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn describe(&self) -> String {
        format!("sqlite ({})", self.path.display())
    }

    async fn claim_writer(&self, instance: &InstanceId) -> Result<WriterState, StoreError> {
        let what = format!("claiming the writer {}", instance.0);
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(&what))?;
        let result = sqlx::query_as(
            "INSERT INTO writers (instance, epoch, last_batch, active) VALUES (?, 1, NULL, 0)
             ON CONFLICT (instance) DO UPDATE SET epoch = epoch + 1 RETURNING epoch, last_batch, active",
        )
        .bind(&instance.0)
        .fetch_one(&mut *transaction)
        .await
        .map_err(Fault::from);
        let (result, sound) = finish(transaction, result, &what).await;
        if !sound {
            writer.discard().await;
        }
        let (epoch, last_batch, active): (i64, Option<i64>, i64) = result?;
        self.epochs.lock().insert(instance.clone(), epoch);
        Ok(WriterState {
            last_batch: last_batch.map(|number| BatchNumber(number as u64)),
            active: ActiveTime(active),
        })
    }

    async fn reserve_batches(&self, count: u64) -> Result<BatchNumber, StoreError> {
        let what = "reserving batch numbers";
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
        let result = reserve(&mut transaction, count).await;
        let (result, sound) = finish(transaction, result, what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }

    async fn reserve_numbers(&self, count: u32) -> Result<Numbers, StoreError> {
        let what = "reserving numbers";
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
        let result = restore::reserve_numbers(&mut transaction, count).await;
        let (result, sound) = finish(transaction, result, what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }

    async fn claim_positions(
        &self,
        source: &SourceName,
        partitions: &[String],
    ) -> Result<Vec<Claimed>, StoreError> {
        let what = "claiming partitions";
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
        let result = positions::claim(&mut transaction, source, partitions).await;
        let (result, sound) = finish(transaction, result, what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }

    async fn commit(&self, group: &CommitGroup) -> Result<CommitReport, StoreError> {
        let (Some(first), Some(last)) = (group.batches.first(), group.batches.last()) else {
            return Ok(CommitReport::default());
        };
        let what = format!("committing batches {} to {}", first.number.0, last.number.0);
        let epoch = self.claimed(&group.instance, &what)?;
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(&what))?;
        let result = commit::write(&mut transaction, group, epoch, self.outbox).await;
        let (result, sound) = finish(transaction, result, &what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }

    async fn rehearse(&self, group: &CommitGroup) -> Result<(), StoreError> {
        let what = "rehearsing a commit";
        let epoch = self.claimed(&group.instance, what)?;
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
        let result = commit::write(&mut transaction, group, epoch, self.outbox).await;
        if transaction.rollback().await.is_err() {
            writer.discard().await;
        }
        result.map(drop).map_err(|fault| fault.during(what))
    }

    async fn recall(&self, group: &CommitGroup) -> Result<CommitReport, StoreError> {
        let what = "recalling a commit";
        let mut transaction = self.snapshot(what).await?;
        let judged = readings::recall(&mut transaction, &group.batches).await;
        let batches = judged
            .map_err(|fault| fault.during(what))?
            .reports(group.batches.len());
        Ok(CommitReport { batches })
    }

    async fn last_batch(&self, instance: &InstanceId) -> Result<Option<BatchNumber>, StoreError> {
        let what = "reading the last batch";
        let mut reader = self.reader().await.map_err(|fault| fault.during(what))?;
        let row: Option<(Option<i64>,)> = sqlx::query_as("SELECT last_batch FROM writers WHERE instance = ?")
            .bind(&instance.0)
            .fetch_optional(&mut *reader)
            .await
            .map_err(|error| Fault::Sql(error).during(what))?;
        Ok(row
            .and_then(|(number,)| number)
            .map(|number| BatchNumber(number as u64)))
    }

    async fn load_registry(
        &self,
        scope: &Scope,
    ) -> Result<(Vec<SensorDefinition>, Vec<SeriesDefinition>), StoreError> {
        let what = "loading sensors and series";
        let mut transaction = self.snapshot(what).await?;
        restore::registry(&mut transaction, scope)
            .await
            .map_err(|fault| fault.during(what))
    }

    async fn registry_size(&self) -> Result<(u64, u64), StoreError> {
        let what = "counting sensors and series";
        let mut transaction = self.snapshot(what).await?;
        restore::registry_size(&mut transaction)
            .await
            .map_err(|fault| fault.during(what))
    }

    async fn deadlines(&self, scope: &Scope) -> Result<Vec<(SensorKey, ActiveTime)>, StoreError> {
        let what = "reading deadlines";
        let mut transaction = self.snapshot(what).await?;
        restore::deadlines(&mut transaction, scope)
            .await
            .map_err(|fault| fault.during(what))
    }

    async fn sensors_behind(&self, scope: &Scope) -> Result<Vec<SensorKey>, StoreError> {
        let what = "looking for sensors that are behind";
        let mut transaction = self.snapshot(what).await?;
        restore::sensors_behind(&mut transaction, scope)
            .await
            .map_err(|fault| fault.during(what))
    }

    async fn load_sensors(&self, sensors: &[SensorKey], max_readings: usize) -> Result<Loaded, StoreError> {
        let what = "loading sensors";
        let mut transaction = self.snapshot(what).await?;
        restore::load(&mut transaction, sensors, max_readings)
            .await
            .map_err(|fault| fault.during(what))
    }

    async fn load_recent(&self, sensor: SensorKey, limit: usize) -> Result<Loaded, StoreError> {
        let what = "loading the newest readings of a sensor";
        let mut transaction = self.snapshot(what).await?;
        restore::recent(&mut transaction, sensor, limit)
            .await
            .map_err(|fault| fault.during(what))
    }

    fn archives(&self) -> Option<&dyn Archives> {
        Some(self)
    }

    fn alerts(&self) -> Option<&dyn Alerts> {
        Some(self)
    }

    fn notices(&self) -> Option<&dyn Notices> {
        Some(self)
    }

    fn outbox(&self) -> Option<&dyn Outbox> {
        Some(self)
    }

    fn reads(&self) -> u64 {
        self.readers.taken()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let what = "asking whether the database answers";
        let mut reader = self.reader().await.map_err(|fault| fault.during(what))?;
        sqlx::query("SELECT next FROM batch_numbers")
            .execute(&mut *reader)
            .await
            .map_err(|error| Fault::Sql(error).during(what))?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.lock().await.discard().await;
    }
}

async fn reserve(connection: &mut SqliteConnection, count: u64) -> Result<BatchNumber, Fault> {
    let (next,): (i64,) = sqlx::query_as("SELECT next FROM batch_numbers")
        .fetch_one(&mut *connection)
        .await?;
    let first = next as u64;
    let next = first
        .checked_add(count)
        .filter(|next| *next <= BatchNumber::MAX.0)
        .ok_or_else(|| Fault::found(ErrorClass::Refused, "there are no batch numbers left"))?;
    sqlx::query("UPDATE batch_numbers SET next = ?")
        .bind(next as i64)
        .execute(connection)
        .await?;
    Ok(BatchNumber(first))
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;

    /// Recent data, tails and what expires are found by the primary key, whatever the tables hold.
    #[tokio::test]
    async fn hot_queries_walk_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&SqliteSettings::new(directory.path().join("plans.db")))
            .await
            .unwrap();
        let mut reader = store.reader().await.unwrap();
        let sorted = true;
        for (sql, may_sort) in [
            (series::READINGS, !sorted),
            (series::NEWEST_READINGS, !sorted),
            (series::LATEST, !sorted),
            (restore::TAILS, !sorted),
            (restore::TAIL_START, sorted),
            (restore::RECENT, sorted),
            (expire::OLD_READINGS, !sorted),
            (archives::NEXT_READING, !sorted),
            (archives::PAGE, !sorted),
            (archives::ARCHIVED_ROWS, !sorted),
        ] {
            let rows: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                    .fetch_all(&mut *reader)
                    .await
                    .unwrap();
            let steps: Vec<&str> = rows.iter().map(|row| row.3.as_str()).collect();
            let of_readings = |step: &&&str| step.contains(" r ") || step.contains(" readings ");
            let by_key = steps.iter().filter(of_readings).collect::<Vec<_>>();
            assert!(!by_key.is_empty(), "{steps:?}");
            assert!(
                by_key
                    .iter()
                    .all(|step| step.contains("USING PRIMARY KEY (series_id=?")),
                "{steps:?}"
            );
            assert!(
                may_sort || steps.iter().all(|step| !step.contains("TEMP B-TREE")),
                "{steps:?}"
            );
        }
    }
}
