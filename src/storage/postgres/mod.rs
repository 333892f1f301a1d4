//! PostgreSQL, with TimescaleDB or without.
//!
//! Invariants: one connection writes batches, one transaction at a time; readers see the last commit and never wait for it.
//! A claim of a writer's name raises its epoch in the database, and every commit checks it there. Nothing waits for an
//! answer for longer than it is told to; work that is given up is undone by the server, since its connection is closed.
//!
//! How it fails: a server that is gone, frozen, full, or only readable for now is transient, a COMMIT without an answer
//! unknown, a role that may not do what we must unusable: see [`fault`].

mod alerts;
mod archives;
mod arrivals;
mod buckets;
mod commit;
mod connection;
mod copy;
mod dropped;
mod entries;
mod expire;
mod fault;
mod history;
mod leader;
mod ledger;
mod lock;
mod migrate;
mod notice_log;
mod notices;
mod outbox;
mod partitions;
#[cfg(test)]
mod plans;
mod positions;
mod readings;
mod records;
mod resolution;
mod restore;
mod restored;
mod rollup;
mod scattered;
mod series;
mod settings;
mod snapshot;
mod statement;
mod time;
mod windows;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgQueryResult};

use self::commit::Course;
use self::connection::{Reader, Readers, Servers, Writer, command, within};
use self::entries::{Pending, Sums};
use self::fault::Fault;
use self::leader::Leader;
use self::partitions::{Layout, Partitions, Table};
use self::rollup::Keeper;
use self::snapshot::{LIMITED, Snapshot, UNHURRIED, in_snapshot};
use super::{
    Alerts, Archives, Claimed, CommitGroup, CommitReport, ErrorClass, InstanceId, Loaded, Notices, Numbers,
    Outbox, Scope, SensorDefinition, SeriesDefinition, Store, StoreError, Wanted, WriterState,
};
use crate::domain::{ActiveTime, BatchNumber, SensorKey, SourceName, Timestamp};

pub use self::lock::SessionLock;
pub use self::settings::{EntrySettings, PostgresSettings, Timescale};

/// How long a read of the service itself may take, which is not hurried: a server that never answers must not hold it for ever.
const LOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Whoever asks for readiness asks again soon.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The writer's row of an instance as it was when it was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    epoch: i64,
    taken: i64,
}

#[derive(Debug, Default)]
struct Claims {
    of: HashMap<InstanceId, Claim>,
    /// Whose row was claimed last.
    last: Option<InstanceId>,
}

/// A database on a server.
pub struct PostgresStore {
    servers: Servers,
    writer: Writer,
    readers: Readers,
    layout: Layout,
    /// Version of the server.
    version: String,
    /// What was claimed here.
    claims: Mutex<Claims>,
    leader: Leader,
    outbox: Wanted,
    /// What the last group left to the next. Taken out while a group is written, so that whatever goes wrong forgets it.
    course: Mutex<Course>,
}

