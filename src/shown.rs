//! How what is stored is written as JSON, in answers and by outputs alike: times as RFC 3339 in UTC.

use serde::{Serialize, Serializer};

use crate::domain::{Timestamp, WindowResult};

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
