//! The cold archive's side of the database: finding days, reading them, the catalog.
//!
//! Invariants: rows are read on readers, from series to series by the primary key; the order is checked by whoever reads
//! them, since losing its place would lose rows. The catalog is written beside the batches.

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::fault::Fault;
use super::partitions::Layout;
use super::snapshot::in_snapshot;
use super::statement::{limit as bounded, number};
use super::time::Time;
use super::{PostgresStore, dropped, restored};
use crate::domain::{BatchNumber, Day, MetricName, SensorId, Seq, SeriesId, Timestamp};
use crate::storage::StoreError;
use crate::storage::archives::{
    Adopted, Archive, ArchivePage, ArchiveState, Archives, Contents, Dropped, Restored, SeriesName, Span,
    bound,
};
use crate::storage::history::StoredPoint;

/// Every step depends on the one before, so that it can only be walked in this order, and the limit ends the walk.
const PAGE: &str = "SELECT r.series_id, r.time, r.value, r.seq, r.flags
    FROM (SELECT id FROM series WHERE id >= $1 ORDER BY id) s
    CROSS JOIN LATERAL (SELECT * FROM readings WHERE series_id = s.id AND time >= $3 AND time < $4
        AND time >= CASE WHEN s.id = $1 THEN $2 ELSE $3 END AND seq > $5 AND seq <= $6 ORDER BY time OFFSET 0) r
    LIMIT $7";

/// The first reading of any series in the partition of the distant past.
const NEXT_PAST: &str = "SELECT min(r.time) FROM series s CROSS JOIN LATERAL (SELECT time FROM readings_past
    WHERE series_id = s.id AND time >= $1 ORDER BY time LIMIT 1) r";

/// Reads in a snapshot of its own and says what was read where it fails.
macro_rules! load {
    ($store:ident, $what:expr, $question:path $(, $argument:expr)*) => {{
        let answer = async { in_snapshot!($store.snapshot(), $question $(, $argument)*) };
        answer.await.map_err(|fault: Fault| fault.during($what))
    }};
}

#[async_trait]
impl Archives for PostgresStore {
    async fn next_to_archive(&self, from: Day, before: Timestamp) -> Result<Option<Day>, StoreError> {
        load!(
            self,
            "looking for a day to archive",
            next,
            &self.layout,
            from,
            before
        )
    }

    async fn export_up_to(&self, day: Day) -> Result<Option<Seq>, StoreError> {
        load!(self, "looking how far an export reaches", up_to, day)
    }

    async fn page(
        &self,
        span: &Span,
        after: Option<(SeriesId, Timestamp)>,
        limit: usize,
    ) -> Result<Vec<(SeriesId, StoredPoint)>, StoreError> {
        load!(self, "reading a day", page, span, after, limit)
    }

    async fn count(&self, span: &Span) -> Result<u64, StoreError> {
        load!(self, "counting a day", count, span)
    }

    async fn names(&self, series: &[SeriesId]) -> Result<Vec<(SeriesId, SeriesName)>, StoreError> {
        load!(self, "reading names of series", names, series)
    }

    async fn catalog(&self, page: &ArchivePage) -> Result<Vec<Archive>, StoreError> {
        load!(self, "reading the catalog of archives", catalog, page)
    }

    async fn record_archive(&self, archive: &Archive) -> Result<(), StoreError> {
        let contents = archive.contents;
        let query = sqlx::query(
            "INSERT INTO archives (day, part, object, state, up_to, rows, bytes, checksum, sha256, started_at, verified_at,
                 dropped_at, restored_at, keep_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
             ON CONFLICT (day, part) DO UPDATE SET object = excluded.object, state = excluded.state, up_to = excluded.up_to,
                 rows = excluded.rows, bytes = excluded.bytes, checksum = excluded.checksum, sha256 = excluded.sha256,
                 started_at = excluded.started_at, verified_at = excluded.verified_at, dropped_at = excluded.dropped_at,
                 restored_at = excluded.restored_at, keep_until = excluded.keep_until",
        )
        .bind(archive.day.to_string())
        .bind(number(archive.part))
        .bind(&archive.object)
        .bind(archive.state.as_str())
        .bind(archive.up_to.0 as i64)
        .bind(contents.map(|contents| contents.rows as i64))
        .bind(contents.map(|contents| contents.bytes as i64))
        .bind(contents.map(|contents| contents.checksum.to_string()))
        .bind(contents.map(|contents| contents.sha256.to_string()))
        .bind(Time(archive.started_at))
        .bind(archive.verified_at.map(Time))
        .bind(archive.dropped_at.map(Time))
        .bind(archive.restored_at.map(Time))
        .bind(archive.keep_until.map(Time));
        self.write("recording an archive", query).await?;
        Ok(())
    }

