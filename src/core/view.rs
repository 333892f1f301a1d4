//! The state of a sensor as people see it when they inspect it.
//!
//! Invariants: a view is a copy, and nothing is computed from it. Equal states have equal views. Times of events are RFC 3339,
//! durations and points on the active clock are microseconds.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::config::{DetectorSpec, WindowSpec};
use super::detectors::DetectorState;
use super::windows::Aggregate;
use crate::domain::{
    ActiveTime, AlertState, Anomaly, Band, DetectorKind, Episode, Level, SeriesId, Timestamp,
};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SensorView {
    pub series: Vec<SeriesView>,
    /// Oldest first.
    pub anomalies: Vec<AnomalyView>,
    pub next_deadline: Option<ActiveTime>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesView {
    pub series: SeriesId,
    #[serde(serialize_with = "rfc3339")]
    pub newest_time: Timestamp,
    pub newest_value: f64,
    pub heard_at: ActiveTime,
    /// What is older is late, and windows that end here or before are closed.
    #[serde(serialize_with = "rfc3339")]
    pub watermark: Timestamp,
    /// How many readings are remembered to judge duplicates by, out of how many at most.
    pub remembered: usize,
    pub ring: usize,
    /// Whether there are readings older than the remembered ones.
    pub forgot: bool,
    pub windows: Vec<WindowsView>,
    pub detectors: Vec<DetectorView>,
    pub rules: Vec<RuleView>,
}

/// The open windows of one specification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowsView {
    pub spec: WindowSpec,
    pub open: Vec<OpenWindow>,
}

/// A window while it fills. Without values if nothing was seen of it yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenWindow {
    #[serde(serialize_with = "rfc3339")]
    pub start: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub end: Timestamp,
    /// Stored readings are missing here; when it closes it is computed from the store.
    pub incomplete: bool,
    pub count: u64,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub mean: Option<f64>,
    pub stddev: Option<f64>,
    pub first: Option<f64>,
    pub last: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectorView {
    pub spec: DetectorSpec,
    pub state: DetectorState,
}

/// Where an alert rule stands. Without a state where nothing is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleView {
    pub rule: Arc<str>,
    pub state: Option<AlertState>,
    pub level: Option<Level>,
    pub since: Option<String>,
    /// The stored alert, once there is one.
    pub episode: Option<Episode>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnomalyView {
    pub series: SeriesId,
    #[serde(serialize_with = "rfc3339")]
    pub time: Timestamp,
    pub value: f64,
    pub detector: DetectorKind,
    pub level: Level,
    pub score: f64,
    pub expected: Option<f64>,
    pub band: Band,
    pub explanation: String,
}

impl OpenWindow {
    pub(super) fn new(
        start: Timestamp,
        end: Timestamp,
        incomplete: bool,
        aggregate: Option<Aggregate>,
    ) -> Self {
        let sum = aggregate.as_ref();
        OpenWindow {
            start,
            end,
            incomplete,
            count: sum.map_or(0, Aggregate::count),
            min: sum.map(Aggregate::min),
            max: sum.map(Aggregate::max),
            mean: sum.map(Aggregate::mean),
            stddev: sum.map(Aggregate::stddev),
            first: sum.map(Aggregate::first),
            last: sum.map(Aggregate::last),
        }
    }
}

impl From<&Anomaly> for AnomalyView {
    fn from(anomaly: &Anomaly) -> Self {
        let anomaly = anomaly.clone();
        AnomalyView {
            series: anomaly.series,
            time: anomaly.time,
            value: anomaly.value,
            detector: anomaly.detector,
            level: anomaly.level,
            score: anomaly.score,
            expected: anomaly.expected,
            band: anomaly.band,
            explanation: anomaly.explanation,
        }
    }
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
