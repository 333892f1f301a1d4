//! How what is stored is written as JSON, in answers and by outputs alike: times as RFC 3339 in UTC.

use serde::{Serialize, Serializer};

use crate::domain::{AlertEvent, Timestamp, WindowResult};

#[derive(Debug, Clone, Copy, PartialEq, Eq, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct WindowBody {
    pub kind: &'static str,
    pub size_seconds: f64,
    pub start: Time,
    pub end: Time,
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Of the sample (n − 1).
    pub stddev: f64,
    pub first: f64,
    pub last: f64,
    /// 0 when it closed; one more each time late readings changed it.
    pub revision: u32,
}

impl From<&WindowResult> for WindowBody {
    fn from(window: &WindowResult) -> Self {
        Self {
            kind: window.span.kind.as_str(),
            size_seconds: window.span.size as f64 / 1e6,
            start: Time(window.span.start),
            end: Time(window.span.end()),
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

/// An event of an alert, or where one stands after its last.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AlertBody {
    /// The number of the alert, as text: it has more digits than some readers of JSON keep.
    pub alert: String,
    /// Of the events of one alert, from 0.
    pub ordinal: u32,
    pub rule: String,
    /// `raised`, `escalated`, `lowered`, `recovering`, `returned`, `no_data`, `resolved`.
    pub change: &'static str,
    /// When it changed.
    pub timestamp: Time,
    /// `firing`, `recovering`, `no_data`, `resolved`.
    pub state: &'static str,
    /// `info`, `warning`, `error`, `critical`.
    pub level: &'static str,
    /// When its condition began to hold.
    pub since: Time,
    /// What was judged.
    pub value: Option<f64>,
    /// The limit that the level stands for.
    pub threshold: Option<f64>,
    /// Where the value should be.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Whether it comes and goes too often to be told each time.
    pub flapping: bool,
    pub reason: String,
}

impl From<&AlertEvent> for AlertBody {
    fn from(event: &AlertEvent) -> Self {
        Self {
            alert: event.episode.0.to_string(),
            ordinal: event.ordinal,
            rule: event.rule.as_ref().to_owned(),
            change: event.change.as_str(),
            timestamp: Time(event.time),
            state: event.state.as_str(),
            level: event.level.as_str(),
            since: Time(event.began),
            value: event.value,
            threshold: event.threshold,
            low: event.expected.low,
            high: event.expected.high,
            flapping: event.flapping,
            reason: event.reason.clone(),
        }
    }
}
