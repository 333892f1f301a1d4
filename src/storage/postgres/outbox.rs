//! The outbox: see [`crate::storage::outbox`].
//!
//! What is sent is noted beside the batches, on a reader, so that nobody waits for the writer's connection.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::connection::{command, within};
use super::fault::Fault;
use super::statement::number;
use super::time::Time;
use super::{LOAD_TIMEOUT, PostgresStore};
use crate::domain::{Anomaly, Timestamp};
use crate::storage::judgement::Judgement;
use crate::storage::outbox::{self, Counts, News, Outbox, OutboxRow, Overdue, Waiting, Wanted};
use crate::storage::{CommitGroup, InstanceId, StoreError};

/// Rows whose sizes are looked at to see how many are read.
const LOOK: i64 = 1_000;

/// Writes what the group stored. One transaction of an instance follows the other, so the numbers of its rows only grow.
pub(super) async fn write(
    connection: &mut PgConnection,
    group: &CommitGroup,
    judged: &Judgement,
    news: News,
    wanted: Wanted,
) -> Result<(), Fault> {
    let rows = outbox::rows(&group.batches, judged, news, wanted);
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO outbox (instance, time, readings, windows, anomalies, alerts, bytes, payload)
         SELECT $1, time, readings, windows, anomalies, alerts, length(payload), payload
         FROM unnest($2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bigint[])
             WITH ORDINALITY AS r (time, readings, windows, anomalies, payload, alerts, place) ORDER BY place",
    )
    .bind(&group.instance.0)
    .bind(rows.iter().map(|row| Time(row.time)).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|row| row.records.readings as i64)
            .collect::<Vec<_>>(),
    )
    .bind(
        rows.iter()
            .map(|row| row.records.windows as i64)
            .collect::<Vec<_>>(),
    )
    .bind(
        rows.iter()
            .map(|row| row.records.anomalies as i64)
            .collect::<Vec<_>>(),
    )
    .bind(rows.iter().map(|row| row.payload.as_slice()).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|row| row.records.alerts as i64)
            .collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The places of those of `anomalies` that are stored.
pub(super) async fn known_anomalies(
    connection: &mut PgConnection,
    anomalies: &[(usize, &Anomaly)],
) -> Result<Vec<i64>, Fault> {
    let all = || anomalies.iter().map(|(_, anomaly)| anomaly);
    let known = sqlx::query_scalar(
        "SELECT k.place - 1 FROM unnest($1::integer[], $2::timestamptz[], $3::text[], $4::text[]) WITH ORDINALITY
             AS k (series_id, time, detector, level, place)
         JOIN anomalies a ON a.series_id = k.series_id AND a.time = k.time AND a.detector = k.detector AND a.level = k.level",
    )
    .bind(all().map(|anomaly| number(anomaly.series.0)).collect::<Vec<_>>())
    .bind(all().map(|anomaly| Time(anomaly.time)).collect::<Vec<_>>())
    .bind(all().map(|anomaly| anomaly.detector.as_str()).collect::<Vec<_>>())
    .bind(all().map(|anomaly| anomaly.level.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(known)
}

/// Reads, or writes where it says so, in a transaction of its own.
macro_rules! transact {
    ($store:ident, $what:literal, $begin:literal, $question:path $(, $argument:expr)*) => {{
        let answer = async {
            let mut reader = $store.reader().await?;
            command(reader.connection(), $begin).await?;
            let answer = $question(reader.connection() $(, $argument)*).await;
            reader.finish(answer, true).await
        };
        let answer = within(LOAD_TIMEOUT, answer).await;
        answer.map_err(|fault: Fault| fault.during($what))
    }};
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn open_outputs(
        &self,
        instance: &InstanceId,
        outputs: &[&str],
    ) -> Result<(Vec<i64>, Counts), StoreError> {
        transact!(
            self,
            "opening the outbox",
            "BEGIN READ WRITE",
            open,
            instance,
            outputs
        )
    }

    async fn outbox_rows(
        &self,
        instance: &InstanceId,
        after: i64,
        bytes: u64,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        transact!(self, "reading the outbox", "BEGIN", rows, instance, after, bytes)
    }

    async fn outbox_sent(&self, instance: &InstanceId, output: &str, up_to: i64) -> Result<(), StoreError> {
        transact!(
            self,
            "noting what was sent",
            "BEGIN READ WRITE",
            sent,
            instance,
            output,
            up_to
        )
    }

    async fn outbox_waiting(&self, instance: &InstanceId, after: i64) -> Result<Waiting, StoreError> {
        transact!(
            self,
            "counting what waits in the outbox",
            "BEGIN",
            waiting,
            instance,
            after
        )
    }

    async fn outbox_overdue(
        &self,
        instance: &InstanceId,
        after: i64,
        before: Timestamp,
        bytes: u64,
    ) -> Result<Overdue, StoreError> {
        transact!(
            self,
            "looking for what is too old in the outbox",
            "BEGIN",
            overdue,
            instance,
            after,
            before,
            bytes
        )
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
    connection: &mut PgConnection,
    instance: &InstanceId,
    outputs: &[&str],
) -> Result<(Vec<i64>, Counts), Fault> {
    sqlx::query("DELETE FROM outbox_cursors WHERE instance = $1 AND output <> ALL($2)")
        .bind(&instance.0)
        .bind(outputs)
        .execute(&mut *connection)
        .await?;
    let mut cursors = Vec::with_capacity(outputs.len());
    for output in outputs {
        // The highest number that was ever given, whether its row is still there or not.
        let sent = sqlx::query_scalar(
            "INSERT INTO outbox_cursors AS c (instance, output, sent)
             SELECT $1, $2, coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')::regclass), 0)
             ON CONFLICT (instance, output) DO UPDATE SET sent = c.sent RETURNING sent",
        )
        .bind(&instance.0)
        .bind(*output)
        .fetch_one(&mut *connection)
        .await?;
        cursors.push(sent);
    }
    let (readings, windows, anomalies, alerts): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(readings), 0)::bigint, coalesce(sum(windows), 0)::bigint, coalesce(sum(anomalies), 0)::bigint, coalesce(sum(alerts), 0)::bigint
         FROM outbox WHERE instance = $1
         AND id <= coalesce((SELECT min(sent) FROM outbox_cursors WHERE instance = $1), $2)",
    )
    .bind(&instance.0)
    .bind(i64::MAX)
    .fetch_one(&mut *connection)
    .await?;
    clear(connection, instance).await?;
    Ok((cursors, counts(readings, windows, anomalies, alerts)))
}

async fn rows(
    connection: &mut PgConnection,
    instance: &InstanceId,
    after: i64,
    bytes: u64,
) -> Result<Vec<OutboxRow>, Fault> {
    let sizes: Vec<(i64, i64)> =
        sqlx::query_as("SELECT id, bytes FROM outbox WHERE instance = $1 AND id > $2 ORDER BY id LIMIT $3")
            .bind(&instance.0)
            .bind(after)
            .bind(LOOK)
            .fetch_all(&mut *connection)
            .await?;
    let Some(last) = outbox::fitting(&sizes, bytes) else {
        return Ok(Vec::new());
    };
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT id, payload FROM outbox WHERE instance = $1 AND id > $2 AND id <= $3 ORDER BY id",
    )
    .bind(&instance.0)
    .bind(after)
    .bind(last)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, payload)| OutboxRow { id, payload })
        .collect())
}

