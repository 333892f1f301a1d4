//! How values, windows, anomalies and restarts are written: as in the answers of the REST API.

use serde::{Serialize, Serializer};

use super::changes::Change;
use crate::actors::registry::SeriesName;
use crate::domain::{Anomaly, Timestamp, WindowResult};
use crate::storage::history::RestartRow;

#[derive(Debug, Clone, Copy)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The newest value of a series; in a delta with what its readings since the last one came to.
#[derive(Debug, Serialize)]
pub struct ValueBody {
    value: f64,
    time: Time,
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

impl ValueBody {
    pub fn now(time: Timestamp, value: f64, unit: Option<String>) -> Self {
        Self {
            value,
            time: Time(time),
            unit,
            min: None,
            max: None,
            count: None,
        }
    }

    pub fn since(change: &Change, unit: Option<String>) -> Self {
        Self {
            min: Some(change.min),
            max: Some(change.max),
            count: Some(change.count),
            ..Self::now(change.time, change.value, unit)
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct WindowBody {
    kind: &'static str,
    size_seconds: f64,
    start: Time,
    end: Time,
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    first: f64,
    last: f64,
    revision: u32,
}

impl WindowBody {
    /// Whether both are of the same span.
    pub fn is_of(&self, other: &WindowBody) -> bool {
        (self.kind, self.size_seconds, self.start.0) == (other.kind, other.size_seconds, other.start.0)
    }
}

impl From<&WindowResult> for WindowBody {
    fn from(window: &WindowResult) -> Self {
        let span = &window.span;
        Self {
            kind: span.kind.as_str(),
            size_seconds: span.size as f64 / 1e6,
            start: Time(span.start),
            end: Time(span.end()),
            count: window.count,
            min: window.min,
            max: window.max,
            mean: window.mean,
            stddev: window.stddev,
            first: window.first,
            last: window.last,
            revision: window.revision,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct AnomalyBody {
    /// Its number in the stream of all.
    seq: u64,
    sensor_id: String,
    metric: String,
    time: Time,
    value: f64,
    detector: &'static str,
    level: &'static str,
    score: f64,
    expected: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    explanation: String,
}

impl AnomalyBody {
    pub fn new(seq: u64, anomaly: &Anomaly, name: &SeriesName) -> Self {
        Self {
            seq,
            sensor_id: name.sensor.to_string(),
            metric: name.metric.to_string(),
            time: Time(anomaly.time),
            value: anomaly.value,
            detector: anomaly.detector.as_str(),
            level: anomaly.level.as_str(),
            score: anomaly.score,
            expected: anomaly.expected,
            low: anomaly.band.low,
            high: anomaly.band.high,
            explanation: anomaly.explanation.clone(),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct RestartBody {
    time: Time,
    reason: String,
    detail: String,
    by: Option<String>,
    took_ms: Option<f64>,
}

impl From<&RestartRow> for RestartBody {
    fn from(row: &RestartRow) -> Self {
        Self {
            time: Time(row.time),
            reason: row.reason.clone(),
            detail: row.detail.clone(),
            by: row.by.clone(),
            took_ms: row.took_us.map(|took| took as f64 / 1e3),
        }
    }
}
