//! Which sensors are ours, where several instances share the database: those whose home is.

use std::sync::atomic::Ordering;

use rustc_hash::FxHashSet;

use super::{HomeId, Registry, Tenure};
use crate::domain::{Home, SensorKey, SeriesId};
use crate::storage::Scope;

impl Registry {
    /// From now on only what is said to be ours is.
    pub fn share(&self) {
        self.names.write().homes.share();
        self.shared.store(true, Ordering::Release);
    }

    /// Whether there may be other instances.
    pub fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    /// The number of a home in this process.
    pub fn home(&self, home: &Home) -> HomeId {
        self.names.write().homes.number(home)
    }

    /// In the order of `homes`.
    pub fn own(&self, homes: &[HomeId]) -> Vec<Tenure> {
        let mut names = self.names.write();
        homes.iter().map(|home| names.homes.own(*home)).collect()
    }

    pub fn disown(&self, homes: &[HomeId]) {
        let mut names = self.names.write();
        homes.iter().for_each(|home| names.homes.disown(*home));
    }

    /// As [`Self::disown`], but for those that have gone since. Returns which were ours.
    pub fn end(&self, tenures: &[Tenure]) -> Vec<HomeId> {
        let mut names = self.names.write();
        let ended = tenures.iter().filter(|tenure| names.homes.end(**tenure));
        ended.map(|tenure| tenure.home).collect()
    }

    /// The homes that are ours; none where everything is.
    pub fn tenures(&self) -> Vec<(Home, Tenure)> {
        self.names.read().homes.ours().unwrap_or_default()
    }

    /// The sensors that are ours.
    pub fn ours(&self) -> Scope {
        match self.names.read().homes.ours() {
            Some(homes) => Scope::Homes(homes.into_iter().map(|(home, _)| home).collect()),
            None => Scope::All,
        }
    }

    /// Whether it is known and ours.
    pub fn is_ours(&self, key: SensorKey) -> bool {
        if !self.is_shared() {
            return true;
        }
        let names = self.names.read();
        names
            .sensor(key)
            .is_some_and(|sensor| names.homes.is_ours(sensor.home))
    }

    /// Those among `keys` that come through more than one home; none where one instance has everything.
    pub fn scattered(&self, keys: impl Iterator<Item = SensorKey>) -> FxHashSet<SensorKey> {
        if !self.is_shared() {
            return FxHashSet::default();
        }
        let names = self.names.read();
        let is_scattered = |key: &SensorKey| {
            names
                .sensor(*key)
                .is_some_and(|sensor| sensor.home == HomeId::SEVERAL)
        };
        keys.filter(is_scattered).collect()
    }

    /// Those among `keys` that are not known, or not ours.
    pub fn strangers(&self, keys: impl Iterator<Item = SensorKey>) -> Vec<SensorKey> {
        let names = self.names.read();
        let ours = |key: &SensorKey| {
            names
                .sensor(*key)
                .is_some_and(|sensor| names.homes.is_ours(sensor.home))
        };
        keys.filter(|key| !ours(key)).collect()
    }

    /// The sensors among `keys` of these homes.
    pub fn among(&self, keys: impl Iterator<Item = SensorKey>, homes: &[HomeId]) -> Vec<SensorKey> {
        let names = self.names.read();
        let at_home = |key: &SensorKey| {
            names
                .sensor(*key)
                .is_some_and(|sensor| homes.contains(&sensor.home))
        };
        keys.filter(at_home).collect()
    }

    /// The series of these homes, each with its sensor's shard.
    pub fn series_of(&self, homes: &[HomeId]) -> Vec<(u16, SeriesId)> {
        let names = self.names.read();
        let sensors = names.all().filter(|sensor| homes.contains(&sensor.home));
        let series = sensors.flat_map(|sensor| sensor.series.iter().map(|series| (sensor.shard, series.id)));
        series.collect()
    }
}
