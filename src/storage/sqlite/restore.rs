//! Bringing sensors back: who there is, who is behind, and snapshots with the readings after them.
//!
//! Invariant: what belongs together is read in one transaction, so that `as_of`, snapshots and tails are of the
//! same commit.

use futures_util::TryStreamExt;
use rustc_hash::{FxHashMap, FxHashSet};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::alerts;
use super::fault::Fault;
use super::readings::json;
use crate::domain::{
    ActiveTime, BatchNumber, BatchTime, Flags, Home, MetricName, Reading, SensorId, SensorKey, Seq, SeriesId,
    Timestamp,
};
use crate::storage::{
    ErrorClass, Loaded, Numbers, Scope, SensorDefinition, SeriesDefinition, StoredReading, StoredSensor,
};

/// A condition on a row `n` of `sensors`, of which each list is given twice.
const IN_SCOPE: &str = "(? IS NULL OR n.home IN (SELECT value FROM json_each(?)))
    AND (? IS NULL OR n.sensor_id IN (SELECT value FROM json_each(?)))";

pub(super) async fn registry(
    connection: &mut SqliteConnection,
    scope: &Scope,
) -> Result<(Vec<SensorDefinition>, Vec<SeriesDefinition>), Fault> {
    let [homes, names] = lists(scope)?;
    let sensors =
        format!("SELECT n.id, n.sensor_id, n.tags, n.home FROM sensors n WHERE {IN_SCOPE} ORDER BY n.id");
    let sensors: Vec<(u32, String, String, Option<String>)> = sqlx::query_as(AssertSqlSafe(sensors))
        .bind(&homes)
        .bind(&homes)
        .bind(&names)
        .bind(&names)
        .fetch_all(&mut *connection)
        .await?;
    let sensors = sensors
        .into_iter()
        .map(|(key, id, tags, home)| {
            Ok(SensorDefinition {
                key: SensorKey(key),
                id: SensorId::try_from(id).map_err(Fault::unreadable)?,
                tags: serde_json::from_str(&tags).map_err(Fault::unreadable)?,
                home: home.as_deref().map(Home::parse),
            })
        })
        .collect::<Result<_, Fault>>()?;
    let series = format!(
        "SELECT s.id, s.sensor_id, s.metric, s.unit FROM series s JOIN sensors n ON n.id = s.sensor_id
         WHERE {IN_SCOPE} ORDER BY s.id"
    );
    let series: Vec<(u32, u32, String, Option<String>)> = sqlx::query_as(AssertSqlSafe(series))
        .bind(&homes)
        .bind(&homes)
        .bind(&names)
        .bind(&names)
        .fetch_all(connection)
        .await?;
    let series = series
        .into_iter()
        .map(|(id, sensor, metric, unit)| {
            Ok(SeriesDefinition {
                id: SeriesId(id),
                sensor: SensorKey(sensor),
                metric: MetricName::try_from(metric).map_err(Fault::unreadable)?,
                unit,
            })
        })
        .collect::<Result<_, Fault>>()?;
    Ok((sensors, series))
}

fn lists(scope: &Scope) -> Result<[Option<String>; 2], Fault> {
    let (homes, names) = scope.lists();
    let list = |list: Option<Vec<&str>>| list.map(|list| json(&list)).transpose();
    Ok([list(homes)?, list(names)?])
}

/// Keeps what is in the scope.
async fn within<T>(
    connection: &mut SqliteConnection,
    scope: &Scope,
    all: Vec<T>,
    sensor: impl Fn(&T) -> SensorKey,
) -> Result<Vec<T>, Fault> {
    if *scope == Scope::All {
        return Ok(all);
    }
    let (sensors, _) = registry(connection, scope).await?;
    let wanted: FxHashSet<SensorKey> = sensors.into_iter().map(|sensor| sensor.key).collect();
    Ok(all
        .into_iter()
        .filter(|item| wanted.contains(&sensor(item)))
        .collect())
}

