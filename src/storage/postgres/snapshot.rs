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

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::connection::{Reader, command, within};
use super::fault::Fault;
use super::partitions::Layout;

/// For the service itself, which takes the time it needs.
pub(super) const UNHURRIED: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0;
     SET LOCAL idle_in_transaction_session_timeout = 0";
/// For people, whose every statement is limited in time.
pub(super) const LIMITED: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How all chunks lie, as one number: whatever is done to one, its row has another version then. Those that are not compressed
/// count, too: one may have been compressed in between, and have other rows now.
const CHUNKS: &str = "SELECT bit_xor(hashtextextended(xmin::text, id)) FROM _timescaledb_catalog.chunk";

/// A read transaction that sees one commit.
pub(super) struct Snapshot {
    reader: Reader,
    /// How the chunks lay when it began, if they may change.
    chunks: Option<Chunks>,
}

/// Null where there are none.
type Chunks = Option<i64>;

impl Snapshot {
    pub async fn begin(
        mut reader: Reader,
        layout: &Layout,
        timeout: Duration,
        begin: &'static str,
    ) -> Result<Self, Fault> {
        let connection = reader.connection();
        let chunks = match layout {
            Layout::Partitions(_) => {
                within(timeout, command(connection, begin)).await?;
                None
            }
            Layout::Hypertables { .. } => Some(within(timeout, look(connection, begin)).await?),
        };
        Ok(Self { reader, chunks })
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        self.reader.connection()
    }

    /// Ends it. `None` where chunks changed meanwhile: rows may be missing in the answer, or the question may have failed
    /// of it.
    pub async fn finish<T>(self, answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
        let Self { mut reader, chunks } = self;
        let usable = answer.as_ref().err().is_none_or(Fault::leaves_connection_usable);
        let Some(before) = chunks.filter(|_| usable) else {
            return reader.finish(answer, true).await.map(Some);
        };
        let end = if answer.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let after = look(reader.connection(), end).await;
        // Where that fails, nobody knows whether the transaction has ended.
        let open = after.is_err();
        match (answer, reader.finish(after, open).await) {
            (Ok(_), Err(fault)) | (Err(fault), Err(_)) => Err(fault),
            (answer, Ok(after)) if after == before => answer.map(Some),
            _ => {
                tracing::debug!("chunks changed while they were read; they are read again");
                Ok(None)
            }
        }
    }
}

/// Begins or ends a transaction, and asks how the chunks lie.
async fn look(connection: &mut PgConnection, first: &'static str) -> Result<Chunks, Fault> {
    let sql = AssertSqlSafe(format!("{first}; {CHUNKS}"));
    let row = sqlx::raw_sql(sql).fetch_one(connection).await?;
    Ok(row.try_get(0)?)
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