    async fn discard_unfinished(&self, day: Day) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM archives WHERE day = $1 AND state IN ('exporting', 'uploaded')")
            .bind(day.to_string());
        self.write("discarding an unfinished export", query).await?;
        Ok(())
    }

    async fn advance(
        &self,
        day: Day,
        from: ArchiveState,
        to: ArchiveState,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let noted = match to {
            ArchiveState::Verified => ", verified_at = coalesce(verified_at, $2), keep_until = NULL",
            ArchiveState::Dropped => ", dropped_at = $2",
            _ => "",
        };
        let sql = format!(
            "UPDATE archives SET state = $1{noted} WHERE day = $3 AND state = $4 AND $2::timestamptz IS NOT NULL"
        );
        let query = sqlx::query(AssertSqlSafe(sql))
            .bind(to.as_str())
            .bind(Time(at))
            .bind(day.to_string())
            .bind(from.as_str());
        Ok(self.write("advancing archives", query).await?.rows_affected())
    }

    async fn release_restored(&self, now: Timestamp) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "UPDATE archives SET state = 'verified', keep_until = NULL WHERE state = 'restored' AND keep_until <= $1",
        )
        .bind(Time(now));
        Ok(self
            .write("releasing restored days", query)
            .await?
            .rows_affected())
    }

    async fn droppable(&self, days: &[Day]) -> Result<Vec<Vec<Day>>, StoreError> {
        load!(
            self,
            "looking for days to drop",
            dropped::groups,
            &self.layout,
            days
        )
    }

    async fn drop_days(&self, days: &[Day], at: Timestamp) -> Result<Dropped, StoreError> {
        dropped::drop_days(self, days, at)
            .await
            .map_err(|fault| fault.during("dropping archived readings"))
    }

    async fn adopt(&self, names: &[SeriesName], newest: Seq, alone: bool) -> Result<Adopted, StoreError> {
        restored::adopt(self, names, newest, alone)
            .await
            .map_err(|fault| fault.during("making sensors and series for an archive"))
    }

    async fn restore(&self, rows: &[(SeriesId, StoredPoint)]) -> Result<Restored, StoreError> {
        restored::restore(self, rows)
            .await
            .map_err(|fault| fault.during("putting archived readings back"))
    }
}

async fn next(
    connection: &mut PgConnection,
    layout: &Layout,
    from: Day,
    before: Timestamp,
) -> Result<Option<Day>, Fault> {
    let archived: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT day FROM archives WHERE state IN ('verified', 'dropping', 'restored') AND day >= $1",
    )
    .bind(bound(from))
    .fetch_all(&mut *connection)
    .await?;
    let free = |day: Day| day.end() <= before && !archived.contains(&day.to_string());
    if let Layout::Partitions(_) = layout {
        let mut from = from;
        loop {
            let time: Option<Time> = sqlx::query_scalar(NEXT_PAST)
                .bind(Time(from.start()))
                .fetch_one(&mut *connection)
                .await?;
            match time.map(|Time(time)| Day::of(time)) {
                Some(day) if free(day) => return Ok(Some(day)),
                Some(day) if day.end() <= before => from = day.next(),
                _ => break,
            }
        }
    }
    for cell in dropped::cells(connection, layout, from.start(), before).await? {
        let mut day = from.max(Day::of(cell.start));
        while day.start() < cell.end && day.end() <= before {
            if free(day) && holds_readings(connection, day).await? {
                return Ok(Some(day));
            }
            day = day.next();
        }
    }
    Ok(None)
}

pub(super) async fn holds_readings(connection: &mut PgConnection, day: Day) -> Result<bool, Fault> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM readings WHERE time >= $1 AND time < $2)")
            .bind(Time(day.start()))
            .bind(Time(day.end()))
            .fetch_one(connection)
            .await?,
    )
}

async fn up_to(connection: &mut PgConnection, day: Day) -> Result<Option<Seq>, Fault> {
    let (batch, tail): (Option<i64>, Option<Time>) = sqlx::query_as(
        "SELECT (SELECT max(last_batch) FROM writers), least((SELECT min(tail_from) FROM sensor_ledger),
             (SELECT min(tail_from) FROM ledger_entries))",
    )
    .fetch_one(connection)
    .await?;
    let needed = tail.is_some_and(|Time(tail)| tail < day.end());
    let up_to = batch.map(|batch| BatchNumber(batch as u64).end());
    Ok(up_to.filter(|_| !needed))
}