pub(super) async fn deadlines(
    connection: &mut SqliteConnection,
    scope: &Scope,
) -> Result<Vec<(SensorKey, ActiveTime)>, Fault> {
    let rows: Vec<(u32, i64)> = sqlx::query_as(
        "SELECT sensor_id, deadline FROM sensor_snapshots INDEXED BY sensor_snapshots_brief
         WHERE deadline IS NOT NULL ORDER BY sensor_id",
    )
    .fetch_all(&mut *connection)
    .await?;
    let all = rows
        .into_iter()
        .map(|(sensor, deadline)| (SensorKey(sensor), ActiveTime(deadline)));
    within(connection, scope, all.collect(), |(sensor, _)| *sensor).await
}

pub(super) async fn sensors_behind(
    connection: &mut SqliteConnection,
    scope: &Scope,
) -> Result<Vec<SensorKey>, Fault> {
    let rows: Vec<(u32,)> = sqlx::query_as(
        "SELECT l.sensor_id FROM sensor_ledger l
         LEFT JOIN sensor_snapshots n INDEXED BY sensor_snapshots_brief ON n.sensor_id = l.sensor_id
         WHERE l.tail_from IS NOT NULL AND l.last_seq > ifnull(n.seq, -1) ORDER BY l.last_seq DESC",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut all: Vec<SensorKey> = rows.into_iter().map(|(sensor,)| SensorKey(sensor)).collect();
    let known: FxHashSet<SensorKey> = all.iter().copied().collect();
    let alarmed = alerts::alarmed(connection).await?;
    all.extend(alarmed.into_iter().filter(|sensor| !known.contains(sensor)));
    within(connection, scope, all, |sensor| *sensor).await
}

pub(super) async fn registry_size(connection: &mut SqliteConnection) -> Result<(u64, u64), Fault> {
    let (sensors, series): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM sensors), (SELECT count(*) FROM series)")
            .fetch_one(connection)
            .await?;
    Ok((sensors as u64, series as u64))
}

/// After the largest that there is, too: an archive may have brought some.
pub(super) async fn reserve_numbers(connection: &mut SqliteConnection, count: u32) -> Result<Numbers, Fault> {
    let (sensors, series): (i64, i64) = sqlx::query_as(
        "UPDATE numbers SET
             sensors = max(sensors, (SELECT ifnull(max(id), 0) + 1 FROM sensors)) + ?,
             series = max(series, (SELECT ifnull(max(id), 0) + 1 FROM series)) + ?
         RETURNING sensors, series",
    )
    .bind(count)
    .bind(count)
    .fetch_one(connection)
    .await?;
    let range = |end: i64| {
        let end = u32::try_from(end).ok().filter(|end| *end <= i32::MAX as u32);
        let end = end.ok_or_else(|| Fault::found(ErrorClass::Refused, "there are no numbers left"))?;
        Ok::<_, Fault>(end - count..end)
    };
    Ok(Numbers {
        sensors: range(sensors)?,
        series: range(series)?,
    })
}

/// The readings after the snapshots of many sensors, a sensor's together, by the primary key of `readings`.
pub(super) const TAILS: &str = "SELECT s.sensor_id, r.series_id, r.time, r.value, r.seq, r.flags
     FROM json_each(?) asked
     CROSS JOIN sensor_ledger l ON l.sensor_id = asked.value
     LEFT JOIN sensor_snapshots n ON n.sensor_id = l.sensor_id
     CROSS JOIN series s ON s.sensor_id = l.sensor_id
     CROSS JOIN readings r ON r.series_id = s.id AND r.time >= l.tail_from AND r.seq > ifnull(n.seq, -1)
     LIMIT ?";

/// The first readings after the snapshot of one sensor, by sequence.
pub(super) const TAIL_START: &str = "SELECT s.sensor_id, r.series_id, r.time, r.value, r.seq, r.flags
     FROM sensor_ledger l
     LEFT JOIN sensor_snapshots n ON n.sensor_id = l.sensor_id
     CROSS JOIN series s ON s.sensor_id = l.sensor_id
     CROSS JOIN readings r ON r.series_id = s.id AND r.time >= l.tail_from AND r.seq > ifnull(n.seq, -1)
     WHERE l.sensor_id = ? ORDER BY r.seq LIMIT ?";

