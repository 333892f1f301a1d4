//! Windows: results that the sensors closed, and windows computed anew from stored rows.
//!
//! Invariants: a result for a window that is not stored yet is stored as it came; one equal to what is stored changes
//! nothing, however often a replay brings it; one that differs means that more is known by now than either saw, so the
//! window is computed from the stored rows like those of `recompute`. What becomes of it then is said by [`Rows::revise`].
//! Windows of sensors that several instances have are always computed from the stored rows, under a lock: see [`scattered`].

use futures_util::TryStreamExt;
use rustc_hash::{FxHashMap, FxHashSet};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::fault::Fault;
use super::scattered;
use super::statement::number;
use super::time::Time;
use crate::domain::{Flags, SeriesId, Timestamp, WindowKind, WindowResult, WindowSpan};
use crate::storage::CompleteBatch;
use crate::storage::gone::Gone;
use crate::storage::judgement::outcomes;
use crate::storage::outbox::News;
use crate::storage::revision::{Revision, Rows, same_figures};

const INSERT: &str = "INSERT INTO windows
     (series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision)
     SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::bigint[], $4::text[], $5::bigint[], $6::float8[],
         $7::float8[], $8::float8[], $9::float8[], $10::float8[], $11::float8[], $12::integer[])
     ON CONFLICT (series_id, start, size, kind) DO NOTHING";
const UPSERT: &str = "INSERT INTO windows
     (series_id, start, size, kind, count, min, max, mean, stddev, first, last, revision)
     SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::bigint[], $4::text[], $5::bigint[], $6::float8[],
         $7::float8[], $8::float8[], $9::float8[], $10::float8[], $11::float8[], $12::integer[])
     ON CONFLICT (series_id, start, size, kind) DO UPDATE SET count = excluded.count, min = excluded.min,
         max = excluded.max, mean = excluded.mean, stddev = excluded.stddev, first = excluded.first, last = excluded.last,
         revision = excluded.revision";

