//! The end of archived days: their chunks and partitions go as a whole, rows of the distant past one by one.
//!
//! Invariants: a chunk or partition is dropped only when every reading in it, looked at under a lock that lets nobody add
//! one, has a sequence that the objects of its day reach to. Days whose chunks and partitions overlap go together, in one
//! transaction. The lock is waited for only briefly: a batch that brings something late goes first.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::archives::holds_readings;
use super::connection::command;
use super::fault::Fault;
use super::partitions::{Layout, Table};
use super::rollup::Keeper;
use super::time::Time;
use crate::domain::{Day, Seq, Timestamp};
use crate::storage::archives::{ArchivePage, ArchiveState, Archives, Dropped};
use crate::storage::{ErrorClass, StoreError};

/// Rows a transaction.
const CHUNK: i64 = 10_000;

/// A chunk or partition of readings: `[start, end)`.
pub(super) struct Cell {
    pub start: Timestamp,
    pub end: Timestamp,
    /// As SQL names it.
    name: String,
}

/// Those that hold something of `[from, to)`, in order; not the partition of the distant past.
pub(super) async fn cells(
    connection: &mut PgConnection,
    layout: &Layout,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Cell>, Fault> {
    let sql = match layout {
        Layout::Hypertables { .. } => {
            "SELECT range_start, range_end, format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks
             WHERE hypertable_schema = current_schema() AND hypertable_name = 'readings' AND range_end > $1 AND range_start < $2
             ORDER BY range_start"
        }
        Layout::Partitions(_) => {
            "SELECT start, \"end\", format('%I', name) FROM partitions WHERE parent = 'readings' AND \"end\" > $1 AND start < $2
             ORDER BY start"
        }
    };
    let rows: Vec<(Time, Time, String)> = sqlx::query_as(sql)
        .bind(Time(from))
        .bind(Time(to))
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(Time(start), Time(end), name)| Cell { start, end, name })
        .collect())
}

/// Groups of `days` that share cells, and whose cells hold nothing of any other day.
pub(super) async fn groups(
    connection: &mut PgConnection,
    layout: &Layout,
    days: &[Day],
) -> Result<Vec<Vec<Day>>, Fault> {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Ok(Vec::new());
    };
    let cells = cells(connection, layout, first.start(), last.end()).await?;
    let mut groups = Vec::new();
    let mut rest = days;
    while let Some(first) = rest.first() {
        let (from, to) = whole(&cells, *first);
        let (group, after): (Vec<Day>, Vec<Day>) = rest.iter().partition(|day| **day < to);
        let mut complete = true;
        let mut day = from;
        while day < to && complete {
            complete = group.contains(&day) || !holds_readings(connection, day).await?;
            day = day.next();
        }
        if complete {
            groups.push(group);
        }
        rest = &rest[rest.len() - after.len()..];
    }
    Ok(groups)
}

/// The days from and to (exclusive) which everything reaches that shares a cell with `day`, directly or over others.
fn whole(cells: &[Cell], day: Day) -> (Day, Day) {
    let (mut from, mut to) = (day, day.next());
    loop {
        let overlapping = cells
            .iter()
            .filter(|cell| cell.start < to.start() && cell.end > from.start());
        let (mut first, mut last) = (from, to);
        for cell in overlapping {
            first = first.min(Day::of(cell.start));
            last = last.max(Day::of(Timestamp(cell.end.0 - 1)).next());
        }
        if (first, last) == (from, to) {
            return (from, to);
        }
        (from, to) = (first, last);
    }
}

pub(super) async fn drop_days(store: &PostgresStore, days: &[Day], at: Timestamp) -> Result<Dropped, Fault> {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Ok(Dropped::Done);
    };
    // Rollups outlive the readings: nobody may make them anew from what is left.
    let Some(mut keeper) = Keeper::new(&store.servers, &store.layout).await? else {
        return Err(Fault::found(
            ErrorClass::Transient,
            "rollups are being made; it is tried again",
        ));
    };
    keeper.expire(last.end()).await?;
    let dropped = drop_between(store, days, *first, *last, at).await;
    keeper.end().await;
    dropped
}