/// Reads snapshots and tails; the caller holds a read transaction.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    sensors: &[SensorKey],
    max_readings: usize,
) -> Result<Loaded, Fault> {
    let as_of = as_of(connection).await?;
    let mut loaded = snapshots(connection, sensors).await?;
    let places: FxHashMap<SensorKey, usize> = sensors.iter().copied().zip(0..).collect();

    let mut rows = sqlx::query(TAILS)
        .bind(json(sensors)?)
        .bind(i64::try_from(max_readings).unwrap_or(i64::MAX).saturating_add(1))
        .fetch(&mut *connection);
    let mut count = 0;
    let mut last = None;
    while let Some(row) = rows.try_next().await? {
        let (sensor, reading) = read(&row)?;
        let place = places[&sensor];
        loaded[place].stored.tail.push(reading);
        count += 1;
        last = Some(place);
    }
    drop(rows);
    if count > max_readings
        && let Some(cut) = last
    {
        // It did not fit: the rows of the last sensor are a part by key, and have to be one by sequence.
        let room = max_readings - (count - loaded[cut].stored.tail.len());
        let sensor = loaded[cut].stored.sensor;
        loaded[cut].stored.tail.clear();
        let mut first = sqlx::query(TAIL_START)
            .bind(i64::from(sensor.0))
            .bind(room as i64)
            .fetch(&mut *connection);
        while let Some(row) = first.try_next().await? {
            let (_, reading) = read(&row)?;
            loaded[cut].stored.tail.push(reading);
        }
        drop(first);
        loaded[cut].stored.more = true;
        for after in &mut loaded[cut + 1..] {
            after.stored.more = after.behind;
        }
    }
    let mut loaded: Vec<StoredSensor> = loaded.into_iter().map(|sensor| sensor.stored).collect();
    for sensor in &mut loaded {
        sensor.tail.sort_unstable_by_key(|reading| reading.seq);
    }
    add_batch_times(connection, &mut loaded).await?;
    alerts::restore(connection, &mut loaded).await?;
    Ok(Loaded {
        as_of,
        sensors: loaded,
    })
}

/// The newest readings of a sensor by event time, of each series by its primary key.
pub(super) const RECENT: &str = "SELECT s.sensor_id, r.series_id, r.time, r.value, r.seq, r.flags
     FROM series s CROSS JOIN readings r ON r.series_id = s.id AND r.time >= ifnull(
        (SELECT time FROM readings WHERE series_id = s.id ORDER BY time DESC LIMIT 1 OFFSET ?2 - 1), -9223372036854775808)
     WHERE s.sensor_id = ?1 ORDER BY r.time DESC LIMIT ?2";

/// Reads the newest readings of one sensor; the caller holds a read transaction.
pub(super) async fn recent(
    connection: &mut SqliteConnection,
    sensor: SensorKey,
    limit: usize,
) -> Result<Loaded, Fault> {
    let as_of = as_of(connection).await?;
    let seq: Option<i64> = sqlx::query_scalar("SELECT seq FROM sensor_snapshots WHERE sensor_id = ?")
        .bind(i64::from(sensor.0))
        .fetch_optional(&mut *connection)
        .await?;
    let mut stored = StoredSensor {
        sensor,
        snapshot: seq.map(|seq| (Seq(seq as u64), Vec::new())),
        tail: Vec::new(),
        more: false,
        alerts: Vec::new(),
    };
    if limit > 0 {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = sqlx::query(RECENT)
            .bind(i64::from(sensor.0))
            .bind(limit)
            .fetch_all(&mut *connection)
            .await?;
        for row in &rows {
            stored.tail.push(read(row)?.1);
        }
        stored.tail.sort_unstable_by_key(|reading| reading.seq);
    }
    let mut sensors = vec![stored];
    add_batch_times(connection, &mut sensors).await?;
    alerts::restore(connection, &mut sensors).await?;
    Ok(Loaded { as_of, sensors })
}

