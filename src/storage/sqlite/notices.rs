//! The way of alerts to people: see [`crate::storage::notices`]. Lists of rows go in as one JSON array a table.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::SqliteStore;
use super::alerts::{event_of, said_of};
use super::connection::finish;
use super::fault::Fault;
use super::readings::json;
use crate::domain::{AlertEvent, Episode, MetricName, SensorId, Timestamp};
use crate::storage::StoreError;
use crate::storage::alerts::Said;
use crate::storage::notices::{
    AlertingState, Attempt, Decided, Decision, KnownAlert, Leased, Notices, NotificationCounts,
    NotificationFilter, SendState, StoredNotification, Subject, ToSend, WaitingEvent,
};

async fn state(connection: &mut SqliteConnection) -> Result<AlertingState, Fault> {
    let turn = sqlx::query_scalar("SELECT turn FROM alert_turns")
        .fetch_one(&mut *connection)
        .await?;
    let known = sqlx::query(
        "SELECT a.series_id, a.rule, a.began, e.episode, e.ordinal, e.change, e.changed, e.state, e.level, e.value, e.threshold,
             e.low, e.high, e.flapping, e.reason, n.sensor_id, s.metric, s.unit, n.tags, a.acknowledged_by, a.acknowledged_at,
             a.acknowledged_comment, a.shelved_by, a.shelved_at, a.shelved_until, a.shelved_comment
         FROM (SELECT episode FROM alerts INDEXED BY alerts_open WHERE state <> 'resolved'
               UNION SELECT episode FROM alert_members
               UNION SELECT episode FROM alert_events INDEXED BY alert_events_waiting WHERE NOT noticed) w
         JOIN alerts a ON a.episode = w.episode
         JOIN alert_events e ON e.episode = a.episode
             AND e.ordinal = (SELECT max(ordinal) FROM alert_events l WHERE l.episode = a.episode AND l.noticed)
         JOIN series s ON s.id = a.series_id
         JOIN sensors n ON n.id = s.sensor_id
         WHERE e.state <> 'resolved' OR EXISTS (SELECT 1 FROM alert_members m WHERE m.episode = a.episode)
         ORDER BY a.episode",
    )
    .fetch_all(&mut *connection)
    .await?;
    let known = known.iter().map(|row| {
        Ok(KnownAlert {
            event: event_of(row, 0)?,
            of: subject(row, 15)?,
            said: said_of(row, 19)?,
        })
    });
    let members: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT key, episode, body FROM alert_members ORDER BY key, episode")
            .fetch_all(&mut *connection)
            .await?;
    let limits: Vec<(String, i64)> =
        sqlx::query_as("SELECT receiver, spent FROM alert_limits ORDER BY receiver")
            .fetch_all(&mut *connection)
            .await?;
    Ok(AlertingState {
        turn,
        alerts: known.collect::<Result<_, Fault>>()?,
        groups: sqlx::query_as("SELECT key, body FROM alert_groups ORDER BY key")
            .fetch_all(connection)
            .await?,
        members: members
            .into_iter()
            .map(|(key, episode, body)| (key, Episode(episode), body))
            .collect(),
        limits: limits
            .into_iter()
            .map(|(receiver, spent)| (receiver, Timestamp(spent)))
            .collect(),
    })
}

fn subject(row: &SqliteRow, at: usize) -> Result<Subject, Fault> {
    Ok(Subject {
        sensor: SensorId::parse(row.try_get(at)?).map_err(Fault::unreadable)?,
        metric: MetricName::parse(row.try_get(at + 1)?).map_err(Fault::unreadable)?,
        unit: row.try_get(at + 2)?,
        tags: serde_json::from_str(row.try_get(at + 3)?).map_err(Fault::unreadable)?,
    })
}