async fn sent(
    connection: &mut PgConnection,
    instance: &InstanceId,
    output: &str,
    up_to: i64,
) -> Result<(), Fault> {
    sqlx::query("UPDATE outbox_cursors SET sent = greatest(sent, $1) WHERE instance = $2 AND output = $3")
        .bind(up_to)
        .bind(&instance.0)
        .bind(output)
        .execute(&mut *connection)
        .await?;
    clear(connection, instance).await
}

/// Deletes what no output has to send any more.
async fn clear(connection: &mut PgConnection, instance: &InstanceId) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM outbox WHERE instance = $1
         AND id <= coalesce((SELECT min(sent) FROM outbox_cursors WHERE instance = $1), $2)",
    )
    .bind(&instance.0)
    .bind(i64::MAX)
    .execute(connection)
    .await?;
    Ok(())
}

async fn waiting(connection: &mut PgConnection, instance: &InstanceId, after: i64) -> Result<Waiting, Fault> {
    let (rows, readings, windows, anomalies, alerts, bytes, since): (i64, i64, i64, i64, i64, i64, Option<Time>) =
        sqlx::query_as(
            "SELECT count(*), coalesce(sum(readings), 0)::bigint, coalesce(sum(windows), 0)::bigint,
                 coalesce(sum(anomalies), 0)::bigint, coalesce(sum(alerts), 0)::bigint, coalesce(sum(bytes), 0)::bigint, min(time)
             FROM outbox WHERE instance = $1 AND id > $2",
        )
        .bind(&instance.0)
        .bind(after)
        .fetch_one(connection)
        .await?;
    Ok(Waiting {
        rows: rows as u64,
        records: counts(readings, windows, anomalies, alerts),
        bytes: bytes as u64,
        since: since.map(|Time(time)| time),
    })
}

async fn overdue(
    connection: &mut PgConnection,
    instance: &InstanceId,
    after: i64,
    before: Timestamp,
    bytes: u64,
) -> Result<Overdue, Fault> {
    let (up_to, readings, windows, anomalies, alerts): (Option<i64>, i64, i64, i64, i64) = sqlx::query_as(
        "WITH waiting AS (SELECT id, time, readings, windows, anomalies, alerts, sum(bytes) OVER (ORDER BY id DESC) AS total
             FROM outbox WHERE instance = $1 AND id > $2),
         last AS (SELECT max(id) AS id FROM waiting WHERE time < $3 OR total > $4)
         SELECT (SELECT id FROM last), coalesce(sum(readings), 0)::bigint, coalesce(sum(windows), 0)::bigint,
             coalesce(sum(anomalies), 0)::bigint, coalesce(sum(alerts), 0)::bigint
         FROM waiting WHERE id <= (SELECT id FROM last)",
    )
    .bind(&instance.0)
    .bind(after)
    .bind(Time(before))
    .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
    .fetch_one(connection)
    .await?;
    Ok(Overdue {
        up_to,
        records: counts(readings, windows, anomalies, alerts),
    })
}
