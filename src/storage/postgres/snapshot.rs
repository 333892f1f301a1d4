//! Reading in one snapshot, while chunks may be compressed.
//!
//! TimescaleDB plans a question by how each chunk lies at that moment, which its catalog tells outside of any snapshot, but the
//! rows are those of the snapshot. Where a chunk changes between the two, by the server's job or by hand, the plan looks where
//! the rows of the snapshot are not, and no error tells that they are missing: late readings that were compressed into
//! the rest of their chunk, or all of a chunk that is no longer compressed. Of a chunk that was not compressed before, rows
//! are seen that are newer than the snapshot.
//!
//! Invariant: what was read in a snapshot is given out only if, from before the first question to after the last, no chunk
//! changed how it lies. Else it is read again. A lock would not do: one that keeps late readings where they are makes those
//! wait behind it who bring more.
//!
//! Who writes needs none of this. In READ COMMITTED a statement is planned before its snapshot is taken, and until the end of
//! the transaction nobody may empty a part of a chunk that it was planned to look into alone. Only changes to compressed rows
//! could: nobody else makes any to the rows of the sensors that are written.
//!
//! How it fails: where chunks change again and again in less time than a read takes, until its time is up.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::connection::{Reader, command, within};
use super::fault::Fault;
use super::partitions::Layout;

/// For the service itself, which takes the time it needs.
pub(super) const UNHURRIED: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";
/// For people, whose every statement is limited in time.
pub(super) const LIMITED: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How the chunks lie that are compressed in whole or in part, as one number: whatever is done to one, its row has another version then.
macro_rules! chunks {
    () => {
        "SELECT bit_xor(hashtextextended(xmin::text, id)) FROM _timescaledb_catalog.chunk WHERE status <> 0"
    };
}

/// How the chunks lay in the snapshot, and how they lie after its end.
const END: &str = concat!(chunks!(), "; COMMIT; ", chunks!());

/// A read transaction that sees one commit.
pub(super) struct Snapshot {
    reader: Reader,
    /// Whether there are chunks that may change.
    chunks: bool,
}

impl Snapshot {
    pub async fn begin(
        mut reader: Reader,
        layout: &Layout,
        timeout: Duration,
        begin: &'static str,
    ) -> Result<Self, Fault> {
        within(timeout, command(reader.connection(), begin)).await?;
        let chunks = matches!(layout, Layout::Hypertables { .. });
        Ok(Self { reader, chunks })
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        self.reader.connection()
    }

    /// Ends it. `None` where rows may be missing in the answer, and it has to be asked again.
    pub async fn finish<T>(self, answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
        let Self { mut reader, chunks } = self;
        let answer = match answer {
            Ok(answer) if chunks => answer,
            answer => return reader.finish(answer, true).await.map(Some),
        };
        let still = are_still(reader.connection()).await;
        let open = still.is_err();
        let still = reader.finish(still, open).await?;
        if !still {
            tracing::debug!("chunks changed while they were read; they are read again");
        }
        Ok(still.then_some(answer))
    }
}

/// Ends the transaction, and tells whether the chunks lie as they did in it.
async fn are_still(connection: &mut PgConnection) -> Result<bool, Fault> {
    let rows = sqlx::raw_sql(END).fetch_all(connection).await?;
    let lay = rows.iter().map(|row| row.try_get::<Option<i64>, _>(0));
    let lay = lay.collect::<Result<Vec<_>, _>>()?;
    match lay[..] {
        [before, after] => Ok(before == after),
        _ => Err(Fault::unreadable("two answers were expected")),
    }
}

/// Asks in a snapshot that `begin` begins, again where chunks change beneath it.
macro_rules! in_snapshot {
    ($begin:expr, $question:path $(, $argument:expr)*) => {
        loop {
            let mut snapshot = $begin.await?;
            let answer = $question(snapshot.connection() $(, $argument)*).await;
            if let Some(answer) = snapshot.finish(answer).await? {
                break Ok::<_, Fault>(answer);
            }
        }
    };
}
pub(super) use in_snapshot;