impl PostgresStore {
    /// Connects, and makes the tables or brings them up to date.
    ///
    /// Fails with [`ErrorClass::TooNew`], [`ErrorClass::Unusable`], or, where the server cannot be reached,
    /// [`ErrorClass::Transient`].
    pub async fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let servers = Servers::new(settings);
        let what = format!("opening {}", servers.describe());
        let opened = async {
            let mut connection = servers.connect().await?;
            migrate::wait_for_others(&mut connection).await?;
            migrate::run(&mut connection, settings.timescale).await?;
            let layout = Layout::find(&mut connection, settings.chunk_interval).await?;
            migrate::set_policies(&mut connection, &layout, settings).await?;
            let version: String =
                sqlx::query_scalar("SELECT split_part(current_setting('server_version'), ' ', 1)")
                    .fetch_one(&mut connection)
                    .await?;
            Ok::<_, Fault>((layout, version))
        };
        let (layout, version) = opened.await.map_err(|fault| fault.during(what))?;
        Ok(Self {
            writer: Writer::new(settings),
            readers: Readers::new(&servers, settings),
            servers,
            layout,
            version,
            claims: Mutex::default(),
            leader: Leader::new(settings.shared),
            outbox: settings.outbox,
            course: Mutex::new(Course::new(settings.entries, settings.shared)),
        })
    }

    /// A connection for a question of people, whose time is limited.
    async fn reader(&self) -> Result<Reader, Fault> {
        self.readers.take(&self.servers).await
    }

    /// A read transaction for a question of people.
    async fn view(&self) -> Result<Snapshot, Fault> {
        let reader = self.reader().await?;
        Snapshot::begin(reader, &self.layout, self.servers.timeout(), LIMITED).await
    }

    /// A read transaction for the service itself, which takes the time it needs.
    async fn snapshot(&self) -> Result<Snapshot, Fault> {
        let reader = self.reader().await?;
        Snapshot::begin(reader, &self.layout, self.servers.timeout(), UNHURRIED).await
    }

    /// Runs one statement that writes, in a transaction of its own, beside those of the batches.
    async fn write(
        &self,
        what: &str,
        query: sqlx::query::Query<'_, Postgres, PgArguments>,
    ) -> Result<PgQueryResult, StoreError> {
        let written = async {
            let mut reader = self.reader().await?;
            command(reader.connection(), "BEGIN READ WRITE").await?;
            let result = query.execute(reader.connection()).await.map_err(Fault::from);
            reader.finish(result, true).await
        };
        let written = within(self.writer.limit, written).await;
        written.map_err(|fault: Fault| fault.during(what))
    }

    /// Who writes here.
    fn instance(&self) -> Option<InstanceId> {
        self.claims.lock().last.clone()
    }

    /// What `instance` claimed here.
    fn claimed(&self, instance: &InstanceId, what: &str) -> Result<Claim, StoreError> {
        let claim = self.claims.lock().of.get(instance).copied();
        claim.ok_or_else(|| StoreError::new(ErrorClass::Fenced, what, "the writer was not claimed"))
    }

    /// A partition that we know of may have been dropped by another instance: the next try looks again.
    fn dropped_elsewhere(&self, fault: Fault) -> Fault {
        match &self.layout {
            Layout::Partitions(partitions) if fault.is_missing_partition() => {
                partitions.forget();
                Fault::found(
                    ErrorClass::Transient,
                    "a partition was dropped by another instance",
                )
            }
            _ => fault,
        }
    }

    /// Makes the partitions that a group needs and that are not there.
    async fn make_room(&self, group: &CommitGroup) -> Result<(), Fault> {
        let Layout::Partitions(partitions) = &self.layout else {
            return Ok(());
        };
        self.make_partitions(partitions, partitions.missing(&group.batches))
            .await
    }

    /// Brings the rollups up to `now`, unless somebody else is at it.
    async fn roll_up(&self, now: Timestamp) -> Result<(), Fault> {
        if let Some(mut keeper) = Keeper::new(&self.servers, &self.layout).await? {
            keeper.bring_up(now).await?;
            keeper.end().await;
        }
        Ok(())
    }

    async fn make_partitions(
        &self,
        partitions: &Partitions,
        missing: Vec<(Table, Timestamp)>,
    ) -> Result<(), Fault> {
        if missing.is_empty() {
            return Ok(());
        }
        let mut reader = self.reader().await?;
        for (table, time) in missing {
            partitions.make(reader.connection(), table, time).await?;
        }
        reader.finish(Ok(()), false).await
    }
}

/// Reads in a snapshot of its own and says what was read where it fails.
macro_rules! load {
    ($store:ident, $what:literal, $question:path $(, $argument:expr)*) => {{
        let answer = async { in_snapshot!($store.snapshot(), $question $(, $argument)*) };
        let answer = within(LOAD_TIMEOUT, answer).await;
        answer.map_err(|fault: Fault| fault.during($what))
    }};
}

#[async_trait]
impl Store for PostgresStore {
    fn describe(&self) -> String {
        let (version, at) = (&self.version, self.servers.describe());
        match &self.layout {
            Layout::Hypertables {
                version: extension, ..
            } => {
                format!("postgresql {version} with timescaledb {extension} ({at})")
            }
            Layout::Partitions(_) => format!("postgresql {version} ({at})"),
        }
    }

    async fn claim_writer(&self, instance: &InstanceId) -> Result<WriterState, StoreError> {
        let what = format!("claiming the writer {}", instance.0);
        let writing = self.writer.begin(&self.servers).await;
        let mut writing = writing.map_err(|fault| fault.during(&what))?;
        let claim = commit::claim(writing.connection(), instance);
        let result = within(self.writer.limit, claim).await;
        let (claim, last_batch, active) = writing.finish(&what, result).await?;
        let mut claims = self.claims.lock();
        claims.of.insert(instance.clone(), claim);
        claims.last = Some(instance.clone());
        self.course.lock().pending = Pending::Known(Sums::default());
        Ok(WriterState {
            last_batch: last_batch.map(|number| BatchNumber(number as u64)),
            active: ActiveTime(active),
        })
    }

