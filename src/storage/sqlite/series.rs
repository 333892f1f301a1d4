//! Questions about series: readings, windows, anomalies, buckets, latest values.
//!
//! Invariants: every query walks a primary key or an index in the order of the answer and stops at the limit; what
//! takes too long all the same is interrupted. Where several rows share a time, a page holds all of the last one's.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::fault::Fault;
use super::readings::json;
use super::windows;
use crate::domain::{Anomaly, Band, DetectorKind, Flags, Level, Seq, SeriesId, Timestamp, WindowResult};
use crate::storage::ErrorClass;
use crate::storage::history::{Bucket, Page, StoredPoint};

/// The text for the order that is asked for.
fn ordered(page: &Page, ascending: &'static str, descending: &'static str) -> &'static str {
    if page.newest_first { descending } else { ascending }
}

fn limit(page: &Page) -> i64 {
    i64::try_from(page.limit).unwrap_or(i64::MAX)
}

pub(super) const READINGS: &str = "SELECT time, value, seq, flags FROM readings
    WHERE series_id = ? AND time >= ? AND time < ? ORDER BY time LIMIT ?";
pub(super) const NEWEST_READINGS: &str = "SELECT time, value, seq, flags FROM readings
    WHERE series_id = ? AND time >= ? AND time < ? ORDER BY time DESC LIMIT ?";

pub(super) async fn readings(
    connection: &mut SqliteConnection,
    series: SeriesId,
    page: &Page,
) -> Result<Vec<StoredPoint>, Fault> {
    let rows = sqlx::query(ordered(page, READINGS, NEWEST_READINGS))
        .bind(i64::from(series.0))
        .bind(page.from.0)
        .bind(page.to.0)
        .bind(limit(page))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| point(row, 0)).collect()
}

pub(super) fn point(row: &SqliteRow, at: usize) -> Result<StoredPoint, Fault> {
    Ok(StoredPoint {
        time: Timestamp(row.try_get(at)?),
        value: row.try_get(at + 1)?,
        seq: Seq(row.try_get::<i64, _>(at + 2)? as u64),
        flags: Flags(row.try_get::<u8, _>(at + 3)?),
    })
}

const WINDOWS: &str = "SELECT series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision
    FROM windows WHERE series_id = ?1 AND start >= ?2 AND start < ?3 AND start <= ifnull(
        (SELECT start FROM windows WHERE series_id = ?1 AND start >= ?2 AND start < ?3 ORDER BY start LIMIT 1 OFFSET ?4), ?3)
    ORDER BY start, size, kind";
const NEWEST_WINDOWS: &str = "SELECT series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision
    FROM windows WHERE series_id = ?1 AND start >= ?2 AND start < ?3 AND start >= ifnull(
        (SELECT start FROM windows WHERE series_id = ?1 AND start >= ?2 AND start < ?3 ORDER BY start DESC LIMIT 1 OFFSET ?4), ?2)
    ORDER BY start DESC, size DESC, kind DESC";

pub(super) async fn windows(
    connection: &mut SqliteConnection,
    series: SeriesId,
    page: &Page,
) -> Result<Vec<WindowResult>, Fault> {
    if page.limit == 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(ordered(page, WINDOWS, NEWEST_WINDOWS))
        .bind(i64::from(series.0))
        .bind(page.from.0)
        .bind(page.to.0)
        .bind(limit(page) - 1)
        .fetch_all(connection)
        .await?;
    rows.iter().map(windows::read).collect()
}

const ANOMALIES: &str = "WITH found AS (SELECT * FROM anomalies
        WHERE (?1 = '[]' OR series_id IN (SELECT value FROM json_each(?1))) AND time >= ?2 AND time < ?3)
    SELECT series_id, time, detector, level, value, score, expected, low, high, explanation FROM found
    WHERE time <= ifnull((SELECT time FROM found ORDER BY time LIMIT 1 OFFSET ?4), ?3) ORDER BY time, id";
const NEWEST_ANOMALIES: &str = "WITH found AS (SELECT * FROM anomalies
        WHERE (?1 = '[]' OR series_id IN (SELECT value FROM json_each(?1))) AND time >= ?2 AND time < ?3)
    SELECT series_id, time, detector, level, value, score, expected, low, high, explanation FROM found
    WHERE time >= ifnull((SELECT time FROM found ORDER BY time DESC LIMIT 1 OFFSET ?4), ?2) ORDER BY time DESC, id DESC";

pub(super) async fn anomalies(
    connection: &mut SqliteConnection,
    series: &[SeriesId],
    page: &Page,
) -> Result<Vec<Anomaly>, Fault> {
    if page.limit == 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(ordered(page, ANOMALIES, NEWEST_ANOMALIES))
        .bind(json(series)?)
        .bind(page.from.0)
        .bind(page.to.0)
        .bind(limit(page) - 1)
        .fetch_all(connection)
        .await?;
    rows.iter().map(anomaly).collect()
}

