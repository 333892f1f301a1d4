//! Names to numbers: each (sensor, metric) is resolved once, at the edge.
//!
//! Invariants:
//! - A number is given once, to one name, by whatever instance: numbers come from the database in blocks. Once the name is stored
//!   with it, it never changes. Before, it is *provisional*: see [`refresh`].
//! - A definition travels with every batch that uses it until one of those has committed, so that what has a provisional number
//!   commits with its name or not at all.
//! - Which shard a sensor belongs to depends on its id alone.
//!
//! Fails with [`Unresolved`] where a new sensor or series would pass its limit, or there are no numbers left; known ones go on.

mod homes;
mod name;
mod names;
mod numbers;
mod ours;
mod refresh;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};
use smallvec::SmallVec;
use tokio::sync::Notify;
use twox_hash::XxHash64;

use self::names::{Names, Sensor, Series};
use crate::decode::RawTags;
use crate::domain::{MetricName, SensorId, SensorKey, SeriesId, Tags};
use crate::prefetch::prefetch;
use crate::storage::{Numbers, SensorDefinition, SeriesDefinition};

pub use self::homes::{HomeId, Tenure};
pub use self::name::SeriesName;
pub use self::numbers::FIRST_NUMBERS;

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

/// Why a name was not resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    #[error("there are {0} sensors already, the limit (limits.sensors)")]
    TooManySensors(usize),
    #[error("the sensor has {0} metrics already, the limit (limits.series_per_sensor)")]
    TooManySeries(usize),
    /// There will be some: come again.
    #[error("there are no numbers for new sensors at the moment")]
    NoNumbers,
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

/// What was looked at, kept or not; fewer than the limit at the end.
#[derive(Debug, Clone, Copy)]
pub struct NamesPage {
    pub last: Option<SensorKey>,
    pub count: usize,
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
    /// Whether there may be other instances; asked without the lock.
    shared: AtomicBool,
    numbers_low: Notify,
}

/// See [`Registry::reader`].
pub struct Reader<'r>(RwLockReadGuard<'r, Names>);

/// Most likely where a sensor is, by the hash of its id.
#[derive(Debug, Clone, Copy)]
pub struct Guess(Option<u32>);

impl Reader<'_> {
    /// Guesses where some sensors are, and asks memory for what [`Self::lookup`] will need of them. A step for all of them
    /// follows the other, so that they wait for memory together: with 100,000 sensors that saves 0.1 µs a reading.
    pub fn guess<'s>(&self, sensors: impl Iterator<Item = &'s str>) -> SmallVec<[Guess; AT_ONCE]> {
        let names = &*self.0;
        let guesses: SmallVec<_> = sensors.map(|sensor| Guess(names.guess(sensor))).collect();
        let entries = || guesses.iter().filter_map(|guess: &Guess| names.at(guess.0?));
        entries().for_each(prefetch);
        entries().for_each(|entry| prefetch(entry.id.as_str()));
        guesses
    }

    /// The numbers of a known series, where neither tags nor unit nor home bring news.
    pub fn lookup(
        &self,
        guess: Guess,
        sensor: &str,
        metric: &str,
        unit: Option<&str>,
        tags: Option<&RawTags<'_>>,
        home: HomeId,
    ) -> Option<Resolved> {
        self.0.lookup(guess.0, sensor, metric, unit, tags, home)
    }
}

/// The shard of a sensor among `shards`.
pub fn shard_of(sensor: &str, shards: u16) -> u16 {
    (XxHash64::oneshot(0, sensor.as_bytes()) % u64::from(shards.max(1))) as u16
}

impl Registry {
    /// Knows what is stored. It has no numbers to give yet: see [`Self::add_numbers`].
    pub fn new(
        limits: RegistryLimits,
        shards: u16,
        sensors: Vec<SensorDefinition>,
        series: Vec<SeriesDefinition>,
    ) -> Self {
        let registry = Self {
            limits,
            shards,
            names: RwLock::default(),
            version: AtomicU64::new(0),
            shared: AtomicBool::new(false),
            numbers_low: Notify::new(),
        };
        registry.refresh(sensors, series);
        registry
    }

    pub fn add_numbers(&self, numbers: Numbers) {
        self.names.write().given.add(numbers);
    }

    /// Resolves when more numbers should be fetched, with how many.
    pub async fn numbers_low(&self) -> u32 {
        loop {
            self.numbers_low.notified().await;
            let names = self.names.read();
            if names.given.are_low() {
                return names.given.next_block();
            }
        }
    }

