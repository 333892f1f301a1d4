//! Alerts: see [`crate::storage::alerts`].

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::SqliteStore;
use super::fault::Fault;
use super::readings::json;
use super::statement::MultiRow;
use crate::domain::{
    AlertChange, AlertEvent, AlertState, Band, Episode, Level, SensorKey, SeriesId, Timestamp,
};
use crate::storage::alerts::{
    Acknowledgement, AlertCounts, AlertFilter, Alerts, NewSilence, Numbered, Said, Shelf, Silence,
    StoredAlert, ended, events,
};
use crate::storage::outbox::News;
use crate::storage::{CompleteBatch, ErrorClass, StoreError, StoredSensor};

static EVENTS: MultiRow = MultiRow::new(
    "INSERT INTO alert_events (episode, ordinal, change, changed, state, level, value, threshold, low, high, flapping, reason)
     VALUES",
    "(?,?,?,?,?,?,?,?,?,?,?,?)",
    "ON CONFLICT (episode, ordinal) DO NOTHING",
    512,
);
static ROWS: MultiRow = MultiRow::new(
    "INSERT INTO alerts (episode, series_id, rule, ordinal, change, changed, state, level, began, ended, value, threshold,
         low, high, flapping, reason, batch) VALUES",
    "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    "ON CONFLICT (episode) DO UPDATE SET ordinal = excluded.ordinal, change = excluded.change, changed = excluded.changed,
         state = excluded.state, level = excluded.level, ended = excluded.ended, value = excluded.value,
         threshold = excluded.threshold, low = excluded.low, high = excluded.high, flapping = excluded.flapping,
         reason = excluded.reason, batch = excluded.batch
     WHERE excluded.ordinal > alerts.ordinal",
    512,
);

/// Writes the events of a group that are not stored yet, and brings their rows up to them.
pub(super) async fn write(
    connection: &mut SqliteConnection,
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
    EVENTS
        .execute(connection, &all, |values, (_, (_, event))| {
            values
                .add(event.episode.0)
                .add(i64::from(event.ordinal))
                .add(event.change.as_str())
                .add(event.time.0)
                .add(event.state.as_str())
                .add(event.level.as_str())
                .add(event.value)
                .add(event.threshold)
                .add(event.expected.low)
                .add(event.expected.high)
                .add(event.flapping)
                .add(event.reason.as_str());
        })
        .await?;
    ROWS.execute(connection, &last, |values, (batch, event)| {
        values
            .add(event.episode.0)
            .add(i64::from(event.series.0))
            .add(event.rule.as_ref())
            .add(i64::from(event.ordinal))
            .add(event.change.as_str())
            .add(event.time.0)
            .add(event.state.as_str())
            .add(event.level.as_str())
            .add(event.began.0)
            .add(ended(event).map(|time| time.0))
            .add(event.value)
            .add(event.threshold)
            .add(event.expected.low)
            .add(event.expected.high)
            .add(event.flapping)
            .add(event.reason.as_str())
            .add(*batch as i64);
    })
    .await
}

