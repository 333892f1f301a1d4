//! The store: what the rest of the house may ask of a database. SQL lives below this module and nowhere else.
//!
//! Invariants:
//! - A [`CommitGroup`] is committed whole or not at all, and advances the `writers` row of its instance in the same
//!   transaction, so that after a lost answer [`Store::last_batch`] tells whether it was committed.
//! - Groups are committed in the order of their batch numbers; what a read sees is therefore always a prefix.
//! - At every commit the database holds, for each sensor, a snapshot as of a sequence and the stored readings after it.
//! - Whether a reading was stored, was a duplicate or a conflict is said by what the transaction did.
//!
//! How it fails: every method returns [`StoreError`], whose [`ErrorClass`] says what the caller may do about it.

mod adoption;
pub mod archives;
pub mod commit;
pub mod error;
mod gone;
pub mod history;
mod judgement;
pub mod null;
pub mod postgres;
pub mod restore;
mod revision;
pub mod sqlite;
mod tally;

use async_trait::async_trait;

use crate::domain::{ActiveTime, BatchNumber, SensorKey, SourceName, Timestamp};

pub use archives::Archives;
pub use commit::{
    BatchReport, Claimed, CommitGroup, CommitReport, CompleteBatch, Conflict, InstanceId, Position, Refused,
    Row, SensorDefinition, SeriesDefinition, SliceOutcome, Snapshot,
};
pub use error::{Cause, ErrorClass, StoreError};
pub use history::History;
pub use null::NullStore;
pub use postgres::{EntrySettings, PostgresSettings, PostgresStore, Timescale};
pub use restore::{Loaded, StoredReading, StoredSensor};
pub use sqlite::{SqliteSettings, SqliteStore, Synchronous};

/// What the pipeline asks of a database.
#[async_trait]
pub trait Store: History {
    /// What it is, for the log and `/readyz`, such as `sqlite (/var/lib/sensorhive/sensorhive.db)`. No secrets.
    fn describe(&self) -> String;

    /// Claims the writer's row of `instance`, so that an older process with the same name is fenced: its next commit
    /// fails with [`ErrorClass::Fenced`].
    async fn claim_writer(&self, instance: &InstanceId) -> Result<WriterState, StoreError>;

    /// Takes `count` fresh batch numbers: no number from before is ever given again.
    async fn reserve_batches(&self, count: u64) -> Result<BatchNumber, StoreError>;

    /// Makes partitions of a source ours: raises the epoch of each, and tells how far it is stored, in the order asked for. Waits for
    /// transactions that store them; what names an older epoch from then on fails with [`ErrorClass::Moved`].
    async fn claim_positions(
        &self,
        source: &SourceName,
        partitions: &[String],
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Commits the group in one transaction.
    async fn commit(&self, group: &CommitGroup) -> Result<CommitReport, StoreError>;

    /// Does everything that [`Self::commit`] would, and takes it back: fails with [`ErrorClass::Refused`] where that would.
    async fn rehearse(&self, group: &CommitGroup) -> Result<(), StoreError>;

    /// The report of a group that has committed though its answer was lost, read from what is stored. Windows that it
    /// revised are not told again.
    async fn recall(&self, group: &CommitGroup) -> Result<CommitReport, StoreError>;

    /// The last batch that `instance` committed.
    async fn last_batch(&self, instance: &InstanceId) -> Result<Option<BatchNumber>, StoreError>;

    /// Every sensor and series there is, in order of their numbers.
    async fn load_registry(&self) -> Result<(Vec<SensorDefinition>, Vec<SeriesDefinition>), StoreError>;

    /// Sensors whose snapshot names a deadline: who must be woken even if they never speak again.
    async fn deadlines(&self) -> Result<Vec<(SensorKey, ActiveTime)>, StoreError>;

    /// Sensors with stored readings after their snapshot, the most recently heard first.
    async fn sensors_behind(&self) -> Result<Vec<SensorKey>, StoreError>;

    /// Snapshot and stored readings after it of each of `sensors`, from one consistent read. At most about
    /// `max_readings` readings in all; a sensor that did not fit says so by `more`.
    async fn load_sensors(&self, sensors: &[SensorKey], max_readings: usize) -> Result<Loaded, StoreError>;

    /// The `limit` stored readings of a sensor that are newest by event time, in order of their sequence, without its
    /// snapshot: what a state is
    /// rebuilt from when its snapshot cannot be read. `snapshot` holds only the sequence, its bytes are empty.
    async fn load_recent(&self, sensor: SensorKey, limit: usize) -> Result<Loaded, StoreError>;

    /// What has to be done again and again, beside deleting what is old: partitions are made ahead, rollups brought up to
    /// `now`.
    async fn maintain(&self, _now: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    /// The side of it that the cold archive works on; `None` where nothing is kept that could be archived.
    fn archives(&self) -> Option<&dyn Archives> {
        None
    }

    /// A cheap round trip, for readiness.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Closes connections after what is under way has ended.
    async fn close(&self);
}

/// What the writer of an instance last committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterState {
    pub last_batch: Option<BatchNumber>,
    /// Where the active clock stood.
    pub active: ActiveTime,
}
