//! Names to numbers: each (sensor, metric) is resolved once, at the edge.
//!
//! Invariants: a number is given once and never changes. A definition travels with every batch that uses it until one of
//! those has committed, so nothing special happens after a rewind. Which shard a sensor belongs to depends on its id alone.
//!
//! Fails with [`LimitReached`] where a new sensor or series would pass its limit; known ones go on.

mod name;

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use twox_hash::XxHash64;

pub use self::name::SeriesName;
use crate::decode::RawTags;
use crate::domain::{MetricName, SensorId, SensorKey, SeriesId, Tags};
use crate::prefetch::prefetch;
use crate::storage::{SensorDefinition, SeriesDefinition};

/// How many lookups make a good group for [`Reader::guess`].
pub const AT_ONCE: usize = 32;

/// The numbers of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    pub sensor: SensorKey,
    pub series: SeriesId,
    pub shard: u16,
    /// Whether the sensor's row is known to be in the database. Without it the sensor was never seen before.
    pub sensor_saved: bool,
    /// Whether the series' row and newest tags and unit are, too.
    pub saved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    #[error("there are {0} sensors already, the limit (limits.sensors)")]
    Sensors(usize),
    #[error("the sensor has {0} metrics already, the limit (limits.series_per_sensor)")]
    SeriesPerSensor(usize),
}

/// A sensor as the registry knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorInfo {
    pub key: SensorKey,
    pub id: SensorId,
    pub shard: u16,
    pub tags: Tags,
    pub series: Vec<(MetricName, SeriesId)>,
    pub saved: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct RegistryLimits {
    pub sensors: usize,
    pub series_per_sensor: usize,
}

pub struct Registry {
    limits: RegistryLimits,
    shards: u16,
    names: RwLock<Names>,
    version: AtomicU64,
}

/// Laid out for [`Reader::lookup`], which most readings go through once: with many sensors, what it costs is how many places in
/// memory it touches.
#[derive(Default)]
struct Names {
    /// Keys by the hash of their id; the ids are in `sensors`.
    by_id: HashTable<SensorKey>,
    /// Seeded, because ids come from outside.
    hasher: RandomState,
    /// By key. A number that belongs to no sensor has an empty place.
    sensors: Vec<Option<Sensor>>,
    series: FxHashMap<SeriesId, SensorKey>,
    /// Many sensors measure the same: they share its name and its unit.
    metrics: HashSet<MetricName, RandomState>,
    units: HashSet<Arc<str>, RandomState>,
    next_series: u32,
}

struct Sensor {
    id: SensorId,
    shard: u16,
    saved: bool,
    tags_saved: bool,
    /// Few; looked through in order.
    series: SmallVec<[Series; 1]>,
    tags: Tags,
    /// The tags as they last came, so that the same text need not be parsed again.
    raw_tags: Option<Box<str>>,
}

struct Series {
    id: SeriesId,
    saved: bool,
    metric: MetricName,
    unit: Option<Arc<str>>,
}

/// See [`Registry::reader`].
pub struct Reader<'r>(RwLockReadGuard<'r, Names>);

/// Most likely the key of a sensor, by the hash of its id.
#[derive(Debug, Clone, Copy)]
pub struct Guess(Option<SensorKey>);

