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

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    fn levels(values: &[f64]) -> Vec<Option<Level>> {
        let mut jump = Jump::new(5.0);
        values
            .iter()
            .map(|value| jump.observe(&seen(0, *value)).map(|found| found.level))
            .collect()
    }

    #[test]
    fn only_a_step_beyond_the_threshold_is_found_each_time() {
        assert_eq!(levels(&[100.0, 105.0, 100.0]), [None, None, None]);
        assert_eq!(
            levels(&[0.0, 5.5, 0.0]),
            [None, Some(Level::Warning), Some(Level::Warning)]
        );
    }

    #[test]
    fn the_level_grows_with_the_step() {
        assert_eq!(levels(&[0.0, 10.0])[1], Some(Level::Warning));
        assert_eq!(levels(&[0.0, 10.5])[1], Some(Level::Error));
        assert_eq!(levels(&[0.0, 20.0])[1], Some(Level::Error));
        assert_eq!(levels(&[0.0, -20.5])[1], Some(Level::Critical));
    }

    #[test]
    fn a_reading_out_of_order_is_not_seen() {
        let mut jump = Jump::new(5.0);
        jump.observe(&seen(10, 0.0));
        assert_eq!(
            jump.observe(&Seen {
                newest: false,
                ..seen(5, 100.0)
            }),
            None
        );
        assert_eq!(jump.state(), DetectorState::Jump { previous: Some(0.0) });
        assert_eq!(jump.observe(&seen(11, 1.0)), None);
    }

    #[test]
    fn a_finding_says_what_was_expected() {
        let mut jump = Jump::new(5.0);
        jump.observe(&seen(10, 20.1));
        let found = jump.observe(&seen(11, 35.2)).unwrap();
        let expected = Anomaly {
            series: crate::domain::SeriesId(1),
            time: crate::domain::Timestamp(11),
            value: 35.2,
            detector: DetectorKind::Jump,
            level: Level::Error,
            score: found.score,
            expected: Some(20.1),
            band: Band {
                low: Some(20.1 - 5.0),
                high: Some(20.1 + 5.0),
            },
            explanation: "The value rose by 15.1 in one step, from 20.1 to 35.2; at most 5 is allowed."
                .into(),
        };
        assert_eq!(found, expected);
        assert!((found.score - (1.0 - 5.0 / 15.1)).abs() < 1e-12);
        let back = jump.observe(&seen(12, 20.1)).unwrap();
        assert!(
            back.explanation.starts_with("The value fell by 15.1 in one step"),
            "{}",
            back.explanation
        );
    }

    #[test]
    fn the_widest_step_is_told_in_finite_numbers() {
        let mut jump = Jump::new(f64::MAX / 2.0);
        jump.observe(&seen(0, f64::MIN));
        let found = jump.observe(&seen(1, f64::MAX)).unwrap();
        assert_eq!((found.score, found.band.low), (0.5, Some(f64::MIN)));
    }

    #[test]
    fn only_a_finite_baseline_is_sound() {
        assert!(
            Jump {
                threshold: 1.0,
                previous: Some(1.0)
            }
            .is_sound()
        );
        assert!(
            !Jump {
                threshold: 1.0,
                previous: Some(f64::NAN)
            }
            .is_sound()
        );
    }
}
