//! Sensors that come through more than one partition, where several instances share the database.
//!
//! Two transactions may bring readings of one window at the same time, and neither sees those of the other. So each, once its
//! rows are written, takes a lock, and only then looks which windows there are and computes them: of the two the later one sees
//! all. The lock lasts to the end of the transaction.
//!
//! Invariant: whoever stores rows of such a sensor knows that it is one. A transaction that does not is taken back; and a sensor
//! becomes one only while no transaction of another instance is under way. How it fails: whoever waits in vain for a lock is timed
//! out, and tries again.

use rustc_hash::FxHashSet;
use sqlx::postgres::PgConnection;

use super::fault::Fault;
use super::statement::number;
use crate::domain::{Home, SensorKey, SeriesId};
use crate::storage::judgement::outcomes;
use crate::storage::{CompleteBatch, ErrorClass};

/// The first half of the locks.
const LOCKS: i32 = 0x7365_6e74;
/// The second half of the one that transactions share, unless they make a sensor come through several homes.
const HOMES: i32 = -1;
/// How many there are: a server has room for some thousands, however many series there are.
const BUCKETS: u32 = 64;

/// Keeps sensors from becoming scattered until the end of the transaction, unless this is where some do. To be called before
/// sensors are written.
pub(super) async fn guard(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let several = Some(Home::several());
    let mut defined = batches.iter().flat_map(|batch| &batch.sensors);
    let lock = match defined.any(|sensor| sensor.home == several) {
        true => "SELECT pg_advisory_xact_lock($1, $2)",
        false => "SELECT pg_advisory_xact_lock_shared($1, $2)",
    };
    sqlx::query(lock)
        .bind(LOCKS)
        .bind(HOMES)
        .execute(connection)
        .await?;
    Ok(())
}

/// Fails where a sensor with rows is scattered and nobody knew.
pub(super) async fn check(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let known: FxHashSet<SensorKey> = outcomes(batches)
        .flat_map(|(_, outcome)| outcome.scattered.iter().copied())
        .collect();
    let rows = outcomes(batches).flat_map(|(_, outcome)| outcome.rows.iter().map(|row| row.sensor));
    let others: FxHashSet<SensorKey> = rows.filter(|sensor| !known.contains(sensor)).collect();
    if others.is_empty() {
        return Ok(());
    }
    // Nearly always there is none at all.
    let found: Option<i32> = sqlx::query_scalar(
        "SELECT id FROM sensors WHERE EXISTS (SELECT FROM sensors WHERE home = '*') AND home = '*' AND id = ANY($1) LIMIT 1",
    )
    .bind(others.into_iter().map(|sensor| number(sensor.0)).collect::<Vec<_>>())
    .fetch_optional(connection)
    .await?;
    match found {
        None => Ok(()),
        Some(_) => Err(Fault::found(
            ErrorClass::Moved,
            "another instance has readings of the same sensor",
        )),
    }
}

/// Those of `series` whose sensor is scattered. Nobody else computes their windows until the end of the transaction, and what
/// others did before is seen from here on.
pub(super) async fn hold(
    connection: &mut PgConnection,
    series: impl Iterator<Item = SeriesId>,
) -> Result<FxHashSet<SeriesId>, Fault> {
    let mut asked: Vec<i32> = series.map(|series| number(series.0)).collect();
    if asked.is_empty() {
        return Ok(FxHashSet::default());
    }
    asked.sort_unstable();
    asked.dedup();
    let found: Vec<i32> = sqlx::query_scalar(
        "SELECT s.id FROM series s JOIN sensors n ON n.id = s.sensor_id WHERE s.id = ANY($1) AND n.home = '*'",
    )
    .bind(asked)
    .fetch_all(&mut *connection)
    .await?;
    let scattered: FxHashSet<SeriesId> = found.into_iter().map(|id| SeriesId(id as u32)).collect();
    if scattered.is_empty() {
        return Ok(scattered);
    }
    // In one order, so that nobody waits in a circle.
    let mut buckets: Vec<i32> = scattered
        .iter()
        .map(|series| number(series.0 % BUCKETS))
        .collect();
    buckets.sort_unstable();
    buckets.dedup();
    for bucket in buckets {
        sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
            .bind(LOCKS)
            .bind(bucket)
            .execute(&mut *connection)
            .await?;
    }
    Ok(scattered)
}
