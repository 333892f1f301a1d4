//! Windows: results that the sensors closed, and windows computed anew from stored rows.
//!
//! Invariants: a result for a window that is not stored yet is stored as it came; one equal to what is stored changes
//! nothing, however often a replay brings it; one that differs means that more is known by now than either saw, so the
//! window is computed from the stored rows like those of `recompute`. What becomes of it then is said by [`Rows::revise`].

use futures_util::TryStreamExt;
use rustc_hash::FxHashMap;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::fault::Fault;
use super::outbox;
use super::statement::MultiRow;
use crate::domain::{Flags, SeriesId, Timestamp, WindowKind, WindowResult, WindowSpan};
use crate::storage::CompleteBatch;
use crate::storage::gone::Gone;
use crate::storage::judgement::outcomes;
use crate::storage::outbox::News;
use crate::storage::revision::{Revision, Rows, same_figures};

static NEW_WINDOWS: MultiRow = MultiRow::new(
    "INSERT INTO windows (series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision) VALUES",
    "(?,?,?,?,?,?,?,?,?,?,?,?)",
    "ON CONFLICT DO NOTHING",
    512,
);
static CHANGED_WINDOWS: MultiRow = MultiRow::new(
    "INSERT INTO windows (series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision) VALUES",
    "(?,?,?,?,?,?,?,?,?,?,?,?)",
    "ON CONFLICT (series_id, start, size, kind) DO UPDATE SET count = excluded.count, min = excluded.min,
     max = excluded.max, mean = excluded.mean, stddev = excluded.stddev, first = excluded.first, last = excluded.last,
     revision = excluded.revision",
    512,
);

/// Writes the group's windows. Returns those that were computed from rows and not empty, each with the place of the
/// last batch that asked for it. What is new or revised goes to `news`, too, where that is wanted.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
    mut news: Option<&mut News>,
) -> Result<Vec<(usize, WindowResult)>, Fault> {
    let mut wanted: FxHashMap<WindowSpan, usize> = FxHashMap::default();
    let closed: Vec<(usize, &WindowResult)> = outcomes(batches)
        .flat_map(|(batch, outcome)| outcome.windows.iter().map(move |window| (batch, window)))
        .collect();
    if let Some(news) = news.as_deref_mut().filter(|_| !closed.is_empty()) {
        let spans: Vec<WindowSpan> = closed.iter().map(|(_, window)| window.span).collect();
        news.closed(&closed, &outbox::known_windows(connection, &spans).await?);
    }
    let mut rest = closed.as_slice();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(NEW_WINDOWS.chunk(rest.len()));
        let inserted = NEW_WINDOWS
            .execute_chunk(connection, chunk, |values, (_, window)| bind(values, window))
            .await?;
        if inserted < chunk.len() as u64 {
            for (batch, window) in chunk {
                let stored = stored(connection, &window.span).await?;
                if !stored.is_some_and(|stored| same_figures(&stored, window)) {
                    wanted.insert(window.span, *batch);
                }
            }
        }
        rest = after;
    }
    for (batch, outcome) in outcomes(batches) {
        for span in &outcome.recompute {
            let asked = wanted.entry(*span).or_insert(batch);
            *asked = batch.max(*asked);
        }
    }
    let mut wanted: Vec<(WindowSpan, usize)> = wanted.into_iter().collect();
    wanted.sort_unstable();
    recompute(connection, &wanted, news).await
}

async fn recompute(
    connection: &mut SqliteConnection,
    wanted: &[(WindowSpan, usize)],
    news: Option<&mut News>,
) -> Result<Vec<(usize, WindowResult)>, Fault> {
    let mut revised = Vec::with_capacity(wanted.len());
    let mut changed = Vec::new();
    let gone = gone(connection, wanted).await?;
    for (span, batch) in wanted {
        let rows = from_rows(connection, span).await?;
        let stored = stored(connection, span).await?;
        match rows.revise(span, stored.as_ref(), gone.concern(span)) {
            Revision::Nothing => {}
            Revision::Stands(result) => revised.push((*batch, result)),
            Revision::Write(result) => {
                changed.push((*batch, result));
                revised.push((*batch, result));
            }
            Revision::Remove => remove(connection, span).await?,
        }
    }
    let each =
        |values: &mut super::statement::Values, (_, window): &(usize, WindowResult)| bind(values, window);
    CHANGED_WINDOWS.execute(connection, &changed, each).await?;
    if let Some(news) = news {
        news.windows.append(&mut changed);
    }
    Ok(revised)
}

