//! Alerts: see [`crate::storage::alerts`].

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::PostgresStore;
use super::connection::within;
use super::fault::Fault;
use super::statement::{limit as bounded, number, text};
use super::time::Time;
use crate::domain::{AlertChange, AlertEvent, AlertState, Band, Episode, Level, SeriesId, Timestamp};
use crate::storage::alerts::{
    Acknowledgement, AlertCounts, AlertFilter, Alerts, NewSilence, Numbered, Said, Shelf, Silence,
    StoredAlert, ended, events,
};
use crate::storage::outbox::News;
use crate::storage::{CompleteBatch, ErrorClass, StoreError, StoredSensor};

/// Writes the events of a group that are not stored yet, and brings their rows up to them.
pub(super) async fn write(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    news: Option<&mut News>,
) -> Result<(), Fault> {
    let (all, last) = events(batches);
    if all.is_empty() {
        return Ok(());
    }
    if let Some(news) = news {
        news.changed(&all, &known(connection, &all).await?);
    }
    let each: Vec<&AlertEvent> = all.iter().map(|(_, (_, event))| *event).collect();
    sqlx::query(
        "INSERT INTO alert_events (episode, ordinal, change, changed, state, level, value, threshold, low, high, flapping, reason)
         SELECT episode, ordinal, change, changed, state, level, value, threshold, low, high, flapping, reason
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::float8[],
                 $8::float8[], $9::float8[], $10::float8[], $11::boolean[], $12::text[]) WITH ORDINALITY
             AS e (episode, ordinal, change, changed, state, level, value, threshold, low, high, flapping, reason, place)
         ORDER BY place ON CONFLICT (episode, ordinal) DO NOTHING",
    )
    .bind(each.iter().map(|event| event.episode.0).collect::<Vec<_>>())
    .bind(each.iter().map(|event| i64::from(event.ordinal)).collect::<Vec<_>>())
    .bind(each.iter().map(|event| event.change.as_str()).collect::<Vec<_>>())
    .bind(each.iter().map(|event| Time(event.time)).collect::<Vec<_>>())
    .bind(each.iter().map(|event| event.state.as_str()).collect::<Vec<_>>())
    .bind(each.iter().map(|event| event.level.as_str()).collect::<Vec<_>>())
    .bind(each.iter().map(|event| event.value).collect::<Vec<_>>())
    .bind(each.iter().map(|event| event.threshold).collect::<Vec<_>>())
    .bind(each.iter().map(|event| event.expected.low).collect::<Vec<_>>())
    .bind(each.iter().map(|event| event.expected.high).collect::<Vec<_>>())
    .bind(each.iter().map(|event| event.flapping).collect::<Vec<_>>())
    .bind(each.iter().map(|event| text(&event.reason)).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    write_rows(connection, &last).await
}

