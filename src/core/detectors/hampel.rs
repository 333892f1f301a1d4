//! Hampel: a value too far from the median of the values before it, measured by their median absolute deviation.
//!
//! Unlike mean and standard deviation these do not follow outliers, up to half of the window (F. Hampel, "The influence
//! curve and its role in robust estimation", 1974). 1.4826 times the median absolute deviation is the standard
//! deviation of what is normally distributed.
//!
//! Invariants: only readings that are the newest of their series count, and a value is never part of what it is
//! compared with. Nothing is found until the window is half full, nor while more than half of its values are equal:
//! that gives no measure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Detect, DetectorState, Plain, Seen, beyond};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, DetectorKind};

const NORMAL: f64 = 1.4826;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Hampel {
    above: f64,
    window: u16,
    values: VecDeque<f64>,
}

impl Hampel {
    pub(super) fn new(above: f64, window: u16) -> Self {
        Hampel {
            above,
            window: window.max(2),
            values: VecDeque::new(),
        }
    }

    /// Median, and deviation.
    fn measure(&self) -> (f64, f64) {
        let mut sorted: SmallVec<[f64; 64]> = self.values.iter().copied().collect();
        let median = median(&mut sorted);
        sorted
            .iter_mut()
            .for_each(|value| *value = (*value - median).abs());
        (median, NORMAL * self::median(&mut sorted))
    }
}

/// The upper one of an even number; 0 of none.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        0.0
    } else {
        *values.select_nth_unstable_by(middle, f64::total_cmp).1
    }
}

impl Detect for Hampel {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Hampel {
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
        let found = ready.then(|| self.measure()).and_then(|(median, deviation)| {
            let distance = (value - median).abs();
            let limit = self.above * deviation;
            (deviation > 0.0 && distance > limit).then(|| {
                let explanation = format!(
                    "The value {} is {} robust deviations from {}, the median of the last {}; at most {} are allowed.",
                    Plain(seen.value),
                    Plain::rounded(distance / deviation),
                    Plain(median),
                    self.values.len(),
                    Plain(self.above),
                );
                beyond::found(seen, DetectorKind::Hampel, median, distance, limit, explanation)
            })
        });
        if self.values.len() >= usize::from(self.window) {
            self.values.pop_front();
        }
        self.values.push_back(value);
        found
    }

    fn state(&self) -> DetectorState {
        let (median, deviation) = self.measure();
        DetectorState::Hampel {
            values: self.values.len(),
            median,
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

    #[test]
    fn outliers_do_not_hide_each_other() {
        let mut hampel = Hampel::new(4.0, 11);
        for at in 0..11 {
            assert_eq!(hampel.observe(&seen(at, 20.0 + (at % 3) as f64)), None);
        }
        for at in 11..15 {
            let found = hampel.observe(&seen(at, 500.0));
            assert!(found.is_some(), "reading {at}");
        }
        assert_eq!(hampel.observe(&seen(15, 21.0)), None);
    }

    #[test]
    fn mostly_equal_values_have_no_measure() {
        let mut hampel = Hampel::new(3.0, 5);
        for (at, value) in [1.0, 1.0, 1.0, 2.0, 1.0, 9.0].into_iter().enumerate() {
            assert_eq!(hampel.observe(&seen(at as i64, value)), None);
        }
    }
}