/// Writes the group's windows. Returns those that were computed from rows and not empty, each with the place of the
/// last batch that asked for it. What is new or revised goes to `news`, too, where that is wanted. `shared`: there may be other
/// instances.
pub(super) async fn write(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    shared: bool,
    mut news: Option<&mut News>,
) -> Result<Vec<(usize, WindowResult)>, Fault> {
    let mut wanted: FxHashMap<WindowSpan, usize> = FxHashMap::default();
    let mut closed: Vec<(usize, &WindowResult)> = outcomes(batches)
        .flat_map(|(batch, outcome)| outcome.windows.iter().map(move |window| (batch, window)))
        .collect();
    if shared {
        let scattered = scattered::hold(connection, series(batches)).await?;
        closed.retain(|(batch, window)| {
            let alone = !scattered.contains(&window.span.series);
            if !alone {
                wanted.insert(window.span, *batch);
            }
            alone
        });
        revise(connection, batches, &scattered, &mut wanted).await?;
    }
    if !closed.is_empty() {
        if let Some(news) = news.as_deref_mut() {
            let spans: Vec<WindowSpan> = closed.iter().map(|(_, window)| window.span).collect();
            let known = stored(connection, &spans).await?;
            let places = spans
                .iter()
                .enumerate()
                .filter(|(_, span)| known.contains_key(span));
            news.closed(
                &closed,
                &places.map(|(place, _)| place as i64).collect::<Vec<_>>(),
            );
        }
        let inserted = insert(connection, INSERT, closed.iter().map(|(_, window)| *window)).await?;
        if inserted < closed.len() as u64 {
            let spans: Vec<WindowSpan> = closed.iter().map(|(_, window)| window.span).collect();
            let stored = stored(connection, &spans).await?;
            for (batch, window) in closed {
                if !stored
                    .get(&window.span)
                    .is_some_and(|stored| same_figures(stored, window))
                {
                    wanted.insert(window.span, batch);
                }
            }
        }
    }
    for (batch, outcome) in outcomes(batches) {
        for span in &outcome.recompute {
            let asked = wanted.entry(*span).or_insert(batch);
            *asked = batch.max(*asked);
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted: Vec<(WindowSpan, usize)> = wanted.into_iter().collect();
    wanted.sort_unstable();
    recompute(connection, &wanted, news).await
}

/// All that have a window to be written, or to be computed.
fn series(batches: &[CompleteBatch]) -> impl Iterator<Item = SeriesId> {
    outcomes(batches).flat_map(|(_, outcome)| {
        let closed = outcome.windows.iter().map(|window| &window.span);
        let asked = outcome.recompute.iter().chain(&outcome.revise);
        closed.chain(asked).map(|span| span.series)
    })
}

/// Wants those windows of `scattered` series that are stored and have new rows.
async fn revise(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    scattered: &FxHashSet<SeriesId>,
    wanted: &mut FxHashMap<WindowSpan, usize>,
) -> Result<(), Fault> {
    let asked: FxHashMap<WindowSpan, usize> = outcomes(batches)
        .flat_map(|(batch, outcome)| outcome.revise.iter().map(move |span| (*span, batch)))
        .filter(|(span, _)| scattered.contains(&span.series))
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let spans: Vec<WindowSpan> = asked.keys().copied().collect();
    for span in stored(connection, &spans).await?.into_keys() {
        if let Some(batch) = asked.get(&span) {
            wanted.insert(span, *batch);
        }
    }
    Ok(())
}

async fn recompute(
    connection: &mut PgConnection,
    wanted: &[(WindowSpan, usize)],
    news: Option<&mut News>,
) -> Result<Vec<(usize, WindowResult)>, Fault> {
    let spans: Vec<WindowSpan> = wanted.iter().map(|(span, _)| *span).collect();
    let computed = from_rows(connection, &spans).await?;
    let stored = stored(connection, &spans).await?;
    let gone = gone(connection, &spans).await?;
    let mut revised = Vec::with_capacity(computed.len());
    let mut changed = Vec::new();
    for (rows, (span, batch)) in computed.iter().zip(wanted) {
        match rows.revise(span, stored.get(span), gone.concern(span)) {
            Revision::Nothing => {}
            Revision::Stands(result) => revised.push((*batch, result)),
            Revision::Write(result) => {
                changed.push((*batch, result));
                revised.push((*batch, result));
            }
            Revision::Remove => remove(connection, span).await?,
        }
    }
    if !changed.is_empty() {
        insert(connection, UPSERT, changed.iter().map(|(_, window)| window)).await?;
    }
    if let Some(news) = news {
        news.windows.append(&mut changed);
    }
    Ok(revised)
}

/// It hardly ever comes to this, and a statement for each touches the time of each alone.
async fn remove(connection: &mut PgConnection, span: &WindowSpan) -> Result<(), Fault> {
    sqlx::query("DELETE FROM windows WHERE series_id = $1 AND start = $2 AND size = $3 AND kind = $4")
        .bind(number(span.series.0))
        .bind(Time(span.start))
        .bind(span.size)
        .bind(span.kind.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn gone(connection: &mut PgConnection, spans: &[WindowSpan]) -> Result<Gone, Fault> {
    let (from, to) = Gone::range(spans.iter());
    let days = sqlx::query_scalar(
        "SELECT DISTINCT day FROM archives WHERE day >= $1 AND day <= $2 AND state IN ('dropping', 'dropped')",
    )
    .bind(from)
    .bind(to)
    .fetch_all(connection)
    .await?;
    Ok(Gone::new(days))
}

/// Returns how many rows were written.
async fn insert<'a>(
    connection: &mut PgConnection,
    sql: &'static str,
    windows: impl Iterator<Item = &'a WindowResult> + Clone,
) -> Result<u64, Fault> {
    fn column<'a, T>(
        windows: &(impl Iterator<Item = &'a WindowResult> + Clone),
        of: impl Fn(&WindowResult) -> T,
    ) -> Vec<T> {
        windows.clone().map(of).collect()
    }
    let done = sqlx::query(sql)
        .bind(column(&windows, |window| number(window.span.series.0)))
        .bind(column(&windows, |window| Time(window.span.start)))
        .bind(column(&windows, |window| window.span.size))
        .bind(column(&windows, |window| window.span.kind.as_str()))
        .bind(column(&windows, |window| window.count as i64))
        .bind(column(&windows, |window| window.min))
        .bind(column(&windows, |window| window.max))
        .bind(column(&windows, |window| window.mean))
        .bind(column(&windows, |window| window.stddev))
        .bind(column(&windows, |window| window.first))
        .bind(column(&windows, |window| window.last))
        .bind(column(&windows, |window| number(window.revision)))
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// What is stored for `spans`.
async fn stored(
    connection: &mut PgConnection,
    spans: &[WindowSpan],
) -> Result<FxHashMap<WindowSpan, WindowResult>, Fault> {
    let rows = sqlx::query(
        "SELECT w.series_id, w.start, w.size, w.kind, w.count, w.min, w.max, w.mean, w.stddev, w.first, w.last, w.revision
         FROM unnest($1::integer[], $2::timestamptz[], $3::bigint[], $4::text[]) AS k (series_id, start, size, kind)
         CROSS JOIN LATERAL (SELECT * FROM windows WHERE series_id = k.series_id AND start = k.start AND size = k.size
             AND kind = k.kind OFFSET 0) w",
    )
    .bind(spans.iter().map(|span| number(span.series.0)).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| Time(span.start)).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| span.size).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| span.kind.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| read(row).map(|window| (window.span, window)))
        .collect()
}

/// In the order of `spans`.
async fn from_rows(connection: &mut PgConnection, spans: &[WindowSpan]) -> Result<Vec<Rows>, Fault> {
    let mut found = vec![Rows::default(); spans.len()];
    let mut rows = sqlx::query(
        "SELECT k.place, r.time, r.value, r.poison
         FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS k (series_id, start, \"end\", place)
         CROSS JOIN LATERAL (SELECT time, value, flags & $4 <> 0 AS poison FROM readings
             WHERE series_id = k.series_id AND time >= k.start AND time < k.\"end\" ORDER BY time) r
         ORDER BY k.place, r.time",
    )
    .bind(spans.iter().map(|span| number(span.series.0)).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| Time(span.start)).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| Time(span.end())).collect::<Vec<_>>())
    .bind(i16::from(Flags::POISON.0))
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (place, Time(time)): (i64, Time) = (row.try_get(0)?, row.try_get(1)?);
        found[place as usize - 1].add(time, row.try_get(2)?, row.try_get(3)?);
    }
    Ok(found)
}

/// Reads a row with the columns in the order of the statements above.
pub(super) fn read(row: &PgRow) -> Result<WindowResult, Fault> {
    let kind: &str = row.try_get(3)?;
    let kind = WindowKind::parse(kind)
        .ok_or_else(|| Fault::unreadable(format!("unknown kind of window: {kind}")))?;
    Ok(WindowResult {
        span: WindowSpan {
            series: SeriesId(row.try_get::<i32, _>(0)? as u32),
            kind,
            size: row.try_get(2)?,
            start: start(row)?,
        },
        count: row.try_get::<i64, _>(4)? as u64,
        min: row.try_get(5)?,
        max: row.try_get(6)?,
        mean: row.try_get(7)?,
        stddev: row.try_get(8)?,
        first: row.try_get(9)?,
        last: row.try_get(10)?,
        revision: row.try_get::<i32, _>(11)? as u32,
    })
}

fn start(row: &PgRow) -> Result<Timestamp, Fault> {
    let Time(start) = row.try_get(1)?;
    Ok(start)
}
