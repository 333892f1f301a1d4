//! The newest value of every series, live: shown before its commit, tens of milliseconds after it came.
//!
//! Invariant: a series' entry only moves forward in event time.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::domain::{SensorKey, SeriesId, Timestamp};

/// One map a shard, so that shards do not wait for each other.
#[derive(Debug)]
pub struct Latest(Vec<Mutex<FxHashMap<SeriesId, LatestValue>>>);

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatestValue {
    pub sensor: SensorKey,
    pub time: Timestamp,
    pub value: f64,
}

impl Latest {
    pub fn new(shards: u16) -> Self {
        Self((0..shards.max(1)).map(|_| Mutex::default()).collect())
    }

    /// Takes in what a slice of `shard` brought.
    pub fn offer(&self, shard: u16, values: impl Iterator<Item = (SeriesId, LatestValue)>) {
        let mut map = self.0[usize::from(shard)].lock();
        for (series, value) in values {
            let entry = map.entry(series).or_insert(value);
            if value.time >= entry.time {
                *entry = value;
            }
        }
    }

    /// What is not heard here any more is not shown as live.
    pub fn forget(&self, series: &[(u16, SeriesId)]) {
        for (shard, series) in series {
            self.0[usize::from(*shard)].lock().remove(series);
        }
    }

    pub fn get(&self, shard: u16, series: SeriesId) -> Option<LatestValue> {
        self.0.get(usize::from(shard))?.lock().get(&series).copied()
    }

    /// A copy of everything, up to `limit` series a shard.
    pub fn all(&self, limit: usize) -> Vec<(SeriesId, LatestValue)> {
        let mut all = Vec::new();
        for map in &self.0 {
            all.extend(
                map.lock()
                    .iter()
                    .take(limit)
                    .map(|(series, value)| (*series, *value)),
            );
        }
        all
    }

    /// The value with the newest event time of all.
    pub fn newest(&self) -> Option<(SeriesId, LatestValue)> {
        let newest_of = |map: &Mutex<FxHashMap<SeriesId, LatestValue>>| {
            map.lock()
                .iter()
                .max_by_key(|(_, value)| value.time)
                .map(|(series, value)| (*series, *value))
        };
        self.0
            .iter()
            .filter_map(newest_of)
            .max_by_key(|(_, value)| value.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(time: i64, value: f64) -> (SeriesId, LatestValue) {
        (
            SeriesId(1),
            LatestValue {
                sensor: SensorKey(1),
                time: Timestamp(time),
                value,
            },
        )
    }

    #[test]
    fn only_news_replaces_what_is_shown() {
        let latest = Latest::new(2);
        latest.offer(0, [value(5, 1.0), value(3, 2.0)].into_iter());
        assert_eq!(latest.get(0, SeriesId(1)).unwrap().value, 1.0);
        latest.offer(0, [value(5, 4.0)].into_iter());
        assert_eq!(latest.newest().unwrap().1.value, 4.0);
        assert_eq!(latest.get(1, SeriesId(1)), None);
        assert_eq!(latest.all(10).len(), 1);
    }
}
