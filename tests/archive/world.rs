//! What the tests of the archive share: days full of readings, a clock, a place for objects that fails when it is told to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use sensorhive::archive::restore::{Candidate, Ended, Outcome, Terms, find, named, restore, verify};
use sensorhive::archive::{
    ArchiveError, ArchiveStatus, Archiver, Limits, Objects, RowHasher, SeriesHash, Sizes,
};
use sensorhive::clock::{Clock, ManualClock, SystemClock};
use sensorhive::domain::*;
use sensorhive::storage::archives::*;
use sensorhive::storage::*;

use crate::support::*;

pub const SERIES: u32 = 6;
const DAY: i64 = 86_400_000_000;

/// A day so many days before today. Native partitions begin 30 days before the database was made.
pub fn day(ago: i64) -> Day {
    Day::of(SystemClock.now().saturating_sub(ago * DAY))
}

/// The day `n` days after.
pub fn after(day: Day, n: i64) -> Day {
    Day::of(day.start().saturating_add(n * DAY))
}

/// A store with [`SERIES`] series, which has given the numbers of the batches that tests commit.
pub async fn filled<F: Fixture>(fixture: &F) -> F::Store {
    let store = opened(fixture, SERIES).await;
    store.reserve_batches(1_000).await.unwrap();
    store
}

/// As `assert_eq`, for rows by the hundred: of which it tells the first that differs.
macro_rules! assert_same {
    ($left:expr, $right:expr) => {{
        let (left, right) = (&$left[..], &$right[..]);
        let first = left.iter().zip(right).find(|(a, b)| a != b);
        let lengths = (left.len(), right.len());
        assert!(
            first.is_none() && lengths.0 == lengths.1,
            "{lengths:?} rows, {first:?}"
        );
    }};
}
pub(crate) use assert_same;

/// A batch of readings with a complete snapshot of every sensor, as they are when nobody is behind.
pub fn settled(number: u64, readings: &[(u32, i64, f64)]) -> CompleteBatch {
    let mut outcome = rows(readings);
    for sensor in 0..SERIES.div_ceil(2) {
        outcome.snapshots.push(Snapshot {
            sensor: SensorKey(sensor),
            seq: BatchNumber(number).end(),
            state: vec![1, 2, 3],
            deadline: None,
            complete: true,
        });
    }
    batch(number, outcome)
}

/// `each` readings of every series on `day`, different ones for each `salt`.
pub fn readings(day: Day, each: i64, salt: i64) -> Vec<(u32, i64, f64)> {
    let step = DAY / each;
    let reading = |n: i64, series: u32| {
        let value = (n * 31 + salt) as f64 / 7.0 - f64::from(series);
        (series, day.start().0 + n * step + salt, value)
    };
    (0..each)
        .flat_map(|n| (0..SERIES).map(move |series| reading(n, series)))
        .collect()
}

/// Everything stored, in every detail.
pub async fn everything_stored(store: &impl Store) -> Vec<(u32, i64, f64, u64, u8)> {
    let mut all = Vec::new();
    for series in 0..SERIES {
        let points = store.readings(SeriesId(series), &everything()).await.unwrap();
        all.extend(
            points
                .iter()
                .map(|point| (series, point.time.0, point.value, point.seq.0, point.flags.0)),
        );
    }
    all
}

pub fn of_day(all: &[(u32, i64, f64, u64, u8)], day: Day) -> Vec<(u32, i64, f64, u64, u8)> {
    all.iter()
        .filter(|row| day.contains(Timestamp(row.1)))
        .copied()
        .collect()
}

/// The checksum of what the store holds of a day, worked out from what is read over its history.
pub async fn checksum(store: &impl Store, day: Day) -> (u64, RowsChecksum) {
    let (sensors, series) = store.load_registry(&Scope::All).await.unwrap();
    let mut hasher = RowHasher::default();
    for series in series {
        let sensor = sensors.iter().find(|sensor| sensor.key == series.sensor).unwrap();
        let hash = SeriesHash::new(&SeriesName {
            sensor: sensor.id.clone(),
            tags: sensor.tags.clone(),
            metric: series.metric,
            unit: series.unit,
        });
        for point in store.readings(series.id, &everything()).await.unwrap() {
            if day.contains(point.time) {
                hasher.add(&hash, &point);
            }
        }
    }
    (hasher.rows, hasher.checksum)
}

