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
use crate::storage::{CompleteBatch, ErrorClass, InstanceId};

/// In the order of `partitions`, which may name one twice. Whose they were, unless given back, is fenced: what that instance commits
/// without knowing of this fails.
pub(super) async fn claim(
    connection: &mut PgConnection,
    source: &SourceName,
    partitions: &[String],
    owner: Option<&InstanceId>,
) -> Result<Vec<Claimed>, Fault> {
    let asked: Vec<_> = partitions.iter().map(|partition| text(partition)).collect();
    let owner = owner.map(|owner| owner.0.as_str());
    sqlx::query(
        "INSERT INTO positions (source, partition, \"offset\", epoch, updated_at)
         SELECT $1, partition, NULL, 0, now() FROM (SELECT DISTINCT unnest($2::text[]) COLLATE \"C\" AS partition) asked
         ORDER BY partition ON CONFLICT (source, partition) DO NOTHING",
    )
    .bind(source.as_str())
    .bind(&asked)
    .execute(&mut *connection)
    .await?;
    // Their rows first, then the positions: the order in which a transaction of theirs takes them.
    let fenced: Vec<String> = sqlx::query_scalar(
        "UPDATE writers SET taken = taken + 1 WHERE instance IN (SELECT owner FROM positions
             WHERE source = $1 AND partition = ANY($2)) AND instance IS DISTINCT FROM $3 RETURNING instance",
    )
    .bind(source.as_str())
    .bind(&asked)
    .bind(owner)
    .fetch_all(&mut *connection)
    .await?;
    // Whose row is gone commits nothing.
    let owners: Vec<String> = sqlx::query_scalar(
        "SELECT owner FROM positions p WHERE source = $1 AND partition = ANY($2)
             AND owner IN (SELECT instance FROM writers) ORDER BY partition FOR UPDATE OF p",
    )
    .bind(source.as_str())
    .bind(&asked)
    .fetch_all(&mut *connection)
    .await?;
    let known = |of: &String| Some(of.as_str()) == owner || fenced.contains(of);
    if !owners.iter().all(known) {
        return Err(Fault::found(
            ErrorClass::Transient,
            "somebody else claims them at the same time",
        ));
    }
    let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(
        "UPDATE positions SET epoch = epoch + 1, owner = $3 WHERE source = $1 AND partition = ANY($2)
         RETURNING partition, epoch, \"offset\"",
    )
    .bind(source.as_str())
    .bind(&asked)
    .bind(owner)
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

pub(super) const RELEASE: &str =
    "UPDATE positions SET owner = NULL WHERE source = $1 AND partition = ANY($2) AND owner = $3";

/// What `owner` has claimed and nobody has taken from it.
pub(super) async fn owned(
    connection: &mut PgConnection,
    owner: &InstanceId,
) -> Result<Vec<(SourceName, String)>, Fault> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT source, partition FROM positions WHERE owner = $1 ORDER BY source, partition")
            .bind(&owner.0)
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(source, partition)| {
            let source = SourceName::try_from(source).map_err(Fault::unreadable)?;
            Ok((source, partition))
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
