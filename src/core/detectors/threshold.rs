//! Threshold: a value above a fixed limit.
//!
//! A value above the limit T is a warning; above 1.2 T an error; above 1.5 T critical. Below zero, 1.2 T would lie on
//! the wrong side of T, so the marks lie as far above the limit as they would for |T|: 0.8 T and 0.5 T. Zero gives no
//! measure of its own for how far is far; there the unit of the series is taken, so the marks are 0.2 and 0.5.
//!
//! Invariants: one finding when an episode starts and one each time it reaches a graver level than before in it; an
//! episode ends when the newest value is at or below the limit. A reading that is not the newest is judged too, for a
//! value above the limit is that in any order, but it neither starts nor ends an episode. The score is the excess
//! e over the limit, against the limit: e / (e + |T|), in 0..=1; for T = 0, e / (e + 1).

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen, finite};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, Band, DetectorKind, Level};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Threshold {
    above: f64,
    /// The gravest level of the running episode.
    raised: Option<Level>,
}

impl Threshold {
    pub(super) fn new(above: f64) -> Self {
        Threshold { above, raised: None }
    }

    /// Where a value becomes an error, and critical.
    fn marks(&self) -> (f64, f64) {
        let above = self.above;
        if above > 0.0 {
            (finite(1.2 * above), finite(1.5 * above))
        } else if above < 0.0 {
            (0.8 * above, 0.5 * above)
        } else {
            (0.2, 0.5)
        }
    }

    fn level(&self, value: f64) -> Level {
        let (error, critical) = self.marks();
        if value > critical {
            Level::Critical
        } else if value > error {
            Level::Error
        } else {
            Level::Warning
        }
    }
}

impl Detect for Threshold {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Threshold { above: self.above }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        let level = (seen.value > self.above).then(|| self.level(seen.value));
        let rises = level > self.raised;
        if seen.newest {
            self.raised = level.map(|level| self.raised.map_or(level, |raised| raised.max(level)));
        }
        match level {
            Some(level) if rises => Some(self.found(seen, level)),
            _ => None,
        }
    }

    fn state(&self) -> DetectorState {
        let (error_above, critical_above) = self.marks();
        DetectorState::Threshold {
            raised: self.raised,
            error_above,
            critical_above,
        }
    }

    fn is_sound(&self) -> bool {
        true
    }
}

impl Threshold {
    #[cold]
    fn found(&self, seen: &Seen, level: Level) -> Anomaly {
        let (error, critical) = self.marks();
        let (value, above) = (Plain(seen.value), Plain(self.above));
        let explanation = match level {
            Level::Info | Level::Warning => format!("The value {value} is above its limit of {above}."),
            Level::Error => format!(
                "The value {value} is above its limit of {above}, and above {}, where it becomes an error.",
                Plain::rounded(error)
            ),
            Level::Critical => format!(
                "The value {value} is above its limit of {above}, and above {}, where it becomes critical.",
                Plain::rounded(critical)
            ),
        };
        let scale = if self.above == 0.0 { 1.0 } else { self.above.abs() };
        let excess = finite(seen.value - self.above);
        Anomaly {
            series: seen.series,
            time: seen.time,
            value: seen.value,
            detector: DetectorKind::Threshold,
            level,
            // e / (e + s), written so that nothing overflows.
            score: 1.0 / (1.0 + scale / excess),
            expected: None,
            band: Band {
                low: None,
                high: Some(self.above),
            },
            explanation,
        }
    }
}
