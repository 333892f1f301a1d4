//! The outbox: see [`crate::storage::outbox`].

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::connection::finish;
use super::fault::Fault;
use super::readings::json;
use super::statement::MultiRow;
use crate::domain::{Anomaly, Timestamp, WindowSpan};
use crate::storage::judgement::Judgement;
use crate::storage::outbox::{self, Counts, News, Outbox, OutboxRow, Overdue, Waiting, Wanted};
use crate::storage::{CommitGroup, InstanceId, StoreError};

/// Rows whose sizes are looked at to see how many are read.
const LOOK: i64 = 1_000;

static ROWS: MultiRow = MultiRow::new(
    "INSERT INTO outbox (instance, time, readings, windows, anomalies, alerts, bytes, payload) VALUES",
    "(?,?,?,?,?,?,?,?)",
    "",
    8,
);

/// Writes what the group stored.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    judged: &Judgement,
    news: News,
    wanted: Wanted,
) -> Result<(), Fault> {
    let rows = outbox::rows(&group.batches, judged, news, wanted);
    ROWS.execute(connection, &rows, |values, row| {
        values
            .add(group.instance.0.as_str())
            .add(row.time.0)
            .add(row.records.readings as i64)
            .add(row.records.windows as i64)
            .add(row.records.anomalies as i64)
            .add(row.records.alerts as i64)
            .add(row.payload.len() as i64)
            .add(row.payload.as_slice());
    })
    .await
}

/// The places of those of `spans` that are stored.
pub(super) async fn known_windows(
    connection: &mut SqliteConnection,
    spans: &[WindowSpan],
) -> Result<Vec<i64>, Fault> {
    let keys: Vec<_> = spans
        .iter()
        .map(|span| (span.series.0, span.start.0, span.size, span.kind.as_str()))
        .collect();
    let known = sqlx::query_scalar(
        "SELECT keys.key FROM json_each(?) keys CROSS JOIN windows w
         ON w.series_id = json_extract(keys.value, '$[0]') AND w.start = json_extract(keys.value, '$[1]')
             AND w.size = json_extract(keys.value, '$[2]') AND w.kind = json_extract(keys.value, '$[3]')",
    )
    .bind(json(&keys)?)
    .fetch_all(connection)
    .await?;
    Ok(known)
}

