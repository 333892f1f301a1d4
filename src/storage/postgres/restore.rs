//! Bringing sensors back: who there is, who is behind, and snapshots with the readings after them.
//!
//! Invariant: what belongs together is read in one transaction, so that `as_of`, snapshots and tails are of the
//! same commit.

use futures_util::TryStreamExt;
use rustc_hash::{FxHashMap, FxHashSet};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::alerts;
use super::fault::Fault;
use super::statement::{limit, number};
use super::time::Time;
use crate::domain::{
    ActiveTime, BatchNumber, BatchTime, Flags, Home, MetricName, Reading, SensorId, SensorKey, Seq, SeriesId,
};
use crate::storage::{
    ErrorClass, InstanceId, Loaded, Numbers, Scope, SensorDefinition, SeriesDefinition, StoredReading,
    StoredSensor,
};

/// A condition on a row `n` of `sensors`. What is asked is known to the plan, which is made each time.
const IN_SCOPE: &str =
    "($1::text[] IS NULL OR n.home = ANY($1)) AND ($2::text[] IS NULL OR n.sensor_id = ANY($2))";

pub(super) async fn registry(
    connection: &mut PgConnection,
    scope: &Scope,
) -> Result<(Vec<SensorDefinition>, Vec<SeriesDefinition>), Fault> {
    let (homes, names) = scope.lists();
    let sensors =
        format!("SELECT n.id, n.sensor_id, n.tags, n.home FROM sensors n WHERE {IN_SCOPE} ORDER BY n.id");
    let sensors: Vec<(i32, String, String, Option<String>)> = sqlx::query_as(AssertSqlSafe(sensors))
        .bind(&homes)
        .bind(&names)
        .fetch_all(&mut *connection)
        .await?;
    let sensors = sensors
        .into_iter()
        .map(|(key, id, tags, home)| {
            Ok(SensorDefinition {
                key: SensorKey(key as u32),
                id: SensorId::try_from(id).map_err(Fault::unreadable)?,
                tags: serde_json::from_str(&tags).map_err(Fault::unreadable)?,
                home: home.as_deref().map(Home::parse),
            })
        })
        .collect::<Result<_, Fault>>()?;
    let join = match scope {
        Scope::All => "WHERE $1::text[] IS NULL AND $2::text[] IS NULL".to_owned(),
        _ => format!("JOIN sensors n ON n.id = s.sensor_id WHERE {IN_SCOPE}"),
    };
    let series = format!("SELECT s.id, s.sensor_id, s.metric, s.unit FROM series s {join} ORDER BY s.id");
    let series: Vec<(i32, i32, String, Option<String>)> = sqlx::query_as(AssertSqlSafe(series))
        .bind(&homes)
        .bind(&names)
        .fetch_all(connection)
        .await?;
    let series = series
        .into_iter()
        .map(|(id, sensor, metric, unit)| {
            Ok(SeriesDefinition {
                id: SeriesId(id as u32),
                sensor: SensorKey(sensor as u32),
                metric: MetricName::try_from(metric).map_err(Fault::unreadable)?,
                unit,
            })
        })
        .collect::<Result<_, Fault>>()?;
    Ok((sensors, series))
}

/// A condition on the column `sensor_id` of another table.
fn of_scope(scope: &Scope, column: &str) -> String {
    match scope {
        Scope::All => "$1::text[] IS NULL AND $2::text[] IS NULL".to_owned(),
        _ => format!("EXISTS (SELECT FROM sensors n WHERE n.id = {column} AND {IN_SCOPE})"),
    }
}

pub(super) async fn deadlines(
    connection: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<(SensorKey, ActiveTime)>, Fault> {
    let (homes, names) = scope.lists();
    let sql = format!(
        "SELECT d.sensor_id, d.deadline FROM sensor_snapshots d WHERE d.deadline IS NOT NULL AND {} ORDER BY d.sensor_id",
        of_scope(scope, "d.sensor_id")
    );
    let rows: Vec<(i32, i64)> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(homes)
        .bind(names)
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(sensor, deadline)| (SensorKey(sensor as u32), ActiveTime(deadline)))
        .collect())
}

