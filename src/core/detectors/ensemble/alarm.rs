//! When evidence becomes an alarm: warm-up, how often a series may alarm, and a rest after each alarm.
//!
//! The evidence asked for is that of something that comes less often than a series may alarm: once in so many readings,
//! and in so much time at the pace of the series. A margin on top of that follows the series itself: each alarm raises
//! it, and quiet lowers it as slowly as alarms are allowed to come. So a wild series is judged by its own wildness, and
//! the rate of alarms settles where it should be. (The rule is that of Gibbs and Candès, "Adaptive conformal inference
//! under distribution shift", 2021, on powers of ten.)
//!
//! Invariants: no alarm in the warm-up nor in the rest. The margin stays within its bounds.

use serde::{Deserialize, Serialize};

use super::tuning::Tuning;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Alarm {
    readings: u64,
    /// Readings until the next alarm may come.
    rest: u32,
    margin: f64,
    /// Usual time between readings, in µs; 0 until known.
    interval: f64,
    last: i64,
}

/// How fast the usual interval follows: it is the median of the gaps, sought in steps of this part of it.
const INTERVAL_STEP: f64 = 0.02;

impl Alarm {
    pub fn new(tuning: &Tuning) -> Self {
        Alarm {
            readings: 0,
            rest: tuning.warm_up,
            margin: tuning.least_margin,
            interval: 0.0,
            last: 0,
        }
    }

    /// Usual readings in so much time, and at least so many.
    pub fn readings_in(&self, least: f64, time: f64) -> f64 {
        if self.interval >= 1.0 {
            (time / self.interval).max(least)
        } else {
            least
        }
    }

    /// The rarity that makes an alarm, as a power of ten.
    pub fn needed(&self, tuning: &Tuning) -> f64 {
        self.readings_in(tuning.once_in, tuning.once_in_time).log10() * self.margin
    }

    pub fn is_resting(&self) -> bool {
        self.rest > 0
    }

    /// A reading came. Call before [`Self::needed`] for it.
    pub fn heard(&mut self, time: i64, tuning: &Tuning) {
        let gap = time.saturating_sub(self.last);
        if self.readings > 0 && gap > 0 {
            let gap = gap as f64;
            if self.interval == 0.0 {
                self.interval = gap;
            } else if gap > self.interval {
                self.interval *= 1.0 + INTERVAL_STEP;
            } else if gap < self.interval {
                self.interval *= 1.0 - INTERVAL_STEP;
            }
        }
        self.last = time;
        self.readings = self.readings.saturating_add(1);
        self.rest = self.rest.saturating_sub(1);
        let allowed = self.readings_in(tuning.once_in, tuning.once_in_time);
        self.margin = (self.margin - tuning.step / allowed).max(tuning.least_margin);
    }

    /// The reading that came is an alarm.
    pub fn raised(&mut self, tuning: &Tuning) {
        self.rest = tuning.rest;
        self.margin = (self.margin + tuning.step).min(tuning.most_margin);
    }

    pub fn is_sound(&self, tuning: &Tuning) -> bool {
        (tuning.least_margin..=tuning.most_margin).contains(&self.margin)
            && self.rest <= tuning.rest.max(tuning.warm_up)
            && (0.0..=1e20).contains(&self.interval)
    }
}