pub async fn catalog(store: &impl Store) -> Vec<Archive> {
    let archives = store.archives().unwrap();
    archives.catalog(&ArchivePage::all()).await.unwrap()
}

/// Day, part and state of every object, oldest first.
pub async fn states(store: &impl Store) -> Vec<(Day, u32, ArchiveState)> {
    let mut states: Vec<_> = catalog(store)
        .await
        .iter()
        .map(|archive| (archive.day, archive.part, archive.state))
        .collect();
    states.reverse();
    states
}

/// An archive, and the clock it goes by.
pub struct World {
    pub place: Arc<Place>,
    /// Instead of `place`.
    pub elsewhere: Option<Objects>,
    pub clock: ManualClock,
    pub limits: Limits,
    pub status: Arc<ArchiveStatus>,
}

impl World {
    /// Archives after a day, drops after three.
    pub fn new() -> Self {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        Self {
            place: Arc::default(),
            elsewhere: None,
            clock: ManualClock::new(SystemClock.now()),
            limits: Limits {
                after: days(1),
                retention: Some(days(3)),
            },
            status: Arc::default(),
        }
    }

    /// So many days after `day` has ended.
    pub fn set(&self, day: Day, days: i64) {
        let time = day.end().saturating_add(days * DAY);
        self.clock.advance(time.since(self.clock.now()));
    }

    pub fn objects(&self) -> Objects {
        let memory = || Objects::new(self.place.clone(), "memory");
        self.elsewhere.clone().unwrap_or_else(memory)
    }

    /// Small pieces, so that a day has many.
    pub fn archiver(&self) -> Archiver {
        Archiver::with_objects(self.objects(), self.limits, self.status.clone()).sizes(Sizes {
            group: 7,
            rows: 1 << 20,
            bytes: 1 << 20,
        })
    }

    pub async fn try_run(&self, store: &impl Store) -> std::result::Result<(), ArchiveError> {
        let archives = store.archives().unwrap();
        self.archiver().run(archives, &self.clock).await
    }

    pub async fn run(&self, store: &impl Store) {
        self.try_run(store).await.unwrap();
    }

    /// Brings days back; `alone` as if no service ran.
    pub async fn restore(
        &self,
        store: &impl Store,
        (from, to): (Day, Day),
        keep: Option<i64>,
        alone: bool,
    ) -> std::result::Result<Vec<Outcome>, String> {
        let candidates = find(&self.objects(), store.archives().unwrap(), from, to).await;
        let mut outcomes = Vec::new();
        for candidate in candidates.unwrap() {
            outcomes.push(self.restore_one(store, candidate, keep, alone).await?);
        }
        Ok(outcomes)
    }

    /// Brings one object back.
    pub async fn restore_object(&self, store: &impl Store, object: &str) -> Outcome {
        let candidate = named(store.archives().unwrap(), object).await.unwrap();
        self.restore_one(store, candidate, None, false).await.unwrap()
    }

    async fn restore_one(
        &self,
        store: &impl Store,
        candidate: Candidate,
        keep: Option<i64>,
        alone: bool,
    ) -> std::result::Result<Outcome, String> {
        let terms = Terms {
            now: self.clock.now(),
            keep_until: keep.map(|days| self.clock.now().saturating_add(days * DAY)),
            alone,
        };
        let verified = verify(&self.objects(), candidate).await;
        let verified = verified.map_err(|error| error.to_string())?;
        match restore(store.archives().unwrap(), verified, terms, |_| {})
            .await
            .unwrap()
        {
            Ended::Restored(outcome) => Ok(outcome),
            Ended::NotAlone(why) => Err(why),
        }
    }
}

/// A place in memory that fails or damages what it is asked for.
#[derive(Debug, Default)]
pub struct Place {
    inner: InMemory,
    pub refuses_writes: AtomicBool,
    pub damages_reads: AtomicBool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic {
        store: "memory",
        source: "as planned".into(),
    }
}

#[async_trait]
impl ObjectStore for Place {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.refuses_writes.load(Ordering::Relaxed) {
            return Err(broken());
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let mut answer = self.inner.get_opts(location, options).await?;
        if !head && self.damages_reads.load(Ordering::Relaxed) {
            let whole = self.inner.get_opts(location, GetOptions::default()).await?;
            let mut bytes = whole.bytes().await?.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let stream = futures_util::stream::once(async move { Ok(bytes.into()) });
            answer.payload = GetResultPayload::Stream(Box::pin(stream));
        }
        Ok(answer)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
