//! The topics `anomalies` and `actors`.
//!
//! Invariants: an anomaly is told once, in the order of the numbers, to who was there or comes back soon enough. Of the actors
//! only those are told that are another way than they were told.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::frames::json;
use super::ring::{Event, Ring};
use super::world::World;
use crate::domain::{Level, SensorKey};

/// Anomalies of a snapshot.
const SNAPSHOT: usize = 200;

pub struct Anomalies {
    /// Empty: of all sensors.
    sensors: Vec<String>,
    keys: FxHashSet<SensorKey>,
    level: Level,
    names: u64,
    /// The number of the last event that was told, or need not be.
    told: u64,
    /// There is one to be told.
    waits: bool,
}

#[derive(Serialize)]
struct AnomaliesBody {
    anomalies: Vec<Box<RawValue>>,
}

impl Anomalies {
    pub fn new(sensors: Vec<String>, level: Level, world: &World) -> Self {
        let mut topic = Self {
            sensors,
            keys: FxHashSet::default(),
            level,
            names: u64::MAX,
            told: world.ring.last(),
            waits: false,
        };
        topic.look_up(world);
        topic
    }

    pub fn look_up(&mut self, world: &World) {
        let registry = &world.parts.registry;
        let version = registry.version();
        if version != self.names {
            self.names = version;
            let keys = self.sensors.iter().filter_map(|name| registry.sensor_named(name));
            self.keys = keys.map(|info| info.key).collect();
        }
    }

    pub fn told(&self) -> u64 {
        self.told
    }

    pub fn found(&mut self, event: &Event, world: &World) {
        self.look_up(world);
        self.waits |= self.wants(event);
    }

    /// What nobody here wants counts as told.
    pub fn settle(&mut self, world: &World) {
        if !self.waits {
            self.told = world.ring.last();
        }
    }

    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.waits.then_some(now)
    }

    pub fn snapshot(&self, world: &World) -> String {
        let all = world.ring.after(0).filter(|event| event.seq <= self.told);
        let newest: Vec<&Event> = all
            .rev()
            .filter(|event| self.wants(event))
            .take(SNAPSHOT)
            .collect();
        text(newest.into_iter().rev(), world)
    }

    /// What was told after `seq`, if all of it is known still.
    pub fn replay(&self, seq: u64, ring: &Ring, world: &World) -> Option<String> {
        let missed = ring
            .after(seq)
            .filter(|event| event.seq <= self.told && self.wants(event));
        (ring.reaches(seq) && seq <= self.told).then(|| text(missed, world))
    }

    pub fn delta(&mut self, world: &World) -> Option<String> {
        if !std::mem::take(&mut self.waits) {
            return None;
        }
        let news = world.ring.after(self.told).filter(|event| self.wants(event));
        let text = text(news, world);
        self.told = world.ring.last();
        Some(text)
    }

    fn wants(&self, event: &Event) -> bool {
        event.anomaly.level >= self.level && (self.sensors.is_empty() || self.keys.contains(&event.sensor))
    }
}

fn text<'a>(events: impl Iterator<Item = &'a Event>, world: &World) -> String {
    let registry = &world.parts.registry;
    let texts = events.filter_map(|event| event.text(registry));
    let anomalies = texts.filter_map(|text| RawValue::from_string(text.to_owned()).ok());
    json(&AnomaliesBody {
        anomalies: anomalies.collect(),
    })
}

#[derive(Default)]
pub struct Actors {
    nodes: BTreeMap<String, Value>,
    sensors: BTreeMap<&'static str, usize>,
    news: ActorsNews,
}

#[derive(Default, Serialize)]
struct ActorsNews {
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "values")]
    nodes: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sensors: Option<BTreeMap<&'static str, usize>>,
}

#[derive(Serialize)]
struct ActorsBody<'a> {
    nodes: Vec<&'a Value>,
    sensors: &'a BTreeMap<&'static str, usize>,
}

impl Actors {
    pub fn new(world: &World) -> Self {
        let mut topic = Self::default();
        topic.look(world);
        topic.news = ActorsNews::default();
        topic
    }

    pub fn look(&mut self, world: &World) {
        let mut nodes = BTreeMap::new();
        for node in world.parts.tree.snapshot() {
            let path = node.path.clone();
            let node = serde_json::to_value(node).unwrap_or_default();
            if self.nodes.get(&path) != Some(&node) {
                self.news.nodes.insert(path.clone(), node.clone());
            }
            nodes.insert(path, node);
        }
        for path in self.nodes.keys().filter(|path| !nodes.contains_key(*path)) {
            self.news.nodes.remove(path);
            self.news.removed.push(path.clone());
        }
        self.nodes = nodes;
        let sensors = world.grid.modes();
        if sensors != self.sensors {
            self.news.sensors = Some(sensors.clone());
            self.sensors = sensors;
        }
    }

    pub fn due(&self, now: Instant) -> Option<Instant> {
        let news = &self.news;
        let any = !news.nodes.is_empty() || !news.removed.is_empty() || news.sensors.is_some();
        any.then_some(now)
    }

    pub fn snapshot(&self) -> String {
        json(&ActorsBody {
            nodes: self.nodes.values().collect(),
            sensors: &self.sensors,
        })
    }

    pub fn delta(&mut self, now: Instant) -> Option<String> {
        self.due(now)?;
        Some(json(&std::mem::take(&mut self.news)))
    }
}

fn values<S: serde::Serializer>(nodes: &BTreeMap<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(nodes.values())
}