    /// Grows with every new sensor or series and every change of tags, units or numbers, whoever made it. Whoever reads
    /// names after it sees at least those changes.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Called under the lock, so before what is new can be seen.
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
        home: HomeId,
    ) -> Result<Resolved, Unresolved> {
        let mut names = self.names.write();
        let names = &mut *names;
        let new_sensor = names.named(sensor.as_str()).is_none();
        let new_series = names
            .named(sensor.as_str())
            .is_none_or(|entry| entry.series.iter().all(|series| series.metric != *metric));
        if new_series {
            if new_sensor && names.len() >= self.limits.sensors {
                return Err(Unresolved::TooManySensors(self.limits.sensors));
            }
            let many = names.named(sensor.as_str()).map_or(0, |entry| entry.series.len());
            if many >= self.limits.series_per_sensor {
                return Err(Unresolved::TooManySeries(self.limits.series_per_sensor));
            }
            self.define_new(names, sensor, metric, home)?;
        }
        let unit = unit.map(|unit| names.shared_unit(unit));
        let mut strayed = false;
        let Some(entry) = names.named_mut(sensor.as_str()) else {
            unreachable!("it was made where it was missing")
        };
        if let Some(raw) = tags {
            entry.raw_tags = Some(raw.as_str().into());
            let tags = raw.parse();
            if entry.tags != tags {
                entry.tags = tags;
                entry.described = false;
                self.news();
            }
        }
        if home != HomeId::NONE && home != entry.home && entry.home != HomeId::SEVERAL {
            strayed = entry.home != HomeId::NONE;
            entry.home = if strayed { HomeId::SEVERAL } else { home };
            entry.described = false;
        }
        let Some(at) = entry.series.iter().position(|series| series.metric == *metric) else {
            unreachable!("it was made where it was missing")
        };
        let series = &mut entry.series[at];
        if let Some(unit) = unit
            && series.unit.as_ref() != Some(&unit)
        {
            series.unit = Some(unit);
            series.saved = false;
            self.news();
        }
        let resolved = entry.resolved(&entry.series[at]);
        if strayed {
            refresh::warn_of_strayed(sensor);
        }
        Ok(resolved)
    }

    /// Gives numbers to a series, and to its sensor if that is new, too.
    fn define_new(
        &self,
        names: &mut Names,
        sensor: &SensorId,
        metric: &MetricName,
        home: HomeId,
    ) -> Result<(), Unresolved> {
        if names.given.is_empty() {
            self.numbers_low.notify_one();
            return Err(Unresolved::NoNumbers);
        }
        self.news();
        if names.named(sensor.as_str()).is_none()
            && let Some(key) = names.given.sensor()
        {
            let shard = shard_of(sensor.as_str(), self.shards);
            names.add(Sensor::new(key, sensor.clone(), shard, home));
        }
        let metric = names.shared_metric(metric);
        if let Some(id) = names.given.series()
            && let Some(entry) = names.named_mut(sensor.as_str())
        {
            entry.series.push(Series {
                id,
                saved: false,
                metric,
                unit: None,
            });
            let key = entry.key;
            names.series.insert(id, key);
        }
        if names.given.are_low() {
            self.numbers_low.notify_one();
        }
        Ok(())
    }

    /// The definitions of a series and its sensor, to be stored with a batch. `None` where its number was provisional and
    /// another one is stored: what was resolved to it is to be resolved anew.
    pub fn define(&self, series: SeriesId) -> Option<(SensorDefinition, SeriesDefinition)> {
        let names = self.names.read();
        let (sensor, info) = names.find(series)?;
        Some((
            SensorDefinition {
                key: sensor.key,
                id: sensor.id.clone(),
                tags: sensor.tags.clone(),
                home: names.homes.home(sensor.home),
            },
            SeriesDefinition {
                id: series,
                sensor: sensor.key,
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
            let home = definition
                .home
                .as_ref()
                .map_or(HomeId::NONE, |home| names.homes.number(home));
            if let Some(sensor) = names.sensor_mut(definition.key) {
                sensor.saved = true;
                sensor.described |= sensor.tags == definition.tags && sensor.home == home;
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
        let (sensor, info) = names.find(series)?;
        Some(SeriesName {
            series,
            key: sensor.key,
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
        let (sensor, info) = names.find(series)?;
        Some((sensor.id.clone(), info.metric.clone(), sensor.tags.clone()))
    }

    pub fn sensor(&self, key: SensorKey) -> Option<SensorInfo> {
        Some(self.names.read().sensor(key)?.info())
    }

    pub fn sensor_named(&self, id: &str) -> Option<SensorInfo> {
        Some(self.names.read().named(id)?.info())
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
        names
            .from(SensorKey(first))
            .filter(|sensor| keep(sensor.id.as_str(), &sensor.tags))
            .take(limit)
            .map(Sensor::info)
            .collect()
    }

    /// Shows some of what [`Self::list`] lists, without copies. Nothing may be asked of the registry meanwhile.
    pub fn names(
        &self,
        after: Option<SensorKey>,
        limit: usize,
        keep: impl Fn(&str, &Tags) -> bool,
        mut show: impl FnMut(SensorKey, &str, &Tags),
    ) -> NamesPage {
        let names = self.names.read();
        let first = after.map_or(0, |key| key.0.saturating_add(1));
        let mut page = NamesPage {
            last: after,
            count: 0,
        };
        for sensor in names.from(SensorKey(first)).take(limit) {
            page.last = Some(sensor.key);
            page.count += 1;
            if keep(sensor.id.as_str(), &sensor.tags) {
                show(sensor.key, sensor.id.as_str(), &sensor.tags);
            }
        }
        page
    }

    /// How many sensors and series there are of which it is known that they are stored.
    pub fn stored_size(&self) -> (u64, u64) {
        let names = self.names.read();
        let stored = names.all().filter(|sensor| sensor.saved);
        stored.fold((0, 0), |(sensors, series), sensor| {
            let saved = sensor.series.iter().filter(|series| series.saved).count();
            (sensors + 1, series + saved as u64)
        })
    }

    /// How many sensors and series there are.
    pub fn size(&self) -> (usize, usize) {
        let names = self.names.read();
        (names.len(), names.series.len())
    }
}

#[cfg(test)]
mod tests;
