//! Ledgers, dead letters, restarts, the audit log, tokens, positions and pauses, as they are read.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::fault::Fault;
use super::statement::{limit as bounded, number};
use super::time::Time;
use crate::domain::{DeadLetter, Ledger, RejectReason, SensorKey, Seq, SourceName, Timestamp};
use crate::storage::history::{AuditRow, RestartRow, SensorRecord, StoredDeadLetter, TokenRow};

pub(super) async fn sensor_ledger(
    connection: &mut PgConnection,
    sensor: SensorKey,
) -> Result<SensorRecord, Fault> {
    let row = sqlx::query(
        "SELECT l.received, l.stored, l.duplicate, l.rejected, l.filtered, l.late, l.unprocessed, l.last_time, l.last_seq,
             n.seq, octet_length(n.state)::bigint
         FROM (SELECT sum(received)::bigint AS received, sum(stored)::bigint AS stored, sum(duplicate)::bigint AS duplicate,
                 sum(rejected)::bigint AS rejected, sum(filtered)::bigint AS filtered, sum(late)::bigint AS late,
                 sum(unprocessed)::bigint AS unprocessed, max(last_time) AS last_time, max(last_seq) AS last_seq
             FROM (SELECT received, stored, duplicate, rejected, filtered, late, unprocessed, last_time, last_seq
                     FROM sensor_ledger WHERE sensor_id = $1 UNION ALL
                 SELECT received, stored, duplicate, rejected, filtered, late,
                     CASE WHEN up_to > coalesce((SELECT covered FROM sensor_ledger WHERE sensor_id = $1), -1)
                         THEN unprocessed ELSE 0 END, last_time, last_seq
                     FROM pending_ledger WHERE sensor_id = $1) AS l) AS l
         LEFT JOIN sensor_snapshots n ON n.sensor_id = $1",
    )
    .bind(number(sensor.0))
    .fetch_one(connection)
    .await?;
    let known = row.try_get::<Option<i64>, _>(0)?.is_some();
    Ok(SensorRecord {
        ledger: if known {
            ledger(&row, 0)?
        } else {
            Ledger::default()
        },
        snapshot_seq: row.try_get::<Option<i64>, _>(9)?.map(|seq| Seq(seq as u64)),
        snapshot_bytes: row.try_get::<Option<i64>, _>(10)?.map(|bytes| bytes as u64),
        last_time: row.try_get::<Option<Time>, _>(7)?.map(|Time(time)| time),
        last_seq: row.try_get::<Option<i64>, _>(8)?.map(|seq| Seq(seq as u64)),
    })
}