pub(super) async fn sensors_behind(
    connection: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<SensorKey>, Fault> {
    let (homes, names) = scope.lists();
    let sql = format!(
        "SELECT l.sensor_id FROM (
             SELECT sensor_id, max(last_seq) AS last_seq FROM (
                 SELECT a.sensor_id, a.last_seq FROM sensor_ledger a WHERE a.tail_from IS NOT NULL AND {} UNION ALL
                 SELECT p.sensor_id, p.last_seq FROM pending_ledger p WHERE {}) AS l
             GROUP BY sensor_id) AS l
         LEFT JOIN sensor_snapshots d USING (sensor_id)
         WHERE l.last_seq > coalesce(d.seq, -1) ORDER BY l.last_seq DESC",
        of_scope(scope, "a.sensor_id"),
        of_scope(scope, "p.sensor_id")
    );
    let alarmed = format!(
        "SELECT DISTINCT s.sensor_id FROM alerts a JOIN series s ON s.id = a.series_id
         WHERE a.state <> 'resolved' AND {} ORDER BY s.sensor_id",
        of_scope(scope, "s.sensor_id")
    );
    let mut found: Vec<SensorKey> = Vec::new();
    let mut known: FxHashSet<i32> = FxHashSet::default();
    for sql in [sql, alarmed] {
        let rows: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(&homes)
            .bind(&names)
            .fetch_all(&mut *connection)
            .await?;
        let new = rows.into_iter().filter(|sensor| known.insert(*sensor));
        found.extend(new.map(|sensor| SensorKey(sensor as u32)));
    }
    Ok(found)
}

pub(super) async fn active_clock(connection: &mut PgConnection) -> Result<ActiveTime, Fault> {
    let active: Option<i64> = sqlx::query_scalar("SELECT max(active) FROM writers")
        .fetch_one(connection)
        .await?;
    Ok(ActiveTime(active.unwrap_or_default()))
}

pub(super) async fn registry_size(connection: &mut PgConnection) -> Result<(u64, u64), Fault> {
    let (sensors, series): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM sensors), (SELECT count(*) FROM series)")
            .fetch_one(connection)
            .await?;
    Ok((sensors as u64, series as u64))
}

/// After the largest that there is, too: an archive may have brought some.
pub(super) async fn reserve_numbers(connection: &mut PgConnection, count: u32) -> Result<Numbers, Fault> {
    let taken: Option<(i64, i64)> = sqlx::query_as(
        "UPDATE numbers SET
             sensors = greatest(sensors, (SELECT coalesce(max(id), 0) + 1 FROM sensors)) + $1,
             series = greatest(series, (SELECT coalesce(max(id), 0) + 1 FROM series)) + $1
         RETURNING sensors, series",
    )
    .bind(i64::from(count))
    .fetch_optional(connection)
    .await?;
    let range = |end: i64| {
        let end = u32::try_from(end).ok().filter(|end| *end <= i32::MAX as u32);
        let end = end.ok_or_else(|| Fault::found(ErrorClass::Refused, "there are no numbers left"))?;
        Ok::<_, Fault>(end - count..end)
    };
    let (sensors, series) = taken.ok_or_else(|| Fault::unreadable("the table `numbers` is empty"))?;
    Ok(Numbers {
        sensors: range(sensors)?,
        series: range(series)?,
    })
}

/// The readings after the snapshots of many sensors, in the order of the sensors, by the primary key of `readings`: after the
/// sequences `$5`, and not before the times `$4`, of each. What no tail reaches back to, `$3`, is not looked into at all. Every step
/// depends on the one before, so that they can only be walked in this order, and the limit ends the walk.
pub(super) const TAILS: &str = "SELECT asked.sensor_id, r.series_id, r.time, r.value, r.seq, r.flags
     FROM unnest($1::integer[], $4::timestamptz[], $5::bigint[]) AS asked (sensor_id, tail_from, seq)
     CROSS JOIN LATERAL (SELECT id FROM series WHERE sensor_id = asked.sensor_id AND asked.tail_from IS NOT NULL OFFSET 0) s
     CROSS JOIN LATERAL (SELECT * FROM readings WHERE series_id = s.id AND time >= asked.tail_from AND time >= $3
         AND seq > asked.seq OFFSET 0) r
     LIMIT $2";

