//! When messages came first: a few rows a session, which are written over in turn.
//!
//! Invariant: rows are taken in the order of their key. How it fails: as any other part of its transaction.

use sqlx::postgres::PgConnection;

use super::fault::Fault;
use super::statement::text;
use super::time::Time;
use crate::domain::SourceName;
use crate::storage::commit::newest_arrivals;
use crate::storage::{ArrivalPage, CompleteBatch};

pub(super) async fn write(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let newest = newest_arrivals(batches);
    if newest.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO arrivals (source, session, slot, page, kept_until, entries)
         SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::timestamptz[], $6::bytea[])
         ON CONFLICT (source, session, slot) DO UPDATE
         SET page = excluded.page, kept_until = excluded.kept_until, entries = excluded.entries",
    )
    .bind(newest.iter().map(|page| page.source.as_str()).collect::<Vec<_>>())
    .bind(newest.iter().map(|page| text(&page.session)).collect::<Vec<_>>())
    .bind(newest.iter().map(|page| page.slot as i32).collect::<Vec<_>>())
    .bind(newest.iter().map(|page| page.page as i64).collect::<Vec<_>>())
    .bind(newest.iter().map(|page| Time(page.kept_until)).collect::<Vec<_>>())
    .bind(newest.iter().map(|page| page.entries.as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn read(
    connection: &mut PgConnection,
    source: &SourceName,
    session: &str,
) -> Result<Vec<ArrivalPage>, Fault> {
    let rows: Vec<(i32, i64, Time, Vec<u8>)> = sqlx::query_as(
        "SELECT slot, page, kept_until, entries FROM arrivals WHERE source = $1 AND session = $2",
    )
    .bind(source.as_str())
    .bind(session)
    .fetch_all(connection)
    .await?;
    let page = |(slot, page, Time(kept_until), entries): (i32, i64, Time, Vec<u8>)| ArrivalPage {
        source: source.clone(),
        session: session.to_owned(),
        slot: slot as u32,
        page: page as u64,
        kept_until,
        entries,
    };
    Ok(rows.into_iter().map(page).collect())
}
