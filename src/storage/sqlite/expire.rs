//! Deleting what is past its age.
//!
//! Invariant: a chunk of rows a transaction. What goes is looked for on a reader; the write lock is held only to
//! delete it by key, so that commits wait for milliseconds at most.

use super::SqliteStore;
use super::fault::Fault;
use super::readings::json;
use crate::domain::Timestamp;
use crate::storage::StoreError;
use crate::storage::history::Expiry;

/// Rows a transaction.
const CHUNK: i64 = 5_000;

pub(super) async fn expire(store: &SqliteStore, limits: &Expiry) -> Result<u64, StoreError> {
    let mut gone = 0;
    if let Some(before) = limits.readings_before {
        gone += readings(store, before).await?;
    }
    if let Some(before) = limits.dead_letters_before {
        gone += by_id(
            store,
            "deleting old dead letters",
            OLD_DEAD_LETTERS,
            DELETE_DEAD_LETTERS,
            before,
        )
        .await?;
    }
    if let Some(before) = limits.restarts_before {
        gone += by_id(
            store,
            "deleting old restarts",
            OLD_RESTARTS,
            DELETE_RESTARTS,
            before,
        )
        .await?;
    }
    if let Some(before) = limits.batches_before {
        gone += by_id(
            store,
            "deleting old batch times",
            OLD_BATCHES,
            DELETE_BATCHES,
            before,
        )
        .await?;
    }
    if let Some(before) = limits.idempotency_before {
        gone += repeat(store, "deleting old idempotency keys", DELETE_KEYS, before).await?;
    }
    if let Some(before) = limits.arrivals_before {
        gone += repeat(store, "deleting old arrivals", DELETE_ARRIVALS, before).await?;
    }
    Ok(gone)
}

/// Their offset is the arrival that they remember. `0` comes after `/`.
const DELETE_KEYS: &str =
    "DELETE FROM positions WHERE (source, partition) IN (SELECT source, partition FROM positions
    WHERE partition >= 'idempotency/' AND partition < 'idempotency0' AND offset < ? LIMIT ?)";
const DELETE_ARRIVALS: &str =
    "DELETE FROM arrivals WHERE (source, session, slot) IN (SELECT source, session, slot FROM arrivals
    WHERE kept_until < ? LIMIT ?)";

/// Runs `sql`, which deletes some rows before the time, until nothing is left to delete.
async fn repeat(
    store: &SqliteStore,
    what: &str,
    sql: &'static str,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    loop {
        let delete = sqlx::query(sql).bind(before.0).bind(CHUNK);
        let deleted = store.write(what, delete).await?.rows_affected();
        if deleted == 0 {
            return Ok(gone);
        }
        gone += deleted;
    }
}

/// From series to series, so that none is looked at twice.
pub(super) const OLD_READINGS: &str = "SELECT r.series_id, r.time FROM series s
    CROSS JOIN readings r ON r.series_id = s.id AND r.time < ? WHERE s.id >= ? ORDER BY s.id LIMIT ?";

async fn readings(store: &SqliteStore, before: Timestamp) -> Result<u64, StoreError> {
    let what = "deleting old readings";
    let mut gone = 0;
    let mut from: i64 = 0;
    loop {
        let keys: Vec<(i64, i64)> = {
            let mut reader = store.snapshot(what).await?;
            sqlx::query_as(OLD_READINGS)
                .bind(before.0)
                .bind(from)
                .bind(CHUNK)
                .fetch_all(&mut *reader)
                .await
                .map_err(|error| Fault::Sql(error).during(what))?
        };
        let Some((last, _)) = keys.last() else {
            return Ok(gone);
        };
        from = *last;
        let delete = sqlx::query(
            "DELETE FROM readings WHERE (series_id, time) IN
             (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))",
        )
        .bind(json(&keys).map_err(|fault| fault.during(what))?);
        gone += store.write(what, delete).await?.rows_affected();
    }
}

// Rows of these tables are written in the order of their ids, and their times never go back: the old ones come first.
const OLD_DEAD_LETTERS: &str = "SELECT max(id) FROM (SELECT id FROM dead_letters WHERE id <
    ifnull((SELECT id FROM dead_letters WHERE time >= ? ORDER BY id LIMIT 1), 9223372036854775807) ORDER BY id LIMIT ?)";
const DELETE_DEAD_LETTERS: &str = "DELETE FROM dead_letters WHERE id <= ?";
const OLD_RESTARTS: &str = "SELECT max(id) FROM (SELECT id FROM restarts WHERE id <
    ifnull((SELECT id FROM restarts WHERE time >= ? ORDER BY id LIMIT 1), 9223372036854775807) ORDER BY id LIMIT ?)";
const DELETE_RESTARTS: &str = "DELETE FROM restarts WHERE id <= ?";
const OLD_BATCHES: &str = "SELECT max(number) FROM (SELECT number FROM batches WHERE number <
    ifnull((SELECT number FROM batches WHERE time >= ? ORDER BY number LIMIT 1), 9223372036854775807)
    ORDER BY number LIMIT ?)";
const DELETE_BATCHES: &str = "DELETE FROM batches WHERE number <= ?";

/// `find` names the last id of the next chunk, `delete` deletes up to it.
async fn by_id(
    store: &SqliteStore,
    what: &str,
    find: &'static str,
    delete: &'static str,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    loop {
        let last: Option<i64> = {
            let mut reader = store.snapshot(what).await?;
            sqlx::query_scalar(find)
                .bind(before.0)
                .bind(CHUNK)
                .fetch_one(&mut *reader)
                .await
                .map_err(|error| Fault::Sql(error).during(what))?
        };
        let Some(last) = last else {
            return Ok(gone);
        };
        gone += store
            .write(what, sqlx::query(delete).bind(last))
            .await?
            .rows_affected();
    }
}
