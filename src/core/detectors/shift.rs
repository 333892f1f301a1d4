//! Level shift: a lasting change of the mean, too small for a single reading to show.
//!
//! Two cumulative sums (E. S. Page, "Continuous inspection schemes", 1954): of how far each value is above the
//! baseline, in standard deviations and less the slack of one half, and of how far it is below. A sum that passes the
//! limit is a shift. Values count for at most [`MOST`] deviations, so one spike is none.
//!
//! Invariants: only readings that are the newest of their series count. The baseline is learned from `span` readings,
//! at first and after each finding, and follows slowly in between. Nothing is found while it is learned, nor while
//! values do not differ.

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen, beyond};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, DetectorKind};

/// Half of the shift that is found soonest, in standard deviations.
const SLACK: f64 = 0.5;
const MOST: f64 = 4.0;
/// The baseline follows by so many spans.
const FOLLOWS: f64 = 20.0;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Shift {
    above: f64,
    span: u16,
    /// Of the baseline, counted up to the span.
    readings: u16,
    mean: f64,
    variance: f64,
    up: f64,
    down: f64,
}

impl Shift {
    pub(super) fn new(above: f64, span: u16) -> Self {
        Shift {
            above,
            span: span.max(2),
            readings: 0,
            mean: 0.0,
            variance: 0.0,
            up: 0.0,
            down: 0.0,
        }
    }

    fn learn(&mut self, distance: f64, weight: f64) {
        self.mean += weight * distance;
        self.variance = (1.0 - weight) * (self.variance + weight * distance * distance);
    }
}

impl Detect for Shift {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Shift {
            above: self.above,
            span: self.span,
        }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        if !seen.newest {
            return None;
        }
        let distance = beyond::tame(seen.value) - self.mean;
        if self.readings < self.span {
            self.readings += 1;
            self.learn(distance, 1.0 / f64::from(self.readings));
            return None;
        }
        let deviation = self.variance.sqrt();
        if deviation > 0.0 {
            let far = (distance / deviation).clamp(-MOST, MOST);
            self.up = (self.up + far - SLACK).max(0.0);
            self.down = (self.down - far - SLACK).max(0.0);
        }
        let (mean, sum) = (self.mean, self.up.max(self.down));
        let risen = self.up >= self.down;
        if sum <= self.above {
            // What may be the beginning of a shift is not followed.
            let near = (deviation * MOST).min(distance.abs()).copysign(distance);
            self.learn(near, 1.0 / (FOLLOWS * f64::from(self.span)));
            return None;
        }
        *self = Shift::new(self.above, self.span);
        let explanation = format!(
            "The level has {} for good from its mean of {}, with {} at last: the sum of deviations is {}, at most {} is allowed.",
            if risen { "risen" } else { "fallen" },
            Plain::rounded(mean),
            Plain(seen.value),
            Plain::rounded(sum),
            Plain(self.above),
        );
        let mut found = beyond::found(seen, DetectorKind::Shift, mean, sum, self.above, explanation);
        // The sum has no band in values.
        found.band = crate::domain::Band::default();
        Some(found)
    }

    fn state(&self) -> DetectorState {
        DetectorState::Shift {
            mean: self.mean,
            deviation: self.variance.sqrt(),
            up: self.up,
            down: self.down,
        }
    }

    fn is_sound(&self) -> bool {
        let sum = |sum: f64| (0.0..=self.above.abs() + MOST).contains(&sum);
        self.readings <= self.span
            && self.mean.abs() <= 2.0 * beyond::tame(f64::MAX)
            && (0.0..f64::INFINITY).contains(&self.variance)
            && sum(self.up)
            && sum(self.down)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    fn noise(at: i64) -> f64 {
        (at * 7_919 % 101) as f64 / 50.0 - 1.0
    }

    #[test]
    fn a_small_shift_is_found_once_and_then_the_new_level_is_usual() {
        let mut shift = Shift::new(10.0, 50);
        let found: Vec<_> = (0..1_000)
            .filter_map(|at| {
                let level = if at >= 500 { 1.2 } else { 0.0 };
                shift
                    .observe(&seen(at, level + noise(at)))
                    .map(|found| (at, found))
            })
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!((500..530).contains(&found[0].0), "{found:?}");
        assert!(found[0].1.explanation.starts_with("The level has risen"));
    }

    #[test]
    fn a_spike_is_no_shift() {
        let mut shift = Shift::new(10.0, 50);
        for at in 0..1_000 {
            let spike = if at == 500 { -1e6 } else { 0.0 };
            assert_eq!(shift.observe(&seen(at, spike + noise(at))), None, "reading {at}");
        }
    }
}
