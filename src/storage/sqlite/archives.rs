//! The cold archive's side of the file: finding days, reading them, the catalog, deleting what is archived.
//!
//! Invariants: rows are read and looked for on readers, by the primary key; the write lock is held to delete a piece by key
//! or to change the catalog, so that commits wait for milliseconds at most. A piece is deleted only while the catalog says
//! that its day is being dropped, and only up to the sequence that the objects reach to.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::fault::Fault;
use super::readings::json;
use super::{SqliteStore, restored};
use crate::domain::{BatchNumber, Day, MetricName, SensorId, Seq, SeriesId, Timestamp};
use crate::storage::StoreError;
use crate::storage::archives::{
    Adopted, Archive, ArchivePage, ArchiveState, Archives, Contents, Dropped, Restored, SeriesName, Span,
    bound,
};
use crate::storage::history::StoredPoint;

/// Rows deleted by a transaction.
const CHUNK: i64 = 5_000;

/// The first reading of any series from a time on.
pub(super) const NEXT_READING: &str =
    "SELECT min((SELECT r.time FROM readings r WHERE r.series_id = s.id AND r.time >= ?
    ORDER BY r.time LIMIT 1)) FROM series s";

/// From series to series, within each by time.
pub(super) const PAGE: &str = "SELECT r.series_id, r.time, r.value, r.seq, r.flags FROM series s CROSS JOIN readings r
    ON r.series_id = s.id AND r.time >= CASE WHEN s.id = ?1 THEN ?2 ELSE ?3 END AND r.time < ?4 AND r.seq > ?5 AND r.seq <= ?6
    WHERE s.id >= ?1 ORDER BY s.id, r.time LIMIT ?7";

pub(super) const COUNT: &str = "SELECT count(*) FROM series s CROSS JOIN readings r
    ON r.series_id = s.id AND r.time >= ? AND r.time < ? AND r.seq > ? AND r.seq <= ?";

pub(super) const ARCHIVED_ROWS: &str = "SELECT r.series_id, r.time FROM series s CROSS JOIN readings r
    ON r.series_id = s.id AND r.time >= ? AND r.time < ? AND r.seq <= ? WHERE s.id >= ? ORDER BY s.id LIMIT ?";

#[async_trait]
impl Archives for SqliteStore {
    async fn next_to_archive(&self, from: Day, before: Timestamp) -> Result<Option<Day>, StoreError> {
        let what = "looking for a day to archive";
        let find = async {
            let mut reader = self.readers.begin().await?;
            let mut from = from;
            loop {
                let time: Option<i64> = sqlx::query_scalar(NEXT_READING)
                    .bind(from.start().0)
                    .fetch_one(&mut *reader)
                    .await?;
                let Some(day) = time.map(|time| Day::of(Timestamp(time))) else {
                    return Ok(None);
                };
                if day.end() > before {
                    return Ok(None);
                }
                let archived: Vec<String> = sqlx::query_scalar(
                    "SELECT DISTINCT day FROM archives WHERE state IN ('verified', 'dropping', 'restored') AND day >= ? ORDER BY day",
                )
                .bind(bound(day))
                .fetch_all(&mut *reader)
                .await?;
                let mut free = day;
                for next in archived {
                    if next != free.to_string() {
                        break;
                    }
                    free = free.next();
                }
                if free == day {
                    return Ok(Some(day));
                }
                from = free;
            }
        };
        find.await.map_err(|fault: Fault| fault.during(what))
    }

    async fn export_up_to(&self, day: Day) -> Result<Option<Seq>, StoreError> {
        let what = "looking how far an export reaches";
        let mut reader = self.snapshot(what).await?;
        let (batch, tail): (Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT (SELECT max(last_batch) FROM writers), (SELECT min(tail_from) FROM sensor_ledger)",
        )
        .fetch_one(&mut *reader)
        .await
        .map_err(|error| Fault::Sql(error).during(what))?;
        let needed = tail.is_some_and(|tail| tail < day.end().0);
        let up_to = batch.map(|batch| BatchNumber(batch as u64).end());
        Ok(up_to.filter(|_| !needed))
    }

    async fn page(
        &self,
        span: &Span,
        after: Option<(SeriesId, Timestamp)>,
        limit: usize,
    ) -> Result<Vec<(SeriesId, StoredPoint)>, StoreError> {
        let what = "reading a day";
        let mut reader = self.snapshot(what).await?;
        let start = span.day.start().0;
        let (series, time) = after.map_or((-1, start), |(series, time)| (i64::from(series.0), time.0 + 1));
        let rows = sqlx::query(PAGE)
            .bind(series)
            .bind(time)
            .bind(start)
            .bind(span.day.end().0)
            .bind(span.after.map_or(-1, |seq| seq.0 as i64))
            .bind(span.up_to.0 as i64)
            .bind(limit as i64)
            .fetch_all(&mut *reader)
            .await
            .map_err(|error| Fault::Sql(error).during(what))?;
        let read = |row: &SqliteRow| Ok((SeriesId(row.try_get(0)?), super::series::point(row, 1)?));
        rows.iter()
            .map(read)
            .collect::<Result<_, Fault>>()
            .map_err(|fault| fault.during(what))
    }

