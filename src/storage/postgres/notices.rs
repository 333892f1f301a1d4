//! The way of alerts to people: see [`crate::storage::notices`].

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::PostgresStore;
use super::alerts::{event_of, said_of};
use super::connection::{command, within};
use super::fault::Fault;
use super::notice_log::{about, body, counts, decisions, log};
use super::statement::{limit as bounded, text};
use super::time::Time;
use crate::domain::{Episode, MetricName, SensorId, Timestamp};
use crate::storage::alerts::Said;
use crate::storage::notices::{
    AlertingState, Attempt, Decided, Decision, KnownAlert, Leased, Notices, NotificationCounts,
    NotificationFilter, SendState, StoredNotification, Subject, ToSend, WaitingEvent,
};
use crate::storage::{ErrorClass, StoreError};

async fn state(connection: &mut PgConnection) -> Result<AlertingState, Fault> {
    let turn = sqlx::query_scalar("SELECT turn FROM alert_turns")
        .fetch_one(&mut *connection)
        .await?;
    let known = sqlx::query(
        "SELECT a.series_id, a.rule, a.began, e.episode, e.ordinal, e.change, e.changed, e.state, e.level, e.value, e.threshold,
             e.low, e.high, e.flapping, e.reason, n.sensor_id, s.metric, s.unit, n.tags, a.acknowledged_by, a.acknowledged_at,
             a.acknowledged_comment, a.shelved_by, a.shelved_at, a.shelved_until, a.shelved_comment
         FROM (SELECT episode FROM alerts WHERE state <> 'resolved'
               UNION SELECT episode FROM alert_members
               UNION SELECT episode FROM alert_events WHERE NOT noticed) w
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
    let limits: Vec<(String, Time)> =
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
            .map(|(receiver, Time(spent))| (receiver, spent))
            .collect(),
    })
}

fn subject(row: &PgRow, at: usize) -> Result<Subject, Fault> {
    Ok(Subject {
        sensor: SensorId::parse(row.try_get(at)?).map_err(Fault::unreadable)?,
        metric: MetricName::parse(row.try_get(at + 1)?).map_err(Fault::unreadable)?,
        unit: row.try_get(at + 2)?,
        tags: serde_json::from_str(row.try_get(at + 3)?).map_err(Fault::unreadable)?,
    })
}

async fn waiting(connection: &mut PgConnection, limit: usize) -> Result<Vec<WaitingEvent>, Fault> {
    let rows = sqlx::query(
        "SELECT a.series_id, a.rule, a.began, e.episode, e.ordinal, e.change, e.changed, e.state, e.level, e.value, e.threshold,
             e.low, e.high, e.flapping, e.reason, n.sensor_id, s.metric, s.unit, n.tags, e.id
         FROM (SELECT * FROM alert_events WHERE NOT noticed ORDER BY id LIMIT $1) e
         JOIN alerts a USING (episode) JOIN series s ON s.id = a.series_id JOIN sensors n ON n.id = s.sensor_id
         ORDER BY e.id",
    )
    .bind(bounded(limit))
    .fetch_all(connection)
    .await?;
    let waiting = |row: &PgRow| -> Result<WaitingEvent, Fault> {
        Ok(WaitingEvent {
            id: row.try_get(19)?,
            event: event_of(row, 0)?,
            of: subject(row, 15)?,
        })
    };
    rows.iter().map(waiting).collect()
}

async fn said(connection: &mut PgConnection) -> Result<Vec<(Episode, Said)>, Fault> {
    let rows = sqlx::query(
        "SELECT acknowledged_by, acknowledged_at, acknowledged_comment, shelved_by, shelved_at, shelved_until, shelved_comment,
             episode FROM alerts WHERE state <> 'resolved' AND (acknowledged_at IS NOT NULL OR shelved_until IS NOT NULL)",
    )
    .fetch_all(connection)
    .await?;
    let said = |row: &PgRow| Ok((Episode(row.try_get(7)?), said_of(row, 0)?));
    rows.iter().map(said).collect()
}

