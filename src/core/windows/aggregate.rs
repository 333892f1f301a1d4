//! What the readings of a window come to, in one pass and constant space.
//!
//! Mean and variance by Welford's recurrence (B. P. Welford, Technometrics 4, 1962). First and last go by event time, so
//! readings may come in any order; count, minimum, maximum, first and last then come out the same to the bit, mean and
//! standard deviation to rounding.
//!
//! Invariants: `count` is at least 1; every output is finite for finite values. The sum of squared differences
//! saturates at `f64::MAX`, so the standard deviation of values further apart than about 1e154 comes out too small.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::domain::{Timestamp, WindowResult, WindowSpan};

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    count: NonZeroU64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squared differences to the mean.
    squares: f64,
    first_time: Timestamp,
    first: f64,
    last_time: Timestamp,
    last: f64,
}

impl Aggregate {
    pub fn new(time: Timestamp, value: f64) -> Self {
        Aggregate {
            count: NonZeroU64::MIN,
            min: value,
            max: value,
            mean: value,
            squares: 0.0,
            first_time: time,
            first: value,
            last_time: time,
            last: value,
        }
    }

    /// `None` without rows.
    pub fn from_rows(rows: impl IntoIterator<Item = (Timestamp, f64)>) -> Option<Self> {
        let mut rows = rows.into_iter();
        let (time, value) = rows.next()?;
        let mut sum = Aggregate::new(time, value);
        rows.for_each(|(time, value)| sum.add(time, value));
        Some(sum)
    }

    /// Of two values with the same time, the one that came first counts as first and as last.
    pub fn add(&mut self, time: Timestamp, value: f64) {
        self.count = self.count.saturating_add(1);
        let n = self.count.get() as f64;
        let delta = value - self.mean;
        // Values at both ends of the range are further apart than a float reaches; their shares of the mean are not.
        self.mean += if delta.is_finite() {
            delta / n
        } else {
            value / n - self.mean / n
        };
        self.squares = (self.squares + delta * (value - self.mean)).clamp(0.0, f64::MAX);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if time < self.first_time {
            (self.first_time, self.first) = (time, value);
        }
        if time > self.last_time {
            (self.last_time, self.last) = (time, value);
        }
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    pub fn min(&self) -> f64 {
        self.min
    }

    pub fn max(&self) -> f64 {
        self.max
    }

    /// Never outside of minimum and maximum, whatever rounding did.
    pub fn mean(&self) -> f64 {
        self.mean.max(self.min).min(self.max)
    }

    /// Of the sample (n − 1); 0 for a single value.
    pub fn stddev(&self) -> f64 {
        match self.count.get() {
            1 => 0.0,
            n => (self.squares / (n - 1) as f64).sqrt(),
        }
    }

    pub fn first(&self) -> f64 {
        self.first
    }

    pub fn last(&self) -> f64 {
        self.last
    }

    pub fn result(&self, span: WindowSpan, revision: u32) -> WindowResult {
        WindowResult {
            span,
            count: self.count(),
            min: self.min,
            max: self.max,
            mean: self.mean(),
            stddev: self.stddev(),
            first: self.first,
            last: self.last,
            revision,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        [self.min, self.max, self.mean, self.squares, self.first, self.last]
            .iter()
            .all(|value| value.is_finite())
            && self.squares >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(i64, f64)]) -> Aggregate {
        Aggregate::from_rows(rows.iter().map(|(time, value)| (Timestamp(*time), *value))).unwrap()
    }

    #[test]
    fn a_single_value_is_everything_and_varies_not() {
        let sum = of(&[(5, 2.5)]);
        assert_eq!(
            (sum.count(), sum.min(), sum.max(), sum.mean()),
            (1, 2.5, 2.5, 2.5)
        );
        assert_eq!((sum.stddev(), sum.first(), sum.last()), (0.0, 2.5, 2.5));
        assert_eq!(Aggregate::from_rows([]), None);
    }

    #[test]
    fn a_known_sample_has_its_known_figures() {
        // Mean 5, sum of squares 32.
        let sum = of(&[
            (3, 2.0),
            (1, 4.0),
            (2, 4.0),
            (8, 4.0),
            (4, 5.0),
            (5, 5.0),
            (6, 7.0),
            (7, 9.0),
        ]);
        assert_eq!(
            (sum.count(), sum.min(), sum.max(), sum.mean()),
            (8, 2.0, 9.0, 5.0)
        );
        assert!((sum.stddev() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!((sum.first(), sum.last()), (4.0, 4.0));
    }

    #[test]
    fn first_and_last_go_by_event_time() {
        let sum = of(&[(5, 1.0), (9, 2.0), (3, 3.0), (7, 4.0)]);
        assert_eq!((sum.first(), sum.last()), (3.0, 2.0));
        let tie = of(&[(5, 1.0), (5, 2.0)]);
        assert_eq!((tie.first(), tie.last()), (1.0, 1.0));
    }

    #[test]
    fn a_small_spread_on_a_great_offset_is_not_lost() {
        let sum = of(&[(1, 1e9 + 4.0), (2, 1e9 + 7.0), (3, 1e9 + 13.0), (4, 1e9 + 16.0)]);
        assert_eq!(sum.mean(), 1e9 + 10.0);
        assert!((sum.stddev() - 30.0f64.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn a_constant_has_its_own_mean() {
        let sum = of(&[(1, 0.1), (2, 0.1), (3, 0.1)]);
        assert_eq!((sum.mean(), sum.stddev()), (0.1, 0.0));
    }

    #[test]
    fn the_ends_of_the_range_have_a_mean_between_them() {
        let sum = of(&[(1, f64::MIN), (2, f64::MAX)]);
        assert_eq!(sum.mean(), 0.0);
        assert_eq!(sum.stddev(), f64::MAX.sqrt());
    }

    #[test]
    fn the_result_takes_over_every_figure() {
        let span = WindowSpan {
            series: crate::domain::SeriesId(7),
            kind: crate::domain::WindowKind::Tumbling,
            size: 10,
            start: Timestamp(0),
        };
        let sum = of(&[(1, 1.0), (2, 4.0), (3, 2.0)]);
        let expected = WindowResult {
            span,
            count: 3,
            min: 1.0,
            max: 4.0,
            mean: sum.mean(),
            stddev: sum.stddev(),
            first: 1.0,
            last: 2.0,
            revision: 9,
        };
        assert_eq!(sum.result(span, 9), expected);
        assert!((sum.mean() - 7.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn only_finite_figures_are_sound() {
        let sum = of(&[(1, 1.0), (2, 4.0)]);
        assert!(sum.is_sound());
        assert!(
            !Aggregate {
                mean: f64::NAN,
                ..sum
            }
            .is_sound()
        );
        assert!(!Aggregate { squares: -1.0, ..sum }.is_sound());
        assert!(Aggregate { squares: 0.0, ..sum }.is_sound());
    }
}
