//! Records of the outbox as JSON: see `docs/outputs.md`.
//!
//! Invariants: numbers become names when they are sent, by the registry, which knows every series that this instance has stored. The
//! same record becomes the same bytes, but for a unit that changed meanwhile. What is not a number is null.

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{Filter, Kind, Message};
use crate::actors::registry::{Registry, SeriesName};
use crate::domain::{Anomaly, Flags, SeriesId, Timestamp};
use crate::shown::{AlertBody, Time, WindowBody};
use crate::storage::Wanted;
use crate::storage::outbox::{Record, Sendable};

/// What becomes of records on their way out.
pub(super) struct Encoder<'e> {
    pub registry: &'e Registry,
    pub wanted: Wanted,
    pub filter: Option<&'e Filter>,
    /// By series; `None` for those that are not sent.
    names: FxHashMap<SeriesId, Option<SeriesName>>,
}

#[derive(Serialize)]
struct Body<'a, T> {
    id: &'a str,
    sensor_id: &'a str,
    metric: &'a str,
    #[serde(flatten)]
    of: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    processed_at: Time,
}

#[derive(Serialize)]
struct ReadingBody {
    value: f64,
    timestamp: Time,
    seq: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct AnomalyBody<'a> {
    timestamp: Time,
    value: f64,
    detector: &'static str,
    level: &'static str,
    score: f64,
    expected: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    explanation: &'a str,
}

impl<'e> Encoder<'e> {
    pub fn new(registry: &'e Registry, wanted: Wanted, filter: Option<&'e Filter>) -> Self {
        Self {
            registry,
            wanted,
            filter,
            names: FxHashMap::default(),
        }
    }

    /// `None` where it is not sent.
    pub fn message(&mut self, sendable: &Sendable) -> Option<Message> {
        let (kind, wanted) = match &sendable.record {
            Record::Reading { .. } => (Kind::Reading, self.wanted.readings),
            Record::Window(_) => (Kind::Window, self.wanted.windows),
            Record::Anomaly(_) => (Kind::Anomaly, self.wanted.anomalies),
            Record::Alert(_) => (Kind::Alert, self.wanted.alerts),
        };
        if !wanted {
            return None;
        }
        let name = self.name(sendable.record.series())?;
        let id = sendable.record.id();
        let processed_at = sendable.processed_at;
        let json = match &sendable.record {
            Record::Reading {
                time,
                value,
                seq,
                flags,
                ..
            } => {
                let body = ReadingBody {
                    value: *value,
                    timestamp: Time(*time),
                    seq: seq.0,
                    flags: Flags::names(*flags),
                };
                encode(&id, name, processed_at, body)
            }
            Record::Window(window) => encode(&id, name, processed_at, WindowBody::from(window)),
            Record::Anomaly(anomaly) => encode(&id, name, processed_at, AnomalyBody::from(anomaly)),
            Record::Alert(event) => encode(&id, name, processed_at, AlertBody::from(event)),
        };
        Some(Message {
            kind,
            id,
            sensor: name.sensor.clone(),
            metric: name.metric.clone(),
            json,
        })
    }

    fn name(&mut self, series: SeriesId) -> Option<&SeriesName> {
        let (registry, filter) = (self.registry, self.filter);
        let find = || {
            let name = registry.name(series);
            if name.is_none() {
                tracing::error!(series = series.0, "a stored series has no name, it is not sent");
            }
            let name = name?;
            let sent = match filter {
                None => true,
                Some(filter) => {
                    let (sensor, metric, tags) = registry.naming(series)?;
                    filter(&sensor, &metric, &tags)
                }
            };
            sent.then_some(name)
        };
        self.names.entry(series).or_insert_with(find).as_ref()
    }
}

fn encode<T: Serialize>(id: &str, name: &SeriesName, processed_at: Timestamp, of: T) -> Vec<u8> {
    let body = Body {
        id,
        sensor_id: name.sensor.as_str(),
        metric: name.metric.as_str(),
        of,
        unit: name.unit.as_deref(),
        processed_at: Time(processed_at),
    };
    // Text and numbers can always be written to memory.
    serde_json::to_vec(&body).unwrap_or_default()
}

impl<'a> From<&'a Anomaly> for AnomalyBody<'a> {
    fn from(anomaly: &'a Anomaly) -> Self {
        Self {
            timestamp: Time(anomaly.time),
            value: anomaly.value,
            detector: anomaly.detector.as_str(),
            level: anomaly.level.as_str(),
            score: anomaly.score,
            expected: anomaly.expected,
            low: anomaly.band.low,
            high: anomaly.band.high,
            explanation: &anomaly.explanation,
        }
    }
}
