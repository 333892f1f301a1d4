//! What people are shown of notifications: the log, what each said and of which alerts, the decisions about an alert, and counts.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::fault::Fault;
use super::statement::{limit as bounded, text};
use super::time::Time;
use crate::domain::Episode;
use crate::storage::notices::{
    Decision, NotificationCounts, NotificationFilter, SendState, StoredNotification,
};

pub(super) async fn log(
    connection: &mut PgConnection,
    filter: &NotificationFilter,
) -> Result<Vec<StoredNotification>, Fault> {
    let rows = sqlx::query(
        "SELECT seq, id, receiver, thread, digest, at, state, attempts, due, done_at, taken, answer,
             (SELECT count(*) FROM notified_alerts a WHERE a.seq = n.seq)
         FROM notifications n
         WHERE ($1::bigint IS NULL OR seq < $1) AND ($2::text IS NULL OR receiver = $2) AND ($3::text IS NULL OR state = $3)
             AND ($4::bigint IS NULL OR seq IN (SELECT seq FROM notified_alerts WHERE episode = $4))
         ORDER BY seq DESC LIMIT $5",
    )
    .bind(filter.before)
    .bind(filter.receiver.as_deref().map(text))
    .bind(filter.state.map(SendState::as_str))
    .bind(filter.about.map(|episode| episode.0))
    .bind(bounded(filter.limit))
    .fetch_all(connection)
    .await?;
    let stored = |row: &PgRow| -> Result<StoredNotification, Fault> {
        let state = SendState::parse(row.try_get(6)?);
        let (Time(at), Time(due)) = (row.try_get(5)?, row.try_get(8)?);
        Ok(StoredNotification {
            seq: row.try_get(0)?,
            id: row.try_get(1)?,
            receiver: row.try_get(2)?,
            thread: row.try_get(3)?,
            digest: row.try_get(4)?,
            at,
            state: state.ok_or_else(|| Fault::unreadable("unknown state of a notification"))?,
            attempts: u32::try_from(row.try_get::<i64, _>(7)?).unwrap_or(u32::MAX),
            due,
            done_at: row.try_get::<Option<Time>, _>(9)?.map(|Time(time)| time),
            taken: serde_json::from_str(row.try_get(10)?).map_err(Fault::unreadable)?,
            answer: row.try_get(11)?,
            alerts: row.try_get::<i64, _>(12)?.unsigned_abs(),
        })
    };
    rows.iter().map(stored).collect()
}

pub(super) async fn body(connection: &mut PgConnection, id: &str) -> Result<Option<String>, Fault> {
    let body = sqlx::query_scalar("SELECT body FROM notifications WHERE id = $1").bind(text(id));
    Ok(body.fetch_optional(connection).await?)
}

pub(super) async fn about(connection: &mut PgConnection, id: &str) -> Result<Vec<Episode>, Fault> {
    let rows: Vec<i64> = sqlx::query_scalar(
        "SELECT a.episode FROM notifications n JOIN notified_alerts a USING (seq) WHERE n.id = $1 ORDER BY a.episode",
    )
    .bind(text(id))
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Episode).collect())
}

pub(super) async fn decisions(
    connection: &mut PgConnection,
    episode: Episode,
    limit: usize,
) -> Result<Vec<Decision>, Fault> {
    let rows: Vec<(Time, Option<String>, String, String)> = sqlx::query_as(
        "SELECT at, receiver, what, detail FROM alert_decisions WHERE episode = $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(episode.0)
    .bind(bounded(limit))
    .fetch_all(connection)
    .await?;
    let rows = rows
        .into_iter()
        .rev()
        .map(|(Time(at), receiver, what, detail)| Decision {
            episode,
            at,
            receiver,
            what,
            detail,
        });
    Ok(rows.collect())
}

pub(super) async fn counts(connection: &mut PgConnection) -> Result<NotificationCounts, Fault> {
    let (waiting, parked, unnoticed): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM notifications WHERE state = 'waiting'),
             (SELECT count(*) FROM notifications WHERE state = 'parked'),
             (SELECT count(*) FROM alert_events WHERE NOT noticed)",
    )
    .fetch_one(connection)
    .await?;
    Ok(NotificationCounts {
        waiting: waiting.unsigned_abs(),
        parked: parked.unsigned_abs(),
        unnoticed: unnoticed.unsigned_abs(),
    })
}