    async fn count(&self, span: &Span) -> Result<u64, StoreError> {
        let what = "counting a day";
        let mut reader = self.snapshot(what).await?;
        let count: i64 = sqlx::query_scalar(COUNT)
            .bind(span.day.start().0)
            .bind(span.day.end().0)
            .bind(span.after.map_or(-1, |seq| seq.0 as i64))
            .bind(span.up_to.0 as i64)
            .fetch_one(&mut *reader)
            .await
            .map_err(|error| Fault::Sql(error).during(what))?;
        Ok(count as u64)
    }

    async fn names(&self, series: &[SeriesId]) -> Result<Vec<(SeriesId, SeriesName)>, StoreError> {
        let what = "reading names of series";
        let read = async {
            let mut reader = self.readers.begin().await?;
            let rows: Vec<(u32, String, String, String, Option<String>)> = sqlx::query_as(
                "SELECT s.id, n.sensor_id, n.tags, s.metric, s.unit FROM json_each(?) asked
                 CROSS JOIN series s ON s.id = asked.value JOIN sensors n ON n.id = s.sensor_id",
            )
            .bind(json(series)?)
            .fetch_all(&mut *reader)
            .await?;
            rows.into_iter()
                .map(|(series, sensor, tags, metric, unit)| {
                    let name = SeriesName {
                        sensor: SensorId::try_from(sensor).map_err(Fault::unreadable)?,
                        tags: serde_json::from_str(&tags).map_err(Fault::unreadable)?,
                        metric: MetricName::try_from(metric).map_err(Fault::unreadable)?,
                        unit,
                    };
                    Ok((SeriesId(series), name))
                })
                .collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(|fault: Fault| fault.during(what))
    }

    async fn catalog(&self, page: &ArchivePage) -> Result<Vec<Archive>, StoreError> {
        let what = "reading the catalog of archives";
        let (day, part) = page.before.unwrap_or((Day::MAX, u32::MAX));
        let read = async {
            let mut reader = self.reader().await?;
            let rows = sqlx::query(
                "SELECT day, part, object, state, up_to, rows, bytes, checksum, sha256, started_at, verified_at, dropped_at,
                     restored_at, keep_until FROM archives
                 WHERE day >= ? AND day <= ? AND (day, part) < (?, ?) AND (? IS NULL OR state = ?)
                 ORDER BY day DESC, part DESC LIMIT ?",
            )
            .bind(bound(page.from))
            .bind(bound(page.to))
            .bind(bound(day))
            .bind(part)
            .bind(page.state.map(ArchiveState::as_str))
            .bind(page.state.map(ArchiveState::as_str))
            .bind(i64::try_from(page.limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *reader)
            .await?;
            rows.iter().map(archive).collect::<Result<Vec<_>, Fault>>()
        };
        read.await.map_err(|fault: Fault| fault.during(what))
    }

    async fn record_archive(&self, archive: &Archive) -> Result<(), StoreError> {
        let contents = archive.contents;
        let query = sqlx::query(
            "INSERT INTO archives (day, part, object, state, up_to, rows, bytes, checksum, sha256, started_at, verified_at,
                 dropped_at, restored_at, keep_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (day, part) DO UPDATE SET object = excluded.object, state = excluded.state, up_to = excluded.up_to,
                 rows = excluded.rows, bytes = excluded.bytes, checksum = excluded.checksum, sha256 = excluded.sha256,
                 started_at = excluded.started_at, verified_at = excluded.verified_at, dropped_at = excluded.dropped_at,
                 restored_at = excluded.restored_at, keep_until = excluded.keep_until",
        )
        .bind(archive.day.to_string())
        .bind(archive.part)
        .bind(&archive.object)
        .bind(archive.state.as_str())
        .bind(archive.up_to.0 as i64)
        .bind(contents.map(|contents| contents.rows as i64))
        .bind(contents.map(|contents| contents.bytes as i64))
        .bind(contents.map(|contents| contents.checksum.to_string()))
        .bind(contents.map(|contents| contents.sha256.to_string()))
        .bind(archive.started_at.0)
        .bind(archive.verified_at.map(|time| time.0))
        .bind(archive.dropped_at.map(|time| time.0))
        .bind(archive.restored_at.map(|time| time.0))
        .bind(archive.keep_until.map(|time| time.0));
        self.write("recording an archive", query).await?;
        Ok(())
    }

    async fn discard_unfinished(&self, day: Day) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM archives WHERE day = ? AND state IN ('exporting', 'uploaded')")
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
            ArchiveState::Verified => ", verified_at = coalesce(verified_at, ?2), keep_until = NULL",
            ArchiveState::Dropped => ", dropped_at = ?2",
            _ => "",
        };
        let sql = format!("UPDATE archives SET state = ?1{noted} WHERE day = ?3 AND state = ?4");
        let query = sqlx::query(AssertSqlSafe(sql))
            .bind(to.as_str())
            .bind(at.0)
            .bind(day.to_string())
            .bind(from.as_str());
        Ok(self.write("advancing archives", query).await?.rows_affected())
    }