async fn remove(connection: &mut SqliteConnection, span: &WindowSpan) -> Result<(), Fault> {
    sqlx::query("DELETE FROM windows WHERE series_id = ? AND start = ? AND size = ? AND kind = ?")
        .bind(i64::from(span.series.0))
        .bind(span.start.0)
        .bind(span.size)
        .bind(span.kind.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn gone(connection: &mut SqliteConnection, wanted: &[(WindowSpan, usize)]) -> Result<Gone, Fault> {
    if wanted.is_empty() {
        return Ok(Gone::default());
    }
    let (from, to) = Gone::range(wanted.iter().map(|(span, _)| span));
    let days = sqlx::query_scalar(
        "SELECT DISTINCT day FROM archives WHERE day >= ? AND day <= ? AND state IN ('dropping', 'dropped')",
    )
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await?;
    Ok(Gone::new(days))
}

async fn stored(connection: &mut SqliteConnection, span: &WindowSpan) -> Result<Option<WindowResult>, Fault> {
    sqlx::query(
        "SELECT series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision FROM windows
         WHERE series_id = ? AND start = ? AND size = ? AND kind = ?",
    )
    .bind(i64::from(span.series.0))
    .bind(span.start.0)
    .bind(span.size)
    .bind(span.kind.as_str())
    .fetch_optional(connection)
    .await?
    .as_ref()
    .map(read)
    .transpose()
}

async fn from_rows(connection: &mut SqliteConnection, span: &WindowSpan) -> Result<Rows, Fault> {
    let mut stored = sqlx::query(
        "SELECT time, value, flags & ? <> 0 FROM readings WHERE series_id = ? AND time >= ? AND time < ? ORDER BY time",
    )
    .bind(i64::from(Flags::POISON.0))
    .bind(i64::from(span.series.0))
    .bind(span.start.0)
    .bind(span.end().0)
    .fetch(connection);
    let mut rows = Rows::default();
    while let Some(row) = stored.try_next().await? {
        rows.add(Timestamp(row.try_get(0)?), row.try_get(1)?, row.try_get(2)?);
    }
    Ok(rows)
}

fn bind(values: &mut super::statement::Values, window: &WindowResult) {
    values
        .add(i64::from(window.span.series.0))
        .add(window.span.start.0)
        .add(window.span.size)
        .add(window.span.kind.as_str())
        .add(window.count as i64)
        .add(window.min)
        .add(window.max)
        .add(window.mean)
        .add(window.stddev)
        .add(window.first)
        .add(window.last)
        .add(i64::from(window.revision));
}

/// Reads a row with the columns in the order of the table.
pub(super) fn read(row: &SqliteRow) -> Result<WindowResult, Fault> {
    let kind: &str = row.try_get(3)?;
    let kind = WindowKind::parse(kind)
        .ok_or_else(|| Fault::unreadable(format!("unknown kind of window: {kind}")))?;
    // Null stands for what is not a number.
    let number =
        |column: usize| Ok::<f64, sqlx::Error>(row.try_get::<Option<f64>, _>(column)?.unwrap_or(f64::NAN));
    Ok(WindowResult {
        span: WindowSpan {
            series: SeriesId(row.try_get::<u32, _>(0)?),
            kind,
            size: row.try_get(2)?,
            start: Timestamp(row.try_get(1)?),
        },
        count: row.try_get::<i64, _>(4)? as u64,
        min: number(5)?,
        max: number(6)?,
        mean: number(7)?,
        stddev: number(8)?,
        first: number(9)?,
        last: number(10)?,
        revision: row.try_get(11)?,
    })
}