async fn drop_between(
    store: &PostgresStore,
    days: &[Day],
    first: Day,
    last: Day,
    at: Timestamp,
) -> Result<Dropped, Fault> {
    let mut reader = store.reader().await?;
    let cells = cells(reader.connection(), &store.layout, first.start(), last.end()).await?;
    if cells.is_empty() {
        reader.finish(Ok(()), false).await?;
        for day in days {
            if delete_past(store, *day, at).await? == Dropped::Changed {
                return Ok(Dropped::Changed);
            }
        }
        return Ok(Dropped::Done);
    }
    command(
        reader.connection(),
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '500ms'",
    )
    .await?;
    let result = drop_cells(reader.connection(), &store.layout, &cells, days, at).await;
    let undo = matches!(result, Ok(Dropped::Changed));
    if undo {
        command(reader.connection(), "ROLLBACK").await?;
    }
    let dropped = reader.finish(result, !undo).await?;
    if let (Dropped::Done, Layout::Partitions(partitions)) = (dropped, &store.layout) {
        for cell in &cells {
            partitions.dropped(Table::Readings, cell.start);
        }
    }
    Ok(dropped)
}

async fn drop_cells(
    connection: &mut PgConnection,
    layout: &Layout,
    cells: &[Cell],
    days: &[Day],
    at: Timestamp,
) -> Result<Dropped, Fault> {
    // Whoever takes the days back waits for the end of this transaction.
    let objects: Vec<(String, String, i64, Option<i64>)> =
        sqlx::query_as("SELECT day, state, up_to, rows FROM archives WHERE day = ANY($1) FOR UPDATE")
            .bind(names(days))
            .fetch_all(&mut *connection)
            .await?;
    let of_day = |day: Day| {
        let day = day.to_string();
        let ours =
            move |(of, state, ..): &&(String, String, i64, Option<i64>)| *of == day && state == "dropping";
        objects.iter().filter(ours)
    };
    let up_to = |day: Day| of_day(day).map(|(_, _, up_to, _)| *up_to).max();
    let archived = |day: Day| of_day(day).filter_map(|(.., rows)| *rows).sum::<i64>();
    let restored = objects.iter().any(|(_, state, ..)| state == "restored");
    if restored || days.iter().any(|day| up_to(*day).is_none()) {
        return Ok(Dropped::Changed);
    }
    let cells: Vec<&Cell> = cells.iter().collect();
    for cell in &cells {
        let lock = format!("LOCK TABLE {} IN SHARE MODE", cell.name);
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut *connection)
            .await?;
    }
    let (Some(first), Some(last)) = (cells.first(), cells.last()) else {
        return Ok(Dropped::Done);
    };
    let mut day = Day::of(first.start);
    while day.start() < last.end {
        let (start, end) = (day.start().max(first.start), day.end().min(last.end));
        let (rows, newest): (i64, i64) = sqlx::query_as(
            "SELECT count(*), coalesce(max(seq), -1) FROM readings WHERE time >= $1 AND time < $2",
        )
        .bind(Time(start))
        .bind(Time(end))
        .fetch_one(&mut *connection)
        .await?;
        // Sequences of different instances do not come in order: of a row that came since, the sequence alone may not tell.
        let whole = start == day.start() && end == day.end();
        if newest > up_to(day).unwrap_or(-1) || whole && rows != archived(day) {
            return Ok(Dropped::Changed);
        }
        day = day.next();
    }
    for cell in &cells {
        match layout {
            Layout::Hypertables { .. } => {
                sqlx::query("SELECT drop_chunks('readings', older_than => $1::timestamptz, newer_than => $2::timestamptz)")
                    .bind(Time(cell.end))
                    .bind(Time(cell.start))
                    .execute(&mut *connection)
                    .await?;
            }
            Layout::Partitions(_) => {
                let name = &cell.name;
                let drop =
                    format!("DROP TABLE {name}; DELETE FROM partitions WHERE format('%I', name) = '{name}'");
                sqlx::raw_sql(AssertSqlSafe(drop))
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    sqlx::query(
        "UPDATE archives SET state = 'dropped', dropped_at = $2 WHERE day = ANY($1) AND state = 'dropping'",
    )
    .bind(names(days))
    .bind(Time(at))
    .execute(connection)
    .await?;
    Ok(Dropped::Done)
}

/// Rows that lie in no cell: in the partition of the distant past, or nowhere any more.
async fn delete_past(store: &PostgresStore, day: Day, at: Timestamp) -> Result<Dropped, Fault> {
    let dropping = ArchivePage {
        state: Some(ArchiveState::Dropping),
        ..ArchivePage::of(day)
    };
    let objects = store.catalog(&dropping).await.map_err(stored)?;
    let Some(up_to) = objects.iter().map(|archive| archive.up_to).max() else {
        return Ok(Dropped::Changed);
    };
    if let Layout::Partitions(partitions) = &store.layout
        && day.start() < partitions.origin()
    {
        while delete_some(store, day, up_to).await? {}
        let restored = ArchivePage {
            state: Some(ArchiveState::Restored),
            ..ArchivePage::of(day)
        };
        if !store.catalog(&restored).await.map_err(stored)?.is_empty() {
            return Ok(Dropped::Changed);
        }
    }
    let done = store.advance(day, ArchiveState::Dropping, ArchiveState::Dropped, at);
    match done.await.map_err(stored)? {
        0 => Ok(Dropped::Changed),
        _ => Ok(Dropped::Done),
    }
}

/// Whether there may be more.
async fn delete_some(store: &PostgresStore, day: Day, up_to: Seq) -> Result<bool, Fault> {
    let began = std::time::Instant::now();
    let delete = sqlx::query(
        "DELETE FROM readings_past WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM readings_past WHERE time >= $1 AND time < $2 AND seq <= $3 LIMIT $4))
         AND seq <= $3 AND EXISTS (SELECT FROM archives WHERE day = $5 AND state = 'dropping')
         AND NOT EXISTS (SELECT FROM archives WHERE day = $5 AND state = 'restored')",
    )
    .bind(Time(day.start()))
    .bind(Time(day.end()))
    .bind(up_to.0 as i64)
    .bind(CHUNK)
    .bind(day.to_string());
    let deleted = store.write("deleting archived readings", delete).await;
    let deleted = deleted.map_err(stored)?.rows_affected();
    tokio::time::sleep(began.elapsed()).await;
    Ok(deleted > 0)
}

fn names(days: &[Day]) -> Vec<String> {
    days.iter().map(Day::to_string).collect()
}

fn stored(error: StoreError) -> Fault {
    Fault::found(error.class, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(start: i64, end: i64) -> Cell {
        Cell {
            start: Timestamp::from_seconds(start * 3600),
            end: Timestamp::from_seconds(end * 3600),
            name: String::new(),
        }
    }

    fn day(at: i64) -> Day {
        Day::of(Timestamp::from_seconds(at * 86_400))
    }

    #[test]
    fn days_go_with_those_that_share_their_cells() {
        // Two chunks within the first day, one over the second and third, one that begins in the middle of the third.
        let cells = [
            cell(0, 12),
            cell(12, 24),
            cell(24, 60),
            cell(60, 96),
            cell(96, 120),
        ];
        assert_eq!(whole(&cells, day(0)), (day(0), day(1)));
        assert_eq!(whole(&cells, day(1)), (day(1), day(4)));
        assert_eq!(whole(&cells, day(3)), (day(1), day(4)));
        assert_eq!(whole(&cells, day(4)), (day(4), day(5)));
        assert_eq!(whole(&cells, day(9)), (day(9), day(10)));
    }
}
