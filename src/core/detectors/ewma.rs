//! EWMA: a value too far from its exponential mean, measured by an exponential standard deviation.
//!
//! Mean and variance follow each value by the weight a = 2 / (span + 1): m ← m + a (x − m) and v ← (1 − a) (v + a (x −
//! m)²), as in T. Finch, "Incremental calculation of weighted mean and variance", 2009.
//!
//! Invariants: only readings that are the newest of their series count, and a value is compared before it is taken in.
//! Nothing is found in the first `span` readings, nor while values do not differ.

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen, beyond};
use crate::core::config::DetectorSpec;
use crate::domain::{Anomaly, DetectorKind};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Ewma {
    above: f64,
    span: u16,
    /// Counted up to the span.
    readings: u16,
    mean: f64,
    variance: f64,
}

impl Ewma {
    pub(super) fn new(above: f64, span: u16) -> Self {
        Ewma {
            above,
            span: span.max(1),
            readings: 0,
            mean: 0.0,
            variance: 0.0,
        }
    }
}

impl Detect for Ewma {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Ewma {
            above: self.above,
            span: self.span,
        }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        if !seen.newest {
            return None;
        }
        let value = beyond::tame(seen.value);
        if self.readings == 0 {
            self.mean = value;
        }
        let (mean, deviation) = (self.mean, self.variance.sqrt());
        let distance = (value - mean).abs();
        let limit = self.above * deviation;
        let ready = self.readings >= self.span && deviation > 0.0;

        let weight = 2.0 / (f64::from(self.span) + 1.0);
        self.mean += weight * (value - mean);
        self.variance = (1.0 - weight) * (self.variance + weight * distance * distance);
        self.readings = (self.readings + 1).min(self.span);

        (ready && distance > limit).then(|| {
            let explanation = format!(
                "The value {} is {} standard deviations from its running mean of {}; at most {} are allowed.",
                Plain(seen.value),
                Plain::rounded(distance / deviation),
                Plain::rounded(mean),
                Plain(self.above),
            );
            beyond::found(seen, DetectorKind::Ewma, mean, distance, limit, explanation)
        })
    }

    fn state(&self) -> DetectorState {
        DetectorState::Ewma {
            mean: self.mean,
            deviation: self.variance.sqrt(),
        }
    }

    fn is_sound(&self) -> bool {
        self.readings <= self.span
            && self.mean.abs() <= 2.0 * beyond::tame(f64::MAX)
            && (0.0..f64::INFINITY).contains(&self.variance)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    #[test]
    fn it_follows_slowly_and_finds_what_is_sudden() {
        let mut ewma = Ewma::new(5.0, 20);
        for at in 0..200 {
            let value = at as f64 * 0.01 + (at * 7 % 5) as f64;
            assert_eq!(ewma.observe(&seen(at, value)), None, "reading {at}");
        }
        let found = ewma.observe(&seen(200, 40.0)).unwrap();
        let (low, high) = (found.band.low.unwrap(), found.band.high.unwrap());
        assert!(low < found.expected.unwrap() && found.expected.unwrap() < high && high < 40.0);
        assert!(
            found.explanation.contains("running mean"),
            "{}",
            found.explanation
        );
    }

    #[test]
    fn nothing_is_found_before_there_are_readings_enough() {
        let mut ewma = Ewma::new(1.0, 5);
        let found: Vec<_> = [0.0, 1.0, 0.0, 1.0, 50.0]
            .map(|value| ewma.observe(&seen(0, value)))
            .into();
        assert_eq!(found, [const { None }; 5]);
    }
}
