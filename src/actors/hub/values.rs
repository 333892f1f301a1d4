//! The newest values of some sensors, told at the pace that was asked for.
//!
//! Invariant: what a snapshot does not hold comes in a delta after it; a value may be in both.

use std::collections::BTreeMap;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

use super::body::ValueBody;
use super::changes::Change;
use super::pace::Pace;
use crate::actors::latest::Latest;
use crate::actors::registry::{Registry, SensorInfo, SeriesName};
use crate::domain::{SensorKey, SeriesId};

pub struct Values {
    sensors: FxHashSet<SensorKey>,
    names: FxHashMap<SeriesId, SeriesName>,
    period: Duration,
    pace: Pace,
}

/// By sensor, then by metric.
pub type BySensor = BTreeMap<String, BTreeMap<String, ValueBody>>;

impl Values {
    pub fn new(period: Duration) -> Self {
        Self {
            sensors: FxHashSet::default(),
            names: FxHashMap::default(),
            period,
            pace: Pace::new(period),
        }
    }

    pub fn sensors(&self) -> Vec<SensorKey> {
        self.sensors.iter().copied().collect()
    }

    pub fn len(&self) -> usize {
        self.sensors.len()
    }

    /// These are its sensors now. What is known of a new series is told as if it had just come.
    pub fn set_sensors(&mut self, all: &[SensorInfo], registry: &Registry, latest: &Latest, now: Instant) {
        self.sensors = all.iter().map(|info| info.key).collect();
        let mut names = FxHashMap::default();
        for info in all {
            for (_, series) in &info.series {
                let Some(name) = registry.name(*series) else {
                    continue;
                };
                let is_new = self.names.get(series) != Some(&name);
                names.insert(*series, name);
                if is_new && let Some(value) = latest.get(info.shard, *series) {
                    let change = Change::new(info.key, value.time, value.value);
                    self.pace.offer(*series, &change, now);
                }
            }
        }
        self.names = names;
    }

    /// `false` where its sensor is none of these, or has a series that is not known here.
    pub fn offer(&mut self, series: SeriesId, change: &Change, now: Instant) -> bool {
        let known = self.sensors.contains(&change.sensor) && self.names.contains_key(&series);
        if known {
            self.pace.offer(series, change, now);
        }
        known
    }

    /// What is known is told in a snapshot.
    pub fn forget_waiting(&mut self) {
        self.pace = Pace::new(self.period);
    }

    pub fn has(&self, sensor: SensorKey) -> bool {
        self.sensors.contains(&sensor)
    }

    pub fn due(&self) -> Option<Instant> {
        self.pace.due()
    }

    pub fn now(&self, registry: &Registry, latest: &Latest) -> BySensor {
        let mut all = BySensor::new();
        for (series, name) in &self.names {
            let shard = registry.shard_of_key(name.key).unwrap_or(0);
            if let Some(live) = latest.get(shard, *series) {
                let value = ValueBody::now(live.time, live.value, name.unit.clone());
                insert(&mut all, name, value);
            }
        }
        all
    }

    pub fn take(&mut self, now: Instant) -> BySensor {
        let mut all = BySensor::new();
        for (series, change) in self.pace.take(now) {
            if let Some(name) = self.names.get(&series) {
                insert(&mut all, name, ValueBody::since(&change, name.unit.clone()));
            }
        }
        all
    }
}

fn insert(all: &mut BySensor, name: &SeriesName, value: ValueBody) {
    all.entry(name.sensor.to_string())
        .or_default()
        .insert(name.metric.to_string(), value);
}