impl Reader<'_> {
    /// Guesses the keys of some sensors, and asks memory for what [`Self::lookup`] will need of them. A step for all of them
    /// follows the other, so that they wait for memory together: with 100,000 sensors that saves 0.1 µs a reading.
    pub fn guess<'s>(&self, sensors: impl Iterator<Item = &'s str>) -> SmallVec<[Guess; AT_ONCE]> {
        let names = &*self.0;
        let guesses: SmallVec<_> = sensors.map(|sensor| names.guess(sensor)).collect();
        let entries = || guesses.iter().filter_map(|guess: &Guess| names.sensor(guess.0?));
        entries().for_each(prefetch);
        entries().for_each(|entry| prefetch(entry.id.as_str()));
        guesses
    }

    /// The numbers of a known series, where neither tags nor unit bring news.
    pub fn lookup(
        &self,
        guess: Guess,
        sensor: &str,
        metric: &str,
        unit: Option<&str>,
        tags: Option<&RawTags<'_>>,
    ) -> Option<Resolved> {
        let named = |key: &SensorKey| {
            self.0
                .sensor(*key)
                .is_some_and(|entry| entry.id.as_str() == sensor)
        };
        let key = guess.0.filter(named).or_else(|| self.0.key(sensor))?;
        let entry = self.0.sensor(key)?;
        let series = entry
            .series
            .iter()
            .find(|series| series.metric.as_str() == metric)?;
        let same_unit = unit.is_none() || series.unit.as_deref() == unit;
        let same_tags = tags.is_none_or(|tags| entry.raw_tags.as_deref() == Some(tags.as_str()));
        (same_unit && same_tags).then(|| entry.resolved(key, series))
    }
}

/// The shard of a sensor among `shards`.
pub fn shard_of(sensor: &str, shards: u16) -> u16 {
    (XxHash64::oneshot(0, sensor.as_bytes()) % u64::from(shards.max(1))) as u16
}

impl Registry {
    pub fn new(
        limits: RegistryLimits,
        shards: u16,
        sensors: Vec<SensorDefinition>,
        series: Vec<SeriesDefinition>,
    ) -> Self {
        let mut names = Names {
            next_series: 1,
            ..Default::default()
        };
        for SensorDefinition { key, id, tags } in sensors {
            let shard = shard_of(id.as_str(), shards);
            let mut sensor = Sensor::new(id, shard, tags);
            (sensor.saved, sensor.tags_saved) = (true, true);
            names.add(key, sensor);
        }
        for SeriesDefinition {
            id,
            sensor,
            metric,
            unit,
        } in series
        {
            names.next_series = names.next_series.max(id.0 + 1);
            let series = Series {
                id,
                saved: true,
                metric: shared(&mut names.metrics, &metric),
                unit: unit.map(|unit| shared(&mut names.units, &Arc::from(unit))),
            };
            if let Some(owner) = names.sensor_mut(sensor) {
                owner.series.push(series);
                names.series.insert(id, sensor);
            }
        }
        Self {
            limits,
            shards,
            names: RwLock::new(names),
            version: AtomicU64::new(0),
        }
    }

    /// Grows with every new series and every change of tags or units. Whoever reads names after it sees at least those changes.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Called under the lock, before what is new can be seen.
    fn news(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Keeps everybody from writing; for many lookups in a row, without a lock each. Nothing else may be asked of the registry
    /// meanwhile.
    pub fn reader(&self) -> Reader<'_> {
        Reader(self.names.read())
    }

    /// The numbers of a series, given now if it is new. Newer tags and units replace older ones.
    pub fn resolve(
        &self,
        sensor: &SensorId,
        metric: &MetricName,
        unit: Option<&str>,
        tags: Option<&RawTags<'_>>,
    ) -> Result<Resolved, LimitReached> {
        let mut names = self.names.write();
        let names = &mut *names;
        let key = match names.key(sensor.as_str()) {
            Some(key) => key,
            None => {
                if names.by_id.len() >= self.limits.sensors {
                    return Err(LimitReached::Sensors(self.limits.sensors));
                }
                let key = SensorKey(u32::try_from(names.sensors.len()).unwrap_or(u32::MAX).max(1));
                let shard = shard_of(sensor.as_str(), self.shards);
                names.add(key, Sensor::new(sensor.clone(), shard, Tags::new()));
                key
            }
        };
        let Some(Some(entry)) = names.sensors.get_mut(key.0 as usize) else {
            unreachable!("every key of by_id is in sensors")
        };
        if let Some(raw) = tags {
            entry.raw_tags = Some(raw.as_str().into());
            let tags = raw.parse();
            if entry.tags != tags {
                entry.tags = tags;
                entry.tags_saved = false;
                self.news();
            }
        }
        let at = match entry.series.iter().position(|series| series.metric == *metric) {
            Some(at) => at,
            None => {
                if entry.series.len() >= self.limits.series_per_sensor {
                    return Err(LimitReached::SeriesPerSensor(self.limits.series_per_sensor));
                }
                let id = SeriesId(names.next_series);
                names.next_series += 1;
                self.news();
                names.series.insert(id, key);
                entry.series.push(Series {
                    id,
                    saved: false,
                    metric: shared(&mut names.metrics, metric),
                    unit: None,
                });
                entry.series.len() - 1
            }
        };
        let series = &mut entry.series[at];
        if let Some(unit) = unit
            && series.unit.as_deref() != Some(unit)
        {
            series.unit = Some(shared(&mut names.units, &Arc::from(unit)));
            series.saved = false;
            self.news();
        }
        Ok(entry.resolved(key, &entry.series[at]))
    }

