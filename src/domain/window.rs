//! What a window came to.

use serde::{Deserialize, Serialize};

use super::{Micros, SeriesId, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowKind {
    Tumbling,
}

impl WindowKind {
    pub const ALL: [WindowKind; 1] = [WindowKind::Tumbling];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            WindowKind::Tumbling => "tumbling",
        }
    }
}

/// Which window: the half-open span `[start, start + size)` of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WindowSpan {
    pub series: SeriesId,
    pub kind: WindowKind,
    pub size: Micros,
    pub start: Timestamp,
}

impl WindowSpan {
    pub fn end(&self) -> Timestamp {
        self.start.saturating_add(self.size)
    }
}

/// The closed window. `count` is at least 1; `stddev` is that of the sample (n − 1), 0 for a single value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowResult {
    pub span: WindowSpan,
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub stddev: f64,
    /// The values with the earliest and the latest event time.
    pub first: f64,
    pub last: f64,
    /// 0 when it closed; one more each time late readings changed it.
    pub revision: u32,
}
