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
