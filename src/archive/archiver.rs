//! What is done again and again: days past an age are exported, what is archived is dropped when its time has come.
//!
//! Invariants: one day at a time, one object at a time, one group of rows at a time, with a pause after each as long as it
//! took. An export is [`ArchiveState::Verified`] only when all its objects were read back. Before a day is dropped, what the
//! database holds of it is read once more, and is the same as what its objects hold; what came since is archived first.
//! An object that nobody of ours wrote is never written over.
//!
//! How it fails: a failed run is told and the next one does its work. A day whose object is damaged does not hold up the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::Digest;

use super::checksum::{RowHasher, SeriesHash};
use super::objects;
use super::parquet::{Object, ObjectWriter, Rows, Sizes};
use super::{ArchiveError, ArchiveStatus, Location, Objects};
use crate::clock::Clock;
use crate::domain::{Day, Micros, Seq, SeriesId, Timestamp};
use crate::storage::archives::{
    Archive, ArchivePage, ArchiveState, Archives, Contents, Dropped, RowsChecksum, SeriesName, Sha256, Span,
};
use crate::storage::history::StoredPoint;

/// The longest pause after a piece of work.
const PAUSE: Duration = Duration::from_millis(500);
/// The last sequence there can be.
const LAST: Seq = Seq(i64::MAX as u64);

/// Ages of a day, counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub after: Duration,
    /// When it is dropped from the database; `None` is never.
    pub retention: Option<Duration>,
}

pub struct Archiver {
    location: Location,
    limits: Limits,
    sizes: Sizes,
    status: Arc<ArchiveStatus>,
    open: Mutex<Option<Objects>>,
    running: tokio::sync::Mutex<()>,
}

/// What an export came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exported {
    Rows(u64),
    /// A sensor may still need the day's readings.
    Waiting,
}

impl Archiver {
    /// The place is opened by the first run, so that one that cannot be used now holds nobody up.
    pub fn new(location: Location, limits: Limits, status: Arc<ArchiveStatus>) -> Self {
        Self {
            location,
            limits,
            sizes: Sizes::default(),
            status,
            open: Mutex::default(),
            running: tokio::sync::Mutex::default(),
        }
    }

    /// On a place that is open already.
    pub fn with_objects(objects: Objects, limits: Limits, status: Arc<ArchiveStatus>) -> Self {
        let archiver = Self::new(Location::Directory(objects.place().into()), limits, status);
        *archiver.open.lock() = Some(objects);
        archiver
    }

    /// With pieces of other sizes.
    pub fn sizes(self, sizes: Sizes) -> Self {
        Self { sizes, ..self }
    }

    /// Does everything that is due. Does nothing while another run does. What goes wrong is logged, counted and kept.
    pub async fn run(&self, archives: &dyn Archives, clock: &dyn Clock) -> Result<(), ArchiveError> {
        let Ok(_running) = self.running.try_lock() else {
            return Ok(());
        };
        let result = self.run_once(archives, clock).await;
        match &result {
            Ok(()) => self.status.succeeded(),
            Err(error) => {
                tracing::warn!(%error, "archiving failed, nothing was dropped by it, it is tried again");
                self.status.failed(clock.now(), error.to_string());
            }
        }
        result
    }

    async fn run_once(&self, archives: &dyn Archives, clock: &dyn Clock) -> Result<(), ArchiveError> {
        let objects = self.objects()?;
        let run = Run {
            objects: &objects,
            archives,
            clock,
            sizes: self.sizes,
            status: &self.status,
        };
        let released = archives.release_restored(clock.now()).await?;
        if released > 0 {
            tracing::info!(
                objects = released,
                "restored days have been kept for as long as asked"
            );
        }
        let mut damaged = run.export_all(before(clock.now(), self.limits.after)).await?;
        if let Some(retention) = self.limits.retention {
            damaged = damaged.or(run.drop_all(before(clock.now(), retention)).await?);
        }
        damaged.map_or(Ok(()), Err)
    }

