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

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    fn levels(above: f64, values: &[f64]) -> Vec<Option<Level>> {
        let mut threshold = Threshold::new(above);
        values
            .iter()
            .map(|value| threshold.observe(&seen(0, *value)).map(|found| found.level))
            .collect()
    }

    fn level(above: f64, value: f64) -> Option<Level> {
        levels(above, &[value])[0]
    }

    #[test]
    fn the_marks_are_passed_not_reached() {
        assert_eq!(level(80.0, 80.0), None);
        assert_eq!(level(80.0, 80.5), Some(Level::Warning));
        assert_eq!(level(80.0, 96.0), Some(Level::Warning));
        assert_eq!(level(80.0, 96.5), Some(Level::Error));
        assert_eq!(level(80.0, 120.0), Some(Level::Error));
        assert_eq!(level(80.0, 120.5), Some(Level::Critical));
    }

    #[test]
    fn below_zero_the_marks_are_as_far_above_the_limit() {
        assert_eq!(level(-10.0, -10.0), None);
        assert_eq!(level(-10.0, -8.0), Some(Level::Warning));
        assert_eq!(level(-10.0, -7.9), Some(Level::Error));
        assert_eq!(level(-10.0, -5.0), Some(Level::Error));
        assert_eq!(level(-10.0, -4.9), Some(Level::Critical));
    }

    #[test]
    fn at_zero_the_unit_is_the_measure() {
        for zero in [0.0, -0.0] {
            assert_eq!(level(zero, 0.0), None);
            assert_eq!(level(zero, 0.2), Some(Level::Warning));
            assert_eq!(level(zero, 0.3), Some(Level::Error));
            assert_eq!(level(zero, 0.5), Some(Level::Error));
            assert_eq!(level(zero, 0.6), Some(Level::Critical));
        }
    }

    #[test]
    fn an_episode_is_told_once_a_level_until_it_ends() {
        use Level::{Critical, Error, Warning};
        assert_eq!(
            levels(10.0, &[11.0, 11.0, 13.0, 11.0, 13.0, 16.0, 10.0, 13.0, 10.5]),
            [
                Some(Warning),
                None,
                Some(Error),
                None,
                None,
                Some(Critical),
                None,
                Some(Error),
                None
            ]
        );
    }

    #[test]
    fn a_reading_out_of_order_is_judged_but_neither_starts_nor_ends_an_episode() {
        let mut threshold = Threshold::new(10.0);
        let late = |value| Seen {
            newest: false,
            ..seen(0, value)
        };
        assert!(threshold.observe(&late(11.0)).is_some());
        assert_eq!(threshold.raised, None);
        assert!(threshold.observe(&seen(1, 11.0)).is_some());
        assert!(threshold.observe(&late(11.0)).is_none());
        assert!(threshold.observe(&late(5.0)).is_none());
        assert_eq!(threshold.raised, Some(Level::Warning));
        assert!(threshold.observe(&seen(2, 11.0)).is_none());
    }

    #[test]
    fn a_finding_names_its_limit() {
        let found = Threshold::new(80.0).observe(&seen(7, 100.0)).unwrap();
        let expected = Anomaly {
            series: crate::domain::SeriesId(1),
            time: crate::domain::Timestamp(7),
            value: 100.0,
            detector: DetectorKind::Threshold,
            level: Level::Error,
            score: found.score,
            expected: None,
            band: Band {
                low: None,
                high: Some(80.0),
            },
            explanation: "The value 100 is above its limit of 80, and above 96, where it becomes an error."
                .into(),
        };
        assert_eq!(found, expected);
        assert!((found.score - 0.2).abs() < 1e-12);
        let text = |value| Threshold::new(80.0).observe(&seen(7, value)).unwrap().explanation;
        assert_eq!(text(81.0), "The value 81 is above its limit of 80.");
        assert_eq!(
            text(121.0),
            "The value 121 is above its limit of 80, and above 120, where it becomes critical."
        );
    }

    #[test]
    fn the_score_measures_the_excess() {
        let score = |above, value| Threshold::new(above).observe(&seen(0, value)).unwrap().score;
        assert_eq!(score(-10.0, 0.0), 0.5);
        assert_eq!(score(0.0, 3.0), 0.75);
        assert_eq!(score(f64::MIN, f64::MAX), 0.5);
    }

    #[test]
    fn the_state_shows_where_it_stands() {
        let mut threshold = Threshold::new(80.0);
        threshold.observe(&seen(0, 100.0));
        assert_eq!(
            threshold.state(),
            DetectorState::Threshold {
                raised: Some(Level::Error),
                error_above: 96.0,
                critical_above: 120.0
            }
        );
    }
}
