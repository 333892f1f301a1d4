//! Positions of sources, and who may store them.
//!
//! Invariants: a claim raises the epochs of all its partitions or of none. A transaction that names epochs holds their rows until its
//! end, so that a claim waits for it, and what it stored is what the claim tells. Rows are taken in the order of their key, so that
//! claims and transactions never wait for each other in a circle.

use sqlx::postgres::PgConnection;

use super::fault::Fault;
use super::statement::text;
use super::time::Time;
use crate::domain::SourceName;
use crate::storage::commit::{Claimed, epochs, moved, newest_positions};
use crate::storage::{CompleteBatch, ErrorClass};

/// In the order of `partitions`, which may name one twice.
pub(super) async fn claim(
    connection: &mut PgConnection,
    source: &SourceName,
    partitions: &[String],
) -> Result<Vec<Claimed>, Fault> {
    let asked: Vec<_> = partitions.iter().map(|partition| text(partition)).collect();
    let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(
        "INSERT INTO positions (source, partition, \"offset\", epoch, updated_at)
         SELECT $1, partition, NULL, 1, now() FROM (SELECT DISTINCT unnest($2::text[]) COLLATE \"C\" AS partition) asked
         ORDER BY partition
         ON CONFLICT (source, partition) DO UPDATE SET epoch = positions.epoch + 1
         RETURNING partition, epoch, \"offset\"",
    )
    .bind(source.as_str())
    .bind(&asked)
    .fetch_all(connection)
    .await?;
    asked
        .iter()
        .map(|partition| {
            let row = rows.iter().find(|(claimed, ..)| claimed == partition);
            let claimed = row.map(|&(_, epoch, offset)| Claimed { epoch, offset });
            claimed.ok_or_else(|| Fault::found(ErrorClass::Unusable, "a partition could not be claimed"))
        })
        .collect()
}

/// Keeps everybody from claiming what the batches store, to the end of the transaction. Fails with [`ErrorClass::Moved`] where
/// somebody has claimed some of it since.
pub(super) async fn hold(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let epochs = epochs(batches);
    if epochs.is_empty() {
        return Ok(());
    }
    let held: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT p.source, p.partition, p.epoch FROM positions p
         JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS ours (source, partition, epoch) USING (source, partition, epoch)
         ORDER BY p.source, p.partition FOR NO KEY UPDATE OF p",
    )
    .bind(epochs.iter().map(|(source, ..)| source.as_str()).collect::<Vec<_>>())
    .bind(epochs.iter().map(|(_, partition, _)| text(partition)).collect::<Vec<_>>())
    .bind(epochs.iter().map(|(.., epoch)| *epoch).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let is_held = |source: &SourceName, partition: &str, epoch: i64| {
        let ours =
            |(s, p, e): &(String, String, i64)| *s == source.as_str() && *p == text(partition) && *e == epoch;
        held.iter().any(ours)
    };
    for (source, partition, epoch) in epochs {
        if !is_held(source, partition, epoch) {
            return Err(Fault::found(ErrorClass::Moved, moved(source, partition)));
        }
    }
    Ok(())
}

pub(super) async fn write(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let newest = newest_positions(batches);
    if newest.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO positions (source, partition, \"offset\", updated_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[])
         ON CONFLICT (source, partition) DO UPDATE SET \"offset\" = excluded.\"offset\", updated_at = excluded.updated_at",
    )
    .bind(newest.iter().map(|(_, position)| position.source.as_str()).collect::<Vec<_>>())
    .bind(newest.iter().map(|(_, position)| text(&position.partition)).collect::<Vec<_>>())
    .bind(newest.iter().map(|(_, position)| position.offset).collect::<Vec<_>>())
    .bind(newest.iter().map(|(at, _)| Time(at.now)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
