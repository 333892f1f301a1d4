//! What people ask of the file: see [`super::series`] and [`super::records`] for the questions themselves.

use async_trait::async_trait;

use super::connection::finish;
use super::fault::Fault;
use super::statement::MultiRow;
use super::{SqliteStore, arrivals, expire, records, series};
use crate::domain::{Anomaly, Ledger, SensorKey, SeriesId, SourceName, Timestamp, WindowResult};
use crate::storage::history::{
    AuditRow, Bucket, Expiry, History, Page, RestartRow, SensorRecord, StoredDeadLetter, StoredPoint,
    TokenRow,
};
use crate::storage::{ArrivalPage, ErrorClass, StoreError};

/// Asks on a reader of its own and says what was asked where it fails.
macro_rules! ask {
    ($store:ident, $what:literal, $($question:ident)::+($($argument:expr),*)) => {{
        let answer = async {
            let mut reader = $store.reader().await?;
            $($question)::+(&mut reader $(, $argument)*).await
        };
        answer.await.map_err(|fault: Fault| fault.during($what))
    }};
}

static RESTARTS: MultiRow = MultiRow::new(
    "INSERT INTO restarts (time, actor, reason, detail, by, took_us) VALUES",
    "(?,?,?,?,?,?)",
    "",
    512,
);

#[async_trait]
impl History for SqliteStore {
    async fn readings(&self, series: SeriesId, range: &Page) -> Result<Vec<StoredPoint>, StoreError> {
        ask!(self, "reading readings", series::readings(series, range))
    }

    async fn windows(&self, series: SeriesId, range: &Page) -> Result<Vec<WindowResult>, StoreError> {
        ask!(self, "reading windows", series::windows(series, range))
    }

    async fn anomalies(&self, series: &[SeriesId], range: &Page) -> Result<Vec<Anomaly>, StoreError> {
        ask!(self, "reading anomalies", series::anomalies(series, range))
    }

    async fn buckets(&self, series: SeriesId, range: &Page, step: i64) -> Result<Vec<Bucket>, StoreError> {
        ask!(self, "reading buckets", series::buckets(series, range, step))
    }

    async fn latest(&self, series: &[SeriesId]) -> Result<Vec<(SeriesId, StoredPoint)>, StoreError> {
        ask!(self, "reading the latest values", series::latest(series))
    }

    async fn sensor_ledger(&self, sensor: SensorKey) -> Result<SensorRecord, StoreError> {
        ask!(self, "reading a ledger", records::sensor_ledger(sensor))
    }

    async fn source_ledgers(&self) -> Result<Vec<(SourceName, Ledger)>, StoreError> {
        ask!(self, "reading the ledgers of sources", records::source_ledgers())
    }

    async fn ledger_total(&self) -> Result<Ledger, StoreError> {
        ask!(self, "adding up the ledgers", records::ledger_total())
    }

    async fn dead_letters(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        ask!(self, "reading dead letters", records::dead_letters(before, limit))
    }

    async fn dead_letter(&self, id: i64) -> Result<Option<StoredDeadLetter>, StoreError> {
        ask!(self, "reading a dead letter", records::dead_letter(id))
    }

    async fn mark_replayed(&self, id: i64, at: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE dead_letters SET replayed_at = ? WHERE id = ?")
            .bind(at.0)
            .bind(id);
        Ok(self
            .write("marking a dead letter as replayed", query)
            .await?
            .rows_affected()
            > 0)
    }

    async fn record_restarts(&self, restarts: &[RestartRow]) -> Result<(), StoreError> {
        let what = "recording restarts";
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
        let result = RESTARTS
            .execute(&mut transaction, restarts, |values, restart| {
                values
                    .add(restart.time.0)
                    .add(restart.actor.as_str())
                    .add(restart.reason.as_str())
                    .add(restart.detail.as_str())
                    .add(restart.by.as_deref())
                    .add(restart.took_us);
            })
            .await;
        let (result, sound) = finish(transaction, result, what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }

    async fn restarts(&self, actor: Option<&str>, limit: usize) -> Result<Vec<RestartRow>, StoreError> {
        ask!(self, "reading restarts", records::restarts(actor, limit))
    }

    async fn record_audit(&self, entry: &AuditRow) -> Result<(), StoreError> {
        let query =
            sqlx::query("INSERT INTO audit_log (time, who, what, target, detail) VALUES (?, ?, ?, ?, ?)")
                .bind(entry.time.0)
                .bind(&entry.who)
                .bind(&entry.what)
                .bind(&entry.target)
                .bind(&entry.detail);
        self.write("recording an audit entry", query).await?;
        Ok(())
    }

    async fn audit_log(&self, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        ask!(self, "reading the audit log", records::audit_log(limit))
    }

    async fn add_token(&self, token: &TokenRow) -> Result<(), StoreError> {
        let query =
            sqlx::query("INSERT INTO api_tokens (id, name, role, hash, created_at) VALUES (?, ?, ?, ?, ?)")
                .bind(&token.id)
                .bind(&token.name)
                .bind(&token.role)
                .bind(&token.hash)
                .bind(token.created_at.0);
        self.write("adding a token", query).await?;
        Ok(())
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        ask!(self, "reading tokens", records::tokens())
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM api_tokens WHERE id = ?").bind(id);
        Ok(self.write("revoking a token", query).await?.rows_affected() > 0)
    }

    async fn position(&self, source: &SourceName, partition: &str) -> Result<Option<i64>, StoreError> {
        ask!(self, "reading a position", records::position(source, partition))
    }

    async fn positions_of(
        &self,
        source: &SourceName,
        prefix: &str,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        ask!(self, "reading positions", records::positions_of(source, prefix))
    }

    async fn forget_positions(
        &self,
        source: &SourceName,
        partitions: &[String],
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "DELETE FROM positions WHERE source = ? AND updated_at < ? AND partition IN (SELECT value FROM json_each(?))",
        )
        .bind(source.as_str())
        .bind(before.0)
        .bind(serde_json::json!(partitions).to_string());
        Ok(self.write("forgetting positions", query).await?.rows_affected())
    }

    async fn arrivals(&self, source: &SourceName, session: &str) -> Result<Vec<ArrivalPage>, StoreError> {
        ask!(self, "reading arrivals", arrivals::read(source, session))
    }

    async fn set_paused(&self, sensor: SensorKey, paused: bool) -> Result<(), StoreError> {
        let what = "noting a pause";
        let query = sqlx::query("UPDATE sensors SET paused = ? WHERE id = ?")
            .bind(paused)
            .bind(i64::from(sensor.0));
        if self.write(what, query).await?.rows_affected() == 0 {
            return Err(Fault::found(ErrorClass::Refused, "the sensor is not stored yet").during(what));
        }
        Ok(())
    }

    async fn paused(&self) -> Result<Vec<SensorKey>, StoreError> {
        ask!(self, "reading pauses", records::paused())
    }

    async fn expire(&self, limits: &Expiry) -> Result<u64, StoreError> {
        expire::expire(self, limits).await
    }
}
