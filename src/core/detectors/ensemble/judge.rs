//! The ensemble itself: features, their tails, and when that is an alarm.
//!
//! Invariants: one pass, no look-ahead, the same for every series. A score is in 0..1, at least [`THRESHOLD`] exactly
//! for an alarm.

use serde::{Deserialize, Serialize};

use super::alarm::Alarm;
use super::features::{FEATURES, Features};
use super::tail::Tails;
use super::tuning::Tuning;

/// The score from which a reading is an anomaly. There is only this one, for every series.
pub const THRESHOLD: f64 = 0.5;

const HOUR: f64 = 3_600e6;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Judge {
    features: Features,
    tails: Tails,
    alarm: Alarm,
}

/// What a reading is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::core) struct Judgment {
    pub score: f64,
    /// By feature: once in 10 to the power of this many readings.
    pub rarities: [f32; FEATURES],
    /// What would have been an alarm.
    pub needed: f64,
}

impl Judge {
    pub fn new(tuning: &Tuning) -> Self {
        Judge {
            features: Features::new(),
            tails: Tails::new(),
            alarm: Alarm::new(tuning),
        }
    }

    /// Judges a finite value by those before it, and takes it in.
    pub fn observe(&mut self, time: i64, value: f64, tuning: &Tuning) -> Judgment {
        let hourly = self.alarm.readings_in(1.0, HOUR);
        let values = self.features.next(time, value, hourly, &tuning.spans);
        let rarities = self.tails.rarities(&values, self.least_excess(tuning));
        self.alarm.heard(time, tuning);
        let memory = self.alarm.readings_in(tuning.memory, tuning.memory_time);
        self.tails.learn(&values, tuning.block, memory);

        let needed = self.alarm.needed(tuning);
        let rarest = rarities
            .iter()
            .fold(0.0, |rarest: f32, rarity| rarest.max(*rarity));
        let rarest = f64::from(rarest);
        // One half where it is just as rare as needed.
        let mut score = rarest / (rarest + needed);
        if self.alarm.is_resting() {
            score *= THRESHOLD;
        } else if score >= THRESHOLD {
            self.alarm.raised(tuning);
        }
        Judgment {
            score,
            rarities,
            needed,
        }
    }

    fn least_excess(&self, tuning: &Tuning) -> f32 {
        (tuning.dead_band * self.features.deviation()) as f32
    }

    /// Which value of this feature would be so rare.
    pub fn limit(&self, feature: usize, rarity: f64, tuning: &Tuning) -> Option<f64> {
        self.tails
            .limit(feature, rarity as f32, self.least_excess(tuning))
    }

    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The last value, the middle mean and, where known, the mean of the hour of `time`, before the next reading.
    pub fn expectations(&self, time: i64) -> (f64, f64, Option<f64>) {
        self.features.expectations(time)
    }

    pub fn needed(&self, tuning: &Tuning) -> f64 {
        self.alarm.needed(tuning)
    }

    pub fn is_resting(&self) -> bool {
        self.alarm.is_resting()
    }

    pub fn is_sound(&self, tuning: &Tuning) -> bool {
        self.features.is_sound() && self.tails.is_sound() && self.alarm.is_sound(tuning)
    }
}