async fn page(
    connection: &mut PgConnection,
    span: &Span,
    after: Option<(SeriesId, Timestamp)>,
    limit: usize,
) -> Result<Vec<(SeriesId, StoredPoint)>, Fault> {
    let start = span.day.start();
    let (series, time) = after.map_or((i32::MIN, start), |(series, time)| {
        (number(series.0), time.saturating_add(1))
    });
    let rows = sqlx::query(PAGE)
        .bind(series)
        .bind(Time(time))
        .bind(Time(start))
        .bind(Time(span.day.end()))
        .bind(span.after.map_or(-1, |seq| seq.0 as i64))
        .bind(span.up_to.0 as i64)
        .bind(bounded(limit))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok((
                SeriesId(row.try_get::<i32, _>(0)? as u32),
                super::series::point(row, 1)?,
            ))
        })
        .collect()
}

async fn count(connection: &mut PgConnection, span: &Span) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM readings WHERE time >= $1 AND time < $2 AND seq > $3 AND seq <= $4",
    )
    .bind(Time(span.day.start()))
    .bind(Time(span.day.end()))
    .bind(span.after.map_or(-1, |seq| seq.0 as i64))
    .bind(span.up_to.0 as i64)
    .fetch_one(connection)
    .await?;
    Ok(count as u64)
}

async fn names(
    connection: &mut PgConnection,
    series: &[SeriesId],
) -> Result<Vec<(SeriesId, SeriesName)>, Fault> {
    let rows: Vec<(i32, String, String, String, Option<String>)> = sqlx::query_as(
        "SELECT s.id, n.sensor_id, n.tags, s.metric, s.unit FROM series s JOIN sensors n ON n.id = s.sensor_id
         WHERE s.id = ANY($1)",
    )
    .bind(series.iter().map(|series| number(series.0)).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(series, sensor, tags, metric, unit)| {
            let name = SeriesName {
                sensor: SensorId::try_from(sensor).map_err(Fault::unreadable)?,
                tags: serde_json::from_str(&tags).map_err(Fault::unreadable)?,
                metric: MetricName::try_from(metric).map_err(Fault::unreadable)?,
                unit,
            };
            Ok((SeriesId(series as u32), name))
        })
        .collect()
}

async fn catalog(connection: &mut PgConnection, page: &ArchivePage) -> Result<Vec<Archive>, Fault> {
    let (day, part) = page.before.unwrap_or((Day::MAX, 0));
    let rows = sqlx::query(
        "SELECT day, part, object, state, up_to, rows, bytes, checksum, sha256, started_at, verified_at, dropped_at,
             restored_at, keep_until FROM archives
         WHERE day >= $1 AND day <= $2 AND (day, part) < ($3, $4) AND ($5::text IS NULL OR state = $5)
         ORDER BY day DESC, part DESC LIMIT $6",
    )
    .bind(bound(page.from))
    .bind(bound(page.to))
    .bind(bound(day))
    .bind(number(part))
    .bind(page.state.map(ArchiveState::as_str))
    .bind(bounded(page.limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(archive).collect()
}

fn archive(row: &PgRow) -> Result<Archive, Fault> {
    let (day, state): (&str, &str) = (row.try_get(0)?, row.try_get(3)?);
    let time = |at: usize| {
        row.try_get::<Option<Time>, _>(at)
            .map(|time| time.map(|Time(time)| time))
    };
    let contents = match row.try_get::<Option<i64>, _>(5)? {
        Some(rows) => Some(Contents {
            rows: rows as u64,
            bytes: row.try_get::<i64, _>(6)? as u64,
            checksum: row.try_get::<&str, _>(7)?.parse().map_err(Fault::unreadable)?,
            sha256: row.try_get::<&str, _>(8)?.parse().map_err(Fault::unreadable)?,
        }),
        None => None,
    };
    Ok(Archive {
        day: day.parse().map_err(Fault::unreadable)?,
        part: row.try_get::<i32, _>(1)? as u32,
        object: row.try_get(2)?,
        state: ArchiveState::parse(state)
            .ok_or_else(|| Fault::unreadable(format!("unknown state of an archive: {state}")))?,
        up_to: Seq(row.try_get::<i64, _>(4)? as u64),
        contents,
        started_at: row.try_get::<Time, _>(9)?.0,
        verified_at: time(10)?,
        dropped_at: time(11)?,
        restored_at: time(12)?,
        keep_until: time(13)?,
    })
}