async fn decide(connection: &mut PgConnection, turn: i64, decided: &Decided) -> Result<bool, Fault> {
    let taken = sqlx::query("UPDATE alert_turns SET turn = $1 WHERE turn = $1 - 1")
        .bind(turn)
        .execute(&mut *connection)
        .await?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("UPDATE alert_events SET noticed = true WHERE id = ANY ($1)")
        .bind(&decided.noticed)
        .execute(&mut *connection)
        .await?;
    write_groups(connection, decided).await?;
    sqlx::query(
        "INSERT INTO alert_limits (receiver, spent) SELECT * FROM unnest($1::text[], $2::timestamptz[])
         ON CONFLICT (receiver) DO UPDATE SET spent = excluded.spent",
    )
    .bind(
        decided
            .limits
            .iter()
            .map(|(receiver, _)| text(receiver))
            .collect::<Vec<_>>(),
    )
    .bind(
        decided
            .limits
            .iter()
            .map(|(_, spent)| Time(*spent))
            .collect::<Vec<_>>(),
    )
    .execute(&mut *connection)
    .await?;
    for notification in &decided.notifications {
        let seq: i64 = sqlx::query_scalar(
            "INSERT INTO notifications (id, receiver, thread, digest, at, due, body) VALUES ($1, $2, $3, $4, $5, $5, $6)
             RETURNING seq",
        )
        .bind(&notification.id)
        .bind(text(&notification.receiver))
        .bind(&notification.thread)
        .bind(notification.digest)
        .bind(Time(notification.at))
        .bind(text(&notification.body))
        .fetch_one(&mut *connection)
        .await?;
        let about = &notification.about;
        sqlx::query(
            "INSERT INTO notified_alerts (episode, seq, ordinal)
             SELECT episode, $1, ordinal FROM unnest($2::bigint[], $3::bigint[]) AS a (episode, ordinal) ON CONFLICT DO NOTHING",
        )
        .bind(seq)
        .bind(about.iter().map(|(episode, _)| episode.0).collect::<Vec<_>>())
        .bind(about.iter().map(|(_, ordinal)| i64::from(*ordinal)).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    let decisions = &decided.decisions;
    sqlx::query(
        "INSERT INTO alert_decisions (episode, at, receiver, what, detail)
         SELECT episode, at, receiver, what, detail
         FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
             AS d (episode, at, receiver, what, detail, place) ORDER BY place",
    )
    .bind(decisions.iter().map(|said| said.episode.0).collect::<Vec<_>>())
    .bind(decisions.iter().map(|said| Time(said.at)).collect::<Vec<_>>())
    .bind(
        decisions
            .iter()
            .map(|said| said.receiver.as_deref().map(text))
            .collect::<Vec<_>>(),
    )
    .bind(decisions.iter().map(|said| text(&said.what)).collect::<Vec<_>>())
    .bind(
        decisions
            .iter()
            .map(|said| text(&said.detail))
            .collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(true)
}

async fn write_groups(connection: &mut PgConnection, decided: &Decided) -> Result<(), Fault> {
    let (kept, gone): (Vec<_>, Vec<_>) = decided.groups.iter().partition(|(_, body)| body.is_some());
    sqlx::query("DELETE FROM alert_groups WHERE key = ANY ($1)")
        .bind(gone.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO alert_groups (key, body) SELECT * FROM unnest($1::text[], $2::text[])
         ON CONFLICT (key) DO UPDATE SET body = excluded.body",
    )
    .bind(kept.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>())
    .bind(
        kept.iter()
            .map(|(_, body)| body.as_deref().map(text))
            .collect::<Vec<_>>(),
    )
    .execute(&mut *connection)
    .await?;
    let (kept, gone): (Vec<_>, Vec<_>) = decided.members.iter().partition(|(.., body)| body.is_some());
    sqlx::query(
        "DELETE FROM alert_members m USING unnest($1::text[], $2::bigint[]) AS gone (key, episode)
         WHERE m.key = gone.key AND m.episode = gone.episode",
    )
    .bind(gone.iter().map(|(key, ..)| key.as_str()).collect::<Vec<_>>())
    .bind(gone.iter().map(|(_, episode, _)| episode.0).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO alert_members (key, episode, body) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
         ON CONFLICT (key, episode) DO UPDATE SET body = excluded.body",
    )
    .bind(kept.iter().map(|(key, ..)| key.as_str()).collect::<Vec<_>>())
    .bind(kept.iter().map(|(_, episode, _)| episode.0).collect::<Vec<_>>())
    .bind(kept.iter().map(|(.., body)| body.as_deref().map(text)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn to_send(connection: &mut PgConnection, receiver: &str, limit: usize) -> Result<Vec<ToSend>, Fault> {
    let rows: Vec<(i64, String, bool, Time, bool)> = sqlx::query_as(
        "SELECT seq, thread, digest, due, taken <> '[]' FROM notifications
         WHERE receiver = $1 AND state = 'waiting' ORDER BY seq LIMIT $2",
    )
    .bind(receiver)
    .bind(bounded(limit))
    .fetch_all(connection)
    .await?;
    let rows = rows
        .into_iter()
        .map(|(seq, thread, digest, Time(due), partly)| ToSend {
            seq,
            thread,
            digest,
            due,
            partly,
        });
    Ok(rows.collect())
}

async fn lease(
    connection: &mut PgConnection,
    (seq, by): (i64, &str),
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Leased>, Fault> {
    let row = sqlx::query(
        "UPDATE notifications SET leased_by = $1, leased_until = $2
         WHERE seq = $3 AND state = 'waiting' AND (leased_by IS NULL OR leased_by = $1 OR leased_until <= $4)
         RETURNING body, at, attempts, answered, taken",
    )
    .bind(by)
    .bind(Time(until))
    .bind(seq)
    .bind(Time(now))
    .fetch_optional(connection)
    .await?;
    let leased = |row: PgRow| -> Result<Leased, Fault> {
        let Time(at) = row.try_get(1)?;
        Ok(Leased {
            body: row.try_get(0)?,
            at,
            attempts: u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX),
            answered: serde_json::from_str(row.try_get(3)?).map_err(Fault::unreadable)?,
            taken: serde_json::from_str(row.try_get(4)?).map_err(Fault::unreadable)?,
        })
    };
    row.map(leased).transpose()
}

/// Asks in a transaction of its own that sees one commit, and says what was asked where it fails.
macro_rules! ask {
    ($store:ident, $what:literal, $question:ident $(, $argument:expr)*) => {{
        let answer = async {
            let mut reader = $store.reader().await?;
            command(reader.connection(), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let answer = $question(reader.connection() $(, $argument)*).await;
            reader.finish(answer, true).await
        };
        let answer = within($store.readers.patience(), answer).await;
        answer.map_err(|fault: Fault| fault.during($what))
    }};
}

/// The same in one that writes.
macro_rules! change {
    ($store:ident, $what:literal, $change:ident $(, $argument:expr)*) => {{
        let changed = async {
            let mut reader = $store.reader().await?;
            command(reader.connection(), "BEGIN READ WRITE").await?;
            let changed = $change(reader.connection() $(, $argument)*).await;
            reader.finish(changed, true).await
        };
        let changed = within($store.writer.limit, changed).await;
        changed.map_err(|fault: Fault| fault.during($what))
    }};
}

#[async_trait]
impl Notices for PostgresStore {
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
        let list = |names: &[String]| {
            let written = serde_json::to_string(names);
            written.map_err(|error| Fault::found(ErrorClass::Refused, error).during(what))
        };
        let query = sqlx::query(
            "UPDATE notifications SET state = $1, attempts = attempts + 1, due = $2, answered = $3, taken = $4, answer = $5,
                 done_at = $6, leased_by = NULL, leased_until = NULL
             WHERE seq = $7 AND leased_by = $8 AND state = 'waiting'",
        )
        .bind(attempt.state.as_str())
        .bind(Time(attempt.due))
        .bind(list(&attempt.answered)?)
        .bind(list(&attempt.taken)?)
        .bind(text(&attempt.answer).into_owned())
        .bind((attempt.state != SendState::Waiting).then_some(Time(attempt.at)))
        .bind(seq)
        .bind(by);
        self.write(what, query).await.map(drop)
    }

    async fn park_others(&self, receivers: &[&str], now: Timestamp) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "UPDATE notifications SET state = 'parked', done_at = $1, answer = 'there is no such receiver any more'
             WHERE state = 'waiting' AND receiver <> ALL ($2)",
        )
        .bind(Time(now))
        .bind(receivers);
        Ok(self
            .write("giving up what nobody receives", query)
            .await?
            .rows_affected())
    }

    async fn send_again(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE notifications SET state = 'waiting', due = $1, attempts = 0, done_at = NULL, leased_by = NULL,
                 leased_until = NULL, answered = taken WHERE id = $2 AND state = 'parked'",
        )
        .bind(Time(now))
        .bind(text(id));
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