    async fn release_restored(&self, now: Timestamp) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "UPDATE archives SET state = 'verified', keep_until = NULL WHERE state = 'restored' AND keep_until <= ?",
        )
        .bind(now.0);
        Ok(self
            .write("releasing restored days", query)
            .await?
            .rows_affected())
    }

    async fn droppable(&self, days: &[Day]) -> Result<Vec<Vec<Day>>, StoreError> {
        Ok(days.iter().map(|day| vec![*day]).collect())
    }

    async fn drop_days(&self, days: &[Day], at: Timestamp) -> Result<Dropped, StoreError> {
        for day in days {
            if self.drop_day(*day, at).await? == Dropped::Changed {
                return Ok(Dropped::Changed);
            }
        }
        Ok(Dropped::Done)
    }

    async fn adopt(&self, names: &[SeriesName], newest: Seq, alone: bool) -> Result<Adopted, StoreError> {
        restored::adopt(self, names, newest, alone).await
    }

    async fn restore(&self, rows: &[(SeriesId, StoredPoint)]) -> Result<Restored, StoreError> {
        restored::restore(self, rows).await
    }
}

impl SqliteStore {
    async fn drop_day(&self, day: Day, at: Timestamp) -> Result<Dropped, StoreError> {
        let what = "deleting archived readings";
        let dropping = ArchivePage {
            state: Some(ArchiveState::Dropping),
            ..ArchivePage::of(day)
        };
        let objects = self.catalog(&dropping).await?;
        let Some(up_to) = objects.iter().map(|archive| archive.up_to).max() else {
            return Ok(Dropped::Changed);
        };
        let mut from: i64 = 0;
        loop {
            let began = std::time::Instant::now();
            let keys: Vec<(i64, i64)> = {
                let mut reader = self.snapshot(what).await?;
                sqlx::query_as(ARCHIVED_ROWS)
                    .bind(day.start().0)
                    .bind(day.end().0)
                    .bind(up_to.0 as i64)
                    .bind(from)
                    .bind(CHUNK)
                    .fetch_all(&mut *reader)
                    .await
                    .map_err(|error| Fault::Sql(error).during(what))?
            };
            let Some((last, _)) = keys.last() else { break };
            from = *last;
            let delete = sqlx::query(
                "DELETE FROM readings WHERE (series_id, time) IN
                     (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?1))
                 AND seq <= ?2 AND EXISTS (SELECT 1 FROM archives WHERE day = ?3 AND state = 'dropping')
                 AND NOT EXISTS (SELECT 1 FROM archives WHERE day = ?3 AND state = 'restored')",
            )
            .bind(json(&keys).map_err(|fault| fault.during(what))?)
            .bind(up_to.0 as i64)
            .bind(day.to_string());
            if self.write(what, delete).await?.rows_affected() == 0 {
                return Ok(Dropped::Changed);
            }
            // As long as it took, the lock is free for others.
            tokio::time::sleep(began.elapsed()).await;
        }
        match self
            .advance(day, ArchiveState::Dropping, ArchiveState::Dropped, at)
            .await?
        {
            0 => Ok(Dropped::Changed),
            _ => Ok(Dropped::Done),
        }
    }
}

fn archive(row: &SqliteRow) -> Result<Archive, Fault> {
    let (day, state): (&str, &str) = (row.try_get(0)?, row.try_get(3)?);
    let time = |at: usize| row.try_get::<Option<i64>, _>(at).map(|time| time.map(Timestamp));
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
        part: row.try_get(1)?,
        object: row.try_get(2)?,
        state: ArchiveState::parse(state)
            .ok_or_else(|| Fault::unreadable(format!("unknown state of an archive: {state}")))?,
        up_to: Seq(row.try_get::<i64, _>(4)? as u64),
        contents,
        started_at: Timestamp(row.try_get(9)?),
        verified_at: time(10)?,
        dropped_at: time(11)?,
        restored_at: time(12)?,
        keep_until: time(13)?,
    })
}