    async fn reserve_batches(&self, count: u64) -> Result<BatchNumber, StoreError> {
        let what = "reserving batch numbers";
        let query = sqlx::query_scalar(
            "UPDATE batch_numbers SET next = next + $1 WHERE next <= $2 - $1 RETURNING next - $1",
        )
        .bind(count.min(BatchNumber::MAX.0) as i64)
        .bind(BatchNumber::MAX.0 as i64);
        let reserved = async {
            let mut reader = self.reader().await?;
            command(reader.connection(), "BEGIN READ WRITE").await?;
            let result = query
                .fetch_optional(reader.connection())
                .await
                .map_err(Fault::from);
            let first: Option<i64> = reader.finish(result, true).await?;
            first.ok_or_else(|| Fault::found(ErrorClass::Refused, "there are no batch numbers left"))
        };
        let first = within(self.writer.limit, reserved).await;
        let first = first.map_err(|fault: Fault| fault.during(what))?;
        Ok(BatchNumber(first as u64))
    }

    async fn reserve_numbers(&self, count: u32) -> Result<Numbers, StoreError> {
        let what = "reserving numbers";
        let reserved = async {
            let mut reader = self.reader().await?;
            command(reader.connection(), "BEGIN READ WRITE").await?;
            let result = restore::reserve_numbers(reader.connection(), count).await;
            reader.finish(result, true).await
        };
        let reserved = within(self.writer.limit, reserved).await;
        reserved.map_err(|fault: Fault| fault.during(what))
    }

    async fn claim_positions(
        &self,
        source: &SourceName,
        partitions: &[String],
    ) -> Result<Vec<Claimed>, StoreError> {
        let what = "claiming partitions";
        let owner = self.instance();
        let claimed = async {
            let mut reader = self.reader().await?;
            command(reader.connection(), "BEGIN READ WRITE").await?;
            let result = positions::claim(reader.connection(), source, partitions, owner.as_ref()).await;
            reader.finish(result, true).await
        };
        let claimed = within(self.writer.limit, claimed).await;
        claimed.map_err(|fault: Fault| fault.during(what))
    }

    async fn release_positions(&self, source: &SourceName, partitions: &[String]) -> Result<(), StoreError> {
        let Some(owner) = self.instance() else {
            return Ok(());
        };
        let release = sqlx::query(positions::RELEASE)
            .bind(source.as_str())
            .bind(
                partitions
                    .iter()
                    .map(|partition| statement::text(partition))
                    .collect::<Vec<_>>(),
            )
            .bind(owner.0);
        self.write("giving partitions back", release).await.map(drop)
    }

    async fn owned_positions(&self) -> Result<Vec<(SourceName, String)>, StoreError> {
        match self.instance() {
            Some(owner) => load!(
                self,
                "reading which partitions are ours",
                positions::owned,
                &owner
            ),
            None => Ok(Vec::new()),
        }
    }

    async fn active_clock(&self) -> Result<ActiveTime, StoreError> {
        load!(self, "reading the active clock", restore::active_clock)
    }

    async fn lead(&self) -> Result<bool, StoreError> {
        let leads = self.leader.leads(&self.servers).await;
        leads.map_err(|fault| fault.during("finding out who leads"))
    }

    async fn commit(&self, group: &CommitGroup) -> Result<CommitReport, StoreError> {
        let (Some(first), Some(last)) = (group.batches.first(), group.batches.last()) else {
            return Ok(CommitReport::default());
        };
        let what = format!("committing batches {} to {}", first.number.0, last.number.0);
        let claim = self.claimed(&group.instance, &what)?;
        let room = within(self.writer.limit, self.make_room(group)).await;
        room.map_err(|fault| fault.during(&what))?;
        let writing = self.writer.begin(&self.servers).await;
        let mut writing = writing.map_err(|fault| fault.during(&what))?;
        let course = self.course.lock().take();
        let work = commit::write(writing.connection(), group, claim, course, self.outbox);
        let result = within(self.writer.limit, work).await;
        let result = result.map_err(|fault| self.dropped_elsewhere(fault));
        let (report, course) = writing.finish(&what, result).await?;
        *self.course.lock() = course;
        Ok(report)
    }