async fn waiting(connection: &mut SqliteConnection, limit: usize) -> Result<Vec<WaitingEvent>, Fault> {
    let rows = sqlx::query(
        "SELECT a.series_id, a.rule, a.began, e.episode, e.ordinal, e.change, e.changed, e.state, e.level, e.value, e.threshold,
             e.low, e.high, e.flapping, e.reason, n.sensor_id, s.metric, s.unit, n.tags, e.id
         FROM alert_events e INDEXED BY alert_events_waiting
         JOIN alerts a USING (episode) JOIN series s ON s.id = a.series_id JOIN sensors n ON n.id = s.sensor_id
         WHERE NOT e.noticed ORDER BY e.id LIMIT ?",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let waiting = |row: &SqliteRow| -> Result<WaitingEvent, Fault> {
        let event: AlertEvent = event_of(row, 0)?;
        Ok(WaitingEvent {
            id: row.try_get(19)?,
            event,
            of: subject(row, 15)?,
        })
    };
    rows.iter().map(waiting).collect()
}

async fn said(connection: &mut SqliteConnection) -> Result<Vec<(Episode, Said)>, Fault> {
    let rows = sqlx::query(
        "SELECT acknowledged_by, acknowledged_at, acknowledged_comment, shelved_by, shelved_at, shelved_until, shelved_comment,
             episode FROM alerts INDEXED BY alerts_said
         WHERE state <> 'resolved' AND (acknowledged_at IS NOT NULL OR shelved_until IS NOT NULL)",
    )
    .fetch_all(connection)
    .await?;
    let said = |row: &SqliteRow| Ok((Episode(row.try_get(7)?), said_of(row, 0)?));
    rows.iter().map(said).collect()
}

async fn decide(connection: &mut SqliteConnection, turn: i64, decided: &Decided) -> Result<bool, Fault> {
    let taken = sqlx::query("UPDATE alert_turns SET turn = ?1 WHERE turn = ?1 - 1")
        .bind(turn)
        .execute(&mut *connection)
        .await?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    let run = async |sql: &'static str, rows: String, connection: &mut SqliteConnection| {
        let done = sqlx::query(sql).bind(rows).execute(connection).await;
        done.map(drop).map_err(Fault::from)
    };
    if !decided.noticed.is_empty() {
        let sql = "UPDATE alert_events SET noticed = 1 WHERE id IN (SELECT value FROM json_each(?))";
        run(sql, json(&decided.noticed)?, connection).await?;
    }
    let (kept, gone): (Vec<_>, Vec<_>) = decided.groups.iter().partition(|(_, body)| body.is_some());
    if !gone.is_empty() {
        let keys: Vec<&str> = gone.iter().map(|(key, _)| key.as_str()).collect();
        run(
            "DELETE FROM alert_groups WHERE key IN (SELECT value FROM json_each(?))",
            json(&keys)?,
            connection,
        )
        .await?;
    }
    if !kept.is_empty() {
        let sql = "INSERT INTO alert_groups (key, body) SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE true
             ON CONFLICT (key) DO UPDATE SET body = excluded.body";
        run(sql, json(&kept)?, connection).await?;
    }
    let rows = decided
        .members
        .iter()
        .map(|(key, episode, body)| (key, episode.0, body));
    let (kept, gone): (Vec<_>, Vec<_>) = rows.partition(|(.., body)| body.is_some());
    if !gone.is_empty() {
        let sql = "DELETE FROM alert_members WHERE (key, episode) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))";
        run(sql, json(&gone)?, connection).await?;
    }
    if !kept.is_empty() {
        let sql = "INSERT INTO alert_members (key, episode, body)
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true
             ON CONFLICT (key, episode) DO UPDATE SET body = excluded.body";
        run(sql, json(&kept)?, connection).await?;
    }
    if !decided.limits.is_empty() {
        let rows: Vec<_> = decided
            .limits
            .iter()
            .map(|(receiver, spent)| (receiver, spent.0))
            .collect();
        let sql = "INSERT INTO alert_limits (receiver, spent) SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE true
             ON CONFLICT (receiver) DO UPDATE SET spent = excluded.spent";
        run(sql, json(&rows)?, connection).await?;
    }
    for notification in &decided.notifications {
        let seq: i64 = sqlx::query_scalar(
            "INSERT INTO notifications (id, receiver, thread, digest, at, due, body) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
             RETURNING seq",
        )
        .bind(&notification.id)
        .bind(&notification.receiver)
        .bind(&notification.thread)
        .bind(notification.digest)
        .bind(notification.at.0)
        .bind(&notification.body)
        .fetch_one(&mut *connection)
        .await?;
        let about: Vec<_> = notification
            .about
            .iter()
            .map(|(episode, ordinal)| (episode.0, ordinal, seq))
            .collect();
        let sql = "INSERT INTO notified_alerts (episode, seq, ordinal)
             SELECT value ->> 0, value ->> 2, value ->> 1 FROM json_each(?) WHERE true ON CONFLICT DO NOTHING";
        run(sql, json(&about)?, connection).await?;
    }
    if !decided.decisions.is_empty() {
        let rows = decided.decisions.iter();
        let rows = rows.map(|said| {
            (
                said.episode.0,
                said.at.0,
                &said.receiver,
                &said.what,
                &said.detail,
            )
        });
        let sql = "INSERT INTO alert_decisions (episode, at, receiver, what, detail)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)";
        run(sql, json(&rows.collect::<Vec<_>>())?, connection).await?;
    }
    Ok(true)
}

