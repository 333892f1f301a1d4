//! z-score: a value too many standard deviations away from the mean of the values before it.
//!
//! Mean and standard deviation are those of the last `window` values, computed anew for each reading, so no rounding
//! adds up.
//!
//! Invariants: only readings that are the newest of their series count, and a value is never part of what it is
//! compared with. Nothing is found until the window is half full, nor while its values do not differ.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen, beyond};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, DetectorKind};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct ZScore {
    above: f64,
    window: u16,
    values: VecDeque<f64>,
}

impl ZScore {
    pub(super) fn new(above: f64, window: u16) -> Self {
        ZScore {
            above,
            window: window.max(2),
            values: VecDeque::new(),
        }
    }

    fn moments(&self) -> (f64, f64) {
        let count = self.values.len().max(1) as f64;
        // Each part by itself is small enough for the sum.
        let mean = self.values.iter().map(|value| value / count).sum::<f64>();
        let variance = self
            .values
            .iter()
            .map(|value| (value - mean).powi(2) / count)
            .sum::<f64>();
        (mean, variance.sqrt())
    }
}

impl Detect for ZScore {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::ZScore {
            above: self.above,
            window: self.window,
        }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        if !seen.newest {
            return None;
        }
        let value = beyond::tame(seen.value);
        let ready = self.values.len() * 2 >= usize::from(self.window);
        let found = ready.then(|| self.moments()).and_then(|(mean, deviation)| {
            let distance = (value - mean).abs();
            let limit = self.above * deviation;
            (deviation > 0.0 && distance > limit).then(|| {
                let explanation = format!(
                    "The value {} is {} standard deviations from {}, the mean of the last {}; at most {} are allowed.",
                    Plain(seen.value),
                    Plain::rounded(distance / deviation),
                    Plain::rounded(mean),
                    self.values.len(),
                    Plain(self.above),
                );
                beyond::found(seen, DetectorKind::ZScore, mean, distance, limit, explanation)
            })
        });
        if self.values.len() >= usize::from(self.window) {
            self.values.pop_front();
        }
        self.values.push_back(value);
        found
    }

    fn state(&self) -> DetectorState {
        let (mean, deviation) = self.moments();
        DetectorState::ZScore {
            values: self.values.len(),
            mean,
            deviation,
        }
    }

    fn is_sound(&self) -> bool {
        self.values.len() <= usize::from(self.window)
            && self.values.iter().all(|value| *value == beyond::tame(*value))
    }

    fn heap(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;
    use crate::domain::Level;

    #[test]
    fn a_value_far_from_the_mean_is_found_and_then_part_of_it() {
        let mut detector = ZScore::new(3.0, 10);
        for at in 0..10 {
            let value = if at % 2 == 0 { 9.0 } else { 11.0 };
            assert_eq!(detector.observe(&seen(at, value)), None);
        }
        assert_eq!(
            detector.observe(&seen(10, 12.9)),
            None,
            "three deviations are allowed"
        );
        let found = detector.observe(&seen(11, 100.0)).unwrap();
        assert_eq!(found.level, Level::Critical);
        assert!(
            found.explanation.contains("the mean of the last 10"),
            "{}",
            found.explanation
        );
        assert_eq!(detector.observe(&seen(12, 100.0)), None, "now it is wide");
    }

    #[test]
    fn equal_values_have_no_measure() {
        let mut detector = ZScore::new(3.0, 4);
        for at in 0..4 {
            assert_eq!(detector.observe(&seen(at, 5.0)), None);
        }
        assert_eq!(detector.observe(&seen(4, 6.0)), None);
    }
}
