//! What has come of the sensors that somebody watches, and has not been told yet: the newest value of each series.
//!
//! Invariants: it is bounded by the number of series that are watched. While nobody watches, a slice costs one look at a number;
//! else each reading costs one, and a lock is taken once a slice where one of its sensors is watched. Whoever watches a sensor
//! before he reads its newest value from `Latest` misses nothing: a slice is shown there, under a lock, before it is shown here.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::actors::dispatcher::Incoming;
use crate::domain::{SensorKey, SeriesId, Timestamp};

/// Sensors share them by their numbers, which lie close together.
const BUCKETS: usize = 4_096;

/// What readings of a series came to since it was told last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    pub sensor: SensorKey,
    /// Of the newest.
    pub time: Timestamp,
    pub value: f64,
    pub min: f64,
    pub max: f64,
    pub count: u32,
}

impl Change {
    pub fn new(sensor: SensorKey, time: Timestamp, value: f64) -> Self {
        Self {
            sensor,
            time,
            value,
            min: value,
            max: value,
            count: 1,
        }
    }

    /// Takes in what came after it.
    pub fn merge(&mut self, later: &Change) {
        if later.time >= self.time {
            (self.time, self.value) = (later.time, later.value);
        }
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.count = self.count.saturating_add(later.count);
    }
}

/// Which sensors are watched; a few too many, but never one too few.
pub struct Watched {
    /// How many watch at all.
    any: AtomicU32,
    /// How many of them watch every sensor.
    all: AtomicU32,
    /// How many want windows and restarts, too.
    stored: AtomicU32,
    buckets: Box<[AtomicU32]>,
}

/// What a subscription watches, to be given back as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    pub sensors: Vec<SensorKey>,
    /// Every sensor, those included that are not known yet.
    pub all: bool,
    /// Windows and restarts of these sensors, too.
    pub stored: bool,
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            any: AtomicU32::new(0),
            all: AtomicU32::new(0),
            stored: AtomicU32::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

// Relaxed: what orders a look and a watch is the lock of `Latest`, see above.
impl Watched {
    pub fn add(&self, watch: &Watch) {
        self.any.fetch_add(1, Ordering::Relaxed);
        self.all.fetch_add(u32::from(watch.all), Ordering::Relaxed);
        self.stored.fetch_add(u32::from(watch.stored), Ordering::Relaxed);
        for sensor in &watch.sensors {
            self.bucket(*sensor).fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn remove(&self, watch: &Watch) {
        self.any.fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(u32::from(watch.all), Ordering::Relaxed);
        self.stored.fetch_sub(u32::from(watch.stored), Ordering::Relaxed);
        for sensor in &watch.sensors {
            self.bucket(*sensor).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Nobody watches.
    pub fn clear(&self) {
        self.any.store(0, Ordering::Relaxed);
        self.all.store(0, Ordering::Relaxed);
        self.stored.store(0, Ordering::Relaxed);
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed) > 0
    }

    /// Whether somebody wants windows and restarts.
    pub fn any_stored(&self) -> bool {
        self.stored.load(Ordering::Relaxed) > 0
    }

    pub fn about(&self, sensor: SensorKey) -> bool {
        self.bucket(sensor).load(Ordering::Relaxed) > 0 || self.all.load(Ordering::Relaxed) > 0
    }

    fn bucket(&self, sensor: SensorKey) -> &AtomicU32 {
        &self.buckets[sensor.0 as usize % BUCKETS]
    }
}

/// One map a shard, so that shards do not wait for each other.
pub struct Changes(Vec<Mutex<FxHashMap<SeriesId, Change>>>);

impl Changes {
    pub fn new(shards: u16) -> Self {
        Self((0..shards.max(1)).map(|_| Mutex::default()).collect())
    }

    /// Takes in what is watched of a slice; whether there was anything.
    pub fn offer(&self, shard: u16, readings: &[Incoming], watched: &Watched) -> bool {
        let mut of_interest = readings
            .iter()
            .filter(|incoming| watched.about(incoming.sensor))
            .peekable();
        if of_interest.peek().is_none() {
            return false;
        }
        let mut map = self.0[usize::from(shard)].lock();
        for incoming in of_interest {
            let reading = &incoming.reading;
            let change = Change::new(incoming.sensor, reading.time, reading.value);
            let entry = map.entry(reading.series);
            entry
                .and_modify(|earlier| earlier.merge(&change))
                .or_insert(change);
        }
        true
    }

    /// Takes out all there is.
    pub fn take(&self) -> Vec<(SeriesId, Change)> {
        let mut all = Vec::new();
        for map in &self.0 {
            let taken = std::mem::take(&mut *map.lock());
            all.extend(taken);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::fixture::reading;

    fn incoming(sensor: u32, index: u32) -> Incoming {
        Incoming {
            sensor: SensorKey(sensor),
            shard: 0,
            fresh: false,
            reading: reading(index),
        }
    }

    #[test]
    fn only_what_is_watched_is_kept_and_as_its_newest() {
        let (changes, watched) = (Changes::new(2), Watched::default());
        let slice = [incoming(1, 3), incoming(1, 1), incoming(2, 2)];
        assert!(!watched.any() && !changes.offer(1, &slice, &watched));
        let watch = Watch {
            sensors: vec![SensorKey(1)],
            ..Watch::default()
        };
        watched.add(&watch);
        assert!(watched.any() && !changes.offer(0, &slice[2..], &watched));
        assert!(changes.offer(1, &slice, &watched));
        let taken = changes.take();
        let (series, change) = taken[0];
        assert_eq!((taken.len(), series), (1, slice[0].reading.series));
        let newest = slice[..2]
            .iter()
            .max_by_key(|incoming| incoming.reading.time)
            .unwrap();
        assert_eq!((change.value, change.count), (newest.reading.value, 2));
        assert!(changes.take().is_empty());
        watched.remove(&watch);
        assert!(!watched.any() && !changes.offer(1, &slice, &watched));
    }

    #[test]
    fn who_watches_all_sees_sensors_that_are_not_known_yet() {
        let watched = Watched::default();
        let watch = Watch {
            all: true,
            ..Watch::default()
        };
        watched.add(&watch);
        assert!(watched.about(SensorKey(77)));
        watched.clear();
        assert!(!watched.any() && !watched.about(SensorKey(77)));
    }
}
