//! The axes of a chart: where a figure is drawn, and which figures are written beside it.
//!
//! Invariants: ticks are round numbers within the range, at most [`MOST`] of them; labels tell neighbors apart.

use crate::actors::alerting::words;
use crate::domain::{Micros, Timestamp};

const MOST: usize = 6;

/// From figures to pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    figures: (f64, f64),
    pixels: (f32, f32),
}

impl Scale {
    /// The first of `figures` is drawn at the first of `pixels`. They are not the same figure.
    pub fn new(figures: (f64, f64), pixels: (f32, f32)) -> Self {
        Self { figures, pixels }
    }

    /// Where the axis begins.
    pub fn from(&self) -> f32 {
        self.pixels.0
    }

    pub fn shows(&self, figure: f64) -> bool {
        (self.figures.0..=self.figures.1).contains(&figure)
    }

    /// Figures outside of the range are drawn at its ends.
    pub fn within(&self, figure: f64) -> f32 {
        self.at(figure.clamp(self.figures.0, self.figures.1))
    }

    pub fn at(&self, figure: f64) -> f32 {
        let (low, high) = self.figures;
        let (from, to) = self.pixels;
        // Halved, because the difference of the furthest figures has no room in a float.
        let part = (figure / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
        from + (to - from) * part.clamp(-1.0, 2.0) as f32
    }
}

/// Round numbers in a range, three at least where that is possible, each with its label.
pub(super) fn value_ticks(range: &(f64, f64)) -> (Vec<f64>, Vec<String>) {
    let (low, high) = *range;
    let rough = (high / 4.0) - (low / 4.0);
    let size = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * size)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let first = (low / step).ceil();
    let ticks: Vec<f64> = (0..MOST)
        .map(|n| (first + n as f64) * step)
        .take_while(|tick| *tick <= high)
        .filter(|tick| tick.is_finite())
        .collect();
    let size_of = |figure: f64| figure.abs().log10().floor() as i32;
    let label = |tick: &f64| match tick {
        // What rounding left of zero.
        tick if tick.abs() < step / 1e6 => "0".to_owned(),
        tick => words::digits(*tick, (size_of(*tick) - size_of(step) + 2).clamp(5, 16) as usize),
    };
    let labels = ticks.iter().map(label).collect();
    (ticks, labels)
}

/// Round times in a range, with what a clock shows then in UTC; of days, the date.
pub(super) fn time_ticks(start: Timestamp, end: Timestamp) -> Vec<(Timestamp, String)> {
    const SECOND: Micros = 1_000_000;
    const STEPS: [Micros; 20] = [
        SECOND,
        2 * SECOND,
        5 * SECOND,
        10 * SECOND,
        20 * SECOND,
        30 * SECOND,
        60 * SECOND,
        120 * SECOND,
        300 * SECOND,
        600 * SECOND,
        900 * SECOND,
        1_200 * SECOND,
        1_800 * SECOND,
        3_600 * SECOND,
        7_200 * SECOND,
        14_400 * SECOND,
        21_600 * SECOND,
        43_200 * SECOND,
        86_400 * SECOND,
        7 * 86_400 * SECOND,
    ];
    let length = end.since(start);
    let Some(step) = STEPS.into_iter().find(|step| length / step < 5) else {
        return Vec::new();
    };
    let format = match step {
        step if step < 60 * SECOND => "%H:%M:%S",
        step if step < 86_400 * SECOND => "%H:%M",
        _ => "%m-%d",
    };
    let first = start.0.div_euclid(step) + i64::from(start.0.rem_euclid(step) != 0);
    (first..=end.0.div_euclid(step))
        .filter_map(|n| {
            let time = Timestamp(n.checked_mul(step)?);
            Some((time, time.to_utc()?.format(format).to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        value_ticks(&(low, high)).1
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(58.0, 95.0), ["60", "70", "80", "90"]);
        assert_eq!(labels(-0.12, 0.11), ["-0.1", "0", "0.1"]);
        assert_eq!(
            labels(99.9991, 99.99985),
            ["99.9992", "99.9994", "99.9996", "99.9998"]
        );
    }

    #[test]
    fn ticks_are_few_and_within_the_range() {
        for (low, high) in [
            (0.0, 1.0),
            (0.0, 5e-324),
            (-1e299, 1e299),
            (1e15, 1e15 + 1.0),
            (-3.0, 7e9),
            (2.0, 2.000001),
        ] {
            let (ticks, labels) = value_ticks(&(low, high));
            assert!(
                ticks.len() <= MOST && ticks.len() == labels.len(),
                "{low} {ticks:?}"
            );
            assert!(
                ticks.iter().all(|tick| (low..=high).contains(tick)),
                "{low} {ticks:?}"
            );
        }
    }

    #[test]
    fn times_are_those_of_a_clock() {
        let at = |text: &str| Timestamp::from_text(text).unwrap();
        let shown = |start: &str, end: &str| -> Vec<String> {
            let ticks = time_ticks(at(start), at(end));
            ticks.into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(
            shown("2026-05-01T08:01:00Z", "2026-05-01T09:01:00Z"),
            ["08:15", "08:30", "08:45", "09:00"]
        );
        assert_eq!(
            shown("2026-05-01T08:00:01Z", "2026-05-01T08:00:09Z"),
            ["08:00:02", "08:00:04", "08:00:06", "08:00:08"]
        );
        assert_eq!(shown("1969-12-31T23:59:59.5Z", "1970-01-01T00:00:02Z").len(), 3);
        assert!(time_ticks(Timestamp::MIN, Timestamp::MAX).is_empty());
    }

    #[test]
    fn figures_are_drawn_where_they_belong() {
        let scale = Scale::new((0.0, 10.0), (100.0, 0.0));
        assert_eq!((scale.at(0.0), scale.at(5.0), scale.at(10.0)), (100.0, 50.0, 0.0));
        assert_eq!(scale.within(99.0), 0.0);
        assert!(scale.shows(10.0) && !scale.shows(10.1));
    }
}