async fn to_send(
    connection: &mut SqliteConnection,
    receiver: &str,
    limit: usize,
) -> Result<Vec<ToSend>, Fault> {
    let rows: Vec<(i64, String, bool, i64, bool)> = sqlx::query_as(
        "SELECT seq, thread, digest, due, taken <> '[]' FROM notifications INDEXED BY notifications_waiting
         WHERE receiver = ? AND state = 'waiting' ORDER BY seq LIMIT ?",
    )
    .bind(receiver)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|(seq, thread, digest, due, partly)| ToSend {
        seq,
        thread,
        digest,
        due: Timestamp(due),
        partly,
    });
    Ok(rows.collect())
}

async fn lease(
    connection: &mut SqliteConnection,
    (seq, by): (i64, &str),
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Leased>, Fault> {
    let row = sqlx::query(
        "UPDATE notifications SET leased_by = ?1, leased_until = ?2
         WHERE seq = ?3 AND state = 'waiting' AND (leased_by IS NULL OR leased_by = ?1 OR leased_until <= ?4)
         RETURNING body, at, attempts, answered, taken",
    )
    .bind(by)
    .bind(until.0)
    .bind(seq)
    .bind(now.0)
    .fetch_optional(connection)
    .await?;
    let leased = |row: SqliteRow| -> Result<Leased, Fault> {
        Ok(Leased {
            body: row.try_get(0)?,
            at: Timestamp(row.try_get(1)?),
            attempts: row.try_get(2)?,
            answered: serde_json::from_str(row.try_get(3)?).map_err(Fault::unreadable)?,
            taken: serde_json::from_str(row.try_get(4)?).map_err(Fault::unreadable)?,
        })
    };
    row.map(leased).transpose()
}

async fn log(
    connection: &mut SqliteConnection,
    filter: &NotificationFilter,
) -> Result<Vec<StoredNotification>, Fault> {
    let rows = sqlx::query(
        "SELECT seq, id, receiver, thread, digest, at, state, attempts, due, done_at, taken, answer,
             (SELECT count(*) FROM notified_alerts a WHERE a.seq = n.seq)
         FROM notifications n
         WHERE (?1 IS NULL OR seq < ?1) AND (?2 IS NULL OR receiver = ?2) AND (?3 IS NULL OR state = ?3)
             AND (?4 IS NULL OR seq IN (SELECT seq FROM notified_alerts WHERE episode = ?4))
         ORDER BY seq DESC LIMIT ?5",
    )
    .bind(filter.before)
    .bind(&filter.receiver)
    .bind(filter.state.map(SendState::as_str))
    .bind(filter.about.map(|episode| episode.0))
    .bind(i64::try_from(filter.limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let stored = |row: &SqliteRow| -> Result<StoredNotification, Fault> {
        let state = SendState::parse(row.try_get(6)?);
        Ok(StoredNotification {
            seq: row.try_get(0)?,
            id: row.try_get(1)?,
            receiver: row.try_get(2)?,
            thread: row.try_get(3)?,
            digest: row.try_get(4)?,
            at: Timestamp(row.try_get(5)?),
            state: state.ok_or_else(|| Fault::unreadable("unknown state of a notification"))?,
            attempts: row.try_get(7)?,
            due: Timestamp(row.try_get(8)?),
            done_at: row.try_get::<Option<i64>, _>(9)?.map(Timestamp),
            taken: serde_json::from_str(row.try_get(10)?).map_err(Fault::unreadable)?,
            answer: row.try_get(11)?,
            alerts: row.try_get::<i64, _>(12)?.unsigned_abs(),
        })
    };
    rows.iter().map(stored).collect()
}

async fn body(connection: &mut SqliteConnection, id: &str) -> Result<Option<String>, Fault> {
    let body = sqlx::query_scalar("SELECT body FROM notifications WHERE id = ?").bind(id);
    Ok(body.fetch_optional(connection).await?)
}

async fn about(connection: &mut SqliteConnection, id: &str) -> Result<Vec<Episode>, Fault> {
    let rows: Vec<i64> = sqlx::query_scalar(
        "SELECT a.episode FROM notifications n JOIN notified_alerts a USING (seq) WHERE n.id = ? ORDER BY a.episode",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Episode).collect())
}

async fn decisions(
    connection: &mut SqliteConnection,
    episode: Episode,
    limit: usize,
) -> Result<Vec<Decision>, Fault> {
    let rows: Vec<(i64, Option<String>, String, String)> = sqlx::query_as(
        "SELECT at, receiver, what, detail FROM alert_decisions WHERE episode = ? ORDER BY id DESC LIMIT ?",
    )
    .bind(episode.0)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let rows = rows
        .into_iter()
        .rev()
        .map(|(at, receiver, what, detail)| Decision {
            episode,
            at: Timestamp(at),
            receiver,
            what,
            detail,
        });
    Ok(rows.collect())
}

async fn counts(connection: &mut SqliteConnection) -> Result<NotificationCounts, Fault> {
    let (waiting, parked, unnoticed): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM notifications INDEXED BY notifications_waiting WHERE state = 'waiting'),
             (SELECT count(*) FROM notifications INDEXED BY notifications_parked WHERE state = 'parked'),
             (SELECT count(*) FROM alert_events INDEXED BY alert_events_waiting WHERE NOT noticed)",
    )
    .fetch_one(connection)
    .await?;
    Ok(NotificationCounts {
        waiting: waiting.unsigned_abs(),
        parked: parked.unsigned_abs(),
        unnoticed: unnoticed.unsigned_abs(),
    })
}

