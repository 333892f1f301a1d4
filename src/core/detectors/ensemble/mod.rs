//! Ensemble: the detector that needs no setting.
//!
//! [`features`] looks at the series at several scales, [`tail`] says how rare each feature is by what the series did
//! before, the rarest decides, and [`alarm`] says how rare is rare enough. [`judge`] puts these together, [`explain`]
//! says it in words, [`tuning`] has the constants.
//!
//! Invariants: constant state, one pass, no look-ahead; the same readings give the same findings. Only readings that
//! are the newest of their series count. The score is at least [`THRESHOLD`] exactly for a finding.

pub(in crate::core) mod alarm;
mod explain;
pub(in crate::core) mod features;
pub(in crate::core) mod judge;
pub(in crate::core) mod tail;
pub(in crate::core) mod tuning;

use serde::{Deserialize, Serialize};

use self::judge::Judge;
pub use self::judge::THRESHOLD;
use self::tuning::Tuning;
use super::{Detect, DetectorState, Seen};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, Timestamp};

const TUNING: &Tuning = &Tuning::DEFAULT;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Ensemble {
    /// Far larger than other detectors, most of which stay in line.
    judge: Box<Judge>,
}

impl Ensemble {
    pub(super) fn new() -> Self {
        Ensemble {
            judge: Box::new(Judge::new(TUNING)),
        }
    }
}

impl Detect for Ensemble {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Ensemble {}
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        if !seen.newest {
            return None;
        }
        let expected = self.judge.expectations(seen.time.0);
        let judgment = self.judge.observe(seen.time.0, seen.value, TUNING);
        (judgment.score >= THRESHOLD).then(|| explain::found(&self.judge, &judgment, expected, seen))
    }

    fn state(&self) -> DetectorState {
        DetectorState::Ensemble {
            readings: self.judge.features().readings(),
            once_in: 10_f64.powf(self.judge.needed(TUNING)).round(),
            resting: self.judge.is_resting(),
        }
    }

    fn is_sound(&self) -> bool {
        self.judge.is_sound(TUNING)
    }

    fn heap(&self) -> usize {
        size_of::<Judge>()
    }
}

/// The ensemble alone, over readings in the order in which they are given.
#[derive(Debug, Clone)]
pub struct Scorer(Judge);

impl Scorer {
    pub fn new() -> Self {
        Scorer(Judge::new(TUNING))
    }

    /// The score of the next reading, in 0..=1: an anomaly from [`THRESHOLD`] on. A value that is not finite is passed
    /// over, with a score of 0.
    pub fn score(&mut self, time: Timestamp, value: f64) -> f64 {
        if value.is_finite() {
            self.0.observe(time.0, value, TUNING).score
        } else {
            0.0
        }
    }
}

impl Default for Scorer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
