//! Findings of detectors that compare a value with what they expect: how far beyond its limit makes which level and
//! score.
//!
//! Invariants: numbers are finite; the score is 1 − limit / distance, in 0..=1. More than twice the limit is an error,
//! more than four times critical.

use super::{Seen, finite};
use crate::domain::{Anomaly, Band, DetectorKind, Level};

/// Values are taken within this, so that their squares and the sums of these are finite.
const TAME: f64 = 1e150;

pub(super) fn tame(value: f64) -> f64 {
    value.clamp(-TAME, TAME)
}

/// `distance` from `expected` is more than `limit`.
#[cold]
pub(super) fn found(
    seen: &Seen,
    detector: DetectorKind,
    expected: f64,
    distance: f64,
    limit: f64,
    explanation: String,
) -> Anomaly {
    let level = if distance > 4.0 * limit {
        Level::Critical
    } else if distance > 2.0 * limit {
        Level::Error
    } else {
        Level::Warning
    };
    Anomaly {
        series: seen.series,
        time: seen.time,
        value: seen.value,
        detector,
        level,
        score: (1.0 - limit / distance.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0),
        expected: Some(finite(expected)),
        band: Band {
            low: Some(finite(expected - limit)),
            high: Some(finite(expected + limit)),
        },
        explanation,
    }
}