/// Asks in a read transaction of its own and says what was asked where it fails.
macro_rules! ask {
    ($store:ident, $what:literal, $question:ident $(, $argument:expr)*) => {{
        let mut reader = $store.snapshot($what).await?;
        $question(&mut reader $(, $argument)*).await.map_err(|fault: Fault| fault.during($what))
    }};
}

/// The same in one that writes.
macro_rules! change {
    ($store:ident, $what:literal, $change:ident $(, $argument:expr)*) => {{
        let mut writer = $store.writer.lock().await;
        let mut transaction = writer.begin().await.map_err(|fault| fault.during($what))?;
        let result = $change(&mut transaction $(, $argument)*).await;
        let (result, sound) = finish(transaction, result, $what).await;
        if !sound {
            writer.discard().await;
        }
        result
    }};
}

#[async_trait]
impl Notices for SqliteStore {
    async fn alerting_state(&self) -> Result<AlertingState, StoreError> {
        ask!(self, "reading the state of alerting", state)
    }

    async fn waiting_events(&self, limit: usize) -> Result<Vec<WaitingEvent>, StoreError> {
        ask!(self, "reading events of alerts", waiting, limit)
    }

    async fn said(&self) -> Result<Vec<(Episode, Said)>, StoreError> {
        ask!(self, "reading what was said to alerts", said)
    }

