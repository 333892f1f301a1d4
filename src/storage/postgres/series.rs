//! Questions about series: readings, windows, anomalies, buckets, latest values.
//!
//! Invariants: every query walks a primary key or an index in the order of the answer and stops at the limit; what
//! takes too long all the same is canceled. Where several rows share a time, a page holds all of the last one's.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::fault::Fault;
use super::statement::{limit, number};
use super::time::Time;
use super::windows;
use crate::domain::{Anomaly, Band, DetectorKind, Flags, Level, Seq, SeriesId, WindowResult};
use crate::storage::history::{Page, StoredPoint};

/// The text for the order that is asked for.
fn ordered(page: &Page, ascending: &'static str, descending: &'static str) -> &'static str {
    if page.newest_first { descending } else { ascending }
}

pub(super) const READINGS: &str = "SELECT time, value, seq, flags FROM readings
    WHERE series_id = $1 AND time >= $2 AND time < $3 ORDER BY time LIMIT $4";
pub(super) const NEWEST_READINGS: &str = "SELECT time, value, seq, flags FROM readings
    WHERE series_id = $1 AND time >= $2 AND time < $3 ORDER BY time DESC LIMIT $4";

pub(super) async fn readings(
    connection: &mut PgConnection,
    series: SeriesId,
    page: &Page,
) -> Result<Vec<StoredPoint>, Fault> {
    let rows = sqlx::query(ordered(page, READINGS, NEWEST_READINGS))
        .bind(number(series.0))
        .bind(Time(page.from))
        .bind(Time(page.to))
        .bind(limit(page.limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| point(row, 0)).collect()
}

pub(super) fn point(row: &PgRow, at: usize) -> Result<StoredPoint, Fault> {
    let Time(time) = row.try_get(at)?;
    Ok(StoredPoint {
        time,
        value: row.try_get(at + 1)?,
        seq: Seq(row.try_get::<i64, _>(at + 2)? as u64),
        flags: Flags(row.try_get::<i16, _>(at + 3)? as u8),
    })
}

const WINDOWS: &str = "SELECT series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision
    FROM windows WHERE series_id = $1 AND start >= $2 AND start < $3 AND start <= coalesce(
        (SELECT start FROM windows WHERE series_id = $1 AND start >= $2 AND start < $3 ORDER BY start LIMIT 1 OFFSET $4), $3)
    ORDER BY start, size, kind";
const NEWEST_WINDOWS: &str = "SELECT series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision
    FROM windows WHERE series_id = $1 AND start >= $2 AND start < $3 AND start >= coalesce(
        (SELECT start FROM windows WHERE series_id = $1 AND start >= $2 AND start < $3 ORDER BY start DESC LIMIT 1 OFFSET $4), $2)
    ORDER BY start DESC, size DESC, kind DESC";

pub(super) async fn windows(
    connection: &mut PgConnection,
    series: SeriesId,
    page: &Page,
) -> Result<Vec<WindowResult>, Fault> {
    if page.limit == 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(ordered(page, WINDOWS, NEWEST_WINDOWS))
        .bind(number(series.0))
        .bind(Time(page.from))
        .bind(Time(page.to))
        .bind(limit(page.limit) - 1)
        .fetch_all(connection)
        .await?;
    rows.iter().map(windows::read).collect()
}

const ANOMALIES: &str = "WITH found AS NOT MATERIALIZED (SELECT * FROM anomalies
        WHERE (cardinality($1) = 0 OR series_id = ANY($1)) AND time >= $2 AND time < $3)
    SELECT series_id, time, detector, level, value, score, expected, low, high, explanation FROM found
    WHERE time <= coalesce((SELECT time FROM found ORDER BY time LIMIT 1 OFFSET $4), $3) ORDER BY time, id";
const NEWEST_ANOMALIES: &str = "WITH found AS NOT MATERIALIZED (SELECT * FROM anomalies
        WHERE (cardinality($1) = 0 OR series_id = ANY($1)) AND time >= $2 AND time < $3)
    SELECT series_id, time, detector, level, value, score, expected, low, high, explanation FROM found
    WHERE time >= coalesce((SELECT time FROM found ORDER BY time DESC LIMIT 1 OFFSET $4), $2) ORDER BY time DESC, id DESC";

pub(super) async fn anomalies(
    connection: &mut PgConnection,
    series: &[SeriesId],
    page: &Page,
) -> Result<Vec<Anomaly>, Fault> {
    if page.limit == 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(ordered(page, ANOMALIES, NEWEST_ANOMALIES))
        .bind(numbers(series))
        .bind(Time(page.from))
        .bind(Time(page.to))
        .bind(limit(page.limit) - 1)
        .fetch_all(connection)
        .await?;
    rows.iter().map(anomaly).collect()
}

fn anomaly(row: &PgRow) -> Result<Anomaly, Fault> {
    let (Time(time), detector, level): (Time, &str, &str) =
        (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    Ok(Anomaly {
        series: SeriesId(row.try_get::<i32, _>(0)? as u32),
        time,
        detector: DetectorKind::parse(detector)
            .ok_or_else(|| Fault::unreadable(format!("unknown detector: {detector}")))?,
        level: Level::parse(level).ok_or_else(|| Fault::unreadable(format!("unknown level: {level}")))?,
        value: row.try_get(4)?,
        score: row.try_get(5)?,
        expected: row.try_get(6)?,
        band: Band {
            low: row.try_get(7)?,
            high: row.try_get(8)?,
        },
        explanation: row.try_get(9)?,
    })
}

pub(super) const LATEST: &str =
    "SELECT r.series_id, r.time, r.value, r.seq, r.flags FROM unnest($1::integer[]) AS asked (id)
    CROSS JOIN LATERAL (SELECT * FROM readings WHERE series_id = asked.id ORDER BY time DESC LIMIT 1) r";

pub(super) async fn latest(
    connection: &mut PgConnection,
    series: &[SeriesId],
) -> Result<Vec<(SeriesId, StoredPoint)>, Fault> {
    // In the order of the key, so that neighbors are found on the same page.
    let mut asked = numbers(series);
    asked.sort_unstable();
    let rows = sqlx::query(LATEST).bind(asked).fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok((SeriesId(row.try_get::<i32, _>(0)? as u32), point(row, 1)?)))
        .collect()
}

fn numbers(series: &[SeriesId]) -> Vec<i32> {
    series.iter().map(|series| number(series.0)).collect()
}

/// Poisonous readings are in no figure.
pub(super) fn poison() -> i16 {
    i16::from(Flags::POISON.0)
}

/// Whether nothing can lie in the page.
pub(super) fn is_empty(page: &Page) -> bool {
    page.limit == 0 || page.from >= page.to
}
