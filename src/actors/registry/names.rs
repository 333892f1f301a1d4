//! The tables of the registry: who has which number.
//!
//! Laid out for [`Names::lookup`], which most readings go through once: with many sensors, what it costs is how many places in
//! memory it touches. Sensors lie one after the other, whatever their numbers, since instances take those by the block.
//!
//! Invariant: every place of `by_id` and `by_key` is one of `sensors`, and every series belongs to one of its sensor's.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::homes::{HomeId, Homes};
use super::numbers::Given;
use super::{Resolved, SensorInfo};
use crate::decode::RawTags;
use crate::domain::{MetricName, SensorId, SensorKey, SeriesId, Tags};

#[derive(Default)]
pub(super) struct Names {
    /// Places by the hash of their sensor's id.
    by_id: HashTable<u32>,
    /// Seeded, because ids come from outside.
    hasher: RandomState,
    sensors: Vec<Sensor>,
    /// In order, for those who go through them by the page.
    by_key: BTreeMap<SensorKey, u32>,
    pub series: FxHashMap<SeriesId, SensorKey>,
    /// Many sensors measure the same: they share its name and its unit.
    metrics: HashSet<MetricName, RandomState>,
    units: HashSet<Arc<str>, RandomState>,
    pub homes: Homes,
    pub given: Given,
}

pub(super) struct Sensor {
    pub key: SensorKey,
    pub home: HomeId,
    pub shard: u16,
    /// Its row is stored.
    pub saved: bool,
    /// With these tags and this home.
    pub described: bool,
    pub id: SensorId,
    /// Few; looked through in order.
    pub series: SmallVec<[Series; 1]>,
    pub tags: Tags,
    /// The tags as they last came, so that the same text need not be parsed again.
    pub raw_tags: Option<Box<str>>,
}

pub(super) struct Series {
    pub id: SeriesId,
    pub saved: bool,
    pub metric: MetricName,
    pub unit: Option<Arc<str>>,
}

impl Names {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn add(&mut self, sensor: Sensor) {
        let place = self.sensors.len() as u32;
        self.by_key.insert(sensor.key, place);
        let hash = self.hasher.hash_one(sensor.id.as_str());
        self.sensors.push(sensor);
        let Names {
            by_id,
            hasher,
            sensors,
            ..
        } = self;
        by_id.insert_unique(hash, place, |place| {
            hasher.hash_one(sensors[*place as usize].id.as_str())
        });
    }

    /// Gives the sensor another number, and forgets its series.
    pub fn renumber(&mut self, old: SensorKey, new: SensorKey) {
        let Some(place) = self.by_key.remove(&old) else {
            return;
        };
        self.by_key.insert(new, place);
        let sensor = &mut self.sensors[place as usize];
        sensor.key = new;
        for series in sensor.series.drain(..) {
            self.series.remove(&series.id);
        }
    }

    fn place(&self, id: &str) -> Option<u32> {
        let named = |place: &u32| self.sensors[*place as usize].id.as_str() == id;
        self.by_id.find(self.hasher.hash_one(id), named).copied()
    }

    pub fn named(&self, id: &str) -> Option<&Sensor> {
        Some(&self.sensors[self.place(id)? as usize])
    }

    pub fn named_mut(&mut self, id: &str) -> Option<&mut Sensor> {
        let place = self.place(id)?;
        Some(&mut self.sensors[place as usize])
    }

    /// Most likely where the sensor is.
    pub fn guess(&self, id: &str) -> Option<u32> {
        self.by_id.iter_hash(self.hasher.hash_one(id)).next().copied()
    }

    pub fn at(&self, place: u32) -> Option<&Sensor> {
        self.sensors.get(place as usize)
    }

    /// The numbers of a known series, where neither tags nor unit nor home bring news.
    #[inline]
    pub fn lookup(
        &self,
        guess: Option<u32>,
        sensor: &str,
        metric: &str,
        unit: Option<&str>,
        tags: Option<&RawTags<'_>>,
        home: HomeId,
    ) -> Option<Resolved> {
        let guessed = guess.and_then(|place| self.at(place));
        let entry = match guessed.filter(|entry| entry.id.as_str() == sensor) {
            Some(entry) => entry,
            None => self.named(sensor)?,
        };
        let series = entry
            .series
            .iter()
            .find(|series| series.metric.as_str() == metric)?;
        let same_unit = unit.is_none() || series.unit.as_deref() == unit;
        let same_tags = tags.is_none_or(|tags| entry.raw_tags.as_deref() == Some(tags.as_str()));
        let same_home = entry.home == home || home == HomeId::NONE || entry.home == HomeId::SEVERAL;
        (same_home && same_unit && same_tags).then(|| entry.resolved(series))
    }

    pub fn sensor(&self, key: SensorKey) -> Option<&Sensor> {
        self.at(*self.by_key.get(&key)?)
    }

    pub fn sensor_mut(&mut self, key: SensorKey) -> Option<&mut Sensor> {
        let place = *self.by_key.get(&key)?;
        self.sensors.get_mut(place as usize)
    }

    /// In no order.
    pub fn all(&self) -> impl Iterator<Item = &Sensor> {
        self.sensors.iter()
    }

    /// Those with a key of at least `first`, in order of their keys.
    pub fn from(&self, first: SensorKey) -> impl Iterator<Item = &Sensor> {
        self.by_key
            .range(first..)
            .map(|(_, place)| &self.sensors[*place as usize])
    }

    pub fn find(&self, series: SeriesId) -> Option<(&Sensor, &Series)> {
        let sensor = self.sensor(*self.series.get(&series)?)?;
        let info = sensor.series.iter().find(|info| info.id == series)?;
        Some((sensor, info))
    }

    /// The same text, kept once.
    pub fn shared_metric(&mut self, metric: &MetricName) -> MetricName {
        shared(&mut self.metrics, metric)
    }

    pub fn shared_unit(&mut self, unit: &str) -> Arc<str> {
        shared(&mut self.units, &Arc::from(unit))
    }
}

impl Sensor {
    /// One that is not stored yet.
    pub fn new(key: SensorKey, id: SensorId, shard: u16, home: HomeId) -> Self {
        Self {
            key,
            home,
            shard,
            saved: false,
            described: false,
            id,
            series: SmallVec::new(),
            tags: Tags::new(),
            raw_tags: None,
        }
    }

    pub fn resolved(&self, series: &Series) -> Resolved {
        Resolved {
            sensor: self.key,
            series: series.id,
            shard: self.shard,
            sensor_saved: self.saved,
            saved: self.saved && self.described && series.saved,
        }
    }

    /// Whether something of it is not stored.
    pub fn is_provisional(&self) -> bool {
        !self.saved || self.series.iter().any(|series| !series.saved)
    }

    pub fn info(&self) -> SensorInfo {
        let series = self.series.iter();
        SensorInfo {
            key: self.key,
            id: self.id.clone(),
            shard: self.shard,
            tags: self.tags.clone(),
            series: series.map(|series| (series.metric.clone(), series.id)).collect(),
            saved: self.saved,
        }
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