    /// The definitions of a series and its sensor, to be stored with a batch.
    pub fn define(&self, series: SeriesId) -> Option<(SensorDefinition, SeriesDefinition)> {
        let names = self.names.read();
        let (key, sensor, info) = names.find(series)?;
        Some((
            SensorDefinition {
                key,
                id: sensor.id.clone(),
                tags: sensor.tags.clone(),
            },
            SeriesDefinition {
                id: series,
                sensor: key,
                metric: info.metric.clone(),
                unit: info.unit.as_deref().map(str::to_owned),
            },
        ))
    }

    /// A batch with these definitions has committed. What changed meanwhile stays unsaved.
    pub fn mark_saved(&self, sensors: &[SensorDefinition], series: &[SeriesDefinition]) {
        if sensors.is_empty() && series.is_empty() {
            return;
        }
        let mut names = self.names.write();
        for definition in sensors {
            if let Some(sensor) = names.sensor_mut(definition.key) {
                sensor.saved = true;
                sensor.tags_saved |= sensor.tags == definition.tags;
            }
        }
        for definition in series {
            let sensor = names.sensor_mut(definition.sensor);
            let of = |series: &&mut Series| series.id == definition.id;
            if let Some(series) = sensor.and_then(|sensor| sensor.series.iter_mut().find(of)) {
                series.saved |= series.unit.as_deref() == definition.unit.as_deref();
            }
        }
    }

    pub fn name(&self, series: SeriesId) -> Option<SeriesName> {
        let names = self.names.read();
        let (key, sensor, info) = names.find(series)?;
        Some(SeriesName {
            series,
            key,
            sensor: sensor.id.clone(),
            metric: info.metric.clone(),
            unit: info.unit.as_deref().map(str::to_owned),
        })
    }

    pub fn sensor_of(&self, series: SeriesId) -> Option<SensorKey> {
        self.names.read().series.get(&series).copied()
    }

    /// What a series is matched by.
    pub fn naming(&self, series: SeriesId) -> Option<(SensorId, MetricName, Tags)> {
        let names = self.names.read();
        let (_, sensor, info) = names.find(series)?;
        Some((sensor.id.clone(), info.metric.clone(), sensor.tags.clone()))
    }

    pub fn sensor(&self, key: SensorKey) -> Option<SensorInfo> {
        self.names.read().info(key)
    }

    pub fn sensor_named(&self, id: &str) -> Option<SensorInfo> {
        let names = self.names.read();
        names.info(names.key(id)?)
    }

    pub fn sensor_id(&self, key: SensorKey) -> Option<SensorId> {
        Some(self.names.read().sensor(key)?.id.clone())
    }

    /// Whether a batch with the sensor's definition has committed.
    pub fn is_saved(&self, key: SensorKey) -> bool {
        self.names.read().sensor(key).is_some_and(|sensor| sensor.saved)
    }

    pub fn shard_of_key(&self, key: SensorKey) -> Option<u16> {
        Some(self.names.read().sensor(key)?.shard)
    }

