//! Silence: a series that is not heard any more.
//!
//! Invariants: one finding an episode; the next accepted reading ends it. Silence is measured on the active clock, so
//! our own outage is nobody's silence, and it is told alike whether it was looked for on time or late. It is certain,
//! so its score is 1.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen};
use crate::core::config::DetectorSpec;
use crate::domain::{ActiveTime, Anomaly, Band, DetectorKind, Level, Micros};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Silence {
    after: Micros,
    silent: bool,
}

impl Silence {
    pub(super) fn new(after: Micros) -> Self {
        Silence { after, silent: false }
    }
}

impl Detect for Silence {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Silence { after: self.after }
    }

    fn observe(&mut self, _seen: &Seen) -> Option<Anomaly> {
        self.silent = false;
        None
    }

    fn deadline(&self, heard_at: ActiveTime) -> Option<ActiveTime> {
        (!self.silent).then(|| heard_at + self.after)
    }

    fn overdue(&mut self, last: &Seen) -> Option<Anomaly> {
        self.silent = true;
        let after = Duration::from_micros(self.after.max(0).unsigned_abs());
        Some(Anomaly {
            series: last.series,
            time: last.time.saturating_add(self.after),
            value: last.value,
            detector: DetectorKind::Silence,
            level: Level::Error,
            score: 1.0,
            expected: None,
            band: Band::default(),
            explanation: format!(
                "No new reading for {}; the last was {} at {}.",
                humantime::format_duration(after),
                Plain(last.value),
                last.time,
            ),
        })
    }

    fn state(&self) -> DetectorState {
        DetectorState::Silence { silent: self.silent }
    }

    fn is_sound(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    #[test]
    fn it_is_told_once_until_something_is_heard() {
        let mut silence = Silence::new(90_000_000);
        assert_eq!(silence.deadline(ActiveTime(5)), Some(ActiveTime(90_000_005)));
        let found = silence.overdue(&seen(1_000_000, 21.5)).unwrap();
        assert_eq!(silence.deadline(ActiveTime(5)), None);
        assert_eq!(silence.state(), DetectorState::Silence { silent: true });
        let expected = Anomaly {
            series: crate::domain::SeriesId(1),
            time: crate::domain::Timestamp(91_000_000),
            value: 21.5,
            detector: DetectorKind::Silence,
            level: Level::Error,
            score: 1.0,
            expected: None,
            band: Band {
                low: None,
                high: None,
            },
            explanation: "No new reading for 1m 30s; the last was 21.5 at 1970-01-01T00:00:01Z.".into(),
        };
        assert_eq!(found, expected);

        assert_eq!(silence.observe(&seen(2_000_000, 21.0)), None);
        assert_eq!(silence.deadline(ActiveTime(10)), Some(ActiveTime(90_000_010)));
        assert_eq!(silence.state(), DetectorState::Silence { silent: false });
    }
}