/// The places of those that are stored.
async fn known(connection: &mut SqliteConnection, all: &[(usize, Numbered<'_>)]) -> Result<Vec<i64>, Fault> {
    let keys: Vec<_> = all
        .iter()
        .map(|(_, (_, event))| (event.episode.0, event.ordinal))
        .collect();
    let known = sqlx::query_scalar(
        "SELECT keys.key FROM json_each(?) keys CROSS JOIN alert_events e
         ON e.episode = json_extract(keys.value, '$[0]') AND e.ordinal = json_extract(keys.value, '$[1]')",
    )
    .bind(json(&keys)?)
    .fetch_all(connection)
    .await?;
    Ok(known)
}

/// Gives each sensor its alerts that are not resolved, or changed after its snapshot.
pub(super) async fn restore(
    connection: &mut SqliteConnection,
    sensors: &mut [StoredSensor],
) -> Result<(), Fault> {
    let asked: Vec<(u32, i64)> = sensors
        .iter()
        .map(|sensor| (sensor.sensor.0, since(sensor)))
        .collect();
    let rows = sqlx::query(
        "SELECT asked.key, a.series_id, a.rule, a.began, a.episode, a.ordinal, a.change, a.changed, a.state, a.level, a.value,
             a.threshold, a.low, a.high, a.flapping, a.reason
         FROM json_each(?) asked
         CROSS JOIN series s ON s.sensor_id = json_extract(asked.value, '$[0]')
         CROSS JOIN alerts a ON a.episode IN (
             SELECT episode FROM alerts INDEXED BY alerts_open WHERE series_id = s.id AND state <> 'resolved'
             UNION SELECT episode FROM alerts INDEXED BY alerts_by_batch
                 WHERE series_id = s.id AND batch > json_extract(asked.value, '$[1]'))
         ORDER BY asked.key, a.began, a.episode",
    )
    .bind(json(&asked)?)
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let place: i64 = row.try_get(0)?;
        if let Some(sensor) = usize::try_from(place)
            .ok()
            .and_then(|place| sensors.get_mut(place))
        {
            sensor.alerts.push(event_of(row, 1)?);
        }
    }
    Ok(())
}

/// The batch of its snapshot.
fn since(sensor: &StoredSensor) -> i64 {
    let batch = sensor.snapshot.as_ref().map(|(seq, _)| seq.batch().0);
    batch.map_or(-1, |batch| i64::try_from(batch).unwrap_or(i64::MAX))
}

/// Sensors with an alert that is not resolved.
pub(super) async fn alarmed(connection: &mut SqliteConnection) -> Result<Vec<SensorKey>, Fault> {
    let rows: Vec<u32> = sqlx::query_scalar(
        "SELECT DISTINCT s.sensor_id FROM alerts a JOIN series s ON s.id = a.series_id
         WHERE a.state <> 'resolved' ORDER BY s.sensor_id",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(SensorKey).collect())
}

/// Reads series, rule and begin, and then the columns of an event.
pub(super) fn event_of(row: &SqliteRow, at: usize) -> Result<AlertEvent, Fault> {
    let word = |column: usize| row.try_get::<&str, _>(at + column);
    let unknown = |what: &str| Fault::unreadable(format!("unknown {what} of an alert"));
    Ok(AlertEvent {
        series: SeriesId(row.try_get(at)?),
        rule: word(1)?.into(),
        began: Timestamp(row.try_get(at + 2)?),
        episode: Episode(row.try_get(at + 3)?),
        ordinal: row.try_get(at + 4)?,
        change: AlertChange::parse(word(5)?).ok_or_else(|| unknown("change"))?,
        time: Timestamp(row.try_get(at + 6)?),
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

fn alert_of(row: &SqliteRow) -> Result<StoredAlert, Fault> {
    Ok(StoredAlert {
        last: event_of(row, 0)?,
        ended: row.try_get::<Option<i64>, _>(15)?.map(Timestamp),
        said: said_of(row, 16)?,
    })
}

/// Reads who acknowledged it, when and why, and who shelved it, when, until when and why.
pub(super) fn said_of(row: &SqliteRow, at: usize) -> Result<Said, Fault> {
    let words = |column: usize| row.try_get::<Option<String>, _>(at + column);
    let time = |column: usize| Ok::<_, Fault>(row.try_get::<Option<i64>, _>(at + column)?.map(Timestamp));
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

async fn counts(connection: &mut SqliteConnection) -> Result<AlertCounts, Fault> {
    let rows: Vec<(String, bool, i64)> = sqlx::query_as(
        "SELECT level, acknowledged_at IS NOT NULL, count(*) FROM alerts INDEXED BY alerts_open WHERE state <> 'resolved' GROUP BY 1, 2",
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

async fn list(connection: &mut SqliteConnection, filter: &AlertFilter) -> Result<Vec<StoredAlert>, Fault> {
    let states = filter
        .states
        .as_ref()
        .map(|all| all.iter().map(|state| state.as_str()).collect());
    let levels = filter
        .levels
        .as_ref()
        .map(|all| all.iter().map(|level| level.as_str()).collect());
    let words = |list: Option<Vec<&str>>| list.map(|list| json(&list)).transpose();
    let series: Option<Vec<u32>> = filter
        .series
        .as_ref()
        .map(|all| all.iter().map(|id| id.0).collect());
    let (began, episode) = filter.after.unwrap_or((Timestamp::MAX, Episode(i64::MAX)));
    let rows = sqlx::query(
        "SELECT series_id, rule, began, episode, ordinal, change, changed, state, level, value, threshold, low, high, flapping,
             reason, ended, acknowledged_by, acknowledged_at, acknowledged_comment, shelved_by,
             shelved_at, shelved_until, shelved_comment FROM alerts
         WHERE (began, episode) < (?1, ?2)
             AND (?3 IS NULL OR state IN (SELECT value FROM json_each(?3)))
             AND (?4 IS NULL OR level IN (SELECT value FROM json_each(?4)))
             AND (?5 IS NULL OR series_id IN (SELECT value FROM json_each(?5)))
             AND (?6 IS NULL OR rule = ?6)
         ORDER BY began DESC, episode DESC LIMIT ?7",
    )
    .bind(began.0)
    .bind(episode.0)
    .bind(words(states)?)
    .bind(words(levels)?)
    .bind(series.map(|series| json(&series)).transpose()?)
    .bind(&filter.rule)
    .bind(i64::try_from(filter.limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    rows.iter().map(alert_of).collect()
}

async fn one(connection: &mut SqliteConnection, episode: Episode) -> Result<Option<StoredAlert>, Fault> {
    let row = sqlx::query(
        "SELECT series_id, rule, began, episode, ordinal, change, changed, state, level, value, threshold, low, high, flapping,
             reason, ended, acknowledged_by, acknowledged_at, acknowledged_comment, shelved_by,
             shelved_at, shelved_until, shelved_comment FROM alerts WHERE episode = ?",
    )
    .bind(episode.0)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(alert_of).transpose()
}

async fn history(
    connection: &mut SqliteConnection,
    episode: Episode,
    limit: usize,
) -> Result<Vec<AlertEvent>, Fault> {
    let rows = sqlx::query(
        "SELECT a.series_id, a.rule, a.began, e.episode, e.ordinal, e.change, e.changed, e.state, e.level, e.value, e.threshold,
             e.low, e.high, e.flapping, e.reason
         FROM alerts a JOIN alert_events e USING (episode) WHERE a.episode = ? ORDER BY e.ordinal DESC LIMIT ?",
    )
    .bind(episode.0)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    rows.iter().rev().map(|row| event_of(row, 0)).collect()
}

async fn silences(connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<Silence>, Fault> {
    let rows = sqlx::query(
        "SELECT id, matchers, begins, ends, by, comment FROM silences WHERE ends > ? ORDER BY id DESC",
    )
    .bind(now.0)
    .fetch_all(connection)
    .await?;
    let silence = |row: &SqliteRow| {
        Ok(Silence {
            id: row.try_get(0)?,
            said: NewSilence {
                matchers: serde_json::from_str(row.try_get(1)?).map_err(Fault::unreadable)?,
                from: Timestamp(row.try_get(2)?),
                until: Timestamp(row.try_get(3)?),
                by: row.try_get(4)?,
                comment: row.try_get(5)?,
            },
        })
    };
    rows.iter().map(silence).collect()
}

/// Asks on a reader of its own and says what was asked where it fails.
macro_rules! ask {
    ($store:ident, $what:literal, $question:ident $(, $argument:expr)*) => {{
        let answer = async {
            let mut reader = $store.reader().await?;
            $question(&mut reader $(, $argument)*).await
        };
        answer.await.map_err(|fault: Fault| fault.during($what))
    }};
}

#[async_trait]
impl Alerts for SqliteStore {
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
            "UPDATE alerts SET acknowledged_by = ?, acknowledged_at = ?, acknowledged_comment = ?
             WHERE episode = ? AND acknowledged_by IS NULL",
        )
        .bind(&said.by)
        .bind(said.at.0)
        .bind(&said.comment)
        .bind(episode.0);
        Ok(self.write("acknowledging an alert", query).await?.rows_affected() > 0)
    }

    async fn shelve(&self, episode: Episode, shelf: Option<&Shelf>) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE alerts SET shelved_by = ?, shelved_at = ?, shelved_until = ?, shelved_comment = ? WHERE episode = ?")
        .bind(shelf.map(|shelf| shelf.by.clone()))
        .bind(shelf.map(|shelf| shelf.at.0))
        .bind(shelf.map(|shelf| shelf.until.0))
        .bind(shelf.map(|shelf| shelf.comment.clone()))
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
        let what = "adding a silence";
        let matchers = serde_json::to_string(&silence.matchers)
            .map_err(|error| Fault::found(ErrorClass::Refused, error).during(what))?;
        let query =
            sqlx::query("INSERT INTO silences (matchers, begins, ends, by, comment) VALUES (?, ?, ?, ?, ?)")
                .bind(matchers)
                .bind(silence.from.0)
                .bind(silence.until.0)
                .bind(&silence.by)
                .bind(&silence.comment);
        Ok(self.write(what, query).await?.last_insert_rowid())
    }

    async fn end_silence(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE silences SET ends = ?1 WHERE id = ?2 AND ends > ?1")
            .bind(now.0)
            .bind(id);
        Ok(self.write("ending a silence", query).await?.rows_affected() > 0)
    }
}
