//! Seasonal: a value too far from what is usual at this time of the day, or of the week.
//!
//! A profile of hours, in UTC, each with the mean and the standard deviation of the last readings of that hour.
//!
//! Invariants: only readings that are the newest of their series count, and a value is compared before it is taken in.
//! An hour is judged once it has been heard in two rounds and eight times, and its values differ.

use serde::{Deserialize, Serialize};

use super::{Detect, DetectorState, Plain, Seen, beyond};
use crate::core::config::{DetectorSpec, Season};
use crate::domain::{Anomaly, DetectorKind, Timestamp};

const HOUR: i64 = 3_600_000_000;
/// The weight of a reading is never less than that of one in so many.
const MEMORY: f64 = 1_000.0;
/// A deviation of fewer readings says nothing.
const FEWEST: f64 = 8.0;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Seasonal {
    above: f64,
    season: Season,
    hours: Vec<Usual>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Usual {
    mean: f64,
    variance: f64,
    readings: f64,
    /// How many rounds it has been heard in, and the last of them.
    rounds: u16,
    round: i64,
}

impl Seasonal {
    pub(super) fn new(above: f64, season: Season) -> Self {
        Seasonal {
            above,
            season,
            hours: vec![Usual::default(); season.hours()],
        }
    }

    /// Which hour of which round.
    fn place(&self, time: Timestamp) -> (usize, i64) {
        let hours = self.season.hours() as i64;
        let hour = time.0.div_euclid(HOUR);
        (hour.rem_euclid(hours) as usize, hour.div_euclid(hours))
    }
}

impl Usual {
    fn learn(&mut self, value: f64, round: i64) {
        if self.readings == 0.0 || self.round != round {
            (self.rounds, self.round) = (self.rounds.saturating_add(1), round);
        }
        self.readings = (self.readings + 1.0).min(MEMORY);
        let weight = 1.0 / self.readings;
        let distance = value - self.mean;
        self.mean += weight * distance;
        self.variance = (1.0 - weight) * (self.variance + weight * distance * distance);
    }

    fn is_sound(&self) -> bool {
        self.mean.abs() <= 2.0 * beyond::tame(f64::MAX)
            && (0.0..f64::INFINITY).contains(&self.variance)
            && (0.0..=MEMORY).contains(&self.readings)
    }
}

impl Detect for Seasonal {
    fn spec(&self) -> DetectorSpec {
        DetectorSpec::Seasonal {
            above: self.above,
            season: self.season,
        }
    }

    fn observe(&mut self, seen: &Seen) -> Option<Anomaly> {
        if !seen.newest {
            return None;
        }
        let value = beyond::tame(seen.value);
        let (hour, round) = self.place(seen.time);
        let usual = self.hours[hour];
        self.hours[hour].learn(value, round);
        let deviation = usual.variance.sqrt();
        let (distance, limit) = ((value - usual.mean).abs(), self.above * deviation);
        // The round that runs says nothing of the round before.
        let rounds = usual.rounds - u16::from(usual.rounds > 0 && usual.round == round);
        (rounds >= 2 && usual.readings >= FEWEST && deviation > 0.0 && distance > limit).then(|| {
            let explanation = format!(
                "The value {} is {} standard deviations from {}, usual at this hour of the {}; at most {} are allowed.",
                Plain(seen.value),
                Plain::rounded(distance / deviation),
                Plain::rounded(usual.mean),
                self.season,
                Plain(self.above),
            );
            beyond::found(seen, DetectorKind::Seasonal, usual.mean, distance, limit, explanation)
        })
    }

    fn state(&self) -> DetectorState {
        DetectorState::Seasonal {
            known_hours: self
                .hours
                .iter()
                .filter(|usual| usual.rounds >= 2 && usual.readings >= FEWEST)
                .count(),
        }
    }

    fn is_sound(&self) -> bool {
        self.hours.len() == self.season.hours() && self.hours.iter().all(Usual::is_sound)
    }

    fn heap(&self) -> usize {
        self.hours.capacity() * size_of::<Usual>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::seen;
    use super::*;

    /// Warm by day, cold by night, with a little noise.
    fn value(hour: i64) -> f64 {
        if (8..18).contains(&(hour % 24)) {
            22.0
        } else {
            15.0 + (hour % 5) as f64 / 10.0
        }
    }

    #[test]
    fn what_is_usual_by_day_is_odd_by_night() {
        let mut seasonal = Seasonal::new(5.0, Season::Day);
        for hour in 0..24 * 10 {
            let noise = (hour % 7) as f64 / 10.0;
            assert_eq!(
                seasonal.observe(&seen(hour * HOUR, value(hour) + noise)),
                None,
                "hour {hour}"
            );
        }
        assert_eq!(seasonal.observe(&seen(250 * HOUR, 22.3)), None);
        let found = seasonal.observe(&seen(266 * HOUR, 22.3)).unwrap();
        assert!(
            found.explanation.contains("hour of the day"),
            "{}",
            found.explanation
        );
        assert!((14.0..17.0).contains(&found.expected.unwrap()));
        assert_eq!(seasonal.state(), DetectorState::Seasonal { known_hours: 24 });
    }

    #[test]
    fn a_week_has_as_many_hours() {
        let mut seasonal = Seasonal::new(5.0, Season::Week);
        assert_eq!(seasonal.observe(&seen(-HOUR, 1.0)), None);
        assert_eq!(seasonal.hours.len(), 168);
        assert!(seasonal.is_sound());
    }
}
