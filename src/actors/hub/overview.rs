//! The topic `overview`: the figures of the service, the newest values of some sensors, and a cell for every sensor.
//!
//! Invariant: a snapshot holds what the group was told, and perhaps newer values; so the group's next delta fits it.

use std::time::Duration;

use rustc_hash::FxHashSet;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::cells::{Columns, ToldCells};
use super::changes::{Change, Watch};
use super::frames::json;
use super::topic::MAX_NAMES;
use super::values::{BySensor, Values};
use super::world::World;
use crate::domain::{SensorKey, SeriesId, Tags};

pub struct Overview {
    /// Whose values; by default those of the first sensors.
    sensors: Option<Vec<String>>,
    tags: Vec<(String, String)>,
    values: Values,
    cells: ToldCells,
    summary: Map<String, Value>,
    /// Version of the names that was told, and that the sensors were looked up at.
    names: u64,
    new_cells: Option<Columns>,
    new_summary: Map<String, Value>,
    new_names: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'a BySensor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<&'a Columns>,
}

impl Overview {
    pub fn new(
        sensors: Option<Vec<String>>,
        tags: Vec<(String, String)>,
        period: Duration,
        world: &World,
        now: Instant,
    ) -> Self {
        let mut overview = Self {
            sensors,
            tags,
            values: Values::new(period),
            cells: ToldCells::default(),
            summary: Map::new(),
            names: 0,
            new_cells: None,
            new_summary: Map::new(),
            new_names: false,
        };
        overview.look_up(world, now);
        overview.look(world);
        // All of it is in the snapshot.
        overview.values.forget_waiting();
        overview.new_cells = None;
        overview.new_summary.clear();
        overview.new_names = false;
        overview
    }

    pub fn watch(&self) -> Watch {
        Watch {
            sensors: self.values.sensors(),
            all: self.sensors.is_none() && self.values.len() < MAX_NAMES,
            stored: false,
        }
    }

    /// Looks up the names again, where they may have changed; whether they had.
    pub fn look_up(&mut self, world: &World, now: Instant) -> bool {
        let registry = &world.parts.registry;
        let version = registry.version();
        if version == self.names {
            return false;
        }
        self.names = version;
        self.new_names = true;
        let matches = |tags: &Tags| {
            let has = |(key, value): &(String, String)| tags.get(key) == Some(value);
            self.tags.iter().all(has)
        };
        let sensors = match &self.sensors {
            Some(names) => names
                .iter()
                .filter_map(|name| registry.sensor_named(name))
                .collect(),
            None => registry.list(None, MAX_NAMES, |_, tags| matches(tags)),
        };
        if !self.tags.is_empty() {
            let of: FxHashSet<SensorKey> = world.keys(|_, tags| matches(tags)).into_iter().collect();
            self.cells.of(Some(of));
        }
        self.values
            .set_sensors(&sensors, registry, &world.parts.latest, now);
        true
    }

    /// Takes in a change; whether names must be looked up for it.
    pub fn offer(&mut self, series: SeriesId, change: &Change, now: Instant) -> bool {
        let concerned = self.sensors.is_none() || self.values.has(change.sensor);
        !self.values.offer(series, change, now) && concerned
    }

    /// Compares the figures and the cells with what was told.
    pub fn look(&mut self, world: &World) {
        for (key, value) in &world.summary {
            if self.summary.get(key) != Some(value) {
                self.summary.insert(key.clone(), value.clone());
                self.new_summary.insert(key.clone(), value.clone());
            }
        }
        if let Some(news) = self.cells.news(&world.grid) {
            match &mut self.new_cells {
                Some(waiting) => waiting.append(news),
                None => self.new_cells = Some(news),
            }
        }
    }

    pub fn due(&self, now: Instant) -> Option<Instant> {
        let at_once = self.new_cells.is_some() || !self.new_summary.is_empty() || self.new_names;
        if at_once { Some(now) } else { self.values.due() }
    }

    pub fn snapshot(&self, world: &World) -> String {
        let parts = &world.parts;
        json(&Body {
            summary: Some(&self.summary),
            names: Some(self.names),
            values: Some(&self.values.now(&parts.registry, &parts.latest)),
            cells: Some(&self.cells.all(world.grid.at)),
        })
    }

    pub fn delta(&mut self, now: Instant) -> Option<String> {
        let values = self.values.take(now);
        let summary = std::mem::take(&mut self.new_summary);
        let cells = self.new_cells.take();
        let names = std::mem::take(&mut self.new_names).then_some(self.names);
        let body = Body {
            summary: Some(&summary).filter(|summary| !summary.is_empty()),
            names,
            values: Some(&values).filter(|values| !values.is_empty()),
            cells: cells.as_ref(),
        };
        let empty = body.summary.is_none() && names.is_none() && body.values.is_none() && cells.is_none();
        (!empty).then(|| json(&body))
    }
}
