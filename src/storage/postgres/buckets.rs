//! Buckets of a series: aggregates by step, in the order of time.
//!
//! The walk goes from bucket to bucket, each found by the first row past the one before, so that empty ones cost nothing
//! and the limit ends it. Buckets are counted from 1970 and may be cut by the ends of the page.

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::fault::Fault;
use super::series::{is_empty, poison};
use super::statement::{limit, number};
use super::time::Time;
use crate::domain::SeriesId;
use crate::storage::ErrorClass;
use crate::storage::history::{Bucket, Page};

/// The longest step that PostgreSQL can count in: a million years are not asked for.
const LONGEST: i64 = 1 << 60;

const FORWARD: &str = "WITH RECURSIVE
    asked AS (SELECT $4::bigint * interval '1 microsecond' AS step),
    walk (start) AS (
        SELECT date_bin(step, (SELECT time FROM readings WHERE series_id = $1 AND time >= $2 AND time < $3
            ORDER BY time LIMIT 1), timestamptz 'epoch') FROM asked
        UNION ALL
        SELECT date_bin(step, (SELECT time FROM readings WHERE series_id = $1 AND time >= walk.start + step AND time < $3
            ORDER BY time LIMIT 1), timestamptz 'epoch') FROM walk, asked WHERE walk.start IS NOT NULL),
    starts AS (SELECT start FROM walk WHERE start IS NOT NULL LIMIT $5)
    SELECT start, s.count, s.min, s.max, s.sum,
        (SELECT value FROM readings WHERE series_id = $1 AND time = s.first),
        (SELECT value FROM readings WHERE series_id = $1 AND time = s.last)
    FROM starts CROSS JOIN asked CROSS JOIN LATERAL (
        SELECT count(*) AS count, min(value) AS min, max(value) AS max, sum(value) AS sum, min(time) AS first, max(time) AS last
        FROM readings WHERE series_id = $1 AND time >= greatest(start, $2) AND time < least(start + step, $3)
            AND flags & $6 = 0) s
    WHERE s.count > 0 ORDER BY start";
const BACKWARD: &str = "WITH RECURSIVE
    asked AS (SELECT $4::bigint * interval '1 microsecond' AS step),
    walk (start) AS (
        SELECT date_bin(step, (SELECT time FROM readings WHERE series_id = $1 AND time >= $2 AND time < $3
            ORDER BY time DESC LIMIT 1), timestamptz 'epoch') FROM asked
        UNION ALL
        SELECT date_bin(step, (SELECT time FROM readings WHERE series_id = $1 AND time >= $2 AND time < walk.start
            ORDER BY time DESC LIMIT 1), timestamptz 'epoch') FROM walk, asked WHERE walk.start IS NOT NULL),
    starts AS (SELECT start FROM walk WHERE start IS NOT NULL LIMIT $5)
    SELECT start, s.count, s.min, s.max, s.sum,
        (SELECT value FROM readings WHERE series_id = $1 AND time = s.first),
        (SELECT value FROM readings WHERE series_id = $1 AND time = s.last)
    FROM starts CROSS JOIN asked CROSS JOIN LATERAL (
        SELECT count(*) AS count, min(value) AS min, max(value) AS max, sum(value) AS sum, min(time) AS first, max(time) AS last
        FROM readings WHERE series_id = $1 AND time >= greatest(start, $2) AND time < least(start + step, $3)
            AND flags & $6 = 0) s
    WHERE s.count > 0 ORDER BY start DESC";

/// Without the poisonous readings, as in windows.
pub(super) async fn of_readings(
    connection: &mut PgConnection,
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
    if is_empty(page) {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(if page.newest_first { BACKWARD } else { FORWARD })
        .bind(number(series.0))
        .bind(Time(page.from))
        .bind(Time(page.to))
        .bind(step.min(LONGEST))
        .bind(limit(page.limit))
        .bind(poison())
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

pub(super) fn read(row: &PgRow) -> Result<Bucket, Fault> {
    let Time(start) = row.try_get(0)?;
    Ok(Bucket {
        start,
        count: row.try_get::<i64, _>(1)? as u64,
        min: row.try_get(2)?,
        max: row.try_get(3)?,
        sum: row.try_get(4)?,
        first: row.try_get(5)?,
        last: row.try_get(6)?,
    })
}
