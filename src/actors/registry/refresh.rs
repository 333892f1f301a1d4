//! Learning what others have made.
//!
//! Invariant: what is stored is final. A number that we gave and that is not stored is *provisional*: where the store has another
//! one for the same name, ours is forgotten. Nothing of it was committed, since names are unique there and whatever carries the
//! number carries the definition until that has committed; what still is on its way with it fails in the same manner.

use super::names::{Names, Sensor, Series};
use super::{HomeId, Registry, shard_of};
use crate::domain::{SensorId, SensorKey};
use crate::storage::{Scope, SensorDefinition, SeriesDefinition};

/// What a definition says that was not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Learned {
    Nothing,
    /// A name, or other tags or another unit.
    News,
    /// Another number than ours.
    Number,
}

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
        let (mut most, mut replaced) = (Learned::Nothing, 0);
        let mut count = |learned: Learned| {
            most = most.max(learned);
            replaced += usize::from(learned == Learned::Number);
        };
        for definition in sensors {
            count(names.take_sensor(definition, self.shards));
        }
        for definition in series {
            count(names.take_series(definition));
        }
        if most > Learned::Nothing {
            self.news();
        }
        replaced
    }
}

impl Names {
    fn take_sensor(&mut self, definition: SensorDefinition, shards: u16) -> Learned {
        let SensorDefinition { key, id, tags, home } = definition;
        let home = home.map_or(HomeId::NONE, |home| self.homes.number(&home));
        let known = self.named(id.as_str()).map(|sensor| sensor.key);
        let mut learned = match known {
            Some(known) if known != key => {
                self.renumber(known, key);
                Learned::Number
            }
            Some(_) => Learned::Nothing,
            None => {
                self.add(new(key, &id, shards));
                Learned::News
            }
        };
        let Some(sensor) = self.named_mut(id.as_str()) else {
            return learned;
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
        if !news && sensor.tags != tags {
            sensor.tags = tags;
            learned = learned.max(Learned::News);
        }
        sensor.saved = true;
        sensor.home = both;
        sensor.described = !news && both == home;
        learned
    }

    fn take_series(&mut self, definition: SeriesDefinition) -> Learned {
        let SeriesDefinition {
            id,
            sensor,
            metric,
            unit,
        } = definition;
        let unit = unit.map(|unit| self.shared_unit(&unit));
        let metric = self.shared_metric(&metric);
        let Some(owner) = self.sensor_mut(sensor) else {
            return Learned::Nothing;
        };
        let (mut old, mut learned) = (None, Learned::Nothing);
        match owner.series.iter_mut().find(|series| series.metric == metric) {
            Some(series) => {
                if series.id != id {
                    old = Some(series.id);
                    learned = Learned::Number;
                }
                series.saved = series.unit.is_none() || series.unit == unit;
                series.id = id;
                if series.saved && series.unit != unit {
                    series.unit = unit;
                    learned = learned.max(Learned::News);
                }
            }
            None => {
                learned = Learned::News;
                owner.series.push(Series {
                    id,
                    saved: true,
                    metric,
                    unit,
                });
            }
        }
        if let Some(old) = old {
            self.series.remove(&old);
        }
        self.series.insert(id, sensor);
        learned
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
