//! What people ask of the database: see [`super::series`], [`super::buckets`] and [`super::records`] for the questions
//! themselves.

use async_trait::async_trait;

use super::connection::within;
use super::fault::Fault;
use super::partitions::Layout;
use super::snapshot::in_snapshot;
use super::statement::{number, text};
use super::time::Time;
use super::{PostgresStore, arrivals, buckets, expire, records, series};
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
            let answer = $($question)::+(reader.connection() $(, $argument)*).await;
            reader.finish(answer, false).await
        };
        let answer = within($store.readers.patience(), answer).await;
        answer.map_err(|fault: Fault| fault.while_asking($what))
    }};
}

/// The same for rows that may be compressed meanwhile. Where none are, one statement sees one commit by itself.
macro_rules! look {
    ($store:ident, $what:literal, $($question:ident)::+($($argument:expr),*)) => {
        match &$store.layout {
            Layout::Partitions(_) => ask!($store, $what, $($question)::+($($argument),*)),
            Layout::Hypertables { .. } => {
                let answer = async { in_snapshot!($store.view(), $($question)::+ $(, $argument)*) };
                let answer = within($store.readers.patience(), answer).await;
                answer.map_err(|fault: Fault| fault.while_asking($what))
            }
        }
    };
}

impl PostgresStore {
    async fn read_buckets(&self, series: SeriesId, range: &Page, step: i64) -> Result<Vec<Bucket>, Fault> {
        in_snapshot!(self.view(), buckets::buckets, &self.layout, series, range, step)
    }
}

#[async_trait]
impl History for PostgresStore {
    async fn readings(&self, series: SeriesId, range: &Page) -> Result<Vec<StoredPoint>, StoreError> {
        look!(self, "reading readings", series::readings(series, range))
    }

    async fn windows(&self, series: SeriesId, range: &Page) -> Result<Vec<WindowResult>, StoreError> {
        look!(self, "reading windows", series::windows(series, range))
    }

    async fn anomalies(&self, series: &[SeriesId], range: &Page) -> Result<Vec<Anomaly>, StoreError> {
        ask!(self, "reading anomalies", series::anomalies(series, range))
    }

    async fn buckets(&self, series: SeriesId, range: &Page, step: i64) -> Result<Vec<Bucket>, StoreError> {
        // Several statements, each limited in time by itself.
        let limit = self.readers.query_timeout();
        let found = tokio::time::timeout(limit, self.read_buckets(series, range, step)).await;
        let found = found.unwrap_or(Err(Fault::TooLong));
        found.map_err(|fault| fault.while_asking("reading buckets"))
    }

    async fn latest(&self, series: &[SeriesId]) -> Result<Vec<(SeriesId, StoredPoint)>, StoreError> {
        look!(self, "reading the latest values", series::latest(series))
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
        let query = sqlx::query("UPDATE dead_letters SET replayed_at = $1 WHERE id = $2")
            .bind(Time(at))
            .bind(id);
        Ok(self
            .write("marking a dead letter as replayed", query)
            .await?
            .rows_affected()
            > 0)
    }

    async fn record_restarts(&self, restarts: &[RestartRow]) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO restarts (time, actor, reason, detail, by, took_us)
             SELECT time, actor, reason, detail, by, took_us
             FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
                 WITH ORDINALITY AS r (time, actor, reason, detail, by, took_us, place) ORDER BY place",
        )
        .bind(
            restarts
                .iter()
                .map(|restart| Time(restart.time))
                .collect::<Vec<_>>(),
        )
        .bind(
            restarts
                .iter()
                .map(|restart| text(&restart.actor))
                .collect::<Vec<_>>(),
        )
        .bind(
            restarts
                .iter()
                .map(|restart| text(&restart.reason))
                .collect::<Vec<_>>(),
        )
        .bind(
            restarts
                .iter()
                .map(|restart| text(&restart.detail))
                .collect::<Vec<_>>(),
        )
        .bind(
            restarts
                .iter()
                .map(|restart| restart.by.as_deref().map(text))
                .collect::<Vec<_>>(),
        )
        .bind(restarts.iter().map(|restart| restart.took_us).collect::<Vec<_>>());
        self.write("recording restarts", query).await?;
        Ok(())
    }

    async fn restarts(&self, actor: Option<&str>, limit: usize) -> Result<Vec<RestartRow>, StoreError> {
        ask!(self, "reading restarts", records::restarts(actor, limit))
    }

    async fn record_audit(&self, entry: &AuditRow) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO audit_log (time, who, what, target, detail) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(Time(entry.time))
        .bind(text(&entry.who))
        .bind(text(&entry.what))
        .bind(text(&entry.target))
        .bind(text(&entry.detail));
        self.write("recording an audit entry", query).await?;
        Ok(())
    }

    async fn audit_log(&self, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        ask!(self, "reading the audit log", records::audit_log(limit))
    }

    async fn add_token(&self, token: &TokenRow) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO api_tokens (id, name, role, hash, created_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&token.id)
        .bind(text(&token.name))
        .bind(&token.role)
        .bind(&token.hash)
        .bind(Time(token.created_at));
        self.write("adding a token", query).await?;
        Ok(())
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        ask!(self, "reading tokens", records::tokens())
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM api_tokens WHERE id = $1").bind(id);
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
            "DELETE FROM positions WHERE source = $1 AND partition = ANY($2) AND updated_at < $3",
        )
        .bind(source.as_str())
        .bind(partitions.to_vec())
        .bind(Time(before));
        Ok(self.write("forgetting positions", query).await?.rows_affected())
    }

    async fn arrivals(&self, source: &SourceName, session: &str) -> Result<Vec<ArrivalPage>, StoreError> {
        ask!(self, "reading arrivals", arrivals::read(source, session))
    }

    async fn set_paused(&self, sensor: SensorKey, paused: bool) -> Result<(), StoreError> {
        let what = "noting a pause";
        let query = sqlx::query("UPDATE sensors SET paused = $1 WHERE id = $2")
            .bind(paused)
            .bind(number(sensor.0));
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
