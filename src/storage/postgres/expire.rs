//! Deleting what is past its age.
//!
//! Readings go by the chunk or partition once all of it is past its age, which costs nothing; what lies in the partition of
//! the distant past goes row by row. Everything else goes by the thousand, so that nobody waits for long.

use super::partitions::{Layout, Table};
use super::rollup::Keeper;
use super::time::Time;
use super::{PostgresStore, connection::Reader};
use crate::domain::Timestamp;
use crate::storage::StoreError;
use crate::storage::history::Expiry;

/// Rows a transaction.
const CHUNK: i64 = 10_000;

pub(super) async fn expire(store: &PostgresStore, limits: &Expiry) -> Result<u64, StoreError> {
    let mut gone = 0;
    if let Some(before) = limits.readings_before {
        gone += readings(store, before).await?;
    }
    let letters = ("deleting old dead letters", DELETE_DEAD_LETTERS);
    let restarts = ("deleting old restarts", DELETE_RESTARTS);
    let batches = ("deleting old batch times", DELETE_BATCHES);
    let keys = ("deleting old idempotency keys", DELETE_KEYS);
    let arrivals = ("deleting old arrivals", DELETE_ARRIVALS);
    for ((what, sql), before) in [
        (letters, limits.dead_letters_before),
        (restarts, limits.restarts_before),
        (batches, limits.batches_before),
        (keys, limits.idempotency_before),
        (arrivals, limits.arrivals_before),
    ] {
        if let Some(before) = before {
            gone += repeat(store, what, sql, before).await?;
        }
    }
    Ok(gone)
}

async fn readings(store: &PostgresStore, before: Timestamp) -> Result<u64, StoreError> {
    let what = "deleting old readings";
    let keeper = Keeper::new(&store.servers, &store.layout).await;
    let Some(mut keeper) = keeper.map_err(|fault| fault.during(what))? else {
        tracing::debug!("rollups are being made, old readings are deleted the next time");
        return Ok(0);
    };
    let said = keeper.expire(before).await;
    said.map_err(|fault| fault.during(what))?;
    let gone = delete_readings(store, before, what).await?;
    keeper.end().await;
    Ok(gone)
}

async fn delete_readings(store: &PostgresStore, before: Timestamp, what: &str) -> Result<u64, StoreError> {
    match &store.layout {
        Layout::Hypertables { .. } => {
            let query = sqlx::query("SELECT drop_chunks('readings', older_than => $1::timestamptz)")
                .bind(Time(before));
            Ok(store.write(what, query).await?.rows_affected())
        }
        Layout::Partitions(partitions) => {
            let mut reader = store.reader().await.map_err(|fault| fault.during(what))?;
            let dropped = partitions
                .drop_before(reader.connection(), Table::Readings, before)
                .await;
            let dropped = Reader::finish(reader, dropped, false)
                .await
                .map_err(|fault| fault.during(what))?;
            Ok(dropped + repeat(store, what, DELETE_PAST, before).await?)
        }
    }
}

const DELETE_PAST: &str = "DELETE FROM readings_past WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM readings_past WHERE time < $1 LIMIT $2))";
// Rows of these tables are written in the order of their ids, and their times never go back: the old ones come first.
const DELETE_DEAD_LETTERS: &str = "DELETE FROM dead_letters WHERE id = ANY(ARRAY(SELECT id FROM dead_letters WHERE id <
    coalesce((SELECT id FROM dead_letters WHERE time >= $1 ORDER BY id LIMIT 1), 9223372036854775807) ORDER BY id LIMIT $2))";
const DELETE_RESTARTS: &str = "DELETE FROM restarts WHERE id = ANY(ARRAY(SELECT id FROM restarts WHERE id <
    coalesce((SELECT id FROM restarts WHERE time >= $1 ORDER BY id LIMIT 1), 9223372036854775807) ORDER BY id LIMIT $2))";
const DELETE_BATCHES: &str =
    "DELETE FROM batches WHERE number = ANY(ARRAY(SELECT number FROM batches WHERE number <
    coalesce((SELECT number FROM batches WHERE time >= $1 ORDER BY number LIMIT 1), 9223372036854775807)
    ORDER BY number LIMIT $2))";
/// Their offset is the arrival that they remember. `0` comes after `/`.
const DELETE_KEYS: &str = "DELETE FROM positions WHERE ctid = ANY(ARRAY(SELECT ctid FROM positions
    WHERE partition >= 'idempotency/' AND partition < 'idempotency0'
        AND \"offset\" < (extract(epoch FROM $1::timestamptz) * 1000000)::bigint LIMIT $2))";

const DELETE_ARRIVALS: &str = "DELETE FROM arrivals WHERE ctid = ANY(ARRAY(SELECT ctid FROM arrivals
    WHERE kept_until < $1 LIMIT $2)) AND kept_until < $1";

/// Runs `sql`, which deletes up to `$2` rows before `$1`, until nothing is left to delete.
async fn repeat(
    store: &PostgresStore,
    what: &str,
    sql: &'static str,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    loop {
        let query = sqlx::query(sql).bind(Time(before)).bind(CHUNK);
        let deleted = store.write(what, query).await?.rows_affected();
        gone += deleted;
        if deleted < CHUNK as u64 {
            return Ok(gone);
        }
    }
}