/// The places of those of `anomalies` that are stored.
pub(super) async fn known_anomalies(
    connection: &mut SqliteConnection,
    anomalies: &[(usize, &Anomaly)],
) -> Result<Vec<i64>, Fault> {
    let key = |(_, anomaly): &(usize, &Anomaly)| {
        let (detector, level) = (anomaly.detector.as_str(), anomaly.level.as_str());
        (anomaly.series.0, anomaly.time.0, detector, level)
    };
    let keys: Vec<_> = anomalies.iter().map(key).collect();
    let known = sqlx::query_scalar(
        "SELECT keys.key FROM json_each(?) keys CROSS JOIN anomalies a
         ON a.series_id = json_extract(keys.value, '$[0]') AND a.time = json_extract(keys.value, '$[1]')
             AND a.detector = json_extract(keys.value, '$[2]') AND a.level = json_extract(keys.value, '$[3]')",
    )
    .bind(json(&keys)?)
    .fetch_all(connection)
    .await?;
    Ok(known)
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn open_outputs(
        &self,
        instance: &InstanceId,
        outputs: &[&str],
    ) -> Result<(Vec<i64>, Counts), StoreError> {
        let what = "opening the outbox";
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
        let result = open(&mut transaction, instance, outputs).await;
        let (result, sound) = finish(transaction, result, what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }

    async fn outbox_rows(
        &self,
        instance: &InstanceId,
        after: i64,
        bytes: u64,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let what = "reading the outbox";
        let mut reader = self.snapshot(what).await?;
        rows(&mut reader, instance, after, bytes)
            .await
            .map_err(|fault| fault.during(what))
    }

    async fn outbox_sent(&self, instance: &InstanceId, output: &str, up_to: i64) -> Result<(), StoreError> {
        let what = "noting what was sent";
        let mut writer = self.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
        let result = sent(&mut transaction, instance, output, up_to).await;
        let (result, sound) = finish(transaction, result, what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }

    async fn outbox_waiting(&self, instance: &InstanceId, after: i64) -> Result<Waiting, StoreError> {
        let what = "counting what waits in the outbox";
        let mut reader = self.snapshot(what).await?;
        let (rows, readings, windows, anomalies, alerts, bytes, since): (i64, i64, i64, i64, i64, i64, Option<i64>) =
            sqlx::query_as(
                "SELECT count(*), ifnull(sum(readings), 0), ifnull(sum(windows), 0), ifnull(sum(anomalies), 0), ifnull(sum(alerts), 0),
                     ifnull(sum(bytes), 0), min(time) FROM outbox WHERE instance = ? AND id > ?",
            )
            .bind(&instance.0)
            .bind(after)
            .fetch_one(&mut *reader)
            .await
            .map_err(|error| Fault::Sql(error).during(what))?;
        Ok(Waiting {
            rows: rows as u64,
            records: counts(readings, windows, anomalies, alerts),
            bytes: bytes as u64,
            since: since.map(Timestamp),
        })
    }

    async fn outbox_overdue(
        &self,
        instance: &InstanceId,
        after: i64,
        before: Timestamp,
        bytes: u64,
    ) -> Result<Overdue, StoreError> {
        let what = "looking for what is too old in the outbox";
        let mut reader = self.snapshot(what).await?;
        let (up_to, readings, windows, anomalies, alerts): (Option<i64>, i64, i64, i64, i64) = sqlx::query_as(
            "WITH waiting AS (SELECT id, time, readings, windows, anomalies, alerts, sum(bytes) OVER (ORDER BY id DESC) AS total
                 FROM outbox WHERE instance = ?1 AND id > ?2),
             last AS (SELECT max(id) AS id FROM waiting WHERE time < ?3 OR total > ?4)
             SELECT (SELECT id FROM last), ifnull(sum(readings), 0), ifnull(sum(windows), 0), ifnull(sum(anomalies), 0), ifnull(sum(alerts), 0)
             FROM waiting WHERE id <= (SELECT id FROM last)",
        )
        .bind(&instance.0)
        .bind(after)
        .bind(before.0)
        .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
        .fetch_one(&mut *reader)
        .await
        .map_err(|error| Fault::Sql(error).during(what))?;
        Ok(Overdue {
            up_to,
            records: counts(readings, windows, anomalies, alerts),
        })
    }
}

fn counts(readings: i64, windows: i64, anomalies: i64, alerts: i64) -> Counts {
    Counts {
        readings: readings as u64,
        windows: windows as u64,
        anomalies: anomalies as u64,
        alerts: alerts as u64,
    }
}

async fn open(
    connection: &mut SqliteConnection,
    instance: &InstanceId,
    outputs: &[&str],
) -> Result<(Vec<i64>, Counts), Fault> {
    sqlx::query(
        "DELETE FROM outbox_cursors WHERE instance = ? AND output NOT IN (SELECT value FROM json_each(?))",
    )
    .bind(&instance.0)
    .bind(json(outputs)?)
    .execute(&mut *connection)
    .await?;
    let mut cursors = Vec::with_capacity(outputs.len());
    for output in outputs {
        // The highest number that was ever given, whether its row is still there or not.
        let sent = sqlx::query_scalar(
            "INSERT INTO outbox_cursors (instance, output, sent)
             VALUES (?, ?, ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0))
             ON CONFLICT DO UPDATE SET sent = sent RETURNING sent",
        )
        .bind(&instance.0)
        .bind(*output)
        .fetch_one(&mut *connection)
        .await?;
        cursors.push(sent);
    }
    let (readings, windows, anomalies, alerts): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT ifnull(sum(readings), 0), ifnull(sum(windows), 0), ifnull(sum(anomalies), 0), ifnull(sum(alerts), 0) FROM outbox
         WHERE instance = ?1 AND id <= ifnull((SELECT min(sent) FROM outbox_cursors WHERE instance = ?1), ?2)",
    )
    .bind(&instance.0)
    .bind(i64::MAX)
    .fetch_one(&mut *connection)
    .await?;
    clear(connection, instance).await?;
    Ok((cursors, counts(readings, windows, anomalies, alerts)))
}

async fn rows(
    connection: &mut SqliteConnection,
    instance: &InstanceId,
    after: i64,
    bytes: u64,
) -> Result<Vec<OutboxRow>, Fault> {
    let sizes: Vec<(i64, i64)> =
        sqlx::query_as("SELECT id, bytes FROM outbox WHERE id > ? AND instance = ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(&instance.0)
            .bind(LOOK)
            .fetch_all(&mut *connection)
            .await?;
    let Some(last) = outbox::fitting(&sizes, bytes) else {
        return Ok(Vec::new());
    };
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT id, payload FROM outbox WHERE id > ? AND id <= ? AND instance = ? ORDER BY id",
    )
    .bind(after)
    .bind(last)
    .bind(&instance.0)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, payload)| OutboxRow { id, payload })
        .collect())
}

async fn sent(
    connection: &mut SqliteConnection,
    instance: &InstanceId,
    output: &str,
    up_to: i64,
) -> Result<(), Fault> {
    sqlx::query("UPDATE outbox_cursors SET sent = max(sent, ?) WHERE instance = ? AND output = ?")
        .bind(up_to)
        .bind(&instance.0)
        .bind(output)
        .execute(&mut *connection)
        .await?;
    clear(connection, instance).await
}

/// Deletes what no output has to send any more.
async fn clear(connection: &mut SqliteConnection, instance: &InstanceId) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM outbox WHERE instance = ?1
         AND id <= ifnull((SELECT min(sent) FROM outbox_cursors WHERE instance = ?1), ?2)",
    )
    .bind(&instance.0)
    .bind(i64::MAX)
    .execute(connection)
    .await?;
    Ok(())
}