async fn as_of(connection: &mut SqliteConnection) -> Result<Option<BatchNumber>, Fault> {
    let number: Option<i64> = sqlx::query_scalar("SELECT max(last_batch) FROM writers")
        .fetch_one(connection)
        .await?;
    Ok(number.map(|number| BatchNumber(number as u64)))
}

struct Found {
    stored: StoredSensor,
    /// Whether there are readings after the snapshot.
    behind: bool,
}

async fn snapshots(connection: &mut SqliteConnection, sensors: &[SensorKey]) -> Result<Vec<Found>, Fault> {
    let rows = sqlx::query(
        "SELECT n.seq, n.state, l.tail_from IS NOT NULL AND l.last_seq > ifnull(n.seq, -1) FROM json_each(?) asked
         LEFT JOIN sensor_snapshots n ON n.sensor_id = asked.value
         LEFT JOIN sensor_ledger l ON l.sensor_id = asked.value ORDER BY asked.key",
    )
    .bind(json(sensors)?)
    .fetch_all(connection)
    .await?;
    let mut found = Vec::with_capacity(sensors.len());
    for (row, sensor) in rows.iter().zip(sensors) {
        let read = snapshot(row, *sensor);
        found.push(
            read.map_err(|error| Fault::unreadable(format!("snapshot of sensor {}: {error}", sensor.0)))?,
        );
    }
    Ok(found)
}

fn snapshot(row: &SqliteRow, sensor: SensorKey) -> Result<Found, sqlx::Error> {
    let snapshot = match row.try_get::<Option<i64>, _>(0)? {
        Some(seq) => Some((Seq(seq as u64), row.try_get(1)?)),
        None => None,
    };
    Ok(Found {
        stored: StoredSensor {
            sensor,
            snapshot,
            tail: Vec::new(),
            more: false,
            alerts: Vec::new(),
        },
        behind: row.try_get(2)?,
    })
}

/// Reads a row of [`TAILS`] and its like.
fn read(row: &SqliteRow) -> Result<(SensorKey, StoredReading), Fault> {
    reading(row).map_err(|error| {
        let told = |column| {
            row.try_get::<i64, _>(column)
                .map_or("?".to_owned(), |number| number.to_string())
        };
        Fault::unreadable(format!(
            "reading of series {} at {} µs: {error}",
            told(1),
            told(2)
        ))
    })
}

fn reading(row: &SqliteRow) -> Result<(SensorKey, StoredReading), sqlx::Error> {
    let seq = Seq(row.try_get::<i64, _>(4)? as u64);
    let time = Timestamp(row.try_get(2)?);
    let reading = StoredReading {
        seq,
        at: BatchTime {
            now: time,
            active: ActiveTime(0),
        },
        reading: Reading {
            series: SeriesId(row.try_get(1)?),
            time,
            value: row.try_get(3)?,
            index: seq.index(),
            flags: Flags(row.try_get::<u8, _>(5)?),
        },
    };
    Ok((SensorKey(row.try_get(0)?), reading))
}

/// A reading whose batch has expired keeps what [`read`] gave it: its own time as "now", on an active clock at zero.
async fn add_batch_times(
    connection: &mut SqliteConnection,
    loaded: &mut [StoredSensor],
) -> Result<(), Fault> {
    let tails = || loaded.iter().flat_map(|sensor| &sensor.tail);
    let mut numbers: Vec<u64> = tails()
        .map(|reading| reading.seq.batch().0)
        .collect::<FxHashSet<_>>()
        .into_iter()
        .collect();
    numbers.sort_unstable();
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT b.number, b.time, b.active FROM json_each(?) asked CROSS JOIN batches b ON b.number = asked.value",
    )
    .bind(json(&numbers)?)
    .fetch_all(connection)
    .await?;
    let times: FxHashMap<u64, BatchTime> = rows
        .into_iter()
        .map(|(number, now, active)| {
            let at = BatchTime {
                now: Timestamp(now),
                active: ActiveTime(active),
            };
            (number as u64, at)
        })
        .collect();
    for reading in loaded.iter_mut().flat_map(|sensor| &mut sensor.tail) {
        if let Some(at) = times.get(&reading.seq.batch().0) {
            reading.at = *at;
        }
    }
    Ok(())
}
