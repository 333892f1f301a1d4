//! Learning what others have made.
//!
//! Invariant: what is stored is final. A number that we gave and that is not stored is *provisional*: where the store has another
//! one for the same name, ours is forgotten. Nothing of it was committed, since names are unique there and whatever carries the
//! number carries the definition until that has committed; what still is on its way with it fails in the same manner.

use super::names::{Names, Sensor, Series};
use super::{HomeId, Registry, shard_of};
use crate::domain::{SensorId, SensorKey};
use crate::storage::{Scope, SensorDefinition, SeriesDefinition};

impl Registry {
    /// Those of which something is provisional: others may have made them, too.
    pub fn provisional(&self) -> Scope {
        let names = self.names.read();
        let provisional = names.all().filter(|sensor| sensor.is_provisional());
        Scope::Named(provisional.map(|sensor| sensor.id.clone()).collect())
    }

    /// Takes in what is stored: whole sensors, each with all of its series. Returns how many numbers of ours others had given
    /// meanwhile.
    pub fn refresh(&self, sensors: Vec<SensorDefinition>, series: Vec<SeriesDefinition>) -> usize {
        let mut names = self.names.write();
        let mut replaced = 0;
        for definition in sensors {
            replaced += usize::from(names.take_sensor(definition, self.shards));
        }
        for definition in series {
            replaced += usize::from(names.take_series(definition));
        }
        replaced
    }
}

impl Names {
    /// `true` where we had given it another number.
    pub(super) fn take_sensor(&mut self, definition: SensorDefinition, shards: u16) -> bool {
        let SensorDefinition { key, id, tags, home } = definition;
        let home = home.map_or(HomeId::NONE, |home| self.homes.number(&home));
        let known = self.named(id.as_str()).map(|sensor| sensor.key);
        let replaced = match known {
            Some(known) if known != key => {
                self.renumber(known, key);
                true
            }
            Some(_) => false,
            None => {
                self.add(new(key, &id, shards));
                false
            }
        };
        let Some(sensor) = self.named_mut(id.as_str()) else {
            return replaced;
        };
        let ours = if sensor.home == HomeId::NONE {
            home
        } else {
            sensor.home
        };
        let both = if home == HomeId::NONE || home == ours {
            ours
        } else {
            HomeId::SEVERAL
        };
        if both == HomeId::SEVERAL && ![HomeId::NONE, HomeId::SEVERAL].contains(&sensor.home) {
            warn_of_strayed(&sensor.id);
        }
        // News of ours stay to be stored.
        let news = sensor.raw_tags.is_some() && !sensor.described && sensor.tags != tags;
        if !news {
            sensor.tags = tags;
        }
        sensor.saved = true;
        sensor.home = both;
        sensor.described = !news && both == home;
        replaced
    }

    fn take_series(&mut self, definition: SeriesDefinition) -> bool {
        let SeriesDefinition {
            id,
            sensor,
            metric,
            unit,
        } = definition;
        let unit = unit.map(|unit| self.shared_unit(&unit));
        let metric = self.shared_metric(&metric);
        let Some(owner) = self.sensor_mut(sensor) else {
            return false;
        };
        let mut old = None;
        match owner.series.iter_mut().find(|series| series.metric == metric) {
            Some(series) => {
                old = (series.id != id).then_some(series.id);
                series.saved = series.unit.is_none() || series.unit == unit;
                series.id = id;
                if series.saved {
                    series.unit = unit;
                }
            }
            None => owner.series.push(Series {
                id,
                saved: true,
                metric,
                unit,
            }),
        }
        if let Some(old) = old {
            self.series.remove(&old);
        }
        self.series.insert(id, sensor);
        old.is_some()
    }
}

/// Once for each sensor, by each instance that has a part of it.
pub(super) fn warn_of_strayed(sensor: &SensorId) {
    tracing::warn!(
        sensor = sensor.as_str(),
        "a sensor comes through more than one partition: its messages are not keyed by its id, and with several instances none has \
         all of its readings"
    );
}

fn new(key: SensorKey, id: &SensorId, shards: u16) -> Sensor {
    Sensor::new(key, id.clone(), shard_of(id.as_str(), shards), HomeId::NONE)
}