/// The first readings after the snapshot of one sensor, by sequence.
pub(super) const TAIL_START: &str = "SELECT s.sensor_id, r.series_id, r.time, r.value, r.seq, r.flags
     FROM series s
     CROSS JOIN LATERAL (SELECT * FROM readings WHERE series_id = s.id AND time >= $3 AND seq > $4 OFFSET 0) r
     WHERE s.sensor_id = $1 ORDER BY r.seq LIMIT $2";

/// Reads snapshots and tails; the caller holds a read transaction.
pub(super) async fn load(
    connection: &mut PgConnection,
    writer: Option<&InstanceId>,
    sensors: &[SensorKey],
    max_readings: usize,
) -> Result<Loaded, Fault> {
    let as_of = as_of(connection, writer).await?;
    let mut loaded = snapshots(connection, sensors).await?;
    let places: FxHashMap<SensorKey, usize> = sensors.iter().copied().zip(0..).collect();

    let earliest = loaded.iter().filter_map(|sensor| sensor.tail_from);
    let earliest = earliest.map(|Time(from)| from).min().map(Time);
    let mut rows = sqlx::query(TAILS)
        .bind(numbers(sensors))
        .bind(limit(max_readings).saturating_add(1))
        .bind(earliest)
        .bind(loaded.iter().map(|sensor| sensor.tail_from).collect::<Vec<_>>())
        .bind(loaded.iter().map(Found::seq).collect::<Vec<_>>())
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
        loaded[cut].stored.tail.clear();
        let first = sqlx::query(TAIL_START)
            .bind(number(loaded[cut].stored.sensor.0))
            .bind(limit(room))
            .bind(loaded[cut].tail_from)
            .bind(loaded[cut].seq())
            .fetch_all(&mut *connection)
            .await?;
        for row in &first {
            loaded[cut].stored.tail.push(read(row)?.1);
        }
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
     FROM series s CROSS JOIN LATERAL (SELECT * FROM readings WHERE series_id = s.id ORDER BY time DESC LIMIT $2) r
     WHERE s.sensor_id = $1 ORDER BY r.time DESC, r.seq DESC LIMIT $2";

/// Reads the newest readings of one sensor; the caller holds a read transaction.
pub(super) async fn recent(
    connection: &mut PgConnection,
    writer: Option<&InstanceId>,
    sensor: SensorKey,
    most: usize,
) -> Result<Loaded, Fault> {
    let as_of = as_of(connection, writer).await?;
    let seq: Option<i64> = sqlx::query_scalar("SELECT seq FROM sensor_snapshots WHERE sensor_id = $1")
        .bind(number(sensor.0))
        .fetch_optional(&mut *connection)
        .await?;
    let rows = sqlx::query(RECENT)
        .bind(number(sensor.0))
        .bind(limit(most))
        .fetch_all(&mut *connection)
        .await?;
    let mut tail = rows
        .iter()
        .map(|row| read(row).map(|(_, reading)| reading))
        .collect::<Result<Vec<_>, Fault>>()?;
    tail.sort_unstable_by_key(|reading| reading.seq);
    let mut sensors = vec![StoredSensor {
        sensor,
        snapshot: seq.map(|seq| (Seq(seq as u64), Vec::new())),
        tail,
        more: false,
        alerts: Vec::new(),
    }];
    add_batch_times(connection, &mut sensors).await?;
    alerts::restore(connection, &mut sensors).await?;
    Ok(Loaded { as_of, sensors })
}

/// Up to which batch of `writer` is read: those of other instances are not in the order of its own.
async fn as_of(
    connection: &mut PgConnection,
    writer: Option<&InstanceId>,
) -> Result<Option<BatchNumber>, Fault> {
    let last = "SELECT max(last_batch) FROM writers WHERE $1::text IS NULL OR instance = $1";
    let number: Option<i64> = sqlx::query_scalar(last)
        .bind(writer.map(|writer| writer.0.as_str()))
        .fetch_one(connection)
        .await?;
    Ok(number.map(|number| BatchNumber(number as u64)))
}

struct Found {
    stored: StoredSensor,
    /// The readings after the snapshot are at or after it; `None` where there are none.
    tail_from: Option<Time>,
    /// Whether there are readings after the snapshot.
    behind: bool,
}

impl Found {
    /// That of the snapshot.
    fn seq(&self) -> i64 {
        self.stored.snapshot.as_ref().map_or(-1, |(seq, _)| seq.0 as i64)
    }
}

/// The snapshots, in the order asked for, and where their tails begin. What is not added up yet is looked through only where
/// there is such a thing.
async fn snapshots(connection: &mut PgConnection, sensors: &[SensorKey]) -> Result<Vec<Found>, Fault> {
    let rows = sqlx::query(
        "SELECT n.seq, n.state, least(l.tail_from, p.tail_from), greatest(l.last_seq, p.last_seq)
         FROM unnest($1::integer[]) WITH ORDINALITY AS asked (sensor_id, place)
         LEFT JOIN sensor_snapshots n ON n.sensor_id = asked.sensor_id
         LEFT JOIN sensor_ledger l ON l.sensor_id = asked.sensor_id
         LEFT JOIN (SELECT p.sensor_id, max(p.last_seq) AS last_seq,
                 min(p.tail_from) FILTER (WHERE p.up_to > coalesce(b.covered, -1)) AS tail_from
             FROM pending_ledger p LEFT JOIN sensor_ledger b USING (sensor_id)
             WHERE p.sensor_id = ANY($1) GROUP BY p.sensor_id) p ON p.sensor_id = asked.sensor_id
         ORDER BY asked.place",
    )
    .bind(numbers(sensors))
    .fetch_all(connection)
    .await?;
    let mut found = Vec::with_capacity(sensors.len());
    for (row, sensor) in rows.iter().zip(sensors) {
        let snapshot = match row.try_get::<Option<i64>, _>(0)? {
            Some(seq) => Some((Seq(seq as u64), row.try_get(1)?)),
            None => None,
        };
        let last: Option<i64> = row.try_get(3)?;
        let mut sensor = Found {
            stored: StoredSensor {
                sensor: *sensor,
                snapshot,
                tail: Vec::new(),
                more: false,
                alerts: Vec::new(),
            },
            tail_from: row.try_get(2)?,
            behind: false,
        };
        sensor.behind = sensor.tail_from.is_some() && last > Some(sensor.seq());
        found.push(sensor);
    }
    Ok(found)
}

fn numbers(sensors: &[SensorKey]) -> Vec<i32> {
    sensors.iter().map(|sensor| number(sensor.0)).collect()
}

fn read(row: &PgRow) -> Result<(SensorKey, StoredReading), Fault> {
    let seq = Seq(row.try_get::<i64, _>(4)? as u64);
    let Time(time) = row.try_get(2)?;
    let reading = StoredReading {
        seq,
        at: BatchTime {
            now: time,
            active: ActiveTime(0),
        },
        reading: Reading {
            series: SeriesId(row.try_get::<i32, _>(1)? as u32),
            time,
            value: row.try_get(3)?,
            index: seq.index(),
            flags: Flags(row.try_get::<i16, _>(5)? as u8),
        },
    };
    Ok((SensorKey(row.try_get::<i32, _>(0)? as u32), reading))
}

/// A reading whose batch has expired keeps what [`read`] gave it: its own time as "now", on an active clock at zero.
async fn add_batch_times(connection: &mut PgConnection, loaded: &mut [StoredSensor]) -> Result<(), Fault> {
    let tails = || loaded.iter().flat_map(|sensor| &sensor.tail);
    let numbers: FxHashSet<i64> = tails().map(|reading| reading.seq.batch().0 as i64).collect();
    if numbers.is_empty() {
        return Ok(());
    }
    let rows: Vec<(i64, Time, i64)> =
        sqlx::query_as("SELECT number, time, active FROM batches WHERE number = ANY($1)")
            .bind(numbers.into_iter().collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
    let times: FxHashMap<u64, BatchTime> = rows
        .into_iter()
        .map(|(number, Time(now), active)| {
            let at = BatchTime {
                now,
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
