//! When messages came first: a few rows a session, which are written over in turn.
//!
//! How it fails: as any other part of its transaction.

use sqlx::sqlite::SqliteConnection;

use super::fault::Fault;
use super::statement::MultiRow;
use crate::domain::{SourceName, Timestamp};
use crate::storage::commit::newest_arrivals;
use crate::storage::{ArrivalPage, CompleteBatch};

static ARRIVALS: MultiRow = MultiRow::new(
    "INSERT INTO arrivals (source, session, slot, page, kept_until, entries) VALUES",
    "(?,?,?,?,?,?)",
    "ON CONFLICT (source, session, slot) DO UPDATE
     SET page = excluded.page, kept_until = excluded.kept_until, entries = excluded.entries",
    512,
);

pub(super) async fn write(connection: &mut SqliteConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let newest = newest_arrivals(batches);
    ARRIVALS
        .execute(connection, &newest, |values, page| {
            values
                .add(page.source.as_str())
                .add(page.session.as_str())
                .add(i64::from(page.slot))
                .add(page.page as i64)
                .add(page.kept_until.0)
                .add(page.entries.as_slice());
        })
        .await
}

pub(super) async fn read(
    connection: &mut SqliteConnection,
    source: &SourceName,
    session: &str,
) -> Result<Vec<ArrivalPage>, Fault> {
    let rows: Vec<(u32, i64, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT slot, page, kept_until, entries FROM arrivals WHERE source = ? AND session = ?",
    )
    .bind(source.as_str())
    .bind(session)
    .fetch_all(connection)
    .await?;
    let page = |(slot, page, kept_until, entries): (u32, i64, i64, Vec<u8>)| ArrivalPage {
        source: source.clone(),
        session: session.to_owned(),
        slot,
        page: page as u64,
        kept_until: Timestamp(kept_until),
        entries,
    };
    Ok(rows.into_iter().map(page).collect())
}
