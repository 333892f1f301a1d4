//! What the topics are made of: the tables of the pipeline, and what the hub computes of them for all topics together.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::board::Entry;
use super::cells::{Cell, Grid};
use super::live::Live;
use super::ring::Ring;
use crate::actors::latest::Latest;
use crate::actors::registry::Registry;
use crate::actors::statistics::Statistics;
use crate::actors::supervision::SupervisionTree;
use crate::clock::Clock;
use crate::domain::{SensorKey, Tags, Timestamp};
use crate::metrics::Metrics;

/// Keys that are read at once, so that nobody who resolves a name waits for long.
const KEYS: usize = 10_000;

#[derive(Clone)]
pub struct HubParts {
    pub live: Arc<Live>,
    pub registry: Arc<Registry>,
    pub latest: Arc<Latest>,
    pub statistics: Arc<Statistics>,
    pub metrics: Arc<Metrics>,
    pub tree: SupervisionTree,
    pub clock: Arc<dyn Clock>,
    pub started_at: Timestamp,
}

pub struct World {
    pub parts: HubParts,
    pub ring: Ring,
    pub grid: Grid,
    pub summary: Map<String, Value>,
    /// Of the sensors, as of a version of their names.
    keys: (u64, Vec<SensorKey>),
    entries: Vec<Entry>,
    heard: Vec<u32>,
}

impl World {
    pub fn new(parts: HubParts) -> Self {
        let ring = Ring::new(parts.live.last_anomaly());
        Self {
            parts,
            ring,
            grid: Grid::default(),
            summary: Map::new(),
            keys: (u64::MAX, Vec::new()),
            entries: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Computes the cells of all sensors.
    pub fn look_at_sensors(&mut self) {
        let version = self.parts.registry.version();
        if self.keys.0 != version {
            self.keys = (version, self.keys(|_, _| true));
        }
        self.parts.live.board.copy_to(&mut self.entries);
        self.parts.statistics.heard_to(&mut self.heard);
        let at = self.second();
        let cell = |key: &SensorKey| {
            let place = key.0 as usize;
            let entry = self.entries.get(place).copied().unwrap_or_default();
            let heard = self.heard.get(place).copied().unwrap_or_default();
            (*key, Cell::new(entry, heard, at))
        };
        let cells = self.keys.1.iter().map(cell).collect();
        self.grid = Grid { at, cells };
    }

    /// Computes the figures.
    pub fn look_at_figures(&mut self) {
        let parts = &self.parts;
        let summary = parts.statistics.summary(parts.clock.now());
        let (sensors, series) = parts.registry.size();
        let figures = json!({
            "total_events": summary.total_events,
            "events_per_second": summary.events_per_second,
            "active_sources": summary.active_sources,
            "processing_latency_ms": summary.processing_latency_ms,
            "error_rate": summary.error_rate,
            "sensors": sensors,
            "series": series,
            "store_failing": parts.metrics.store_failing(),
            "started_at": parts.started_at.to_rfc3339(),
        });
        if let Value::Object(figures) = figures {
            self.summary = figures;
        }
    }

    /// One sensor as it is now.
    pub fn cell(&self, sensor: SensorKey) -> Cell {
        let parts = &self.parts;
        let entry = parts.live.board.of(sensor);
        Cell::new(entry, parts.statistics.heard(sensor), self.second())
    }

    /// Of the sensors that `keep` keeps, in order.
    pub fn keys(&self, keep: impl Fn(&str, &Tags) -> bool) -> Vec<SensorKey> {
        let (mut all, mut last) = (Vec::new(), None);
        loop {
            let registry = &self.parts.registry;
            let page = registry.names(last, KEYS, &keep, |key, _, _| all.push(key));
            if page.count < KEYS {
                return all;
            }
            last = page.last;
        }
    }

    fn second(&self) -> u32 {
        let now = self.parts.clock.now();
        u32::try_from(now.0.div_euclid(1_000_000)).unwrap_or(0)
    }
}
