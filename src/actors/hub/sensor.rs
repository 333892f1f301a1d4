//! The topic `sensor/{id}`: one sensor's values as they come, and its windows, anomalies and restarts once they are stored.
//!
//! Invariant: a snapshot holds all that the group was told and that a page about the sensor needs; history is asked of the API.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::body::{RestartBody, ValueBody, WindowBody};
use super::changes::{Change, Watch};
use super::frames::json;
use super::live::push;
use super::ring::Event;
use super::values::Values;
use super::world::World;
use crate::actors::registry::SensorInfo;
use crate::domain::{SensorId, SensorKey, SeriesId, WindowResult};
use crate::storage::history::RestartRow;

/// Windows of each metric that a snapshot has.
const WINDOWS: usize = 10;
const RESTARTS: usize = 10;

pub struct SensorTopic {
    key: SensorKey,
    id: SensorId,
    values: Values,
    names: u64,
    state: u8,
    windows: BTreeMap<String, VecDeque<WindowBody>>,
    restarts: VecDeque<RestartBody>,
    news: News,
}

/// What waits to be told.
#[derive(Default, Serialize)]
struct News {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<u8>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, ValueBody>,
    /// In the order in which they were stored.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    windows: BTreeMap<String, Vec<WindowBody>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    anomalies: Vec<Box<serde_json::value::RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restarts: Vec<RestartBody>,
}

#[derive(Serialize)]
struct Whole<'a> {
    sensor_id: &'a str,
    state: u8,
    values: BTreeMap<String, ValueBody>,
    windows: &'a BTreeMap<String, VecDeque<WindowBody>>,
    restarts: &'a VecDeque<RestartBody>,
}

impl SensorTopic {
    pub fn new(info: &SensorInfo, period: Duration, world: &World, now: Instant) -> Self {
        let mut topic = Self {
            key: info.key,
            id: info.id.clone(),
            values: Values::new(period),
            names: 0,
            state: world.cell(info.key).state(),
            windows: BTreeMap::new(),
            restarts: VecDeque::new(),
            news: News::default(),
        };
        topic.look_up(world, now);
        topic.values.forget_waiting();
        topic
    }

    pub fn key(&self) -> SensorKey {
        self.key
    }

    pub fn watch(&self) -> Watch {
        Watch {
            sensors: vec![self.key],
            all: false,
            stored: true,
        }
    }

    pub fn look_up(&mut self, world: &World, now: Instant) -> bool {
        let registry = &world.parts.registry;
        let version = registry.version();
        if version == self.names {
            return false;
        }
        self.names = version;
        // It may have got another number; its id stays.
        if let Some(info) = registry.sensor_named(self.id.as_str()) {
            self.key = info.key;
            self.values
                .set_sensors(&[info], registry, &world.parts.latest, now);
        }
        true
    }

    pub fn offer(&mut self, series: SeriesId, change: &Change, now: Instant) -> bool {
        change.sensor == self.key && !self.values.offer(series, change, now)
    }

    pub fn closed(&mut self, metric: String, window: &WindowResult) {
        let body = WindowBody::from(window);
        let shown = self.windows.entry(metric.clone()).or_default();
        shown.retain(|other| !other.is_of(&body));
        shown.push_front(body.clone());
        shown.truncate(WINDOWS);
        self.news.windows.entry(metric).or_default().push(body);
    }

    pub fn found(&mut self, event: &Event, world: &World) {
        let text = event.text(&world.parts.registry).map(str::to_owned);
        self.news
            .anomalies
            .extend(text.and_then(|text| serde_json::value::RawValue::from_string(text).ok()));
    }

    pub fn restarted(&mut self, row: &RestartRow) {
        if row.actor.strip_prefix("sensor/") == Some(self.id.as_str()) {
            let body = RestartBody::from(row);
            push(&mut self.restarts, body.clone(), RESTARTS);
            self.news.restarts.push(body);
        }
    }

    pub fn look(&mut self, world: &World) {
        let state = world.cell(self.key).state();
        if state != self.state {
            self.state = state;
            self.news.state = Some(state);
        }
    }

    pub fn due(&self, now: Instant) -> Option<Instant> {
        let news = &self.news;
        let at_once = news.state.is_some()
            || !news.windows.is_empty()
            || !news.anomalies.is_empty()
            || !news.restarts.is_empty();
        if at_once { Some(now) } else { self.values.due() }
    }

    pub fn snapshot(&self, world: &World) -> String {
        let parts = &world.parts;
        let values = self.values.now(&parts.registry, &parts.latest);
        json(&Whole {
            sensor_id: self.id.as_str(),
            state: self.state,
            values: values.into_values().next().unwrap_or_default(),
            windows: &self.windows,
            restarts: &self.restarts,
        })
    }

    pub fn delta(&mut self, now: Instant) -> Option<String> {
        let due = self.due(now).is_some_and(|due| due <= now);
        if !due {
            return None;
        }
        let values = self.values.take(now).into_values().next();
        let news = News {
            values: values.unwrap_or_default(),
            ..std::mem::take(&mut self.news)
        };
        Some(json(&news))
    }
}