pub(super) async fn source_ledgers(
    connection: &mut PgConnection,
) -> Result<Vec<(SourceName, Ledger)>, Fault> {
    let rows = sqlx::query(
        "SELECT received, stored, duplicate, rejected, filtered, late, unprocessed, source
         FROM source_ledger ORDER BY source",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((source(row, 7)?, ledger(row, 0)?)))
        .collect()
}

pub(super) async fn ledger_total(connection: &mut PgConnection) -> Result<Ledger, Fault> {
    let row = sqlx::query(
        "SELECT coalesce(sum(received), 0)::bigint, coalesce(sum(stored), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
         coalesce(sum(filtered), 0)::bigint, coalesce(sum(late), 0)::bigint, coalesce(sum(unprocessed), 0)::bigint FROM
         (SELECT received, stored, duplicate, rejected, filtered, late, unprocessed FROM sensor_ledger UNION ALL
          SELECT received, stored, duplicate, rejected, filtered, late, unprocessed FROM source_ledger UNION ALL
          SELECT p.received, p.stored, p.duplicate, p.rejected, p.filtered, p.late,
              CASE WHEN p.up_to > coalesce(b.covered, -1) THEN p.unprocessed ELSE 0 END
              FROM pending_ledger p LEFT JOIN sensor_ledger b USING (sensor_id)) AS l",
    )
    .fetch_one(connection)
    .await?;
    ledger(&row, 0)
}

fn ledger(row: &PgRow, at: usize) -> Result<Ledger, Fault> {
    let count = |column: usize| Ok::<u64, sqlx::Error>(row.try_get::<i64, _>(at + column)? as u64);
    Ok(Ledger {
        received: count(0)?,
        stored: count(1)?,
        duplicate: count(2)?,
        rejected: count(3)?,
        filtered: count(4)?,
        late: count(5)?,
        unprocessed: count(6)?,
    })
}

fn source(row: &PgRow, at: usize) -> Result<SourceName, Fault> {
    SourceName::parse(row.try_get(at)?).map_err(Fault::unreadable)
}

pub(super) async fn dead_letters(
    connection: &mut PgConnection,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<StoredDeadLetter>, Fault> {
    let rows = sqlx::query(
        "SELECT id, time, source, position, sensor_id, reason, detail, replayed_at, payload, message_key FROM dead_letters
         WHERE id < $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(bounded(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(dead_letter_of).collect()
}

pub(super) async fn dead_letter(
    connection: &mut PgConnection,
    id: i64,
) -> Result<Option<StoredDeadLetter>, Fault> {
    let row = sqlx::query(
        "SELECT id, time, source, position, sensor_id, reason, detail, replayed_at, payload, message_key FROM dead_letters
         WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(dead_letter_of).transpose()
}

fn dead_letter_of(row: &PgRow) -> Result<StoredDeadLetter, Fault> {
    let reason: &str = row.try_get(5)?;
    Ok(StoredDeadLetter {
        id: row.try_get(0)?,
        time: time(row, 1)?,
        letter: DeadLetter {
            source: source(row, 2)?,
            position: row.try_get(3)?,
            key: row.try_get(9)?,
            sensor: row
                .try_get::<Option<i32>, _>(4)?
                .map(|sensor| SensorKey(sensor as u32)),
            reason: RejectReason::parse(reason)
                .ok_or_else(|| Fault::unreadable(format!("unknown reason: {reason}")))?,
            detail: row.try_get(6)?,
            payload: row.try_get(8)?,
        },
        replayed_at: row.try_get::<Option<Time>, _>(7)?.map(|Time(time)| time),
    })
}

pub(super) async fn restarts(
    connection: &mut PgConnection,
    actor: Option<&str>,
    limit: usize,
) -> Result<Vec<RestartRow>, Fault> {
    let query = match actor {
        Some(actor) => sqlx::query(
            "SELECT time, actor, reason, detail, by, took_us FROM restarts WHERE actor = $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(actor),
        None => sqlx::query("SELECT time, actor, reason, detail, by, took_us FROM restarts ORDER BY id DESC LIMIT $1"),
    };
    let rows = query.bind(bounded(limit)).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(RestartRow {
                time: time(row, 0)?,
                actor: row.try_get(1)?,
                reason: row.try_get(2)?,
                detail: row.try_get(3)?,
                by: row.try_get(4)?,
                took_us: row.try_get(5)?,
            })
        })
        .collect()
}

pub(super) async fn audit_log(connection: &mut PgConnection, limit: usize) -> Result<Vec<AuditRow>, Fault> {
    let rows = sqlx::query("SELECT time, who, what, target, detail FROM audit_log ORDER BY id DESC LIMIT $1")
        .bind(bounded(limit))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(AuditRow {
                time: time(row, 0)?,
                who: row.try_get(1)?,
                what: row.try_get(2)?,
                target: row.try_get(3)?,
                detail: row.try_get(4)?,
            })
        })
        .collect()
}

pub(super) async fn tokens(connection: &mut PgConnection) -> Result<Vec<TokenRow>, Fault> {
    let rows = sqlx::query("SELECT id, name, role, hash, created_at FROM api_tokens ORDER BY created_at, id")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(TokenRow {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                role: row.try_get(2)?,
                hash: row.try_get(3)?,
                created_at: time(row, 4)?,
            })
        })
        .collect()
}

pub(super) async fn position(
    connection: &mut PgConnection,
    source: &SourceName,
    partition: &str,
) -> Result<Option<i64>, Fault> {
    let offset: Option<Option<i64>> =
        sqlx::query_scalar("SELECT \"offset\" FROM positions WHERE source = $1 AND partition = $2")
            .bind(source.as_str())
            .bind(partition)
            .fetch_optional(connection)
            .await?;
    Ok(offset.flatten())
}

pub(super) async fn positions_of(
    connection: &mut PgConnection,
    source: &SourceName,
    prefix: &str,
) -> Result<Vec<(String, Timestamp)>, Fault> {
    let rows: Vec<(String, Time)> = sqlx::query_as(
        "SELECT partition, updated_at FROM positions WHERE source = $1 AND starts_with(partition, $2) ORDER BY partition",
    )
    .bind(source.as_str())
    .bind(prefix)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(partition, at)| (partition, at.0))
        .collect())
}

pub(super) async fn paused(connection: &mut PgConnection) -> Result<Vec<SensorKey>, Fault> {
    let sensors: Vec<i32> = sqlx::query_scalar("SELECT id FROM sensors WHERE paused ORDER BY id")
        .fetch_all(connection)
        .await?;
    Ok(sensors
        .into_iter()
        .map(|sensor| SensorKey(sensor as u32))
        .collect())
}

fn time(row: &PgRow, at: usize) -> Result<Timestamp, Fault> {
    let Time(time) = row.try_get(at)?;
    Ok(time)
}