    fn objects(&self) -> Result<Objects, ArchiveError> {
        let mut open = self.open.lock();
        if let Some(objects) = &*open {
            return Ok(objects.clone());
        }
        let objects = Objects::open(&self.location)?;
        tracing::info!(place = objects.place(), "the archive is open");
        Ok(open.insert(objects).clone())
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    now.saturating_sub(Micros::try_from(age.as_micros()).unwrap_or(Micros::MAX))
}

struct Run<'a> {
    objects: &'a Objects,
    archives: &'a dyn Archives,
    clock: &'a dyn Clock,
    sizes: Sizes,
    status: &'a ArchiveStatus,
}

impl Run<'_> {
    /// Returns the first damage; other errors end it.
    async fn export_all(&self, before: Timestamp) -> Result<Option<ArchiveError>, ArchiveError> {
        let mut damaged = None;
        let mut waiting = None;
        let mut from = Day::MIN;
        while let Some(day) = self.archives.next_to_archive(from, before).await? {
            match self.export(day, None).await {
                Ok(Exported::Rows(rows)) => tracing::info!(%day, rows, "a day was archived and verified"),
                Ok(Exported::Waiting) => {
                    tracing::info!(%day, "days from here on wait until no sensor needs their readings");
                    waiting = Some(day);
                    break;
                }
                Err(error) => damaged = damaged.or(Some(only_damage(error)?)),
            }
            from = day.next();
        }
        self.status.set_waiting(waiting);
        Ok(damaged)
    }

    /// Writes and verifies what the database holds of `day` after `after`.
    async fn export(&self, day: Day, after: Option<Seq>) -> Result<Exported, ArchiveError> {
        let Some(up_to) = self.archives.export_up_to(day).await? else {
            return Ok(Exported::Waiting);
        };
        let span = Span { day, after, up_to };
        let known = self.archives.catalog(&ArchivePage::of(day)).await?;
        let mut next_part = known.iter().map(|archive| archive.part).max().unwrap_or(0) + 1;
        // What an export before left behind is written over, and what is not is forgotten at the end.
        let mut stale: BTreeSet<u32> = BTreeSet::new();
        for mut archive in known {
            if matches!(archive.state, ArchiveState::Exporting | ArchiveState::Uploaded) {
                stale.insert(archive.part);
                (archive.state, archive.contents) = (ArchiveState::Exporting, None);
                self.archives.record_archive(&archive).await?;
            }
        }
        let mut total = RowHasher::default();
        let mut cursor = None;
        loop {
            let part = match stale.pop_first() {
                Some(part) => part,
                None => self.free_part(day, &mut next_part).await?,
            };
            let mut archive = Archive {
                day,
                part,
                object: objects::name(day, part),
                state: ArchiveState::Exporting,
                up_to,
                contents: None,
                started_at: self.clock.now(),
                verified_at: None,
                dropped_at: None,
                restored_at: None,
                keep_until: None,
            };
            self.archives.record_archive(&archive).await?;
            let (bytes, hasher, more) = self.build(&span, part, &mut cursor).await?;
            if hasher.rows > 0 {
                let contents = Contents {
                    rows: hasher.rows,
                    bytes: bytes.len() as u64,
                    checksum: hasher.checksum,
                    sha256: sha256(&bytes),
                };
                self.objects.put(&archive.object, bytes).await?;
                (archive.state, archive.contents) = (ArchiveState::Uploaded, Some(contents));
                self.archives.record_archive(&archive).await?;
                self.verify(&archive.object, &contents).await?;
                total.rows += contents.rows;
                self.status.bytes.inc_by(contents.bytes);
                self.status.objects.inc();
            }
            if !more {
                break;
            }
        }
        let (uploaded, verified) = (ArchiveState::Uploaded, ArchiveState::Verified);
        self.archives
            .advance(day, uploaded, verified, self.clock.now())
            .await?;
        self.archives.discard_unfinished(day).await?;
        self.status.rows.inc_by(total.rows);
        self.status.days.inc();
        Ok(Exported::Rows(total.rows))
    }

    /// The next part whose object nobody wrote: another database may use the same place.
    async fn free_part(&self, day: Day, next: &mut u32) -> Result<u32, ArchiveError> {
        loop {
            let part = *next;
            *next += 1;
            if !self.objects.exists(&objects::name(day, part)).await? {
                return Ok(part);
            }
        }
    }

    /// The bytes of one object, what is in it, and whether there is more of `span` after `cursor`.
    async fn build(
        &self,
        span: &Span,
        part: u32,
        cursor: &mut Option<(SeriesId, Timestamp)>,
    ) -> Result<(Bytes, RowHasher, bool), ArchiveError> {
        let mut writer = ObjectWriter::new(span.day, part).map_err(internal)?;
        let mut more = true;
        while more && !writer.is_full(&self.sizes) {
            let began = Instant::now();
            let page = self.archives.page(span, *cursor, self.sizes.group).await?;
            more = page.len() == self.sizes.group;
            if let Some((series, point)) = page.last() {
                *cursor = Some((*series, point.time));
                let rows = self.named(page).await?;
                writer = blocking(move || {
                    writer.push(&rows)?;
                    Ok::<_, ::parquet::errors::ParquetError>(writer)
                })
                .await?;
            }
            pause(began).await;
        }
        let (bytes, hasher) = blocking(move || writer.finish()).await?;
        Ok((bytes, hasher, more))
    }

    async fn named(&self, page: Vec<(SeriesId, StoredPoint)>) -> Result<Rows, ArchiveError> {
        let mut series: Vec<SeriesId> = page.iter().map(|(series, _)| *series).collect();
        series.dedup();
        let names = self.archives.names(&series).await?;
        let mut names: BTreeMap<SeriesId, SeriesName> = names.into_iter().collect();
        let mut rows = Rows::default();
        let mut last = None;
        for (series, point) in page {
            if last != Some(series) {
                // Taken out, so that a series that comes twice is noticed.
                let name = names.remove(&series);
                let nameless =
                    || ArchiveError::Internal(format!("series {} has no name, or came twice", series.0));
                rows.names.push(name.ok_or_else(nameless)?);
                last = Some(series);
            }
            rows.readings.push((rows.names.len() - 1, point));
        }
        Ok(rows)
    }

    /// Reads the object back whole and compares.
    async fn verify(&self, object: &str, expected: &Contents) -> Result<(), ArchiveError> {
        let bytes = self.objects.get(object).await?;
        let expected = *expected;
        let checked = blocking(move || {
            let found = sha256(&bytes);
            if found != expected.sha256 {
                return Err(format!("its SHA-256 is {found}, {} was written", expected.sha256));
            }
            let hasher = Object::open(bytes)?.survey()?.hasher;
            if (hasher.rows, hasher.checksum) != (expected.rows, expected.checksum) {
                return Err(format!(
                    "it holds {} rows with the checksum {}, the database held {} with {}",
                    hasher.rows, hasher.checksum, expected.rows, expected.checksum
                ));
            }
            Ok(())
        });
        checked.await.map_err(|error| match error {
            ArchiveError::Internal(why) => ArchiveError::Damaged {
                object: object.to_owned(),
                why,
            },
            error => error,
        })
    }

    /// Drops archived days that end at or before `before`. Returns the first damage; other errors end it.
    async fn drop_all(&self, before: Timestamp) -> Result<Option<ArchiveError>, ArchiveError> {
        let mut days: BTreeMap<Day, Vec<Archive>> = BTreeMap::new();
        for state in [ArchiveState::Verified, ArchiveState::Dropping] {
            for archive in self.archives.catalog(&ArchivePage::in_state(state)).await? {
                if archive.day.end() <= before {
                    days.entry(archive.day).or_default().push(archive);
                }
            }
        }
        let restored = ArchivePage::in_state(ArchiveState::Restored);
        for archive in self.archives.catalog(&restored).await? {
            days.remove(&archive.day);
        }
        let all: Vec<Day> = days.keys().copied().collect();
        let mut damaged = None;
        for group in self.archives.droppable(&all).await? {
            if let Err(error) = self.drop_group(&group, &days).await {
                damaged = damaged.or(Some(only_damage(error)?));
            }
        }
        Ok(damaged)
    }

    async fn drop_group(
        &self,
        group: &[Day],
        days: &BTreeMap<Day, Vec<Archive>>,
    ) -> Result<(), ArchiveError> {
        for day in group {
            let objects = days.get(day).map(Vec::as_slice).unwrap_or_default();
            let begun = objects
                .iter()
                .all(|archive| archive.state == ArchiveState::Dropping);
            if !begun && !self.is_archived(*day, objects).await? {
                return Ok(());
            }
        }
        let (verified, dropping) = (ArchiveState::Verified, ArchiveState::Dropping);
        for day in group {
            self.archives
                .advance(*day, verified, dropping, self.clock.now())
                .await?;
        }
        match self.archives.drop_days(group, self.clock.now()).await? {
            Dropped::Done => {
                self.status.days_dropped.inc_by(group.len() as u64);
                for day in group {
                    tracing::info!(%day, "an archived day was dropped from the database");
                }
            }
            Dropped::Changed => {
                for day in group {
                    tracing::info!(%day, "a day changed while it was to be dropped, and stays for now");
                    self.archives
                        .advance(*day, dropping, verified, self.clock.now())
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Whether all that the database holds of `day` is in its verified objects. What came late is archived now, what does
    /// not agree is to be archived anew; the day is dropped another time.
    async fn is_archived(&self, day: Day, objects: &[Archive]) -> Result<bool, ArchiveError> {
        let Some(up_to) = objects.iter().map(|archive| archive.up_to).max() else {
            return Ok(false);
        };
        let (mut rows, mut checksum) = (0, RowsChecksum::default());
        for contents in objects.iter().filter_map(|archive| archive.contents) {
            rows += contents.rows;
            checksum.add(contents.checksum);
        }
        let span = Span {
            day,
            after: None,
            up_to,
        };
        let stored = self.checksum(&span).await?;
        let counted = self.archives.count(&span).await?;
        if (stored.rows, stored.checksum) != (rows, checksum) || counted != rows {
            tracing::warn!(%day, archived = rows, stored = counted,
                "the database does not hold what was archived of a day, which is archived anew");
            self.archives
                .advance(
                    day,
                    ArchiveState::Verified,
                    ArchiveState::Dropped,
                    self.clock.now(),
                )
                .await?;
            return Ok(false);
        }
        let late = Span {
            day,
            after: Some(up_to),
            up_to: LAST,
        };
        if self.archives.page(&late, None, 1).await?.is_empty() {
            return Ok(true);
        }
        if let Exported::Rows(rows) = self.export(day, Some(up_to)).await? {
            tracing::info!(%day, rows, "readings that came after their day was archived were archived, too");
        }
        Ok(false)
    }

    /// Of what the database holds.
    async fn checksum(&self, span: &Span) -> Result<RowHasher, ArchiveError> {
        let mut hasher = RowHasher::default();
        let mut cursor = None;
        loop {
            let began = Instant::now();
            let page = self.archives.page(span, cursor, self.sizes.group).await?;
            let Some((series, point)) = page.last() else {
                return Ok(hasher);
            };
            cursor = Some((*series, point.time));
            let rows = self.named(page).await?;
            hasher = blocking(move || {
                let hashes: Vec<SeriesHash> = rows.names.iter().map(SeriesHash::new).collect();
                for (name, point) in &rows.readings {
                    hasher.add(&hashes[*name], point);
                }
                Ok::<_, String>(hasher)
            })
            .await?;
            pause(began).await;
        }
    }
}

/// Gives way to others for as long as the work took.
pub(super) async fn pause(began: Instant) {
    tokio::time::sleep(began.elapsed().min(PAUSE)).await;
}

/// Work that takes its time, away from the thread that others wait for. A panic in it is an error like any other.
pub(super) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ArchiveError>
where
    T: Send + 'static,
    E: ToString + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(internal),
        Err(error) => Err(internal(error)),
    }
}

fn internal(error: impl ToString) -> ArchiveError {
    ArchiveError::Internal(error.to_string())
}

/// An error that concerns one day alone.
fn only_damage(error: ArchiveError) -> Result<ArchiveError, ArchiveError> {
    match error {
        ArchiveError::Damaged { .. } | ArchiveError::Missing { .. } | ArchiveError::Internal(_) => {
            tracing::error!(%error, "a day could not be archived");
            Ok(error)
        }
        error => Err(error),
    }
}

pub(super) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}
