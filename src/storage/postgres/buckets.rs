//! Buckets of a series: aggregates by step, in the order of time.
//!
//! What is asked is divided into stretches (see [`resolution`](super::resolution)), each answered from a rollup or from the
//! readings, and joined; a bucket may lie in several. All is read from one snapshot, so that the answer is that of the readings
//! alone, whatever is rolled up meanwhile.
//!
//! Among readings the walk goes from bucket to bucket, each found by the first sound row past the one before, so that empty ones
//! cost nothing and the limit ends it. Buckets are counted from 1970 and may be cut by the ends of the page.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::fault::Fault;
use super::partitions::Layout;
use super::resolution::{DAY, HOUR, OF_BUCKETS, Resolution, floor, stretches, sum_of_values};
use super::series::{is_empty, poison};
use super::statement::{limit, number};
use super::time::Time;
use crate::domain::{Micros, SeriesId, Timestamp};
use crate::storage::ErrorClass;
use crate::storage::history::{Bucket, Page};

/// The longest step that is counted in, of whole days: nobody has readings of more than one such bucket on either side of 1970.
const LONGEST: Micros = (1 << 60) / DAY * DAY;

macro_rules! walk {
    (next: $next:literal, order: $order:literal) => {
        concat!(
            "WITH RECURSIVE asked AS (SELECT $4::bigint * interval '1 microsecond' AS step),
             walk (start) AS (
                SELECT date_bin(step, (SELECT time FROM readings WHERE series_id = $1 AND time >= $2 AND time < $3
                    AND flags & $6 = 0 ORDER BY time ", $order, " LIMIT 1), timestamptz 'epoch') FROM asked
                UNION ALL
                SELECT date_bin(step, (SELECT time FROM readings WHERE series_id = $1 AND ", $next,
                    " AND flags & $6 = 0 ORDER BY time ", $order, " LIMIT 1), timestamptz 'epoch') FROM walk, asked WHERE walk.start IS NOT NULL),
             starts AS (SELECT start FROM walk WHERE start IS NOT NULL LIMIT $5)
             SELECT start, s.count, s.min, s.max, s.sum,
                (SELECT value FROM readings WHERE series_id = $1 AND time = s.first_time),
                (SELECT value FROM readings WHERE series_id = $1 AND time = s.last_time), s.first_time, s.last_time
             FROM starts CROSS JOIN asked CROSS JOIN LATERAL (
                SELECT count(*) AS count, min(value) AS min, max(value) AS max, ", sum_of_values!(), " AS sum,
                    min(time) AS first_time, max(time) AS last_time
                FROM readings WHERE series_id = $1 AND time >= greatest(start, $2) AND time < least(start + step, $3)
                    AND flags & $6 = 0) s
             ORDER BY start ", $order
        )
    };
}

pub(super) const FORWARD: &str = walk!(next: "time >= walk.start + step AND time < $3", order: "");
pub(super) const BACKWARD: &str = walk!(next: "time >= $2 AND time < walk.start", order: "DESC");

/// When rollups are made until, and the hours of the series that have changed since.
const STATE: &str = "SELECT until, ARRAY(SELECT DISTINCT hour FROM rollup_dirty WHERE series_id = $1 AND hour >= $2 AND hour < $3 ORDER BY hour)
    FROM rollup_state WHERE name = 'done'";

/// Without the poisonous readings, as in windows. The caller holds a read transaction.
pub(super) async fn buckets(
    connection: &mut PgConnection,
    layout: &Layout,
    series: SeriesId,
    page: &Page,
    step: Micros,
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
    let step = step.min(LONGEST);
    if Resolution::dividing(step).is_none() {
        return of_readings(connection, series, page, step).await;
    }
    of_stretches(connection, layout, series, page, step).await
}

async fn of_stretches(
    connection: &mut PgConnection,
    layout: &Layout,
    series: SeriesId,
    page: &Page,
    step: Micros,
) -> Result<Vec<Bucket>, Fault> {
    let (Time(done), changed): (Time, Vec<Time>) = sqlx::query_as(STATE)
        .bind(number(series.0))
        .bind(Time(floor(page.from, HOUR)))
        .bind(Time(page.to))
        .fetch_one(&mut *connection)
        .await?;
    let changed: Vec<Timestamp> = changed.into_iter().map(|Time(hour)| hour).collect();
    let mut asked = stretches(page.from..page.to, step, done, &changed);
    if page.newest_first {
        asked.reverse();
    }
    let mut all: Vec<Bucket> = Vec::new();
    for stretch in asked {
        // One more than there is room for: the first may belong to the last bucket so far.
        let part = Page {
            from: stretch.span.start,
            to: stretch.span.end,
            limit: (page.limit - all.len()).saturating_add(1),
            newest_first: page.newest_first,
        };
        let found = match stretch.of {
            None => of_readings(connection, series, &part, step).await?,
            Some(of) => of_rollup(connection, layout.relation(of), of, series, &part, step).await?,
        };
        for bucket in found {
            match all.last_mut() {
                Some(last) if last.start == bucket.start => *last = last.join(&bucket),
                _ => all.push(bucket),
            }
        }
        if all.len() > page.limit {
            break;
        }
    }
    all.truncate(page.limit);
    Ok(all)
}

async fn of_readings(
    connection: &mut PgConnection,
    series: SeriesId,
    page: &Page,
    step: Micros,
) -> Result<Vec<Bucket>, Fault> {
    let rows = sqlx::query(if page.newest_first { BACKWARD } else { FORWARD })
        .bind(number(series.0))
        .bind(Time(page.from))
        .bind(Time(page.to))
        .bind(step)
        .bind(limit(page.limit))
        .bind(poison())
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

async fn of_rollup(
    connection: &mut PgConnection,
    relation: &str,
    of: Resolution,
    series: SeriesId,
    page: &Page,
    step: Micros,
) -> Result<Vec<Bucket>, Fault> {
    // So many rows are in as many buckets at least, and these buckets are whole.
    let rows = limit(page.limit).saturating_mul(step / of.span());
    let rows = sqlx::query(AssertSqlSafe(rolled_up(relation, page.newest_first)))
        .bind(number(series.0))
        .bind(Time(page.from))
        .bind(Time(page.to))
        .bind(step)
        .bind(rows)
        .bind(limit(page.limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

pub(super) fn rolled_up(relation: &str, newest_first: bool) -> String {
    let order = if newest_first { "DESC" } else { "" };
    format!(
        "SELECT start, {} FROM (SELECT date_bin($4::bigint * interval '1 microsecond', bucket, timestamptz 'epoch') AS start, *
             FROM {relation} WHERE series_id = $1 AND bucket >= $2 AND bucket < $3 ORDER BY bucket {order} LIMIT $5) b
         GROUP BY start ORDER BY start {order} LIMIT $6",
        OF_BUCKETS
    )
}

fn read(row: &PgRow) -> Result<Bucket, Fault> {
    let time = |at: usize| row.try_get(at).map(|Time(time)| time);
    Ok(Bucket {
        start: time(0)?,
        count: row.try_get::<i64, _>(1)? as u64,
        min: row.try_get(2)?,
        max: row.try_get(3)?,
        sum: row.try_get(4)?,
        first: row.try_get(5)?,
        last: row.try_get(6)?,
        first_time: time(7)?,
        last_time: time(8)?,
    })
}
