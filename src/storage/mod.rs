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
pub mod alerts;
pub mod archives;
pub mod commit;
pub mod error;
mod gone;
pub mod history;
mod judgement;
pub mod notices;
pub mod null;
pub mod outbox;
pub mod postgres;
pub mod restore;
mod revision;
mod scope;
pub mod sqlite;
mod tally;

use async_trait::async_trait;

use crate::domain::{ActiveTime, BatchNumber, SensorKey, SourceName, Timestamp};

pub use alerts::Alerts;
pub use archives::Archives;
pub use commit::{
    ArrivalPage, BatchReport, Claimed, CommitGroup, CommitReport, CompleteBatch, Conflict, InstanceId,
    Numbers, Position, Refused, Row, SensorDefinition, SeriesDefinition, SliceOutcome, Snapshot,
};
pub use error::{Cause, ErrorClass, StoreError};
pub use history::History;
pub use notices::Notices;
pub use null::NullStore;
pub use outbox::{Outbox, Wanted};
pub use postgres::{EntrySettings, PostgresSettings, PostgresStore, Timescale};
pub use restore::{Loaded, StoredReading, StoredSensor};
pub use scope::Scope;
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

    /// Takes `count` fresh numbers for sensors, and as many for series.
    async fn reserve_numbers(&self, count: u32) -> Result<Numbers, StoreError>;

    /// Makes partitions of a source ours: raises the epoch of each, and tells how far it is stored, in the order asked for. Waits for
    /// transactions that store them; what names an older epoch from then on fails with [`ErrorClass::Moved`].
    async fn claim_positions(
        &self,
        source: &SourceName,
        partitions: &[String],
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Gives partitions back that we have claimed: whoever claims them next need not fear what we still commit. Only after
    /// everything that concerns them has committed.
    async fn release_positions(
        &self,
        _source: &SourceName,
        _partitions: &[String],
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Partitions that we have claimed and nobody has taken from us.
    async fn owned_positions(&self) -> Result<Vec<(SourceName, String)>, StoreError> {
        Ok(Vec::new())
    }

    /// Where the active clock of the instance stands that is furthest ahead.
    async fn active_clock(&self) -> Result<ActiveTime, StoreError> {
        Ok(ActiveTime::default())
    }

    /// Whether we are the one of all instances that looks after what they have in common; tries to become it.
    async fn lead(&self) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Commits the group in one transaction.
    async fn commit(&self, group: &CommitGroup) -> Result<CommitReport, StoreError>;

    /// Does everything that [`Self::commit`] would, and takes it back: fails with [`ErrorClass::Refused`] where that would.
    async fn rehearse(&self, group: &CommitGroup) -> Result<(), StoreError>;

    /// The report of a group that has committed though its answer was lost, read from what is stored. Windows that it
    /// revised are not told again.
    async fn recall(&self, group: &CommitGroup) -> Result<CommitReport, StoreError>;

    /// The last batch that `instance` committed.
    async fn last_batch(&self, instance: &InstanceId) -> Result<Option<BatchNumber>, StoreError>;

    /// The sensors of `scope` and all of their series, in order of their numbers.
    async fn load_registry(
        &self,
        scope: &Scope,
    ) -> Result<(Vec<SensorDefinition>, Vec<SeriesDefinition>), StoreError>;

    /// How many sensors and series are stored.
    async fn registry_size(&self) -> Result<(u64, u64), StoreError>;

    /// Sensors whose snapshot names a deadline: who must be woken even if they never speak again.
    async fn deadlines(&self, scope: &Scope) -> Result<Vec<(SensorKey, ActiveTime)>, StoreError>;

    /// Sensors with stored readings after their snapshot, the most recently heard first; then those with an alert that is not resolved,
    /// which a rule may not stand behind any more.
    async fn sensors_behind(&self, scope: &Scope) -> Result<Vec<SensorKey>, StoreError>;

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

    /// The side of it that outputs send from; `None` where nothing is kept that could be sent.
    fn outbox(&self) -> Option<&dyn Outbox> {
        None
    }

    /// How often a connection was taken to read, since it was opened.
    fn reads(&self) -> u64 {
        0
    }

    /// The side of it that people look after alerts by; `None` where none are kept.
    fn alerts(&self) -> Option<&dyn Alerts> {
        None
    }

    /// The side of it that alerts go to people by; `None` where nobody is told.
    fn notices(&self) -> Option<&dyn Notices> {
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
    /// Where the active clock stood, of whatever instance was furthest ahead.
    pub active: ActiveTime,
}