fn anomaly(row: &SqliteRow) -> Result<Anomaly, Fault> {
    let (detector, level): (&str, &str) = (row.try_get(2)?, row.try_get(3)?);
    Ok(Anomaly {
        series: SeriesId(row.try_get(0)?),
        time: Timestamp(row.try_get(1)?),
        detector: DetectorKind::parse(detector)
            .ok_or_else(|| Fault::unreadable(format!("unknown detector: {detector}")))?,
        level: Level::parse(level).ok_or_else(|| Fault::unreadable(format!("unknown level: {level}")))?,
        value: row.try_get(4)?,
        score: row.try_get::<Option<f64>, _>(5)?.unwrap_or(f64::NAN),
        expected: row.try_get(6)?,
        band: Band {
            low: row.try_get(7)?,
            high: row.try_get(8)?,
        },
        explanation: row.try_get(9)?,
    })
}

/// Walks from bucket to bucket, each found by the first sound reading past the one before, so that empty ones cost
/// nothing and the limit ends the walk. `%` keeps the sign, hence the correction for times before 1970.
const BUCKETS: &str = "WITH RECURSIVE
    walk(start) AS (
        SELECT time - time % ?4 - (time % ?4 < 0) * ?4 FROM
            (SELECT time FROM readings WHERE series_id = ?1 AND time >= ?2 AND time < ?3 AND flags & ?6 = 0 ORDER BY time LIMIT 1)
        UNION ALL
        SELECT (SELECT time - time % ?4 - (time % ?4 < 0) * ?4 FROM readings
            WHERE series_id = ?1 AND time >= walk.start + ?4 AND time < ?3 AND flags & ?6 = 0 ORDER BY time LIMIT 1)
        FROM walk WHERE walk.start IS NOT NULL LIMIT ?5),
    sums AS (
        SELECT walk.start AS start, count(*) AS count, min(value) AS min, max(value) AS max, sum(value) AS sum,
            min(time) AS first, max(time) AS last
        FROM walk CROSS JOIN readings ON series_id = ?1 AND time >= max(walk.start, ?2)
            AND time < min(walk.start + ?4, ?3) AND flags & ?6 = 0
        GROUP BY walk.start)
    SELECT start, count, min, max, sum, (SELECT value FROM readings WHERE series_id = ?1 AND time = sums.first),
        (SELECT value FROM readings WHERE series_id = ?1 AND time = sums.last), sums.first, sums.last FROM sums ORDER BY start";
const NEWEST_BUCKETS: &str = "WITH RECURSIVE
    walk(start) AS (
        SELECT time - time % ?4 - (time % ?4 < 0) * ?4 FROM
            (SELECT time FROM readings WHERE series_id = ?1 AND time >= ?2 AND time < ?3 AND flags & ?6 = 0 ORDER BY time DESC LIMIT 1)
        UNION ALL
        SELECT (SELECT time - time % ?4 - (time % ?4 < 0) * ?4 FROM readings
            WHERE series_id = ?1 AND time >= ?2 AND time < walk.start AND flags & ?6 = 0 ORDER BY time DESC LIMIT 1)
        FROM walk WHERE walk.start IS NOT NULL LIMIT ?5),
    sums AS (
        SELECT walk.start AS start, count(*) AS count, min(value) AS min, max(value) AS max, sum(value) AS sum,
            min(time) AS first, max(time) AS last
        FROM walk CROSS JOIN readings ON series_id = ?1 AND time >= max(walk.start, ?2)
            AND time < min(walk.start + ?4, ?3) AND flags & ?6 = 0
        GROUP BY walk.start)
    SELECT start, count, min, max, sum, (SELECT value FROM readings WHERE series_id = ?1 AND time = sums.first),
        (SELECT value FROM readings WHERE series_id = ?1 AND time = sums.last), sums.first, sums.last FROM sums ORDER BY start DESC";

/// Without the poisonous readings, as in windows.
pub(super) async fn buckets(
    connection: &mut SqliteConnection,
    series: SeriesId,
    page: &Page,
    step: i64,
) -> Result<Vec<Bucket>, Fault> {
    if step <= 0 {
        return Err(Fault::found(
            ErrorClass::Refused,
            "the step must be longer than nothing",
        ));
    }
    let rows = sqlx::query(ordered(page, BUCKETS, NEWEST_BUCKETS))
        .bind(i64::from(series.0))
        .bind(page.from.0)
        .bind(page.to.0)
        .bind(step)
        .bind(limit(page))
        .bind(i64::from(Flags::POISON.0))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Bucket {
                start: Timestamp(row.try_get(0)?),
                count: row.try_get::<i64, _>(1)? as u64,
                min: row.try_get(2)?,
                max: row.try_get(3)?,
                // Null where infinities of both signs met.
                sum: row.try_get::<Option<f64>, _>(4)?.unwrap_or(f64::NAN),
                first: row.try_get(5)?,
                last: row.try_get(6)?,
                first_time: Timestamp(row.try_get(7)?),
                last_time: Timestamp(row.try_get(8)?),
            })
        })
        .collect()
}

pub(super) const LATEST: &str = "SELECT r.series_id, r.time, r.value, r.seq, r.flags FROM json_each(?) asked
    CROSS JOIN readings r ON r.series_id = asked.value
    AND r.time = (SELECT time FROM readings WHERE series_id = asked.value ORDER BY time DESC LIMIT 1)";

pub(super) async fn latest(
    connection: &mut SqliteConnection,
    series: &[SeriesId],
) -> Result<Vec<(SeriesId, StoredPoint)>, Fault> {
    let rows = sqlx::query(LATEST)
        .bind(json(series)?)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((SeriesId(row.try_get(0)?), point(row, 1)?)))
        .collect()
}
