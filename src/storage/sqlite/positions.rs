//! Positions of sources, and who may store them.
//!
//! Invariant: a claim raises the epochs of all its partitions or of none; a transaction that names an older epoch stores nothing.

use sqlx::sqlite::SqliteConnection;

use super::fault::Fault;
use super::statement::MultiRow;
use crate::domain::SourceName;
use crate::storage::commit::{Claimed, epochs, moved};
use crate::storage::{CompleteBatch, ErrorClass};

/// In the order of `partitions`, which may name one twice.
pub(super) async fn claim(
    connection: &mut SqliteConnection,
    source: &SourceName,
    partitions: &[String],
) -> Result<Vec<Claimed>, Fault> {
    let mut all = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let (epoch, offset): (i64, Option<i64>) = sqlx::query_as(
            "INSERT INTO positions (source, partition, offset, epoch, updated_at)
             VALUES (?, ?, NULL, 1, unixepoch() * 1000000)
             ON CONFLICT (source, partition) DO UPDATE SET epoch = epoch + 1 RETURNING epoch, offset",
        )
        .bind(source.as_str())
        .bind(partition)
        .fetch_one(&mut *connection)
        .await?;
        all.push(Claimed { epoch, offset });
    }
    Ok(all)
}

/// Fails with [`ErrorClass::Moved`] where somebody has claimed since what the batches store. Nobody can while the transaction lasts.
pub(super) async fn hold(connection: &mut SqliteConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    for (source, partition, epoch) in epochs(batches) {
        let now: Option<i64> =
            sqlx::query_scalar("SELECT epoch FROM positions WHERE source = ? AND partition = ?")
                .bind(source.as_str())
                .bind(partition)
                .fetch_optional(&mut *connection)
                .await?;
        if now != Some(epoch) {
            return Err(Fault::found(ErrorClass::Moved, moved(source, partition)));
        }
    }
    Ok(())
}

static POSITIONS: MultiRow = MultiRow::new(
    "INSERT INTO positions (source, partition, offset, updated_at) VALUES",
    "(?,?,?,?)",
    "ON CONFLICT (source, partition) DO UPDATE SET offset = excluded.offset, updated_at = excluded.updated_at",
    512,
);

/// In the order of the batches, so that the last position of a partition stays.
pub(super) async fn write(connection: &mut SqliteConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let positions: Vec<_> = batches
        .iter()
        .flat_map(|batch| batch.positions.iter().map(|position| (batch.at, position)))
        .collect();
    POSITIONS
        .execute(connection, &positions, |values, (at, position)| {
            values
                .add(position.source.as_str())
                .add(position.partition.as_str())
                .add(position.offset)
                .add(at.now.0);
        })
        .await
}
