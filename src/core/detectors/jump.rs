//! Jump: a step from one value to the next that is larger than allowed.
//!
//! Invariants: only readings that are the newest of their series count, so a step is always one in event time. Every
//! step is a finding of its own: a spike is two. A step too large for a float is taken as `f64::MAX`.

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen, finite};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, Band, DetectorKind, Level};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Jump {
    threshold: f64,
    previous: Option<f64>,
}

impl Jump {
    pub(super) fn new(threshold: f64) -> Self {
        Jump {
            threshold,
            previous: None,
        }
    }
}

impl Detect for Jump {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Jump {
            threshold: self.threshold,
        }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        if !seen.newest {
            return None;
        }
        let previous = self.previous.replace(seen.value)?;
        let threshold = self.threshold;
        let step = finite((seen.value - previous).abs());
        if step > threshold {
            Some(found(seen, previous, step, threshold))
        } else {
            None
        }
    }

    fn state(&self) -> DetectorState {
        DetectorState::Jump {
            previous: self.previous,
        }
    }

    fn is_sound(&self) -> bool {
        self.previous.is_none_or(f64::is_finite)
    }
}

#[cold]
fn found(seen: &Seen, previous: f64, step: f64, threshold: f64) -> Anomaly {
    let level = if step > 4.0 * threshold {
        Level::Critical
    } else if step > 2.0 * threshold {
        Level::Error
    } else {
        Level::Warning
    };
    Anomaly {
        series: seen.series,
        time: seen.time,
        value: seen.value,
        detector: DetectorKind::Jump,
        level,
        score: (1.0 - threshold / step).clamp(0.0, 1.0),
        expected: Some(previous),
        band: Band {
            low: Some(finite(previous - threshold)),
            high: Some(finite(previous + threshold)),
        },
        explanation: format!(
            "The value {} by {} in one step, from {} to {}; at most {} is allowed.",
            if seen.value > previous { "rose" } else { "fell" },
            Plain::rounded(step),
            Plain(previous),
            Plain(seen.value),
            Plain(threshold),
        ),
    }
}