    async fn decide(&self, turn: i64, decided: &Decided) -> Result<bool, StoreError> {
        change!(self, "storing what was decided of alerts", decide, turn, decided)
    }

    async fn to_send(&self, receiver: &str, limit: usize) -> Result<Vec<ToSend>, StoreError> {
        ask!(self, "reading what is to be sent", to_send, receiver, limit)
    }

    async fn lease(
        &self,
        seq: i64,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Leased>, StoreError> {
        change!(self, "leasing a notification", lease, (seq, by), now, until)
    }

    async fn attempted(&self, seq: i64, by: &str, attempt: &Attempt) -> Result<(), StoreError> {
        let what = "storing what became of a notification";
        let names = |list: &[String]| json(list).map_err(|fault| fault.during(what));
        let query = sqlx::query(
            "UPDATE notifications SET state = ?, attempts = attempts + 1, due = ?, answered = ?, taken = ?, answer = ?,
                 done_at = ?, leased_by = NULL, leased_until = NULL
             WHERE seq = ? AND leased_by = ? AND state = 'waiting'",
        )
        .bind(attempt.state.as_str())
        .bind(attempt.due.0)
        .bind(names(&attempt.answered)?)
        .bind(names(&attempt.taken)?)
        .bind(&attempt.answer)
        .bind((attempt.state != SendState::Waiting).then_some(attempt.at.0))
        .bind(seq)
        .bind(by);
        self.write(what, query).await.map(drop)
    }

    async fn park_others(&self, receivers: &[&str], now: Timestamp) -> Result<u64, StoreError> {
        let what = "giving up what nobody receives";
        let query = sqlx::query(
            "UPDATE notifications SET state = 'parked', done_at = ?1, answer = 'there is no such receiver any more'
             WHERE state = 'waiting' AND receiver NOT IN (SELECT value FROM json_each(?2))",
        )
        .bind(now.0)
        .bind(json(receivers).map_err(|fault| fault.during(what))?);
        Ok(self.write(what, query).await?.rows_affected())
    }

    async fn send_again(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE notifications SET state = 'waiting', due = ?, attempts = 0, done_at = NULL, leased_by = NULL, leased_until = NULL,
                 answered = taken WHERE id = ? AND state = 'parked'",
        )
        .bind(now.0)
        .bind(id);
        Ok(self
            .write("having a notification sent again", query)
            .await?
            .rows_affected()
            > 0)
    }

    async fn notifications(
        &self,
        filter: &NotificationFilter,
    ) -> Result<Vec<StoredNotification>, StoreError> {
        ask!(self, "reading notifications", log, filter)
    }

    async fn notification_body(&self, id: &str) -> Result<Option<String>, StoreError> {
        ask!(self, "reading a notification", body, id)
    }

    async fn notified_alerts(&self, id: &str) -> Result<Vec<Episode>, StoreError> {
        ask!(self, "reading the alerts of a notification", about, id)
    }

    async fn decisions(&self, episode: Episode, limit: usize) -> Result<Vec<Decision>, StoreError> {
        ask!(
            self,
            "reading what was decided of an alert",
            decisions,
            episode,
            limit
        )
    }

    async fn notification_counts(&self) -> Result<NotificationCounts, StoreError> {
        ask!(self, "counting notifications", counts)
    }
}
