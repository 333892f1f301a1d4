//! Stuck: a value that does not change any more though readings come, as of a sensor that froze.
//!
//! Invariants: one finding an episode, at the first reading after `after` of event time without a change of more than
//! `within`; such a change ends the episode. Silence is not stuck: nothing is found without readings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen, finite};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, Band, DetectorKind, Level, Micros, Timestamp};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Stuck {
    after: Micros,
    within: f64,
    /// The value it has kept to, and since when.
    since: Option<(Timestamp, f64)>,
    told: bool,
}

impl Stuck {
    pub(super) fn new(after: Micros, within: f64) -> Self {
        Stuck {
            after,
            within,
            since: None,
            told: false,
        }
    }
}

impl Detect for Stuck {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Stuck {
            after: self.after,
            within: self.within,
        }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        if !seen.newest {
            return None;
        }
        let Some((since, value)) = self
            .since
            .filter(|(_, value)| (seen.value - value).abs() <= self.within)
        else {
            (self.since, self.told) = (Some((seen.time, seen.value)), false);
            return None;
        };
        let lasted = seen.time.since(since);
        if self.told || lasted < self.after {
            return None;
        }
        self.told = true;
        let told = humantime::format_duration(Duration::from_secs(lasted.max(0).unsigned_abs() / 1_000_000));
        Some(Anomaly {
            series: seen.series,
            time: seen.time,
            value: seen.value,
            detector: DetectorKind::Stuck,
            level: Level::Warning,
            score: 1.0,
            expected: None,
            band: Band {
                low: Some(finite(value - self.within)),
                high: Some(finite(value + self.within)),
            },
            explanation: if self.within > 0.0 {
                format!(
                    "The value has kept within {} of {} for {told}.",
                    Plain(self.within),
                    Plain(value)
                )
            } else {
                format!("The value has been exactly {} for {told}.", Plain(value))
            },
        })
    }

    fn state(&self) -> DetectorState {
        DetectorState::Stuck {
            value: self.since.map(|(_, value)| value),
            stuck: self.told,
        }
    }

    fn is_sound(&self) -> bool {
        self.since.is_none_or(|(_, value)| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn it_is_told_once_until_the_value_changes() {
        let mut stuck = Stuck::new(10 * SECOND, 0.5);
        let values = [1.0, 1.5, 0.5, 1.2, 9.0, 9.0, 9.1, 9.2, 8.0];
        let found: Vec<_> = (0..)
            .zip(values)
            .map(|(at, value)| stuck.observe(&seen(5 * at * SECOND, value)).is_some())
            .collect();
        assert_eq!(
            found,
            [false, false, true, false, false, false, true, false, false]
        );
    }

    #[test]
    fn it_says_for_how_long() {
        let mut stuck = Stuck::new(60 * SECOND, 0.0);
        assert_eq!(stuck.observe(&seen(0, 21.5)), None);
        let found = stuck.observe(&seen(90 * SECOND, 21.5)).unwrap();
        assert_eq!(found.explanation, "The value has been exactly 21.5 for 1m 30s.");
        assert_eq!((found.score, found.band.low), (1.0, Some(21.5)));
        assert_eq!(
            stuck.state(),
            DetectorState::Stuck {
                value: Some(21.5),
                stuck: true
            }
        );
    }
}
