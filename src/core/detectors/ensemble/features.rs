//! What the ensemble looks at: numbers made of a series, at several scales, each of which is high when something is
//! odd.
//!
//! Every one is cheap to carry on from one reading to the next. Values are taken as differences to the first reading,
//! within ±[`WIDEST`], so nothing here overflows, and single precision is enough for what is compared.
//!
//! Invariant: whatever finite values come, all features are finite.

use serde::{Deserialize, Serialize};

/// How many there are.
pub(in crate::core) const FEATURES: usize = 13;

/// Values farther than this from the first one are taken as that far.
const WIDEST: f64 = 1e30;
const HOUR: i64 = 3_600_000_000;
const HOURS: usize = 24;
/// The profile of the day remembers so many readings of an hour, or the readings of so many days where that is more.
const PROFILE_READINGS: f64 = 100.0;
const PROFILE_DAYS: f64 = 8.0;
/// An hour of the day is not judged before so many readings of it, or a whole day's where that is more.
const PROFILE_LEAST: f64 = 3.0;
/// With more of them than this, further ones would be lost in rounding.
const PROFILE_MOST: f64 = 1e6;
/// Readings over which the usual deviation is taken.
const DEVIATION_READINGS: f64 = 2_000.0;

/// The meaning of each feature by its place. Pairs look up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Feature {
    /// The value itself.
    Value,
    /// The step from the value before.
    Step,
    /// Short against middle mean.
    Episode,
    /// Middle against long mean.
    Trend,
    /// Difference to what is usual at this hour of the day.
    Hour,
    /// The short mean.
    Level,
    /// Size of recent steps.
    Noise,
}

impl Feature {
    /// Of a place in the array, and whether it looks at what is low.
    pub const fn at(place: usize) -> (Feature, bool) {
        const PAIRS: [Feature; 6] = [
            Feature::Value,
            Feature::Step,
            Feature::Episode,
            Feature::Trend,
            Feature::Hour,
            Feature::Level,
        ];
        if place / 2 < PAIRS.len() {
            (PAIRS[place / 2], place % 2 == 1)
        } else {
            (Feature::Noise, false)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Features {
    readings: u64,
    origin: f64,
    previous: f64,
    /// Short, middle and long exponential means.
    means: [f64; 3],
    /// Mean square of recent steps.
    steps: f64,
    deviation: f64,
    /// Mean and count of each hour of the day, in UTC.
    hours: [(f32, f32); HOURS],
}

impl Features {
    pub fn new() -> Self {
        Features {
            readings: 0,
            origin: 0.0,
            previous: 0.0,
            means: [0.0; 3],
            steps: 0.0,
            deviation: 0.0,
            hours: [(0.0, 0.0); HOURS],
        }
    }

    /// The usual distance of values from their long mean.
    pub fn deviation(&self) -> f64 {
        self.deviation
    }

    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// What a difference to the first reading is as a value.
    pub fn value_of(&self, difference: f64) -> f64 {
        (self.origin + difference).clamp(-f64::MAX, f64::MAX)
    }

    /// The values before the next reading: the last, the middle mean, and the mean of an hour if it has one.
    pub fn expectations(&self, time: i64) -> (f64, f64, Option<f64>) {
        let (mean, count) = self.hours[hour_of(time)];
        let hourly = (f64::from(count) >= PROFILE_LEAST).then(|| self.value_of(f64::from(mean)));
        (self.value_of(self.previous), self.value_of(self.means[1]), hourly)
    }

    /// Takes a reading at a time, in µs since 1970, in; gives what it makes of the features. `hourly` is the usual
    /// number of readings in an hour.
    pub fn next(&mut self, time: i64, value: f64, hourly: f64, spans: &[f64; 3]) -> [f32; FEATURES] {
        if self.readings == 0 {
            self.origin = value;
        }
        self.readings = self.readings.saturating_add(1);
        let readings = self.readings as f64;
        let weight = |span: f64| (1.0 / readings).max(2.0 / (span + 1.0)).min(1.0);
        let value = (value - self.origin).clamp(-WIDEST, WIDEST);

        let distance = (value - self.means[2]).abs();
        self.deviation += (distance - self.deviation) * (1.0 / readings).max(1.0 / DEVIATION_READINGS);
        for (mean, span) in self.means.iter_mut().zip(spans) {
            *mean += weight(*span) * (value - *mean);
        }
        let step = value - self.previous;
        self.previous = value;
        self.steps += weight(spans[0]) * (step * step - self.steps);

        let (mean, count) = &mut self.hours[hour_of(time)];
        let residual = if f64::from(*count) >= PROFILE_LEAST {
            value - f64::from(*mean)
        } else {
            0.0
        };
        *count = (*count + 1.0).min((PROFILE_DAYS * hourly).clamp(PROFILE_READINGS, PROFILE_MOST) as f32);
        *mean += ((value - f64::from(*mean)) / f64::from(*count)) as f32;

        let [short, middle, long] = self.means;
        let [value, step, episode, trend, residual, level] =
            [value, step, short - middle, middle - long, residual, short].map(|feature| feature as f32);
        [
            value,
            -value,
            step,
            -step,
            episode,
            -episode,
            trend,
            -trend,
            residual,
            -residual,
            level,
            -level,
            self.steps.max(0.0).sqrt() as f32,
        ]
    }

    pub fn is_sound(&self) -> bool {
        let within = |number: f64| number.abs() <= 2.0 * WIDEST;
        let hour = |&(mean, count): &(f32, f32)| {
            within(f64::from(mean)) && (0.0..=PROFILE_MOST as f32).contains(&count)
        };
        self.origin.is_finite()
            && within(self.previous)
            && self.means.iter().copied().all(within)
            && (0.0..=4.0 * WIDEST * WIDEST * 1.01).contains(&self.steps)
            && (0.0..=4.0 * WIDEST).contains(&self.deviation)
            && self.hours.iter().all(hour)
    }
}

fn hour_of(time: i64) -> usize {
    // rem_euclid keeps it in 0..24.
    time.div_euclid(HOUR).rem_euclid(HOURS as i64) as usize
}