    async fn rehearse(&self, group: &CommitGroup) -> Result<(), StoreError> {
        let what = "rehearsing a commit";
        let claim = self.claimed(&group.instance, what)?;
        let room = within(self.writer.limit, self.make_room(group)).await;
        room.map_err(|fault| fault.during(what))?;
        let writing = self.writer.begin(&self.servers).await;
        let mut writing = writing.map_err(|fault| fault.during(what))?;
        let course = Course::new(EntrySettings::default(), self.course.lock().shared);
        let work = commit::write(writing.connection(), group, claim, course, self.outbox);
        let result = within(self.writer.limit, work).await;
        let result = result.map_err(|fault| self.dropped_elsewhere(fault));
        writing.undo(what, result).await.map(drop)
    }

    async fn recall(&self, group: &CommitGroup) -> Result<CommitReport, StoreError> {
        let judged = load!(self, "recalling a commit", readings::recall, &group.batches)?;
        Ok(CommitReport {
            batches: judged.reports(group.batches.len()),
        })
    }

    /// Asked where writes go: after a failover the former primary, should it come back, does not know.
    async fn last_batch(&self, instance: &InstanceId) -> Result<Option<BatchNumber>, StoreError> {
        let what = "reading the last batch";
        let writing = self.writer.begin(&self.servers).await;
        let mut writing = writing.map_err(|fault| fault.during(what))?;
        let row = sqlx::query_scalar::<_, Option<i64>>("SELECT last_batch FROM writers WHERE instance = $1")
            .bind(&instance.0)
            .fetch_optional(writing.connection());
        let row = within(self.writer.limit, row).await;
        let last = writing.undo(what, row).await?;
        Ok(last.flatten().map(|number| BatchNumber(number as u64)))
    }

    async fn load_registry(
        &self,
        scope: &Scope,
    ) -> Result<(Vec<SensorDefinition>, Vec<SeriesDefinition>), StoreError> {
        load!(self, "loading sensors and series", restore::registry, scope)
    }

    async fn registry_size(&self) -> Result<(u64, u64), StoreError> {
        load!(self, "counting sensors and series", restore::registry_size)
    }

    async fn deadlines(&self, scope: &Scope) -> Result<Vec<(SensorKey, ActiveTime)>, StoreError> {
        load!(self, "reading deadlines", restore::deadlines, scope)
    }

    async fn sensors_behind(&self, scope: &Scope) -> Result<Vec<SensorKey>, StoreError> {
        load!(
            self,
            "looking for sensors that are behind",
            restore::sensors_behind,
            scope
        )
    }

    async fn load_sensors(&self, sensors: &[SensorKey], max_readings: usize) -> Result<Loaded, StoreError> {
        let writer = self.instance();
        load!(
            self,
            "loading sensors",
            restore::load,
            writer.as_ref(),
            sensors,
            max_readings
        )
    }

    async fn load_recent(&self, sensor: SensorKey, limit: usize) -> Result<Loaded, StoreError> {
        let writer = self.instance();
        load!(
            self,
            "loading the newest readings of a sensor",
            restore::recent,
            writer.as_ref(),
            sensor,
            limit
        )
    }

    async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        if let Layout::Partitions(partitions) = &self.layout {
            let made = self.make_partitions(partitions, partitions.ahead(now)).await;
            made.map_err(|fault| fault.during("making partitions ahead"))?;
        }
        let rolled_up = self.roll_up(now).await;
        rolled_up.map_err(|fault| fault.during("rolling up readings"))
    }

    fn archives(&self) -> Option<&dyn Archives> {
        Some(self)
    }

    fn alerts(&self) -> Option<&dyn Alerts> {
        Some(self)
    }

    fn notices(&self) -> Option<&dyn Notices> {
        Some(self)
    }

    fn outbox(&self) -> Option<&dyn Outbox> {
        Some(self)
    }

    fn reads(&self) -> u64 {
        self.readers.taken()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let answer = async {
            let mut reader = self.reader().await?;
            let answer = command(reader.connection(), "SELECT").await;
            reader.finish(answer, false).await
        };
        let answer = within(PING_TIMEOUT, answer).await;
        answer.map_err(|fault: Fault| fault.during("asking whether the database answers"))
    }

    async fn close(&self) {
        self.leader.end().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}