    /// Sensors with a key above `after`, in order of their keys, that `keep` keeps.
    pub fn list(
        &self,
        after: Option<SensorKey>,
        limit: usize,
        keep: impl Fn(&str, &Tags) -> bool,
    ) -> Vec<SensorInfo> {
        let names = self.names.read();
        let first = after.map_or(0, |key| key.0.saturating_add(1));
        (0..)
            .zip(&names.sensors)
            .skip(first as usize)
            .filter_map(|(key, sensor)| {
                let sensor = sensor.as_ref()?;
                keep(sensor.id.as_str(), &sensor.tags).then(|| sensor.info(SensorKey(key)))
            })
            .take(limit)
            .collect()
    }

    /// How many sensors and series there are.
    pub fn size(&self) -> (usize, usize) {
        let names = self.names.read();
        (names.by_id.len(), names.series.len())
    }
}

impl Sensor {
    /// One that is not stored yet.
    fn new(id: SensorId, shard: u16, tags: Tags) -> Self {
        Self {
            id,
            shard,
            saved: false,
            tags_saved: false,
            series: SmallVec::new(),
            tags,
            raw_tags: None,
        }
    }

    fn resolved(&self, key: SensorKey, series: &Series) -> Resolved {
        Resolved {
            sensor: key,
            series: series.id,
            shard: self.shard,
            sensor_saved: self.saved,
            saved: self.saved && self.tags_saved && series.saved,
        }
    }

    fn info(&self, key: SensorKey) -> SensorInfo {
        let series = self.series.iter();
        SensorInfo {
            key,
            id: self.id.clone(),
            shard: self.shard,
            tags: self.tags.clone(),
            series: series.map(|series| (series.metric.clone(), series.id)).collect(),
            saved: self.saved,
        }
    }
}

impl Names {
    fn add(&mut self, key: SensorKey, sensor: Sensor) {
        let at = key.0 as usize;
        if self.sensors.len() <= at {
            self.sensors.resize_with(at + 1, || None);
        }
        let hash = self.hasher.hash_one(sensor.id.as_str());
        self.sensors[at] = Some(sensor);
        let Names {
            by_id,
            hasher,
            sensors,
            ..
        } = self;
        let hash_of = |key: &SensorKey| {
            let sensor = sensors[key.0 as usize].as_ref();
            sensor.map_or(0, |sensor| hasher.hash_one(sensor.id.as_str()))
        };
        by_id.insert_unique(hash, key, hash_of);
    }

    fn key(&self, id: &str) -> Option<SensorKey> {
        let named = |key: &SensorKey| self.sensor(*key).is_some_and(|sensor| sensor.id.as_str() == id);
        self.by_id.find(self.hasher.hash_one(id), named).copied()
    }

    fn guess(&self, id: &str) -> Guess {
        Guess(self.by_id.iter_hash(self.hasher.hash_one(id)).next().copied())
    }

    fn sensor(&self, key: SensorKey) -> Option<&Sensor> {
        self.sensors.get(key.0 as usize)?.as_ref()
    }

    fn sensor_mut(&mut self, key: SensorKey) -> Option<&mut Sensor> {
        self.sensors.get_mut(key.0 as usize)?.as_mut()
    }

    fn find(&self, series: SeriesId) -> Option<(SensorKey, &Sensor, &Series)> {
        let key = *self.series.get(&series)?;
        let sensor = self.sensor(key)?;
        let info = sensor.series.iter().find(|info| info.id == series)?;
        Some((key, sensor, info))
    }

    fn info(&self, key: SensorKey) -> Option<SensorInfo> {
        Some(self.sensor(key)?.info(key))
    }
}

/// The one among `all` that equals `value`, which joins them if there is none.
fn shared<T: Clone + Eq + Hash>(all: &mut HashSet<T, RandomState>, value: &T) -> T {
    if let Some(known) = all.get(value) {
        return known.clone();
    }
    all.insert(value.clone());
    value.clone()
}

#[cfg(test)]
mod tests;