async fn write_rows(connection: &mut PgConnection, last: &[Numbered<'_>]) -> Result<(), Fault> {
    let each = || last.iter().map(|(_, event)| *event);
    sqlx::query(
        "INSERT INTO alerts (episode, series_id, rule, ordinal, change, changed, state, level, began, ended, value, threshold,
             low, high, flapping, reason, batch)
         SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $7::text[],
             $8::text[], $9::timestamptz[], $10::timestamptz[], $11::float8[], $12::float8[], $13::float8[], $14::float8[],
             $15::boolean[], $16::text[], $17::bigint[])
         ON CONFLICT (episode) DO UPDATE SET ordinal = excluded.ordinal, change = excluded.change, changed = excluded.changed,
             state = excluded.state, level = excluded.level, ended = excluded.ended, value = excluded.value,
             threshold = excluded.threshold, low = excluded.low, high = excluded.high, flapping = excluded.flapping,
             reason = excluded.reason, batch = excluded.batch
         WHERE excluded.ordinal > alerts.ordinal",
    )
    .bind(each().map(|event| event.episode.0).collect::<Vec<_>>())
    .bind(each().map(|event| number(event.series.0)).collect::<Vec<_>>())
    .bind(each().map(|event| text(&event.rule)).collect::<Vec<_>>())
    .bind(each().map(|event| i64::from(event.ordinal)).collect::<Vec<_>>())
    .bind(each().map(|event| event.change.as_str()).collect::<Vec<_>>())
    .bind(each().map(|event| Time(event.time)).collect::<Vec<_>>())
    .bind(each().map(|event| event.state.as_str()).collect::<Vec<_>>())
    .bind(each().map(|event| event.level.as_str()).collect::<Vec<_>>())
    .bind(each().map(|event| Time(event.began)).collect::<Vec<_>>())
    .bind(each().map(|event| ended(event).map(Time)).collect::<Vec<_>>())
    .bind(each().map(|event| event.value).collect::<Vec<_>>())
    .bind(each().map(|event| event.threshold).collect::<Vec<_>>())
    .bind(each().map(|event| event.expected.low).collect::<Vec<_>>())
    .bind(each().map(|event| event.expected.high).collect::<Vec<_>>())
    .bind(each().map(|event| event.flapping).collect::<Vec<_>>())
    .bind(each().map(|event| text(&event.reason)).collect::<Vec<_>>())
    .bind(last.iter().map(|(batch, _)| *batch as i64).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// The places of those that are stored.
async fn known(connection: &mut PgConnection, all: &[(usize, Numbered<'_>)]) -> Result<Vec<i64>, Fault> {
    let each = || all.iter().map(|(_, (_, event))| *event);
    let known = sqlx::query_scalar(
        "SELECT k.place - 1 FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS k (episode, ordinal, place)
         JOIN alert_events e ON e.episode = k.episode AND e.ordinal = k.ordinal",
    )
    .bind(each().map(|event| event.episode.0).collect::<Vec<_>>())
    .bind(each().map(|event| i64::from(event.ordinal)).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(known)
}

/// Gives each sensor its alerts that are not resolved, or changed after its snapshot.
pub(super) async fn restore(
    connection: &mut PgConnection,
    sensors: &mut [StoredSensor],
) -> Result<(), Fault> {
    let since = |sensor: &StoredSensor| {
        let batch = sensor.snapshot.as_ref().map(|(seq, _)| seq.batch().0);
        batch.map_or(-1, |batch| i64::try_from(batch).unwrap_or(i64::MAX))
    };
    let rows = sqlx::query(
        "SELECT asked.place, a.series_id, a.rule, a.began, a.episode, a.ordinal, a.change, a.changed, a.state, a.level, a.value,
             a.threshold, a.low, a.high, a.flapping, a.reason
         FROM unnest($1::integer[], $2::bigint[]) WITH ORDINALITY AS asked (sensor_id, since, place)
         JOIN series s ON s.sensor_id = asked.sensor_id
         CROSS JOIN LATERAL (
             SELECT * FROM alerts WHERE series_id = s.id AND state <> 'resolved'
             UNION SELECT * FROM alerts WHERE series_id = s.id AND batch > asked.since) a
         ORDER BY asked.place, a.began, a.episode",
    )
    .bind(sensors.iter().map(|sensor| number(sensor.sensor.0)).collect::<Vec<_>>())
    .bind(sensors.iter().map(since).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let place: i64 = row.try_get(0)?;
        if let Some(sensor) = usize::try_from(place - 1)
            .ok()
            .and_then(|place| sensors.get_mut(place))
        {
            sensor.alerts.push(event_of(row, 1)?);
        }
    }
    Ok(())
}

/// Reads series, rule and begin, and then the columns of an event.
pub(super) fn event_of(row: &PgRow, at: usize) -> Result<AlertEvent, Fault> {
    let word = |column: usize| row.try_get::<&str, _>(at + column);
    let time = |column: usize| row.try_get::<Time, _>(at + column).map(|Time(time)| time);
    let unknown = |what: &str| Fault::unreadable(format!("unknown {what} of an alert"));
    Ok(AlertEvent {
        series: SeriesId(row.try_get::<i32, _>(at)? as u32),
        rule: word(1)?.into(),
        began: time(2)?,
        episode: Episode(row.try_get(at + 3)?),
        ordinal: u32::try_from(row.try_get::<i64, _>(at + 4)?).map_err(Fault::unreadable)?,
        change: AlertChange::parse(word(5)?).ok_or_else(|| unknown("change"))?,
        time: time(6)?,
        state: AlertState::parse(word(7)?).ok_or_else(|| unknown("state"))?,
        level: Level::parse(word(8)?).ok_or_else(|| unknown("level"))?,
        value: row.try_get(at + 9)?,
        threshold: row.try_get(at + 10)?,
        expected: Band {
            low: row.try_get(at + 11)?,
            high: row.try_get(at + 12)?,
        },
        flapping: row.try_get(at + 13)?,
        reason: row.try_get(at + 14)?,
    })
}

fn alert_of(row: &PgRow) -> Result<StoredAlert, Fault> {
    Ok(StoredAlert {
        last: event_of(row, 0)?,
        ended: row.try_get::<Option<Time>, _>(15)?.map(|Time(time)| time),
        said: said_of(row, 16)?,
    })
}

/// Reads who acknowledged it, when and why, and who shelved it, when, until when and why.
pub(super) fn said_of(row: &PgRow, at: usize) -> Result<Said, Fault> {
    let words = |column: usize| row.try_get::<Option<String>, _>(at + column);
    let time = |column: usize| {
        Ok::<_, Fault>(
            row.try_get::<Option<Time>, _>(at + column)?
                .map(|Time(time)| time),
        )
    };
    let acknowledged = words(0)?.zip(time(1)?).map(|(by, at)| (by, at, words(2)));
    let shelved = words(3)?
        .zip(time(4)?)
        .zip(time(5)?)
        .map(|((by, at), until)| (by, at, until, words(6)));
    Ok(Said {
        acknowledged: match acknowledged {
            Some((by, at, comment)) => Some(Acknowledgement {
                by,
                at,
                comment: comment?.unwrap_or_default(),
            }),
            None => None,
        },
        shelved: match shelved {
            Some((by, at, until, comment)) => Some(Shelf {
                by,
                at,
                until,
                comment: comment?.unwrap_or_default(),
            }),
            None => None,
        },
    })
}

async fn counts(connection: &mut PgConnection) -> Result<AlertCounts, Fault> {
    let rows: Vec<(String, bool, i64)> = sqlx::query_as(
        "SELECT level, acknowledged_at IS NOT NULL, count(*) FROM alerts WHERE state <> 'resolved' GROUP BY 1, 2",
    )
    .fetch_all(connection)
    .await?;
    let mut counts = AlertCounts::default();
    for (level, acknowledged, count) in rows {
        let level = Level::parse(&level).ok_or_else(|| Fault::unreadable("unknown level of an alert"))?;
        let count = count.unsigned_abs();
        counts.by_level[level as usize] += count;
        counts.unacknowledged += if acknowledged { 0 } else { count };
    }
    Ok(counts)
}

async fn list(connection: &mut PgConnection, filter: &AlertFilter) -> Result<Vec<StoredAlert>, Fault> {
    let states: Option<Vec<&str>> = filter
        .states
        .as_ref()
        .map(|all| all.iter().map(|state| state.as_str()).collect());
    let levels: Option<Vec<&str>> = filter
        .levels
        .as_ref()
        .map(|all| all.iter().map(|level| level.as_str()).collect());
    let series: Option<Vec<i32>> = filter
        .series
        .as_ref()
        .map(|all| all.iter().map(|id| number(id.0)).collect());
    let (began, episode) = filter.after.unwrap_or((Timestamp::MAX, Episode(i64::MAX)));
    let rows = sqlx::query(
        "SELECT series_id, rule, began, episode, ordinal, change, changed, state, level, value, threshold, low, high, flapping,
             reason, ended, acknowledged_by, acknowledged_at, acknowledged_comment, shelved_by,
             shelved_at, shelved_until, shelved_comment FROM alerts
         WHERE (began, episode) < ($1, $2) AND ($3::text[] IS NULL OR state = ANY($3)) AND ($4::text[] IS NULL OR level = ANY($4))
             AND ($5::integer[] IS NULL OR series_id = ANY($5)) AND ($6::text IS NULL OR rule = $6)
         ORDER BY began DESC, episode DESC LIMIT $7",
    )
    .bind(Time(began))
    .bind(episode.0)
    .bind(states)
    .bind(levels)
    .bind(series)
    .bind(filter.rule.as_deref().map(text))
    .bind(bounded(filter.limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(alert_of).collect()
}

async fn one(connection: &mut PgConnection, episode: Episode) -> Result<Option<StoredAlert>, Fault> {
    let row = sqlx::query(
        "SELECT series_id, rule, began, episode, ordinal, change, changed, state, level, value, threshold, low, high, flapping,
             reason, ended, acknowledged_by, acknowledged_at, acknowledged_comment, shelved_by,
             shelved_at, shelved_until, shelved_comment FROM alerts WHERE episode = $1",
    )
    .bind(episode.0)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(alert_of).transpose()
}

async fn history(
    connection: &mut PgConnection,
    episode: Episode,
    limit: usize,
) -> Result<Vec<AlertEvent>, Fault> {
    let rows = sqlx::query(
        "SELECT a.series_id, a.rule, a.began, e.episode, e.ordinal, e.change, e.changed, e.state, e.level, e.value, e.threshold,
             e.low, e.high, e.flapping, e.reason
         FROM alerts a JOIN alert_events e USING (episode) WHERE a.episode = $1 ORDER BY e.ordinal DESC LIMIT $2",
    )
    .bind(episode.0)
    .bind(bounded(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().rev().map(|row| event_of(row, 0)).collect()
}

async fn silences(connection: &mut PgConnection, now: Timestamp) -> Result<Vec<Silence>, Fault> {
    let rows = sqlx::query(
        "SELECT id, matchers, begins, ends, by, comment FROM silences WHERE ends > $1 ORDER BY id DESC",
    )
    .bind(Time(now))
    .fetch_all(connection)
    .await?;
    let silence = |row: &PgRow| {
        let (Time(from), Time(until)) = (row.try_get(2)?, row.try_get(3)?);
        Ok(Silence {
            id: row.try_get(0)?,
            said: NewSilence {
                matchers: serde_json::from_str(row.try_get(1)?).map_err(Fault::unreadable)?,
                from,
                until,
                by: row.try_get(4)?,
                comment: row.try_get(5)?,
            },
        })
    };
    rows.iter().map(silence).collect()
}

async fn add(connection: &mut PgConnection, silence: &NewSilence) -> Result<i64, Fault> {
    let matchers =
        serde_json::to_string(&silence.matchers).map_err(|error| Fault::found(ErrorClass::Refused, error))?;
    let id = sqlx::query_scalar(
        "INSERT INTO silences (matchers, begins, ends, by, comment) VALUES ($1, $2, $3, $4, $5) RETURNING id",
    )
    .bind(matchers)
    .bind(Time(silence.from))
    .bind(Time(silence.until))
    .bind(text(&silence.by))
    .bind(text(&silence.comment))
    .fetch_one(connection)
    .await?;
    Ok(id)
}

/// Asks on a reader of its own and says what was asked where it fails.
macro_rules! ask {
    ($store:ident, $what:literal, $question:ident $(, $argument:expr)*) => {{
        let answer = async {
            let mut reader = $store.reader().await?;
            let answer = $question(reader.connection() $(, $argument)*).await;
            reader.finish(answer, false).await
        };
        let answer = within($store.readers.patience(), answer).await;
        answer.map_err(|fault: Fault| fault.while_asking($what))
    }};
}

#[async_trait]
impl Alerts for PostgresStore {
    async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<StoredAlert>, StoreError> {
        ask!(self, "reading alerts", list, filter)
    }

    async fn alert(&self, episode: Episode) -> Result<Option<StoredAlert>, StoreError> {
        ask!(self, "reading an alert", one, episode)
    }

    async fn alert_events(&self, episode: Episode, limit: usize) -> Result<Vec<AlertEvent>, StoreError> {
        ask!(self, "reading the events of an alert", history, episode, limit)
    }

    async fn acknowledge(&self, episode: Episode, said: &Acknowledgement) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE alerts SET acknowledged_by = $1, acknowledged_at = $2, acknowledged_comment = $3
             WHERE episode = $4 AND acknowledged_by IS NULL",
        )
        .bind(text(&said.by).into_owned())
        .bind(Time(said.at))
        .bind(text(&said.comment).into_owned())
        .bind(episode.0);
        Ok(self.write("acknowledging an alert", query).await?.rows_affected() > 0)
    }

    async fn shelve(&self, episode: Episode, shelf: Option<&Shelf>) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE alerts SET shelved_by = $1, shelved_at = $2, shelved_until = $3, shelved_comment = $4 WHERE episode = $5")
        .bind(shelf.map(|shelf| text(&shelf.by).into_owned()))
        .bind(shelf.map(|shelf| Time(shelf.at)))
        .bind(shelf.map(|shelf| Time(shelf.until)))
        .bind(shelf.map(|shelf| text(&shelf.comment).into_owned()))
        .bind(episode.0);
        Ok(self.write("shelving an alert", query).await?.rows_affected() > 0)
    }

    async fn alert_counts(&self) -> Result<AlertCounts, StoreError> {
        ask!(self, "counting alerts", counts)
    }

    async fn silences(&self, now: Timestamp) -> Result<Vec<Silence>, StoreError> {
        ask!(self, "reading silences", silences, now)
    }

    async fn add_silence(&self, silence: &NewSilence) -> Result<i64, StoreError> {
        let added = async {
            let mut reader = self.reader().await?;
            super::connection::command(reader.connection(), "BEGIN READ WRITE").await?;
            let added = add(reader.connection(), silence).await;
            reader.finish(added, true).await
        };
        let added = within(self.writer.limit, added).await;
        added.map_err(|fault: Fault| fault.during("adding a silence"))
    }

    async fn end_silence(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE silences SET ends = $1 WHERE id = $2 AND ends > $1")
            .bind(Time(now))
            .bind(id);
        Ok(self.write("ending a silence", query).await?.rows_affected() > 0)
    }
}
