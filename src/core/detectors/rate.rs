//! Rate of change: a value that changes faster than allowed, whatever the time between readings.
//!
//! Invariants: only readings that are the newest of their series count, so time goes on between them. Every change that
//! is too fast is a finding of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen, beyond, finite};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, DetectorKind, Micros, Timestamp};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Rate {
    above: f64,
    per: Micros,
    previous: Option<(Timestamp, f64)>,
}

impl Rate {
    pub(super) fn new(above: f64, per: Micros) -> Self {
        Rate {
            above,
            per,
            previous: None,
        }
    }
}

impl Detect for Rate {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Rate {
            above: self.above,
            per: self.per,
        }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        if !seen.newest {
            return None;
        }
        let (time, value) = self.previous.replace((seen.time, seen.value))?;
        let after = seen.time.since(time);
        let change = finite((seen.value - value).abs());
        // What may change in this time.
        let limit = finite(self.above * (after as f64 / self.per as f64));
        (after > 0 && change > limit).then(|| {
            let per = humantime::format_duration(Duration::from_micros(self.per.max(0).unsigned_abs()));
            let explanation = format!(
                "The value {} from {} to {} at a rate of {} in {per}; at most {} is allowed.",
                if seen.value > value { "rose" } else { "fell" },
                Plain(value),
                Plain(seen.value),
                Plain::rounded(finite(change / after as f64 * self.per as f64)),
                Plain(self.above),
            );
            beyond::found(seen, DetectorKind::Rate, value, change, limit, explanation)
        })
    }

    fn state(&self) -> DetectorState {
        DetectorState::Rate {
            previous: self.previous.map(|(_, value)| value),
        }
    }

    fn is_sound(&self) -> bool {
        self.previous.is_none_or(|(_, value)| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;
    use crate::domain::Level;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn the_time_between_readings_counts() {
        let mut rate = Rate::new(2.0, 60 * SECOND);
        let found = [(0, 0.0), (60, 2.0), (61, 2.1), (180, 6.0), (240, 10.1)]
            .map(|(time, value)| rate.observe(&seen(time * SECOND, value)));
        assert_eq!(
            found.clone().map(|found| found.is_some()),
            [false, false, true, false, true]
        );
        let last = found[4].clone().unwrap();
        assert_eq!((last.level, last.expected), (Level::Error, Some(6.0)));
        assert_eq!((last.band.low, last.band.high), (Some(4.0), Some(8.0)));
        assert_eq!(
            last.explanation,
            "The value rose from 6 to 10.1 at a rate of 4.1 in 1m; at most 2 is allowed."
        );
    }

    #[test]
    fn a_reading_out_of_order_is_not_seen() {
        let mut rate = Rate::new(1.0, SECOND);
        rate.observe(&seen(10, 0.0));
        let late = Seen {
            newest: false,
            ..seen(5, 100.0)
        };
        assert_eq!(rate.observe(&late), None);
        assert_eq!(rate.state(), DetectorState::Rate { previous: Some(0.0) });
    }
}
