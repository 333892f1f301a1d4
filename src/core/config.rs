//! What a series is watched with: its windows, its detectors, its alert rules, and how patient it is.
//!
//! Invariants: a configuration that [`SeriesConfig::check`] passes bounds the state of its series. One that it would
//! refuse does no harm beyond its own series: sizes below 1 count as 1.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alerts::RuleSpec;
use crate::domain::Micros;

const SECOND: Micros = 1_000_000;

/// Resolved once a series, shared by all series that are watched alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesConfig {
    pub windows: Vec<WindowSpec>,
    /// How far the watermark stays behind the newest event time: what is older than that is late.
    pub lateness: Micros,
    /// How long a series must not be heard, in active time, before its windows close without it.
    pub idle_after: Micros,
    /// How many of the most recent readings are remembered to judge duplicates by.
    pub ring: usize,
    pub detectors: Vec<DetectorSpec>,
    /// When to raise alerts. No two have the same name.
    pub rules: Vec<Arc<RuleSpec>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowSpec {
    /// Spans of `size` side by side, aligned to 1970-01-01 UTC.
    Tumbling { size: Micros },
}

/// Which detector, with its limits. New arms go to the end, but before `Fault`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorSpec {
    /// A step from one value to the next of more than `threshold`.
    Jump { threshold: f64 },
    /// A value above `above`.
    Threshold { above: f64 },
    /// Not heard for `after` of active time.
    Silence { after: Micros },
    /// What is rare for the series, in several respects. Needs no limit.
    Ensemble {},
    /// A change of more than `above` in `per`.
    Rate { above: f64, per: Micros },
    /// No change of more than `within` for `after`.
    Stuck { after: Micros, within: f64 },
    /// More than `above` standard deviations from the mean of the last `window` values.
    ZScore { above: f64, window: u16 },
    /// More than `above` standard deviations from the exponential mean over about `span` values.
    Ewma { above: f64, span: u16 },
    /// More than `above` robust deviations from the median of the last `window` values.
    Hampel { above: f64, window: u16 },
    /// More than `above` standard deviations from what is usual at this hour.
    Seasonal { above: f64, season: Season },
    /// A cumulative sum of deviations above `above`, from a baseline of `span` values.
    Shift { above: f64, span: u16 },
    /// Panics on a value above `panic_above`.
    #[cfg(feature = "faults")]
    Fault { panic_above: f64 },
}

/// Why a configuration was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("window size must be at least 1 ms")]
    WindowTooSmall,
    #[error(
        "lateness must not be negative, nor more than {} times the window size",
        SeriesConfig::MAX_OPEN
    )]
    Lateness,
    #[error("the same window stands there twice")]
    WindowTwice,
    #[error("idle_after must be more than 0")]
    IdleAfter,
    #[error("ring must be 1 to {}", SeriesConfig::MAX_RING)]
    Ring,
    #[error("jump threshold must be more than 0")]
    JumpThreshold,
    #[error("threshold must be a finite number")]
    Threshold,
    #[error("silence must be more than 0")]
    Silence,
    #[error("rate must have a limit and a time above 0")]
    Rate,
    #[error("stuck must have a time above 0, and a finite width of at least 0")]
    Stuck,
    #[error("the limit must be above 0, and the window 2 to {}", DetectorSpec::MAX_WINDOW)]
    Window,
    #[error("the limit must be above 0, and the span 2 to {}", DetectorSpec::MAX_SPAN)]
    Span,
    #[error("the limit must be above 0")]
    Above,
}

impl Default for SeriesConfig {
    /// A window of a minute, 10 s of lateness, idle after 30 s, a ring of 64, no detectors.
    fn default() -> Self {
        SeriesConfig {
            windows: vec![WindowSpec::Tumbling { size: 60 * SECOND }],
            lateness: 10 * SECOND,
            idle_after: 30 * SECOND,
            ring: 64,
            detectors: Vec::new(),
            rules: Vec::new(),
        }
    }
}

impl SeriesConfig {
    /// The most window sizes that fit into the lateness: what bounds the number of open windows.
    pub const MAX_OPEN: Micros = 1_000;
    pub const MAX_RING: usize = 65_536;

    pub fn check(&self) -> Result<(), SpecError> {
        if self.lateness < 0 {
            return Err(SpecError::Lateness);
        }
        if self.idle_after <= 0 {
            return Err(SpecError::IdleAfter);
        }
        if self.ring == 0 || self.ring > Self::MAX_RING {
            return Err(SpecError::Ring);
        }
        for (at, spec) in self.windows.iter().enumerate() {
            let WindowSpec::Tumbling { size } = spec;
            if self.windows[..at].contains(spec) {
                return Err(SpecError::WindowTwice);
            }
            if *size < SECOND / 1_000 {
                return Err(SpecError::WindowTooSmall);
            }
            if self.lateness / size > Self::MAX_OPEN {
                return Err(SpecError::Lateness);
            }
        }
        self.detectors.iter().try_for_each(DetectorSpec::check)
    }
}

/// What a profile goes round with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Season {
    Day,
    Week,
}

impl Season {
    pub fn hours(self) -> usize {
        match self {
            Season::Day => 24,
            Season::Week => 7 * 24,
        }
    }
}

impl fmt::Display for Season {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Season::Day => "day",
            Season::Week => "week",
        })
    }
}

fn positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

impl DetectorSpec {
    /// The most values that a detector keeps.
    pub const MAX_WINDOW: u16 = 256;
    pub const MAX_SPAN: u16 = 10_000;

    fn check(&self) -> Result<(), SpecError> {
        let (sound, otherwise) = match *self {
            DetectorSpec::Jump { threshold } => {
                (threshold.is_finite() && threshold > 0.0, SpecError::JumpThreshold)
            }
            DetectorSpec::Threshold { above } => (above.is_finite(), SpecError::Threshold),
            DetectorSpec::Silence { after } => (after > 0, SpecError::Silence),
            DetectorSpec::Ensemble {} => return Ok(()),
            DetectorSpec::Rate { above, per } => (positive(above) && per > 0, SpecError::Rate),
            DetectorSpec::Stuck { after, within } => {
                (after > 0 && within.is_finite() && within >= 0.0, SpecError::Stuck)
            }
            DetectorSpec::ZScore { above, window } | DetectorSpec::Hampel { above, window } => (
                positive(above) && (2..=Self::MAX_WINDOW).contains(&window),
                SpecError::Window,
            ),
            DetectorSpec::Ewma { above, span } | DetectorSpec::Shift { above, span } => (
                positive(above) && (2..=Self::MAX_SPAN).contains(&span),
                SpecError::Span,
            ),
            DetectorSpec::Seasonal { above, .. } => (positive(above), SpecError::Above),
            #[cfg(feature = "faults")]
            DetectorSpec::Fault { panic_above } => (panic_above.is_finite(), SpecError::Threshold),
        };
        if sound { Ok(()) } else { Err(otherwise) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut SeriesConfig)) -> Result<(), SpecError> {
        let mut config = SeriesConfig::default();
        change(&mut config);
        config.check()
    }

    #[test]
    fn the_default_is_a_minute_with_ten_seconds_of_lateness() {
        let config = SeriesConfig::default();
        assert_eq!(config.windows, [WindowSpec::Tumbling { size: 60_000_000 }]);
        assert_eq!(
            (config.lateness, config.idle_after, config.ring),
            (10_000_000, 30_000_000, 64)
        );
        assert_eq!(config.detectors, []);
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn every_limit_holds_exactly() {
        assert_eq!(with(|config| config.lateness = 0), Ok(()));
        assert_eq!(with(|config| config.lateness = -1), Err(SpecError::Lateness));
        assert_eq!(with(|config| config.idle_after = 1), Ok(()));
        assert_eq!(with(|config| config.idle_after = 0), Err(SpecError::IdleAfter));
        assert_eq!(with(|config| config.ring = 1), Ok(()));
        assert_eq!(with(|config| config.ring = 0), Err(SpecError::Ring));
        assert_eq!(with(|config| config.ring = 65_536), Ok(()));
        assert_eq!(with(|config| config.ring = 65_537), Err(SpecError::Ring));
    }

    #[test]
    fn windows_are_neither_tiny_nor_too_many_nor_twice() {
        let small = |size| vec![WindowSpec::Tumbling { size }];
        assert_eq!(
            with(|config| (config.windows, config.lateness) = (small(1_000), 1_000)),
            Ok(())
        );
        assert_eq!(
            with(|config| (config.windows, config.lateness) = (small(999), 999)),
            Err(SpecError::WindowTooSmall)
        );
        assert_eq!(
            with(|config| (config.windows, config.lateness) = (small(1_000), 1_000_000)),
            Ok(())
        );
        assert_eq!(
            with(|config| (config.windows, config.lateness) = (small(1_000), 1_001_000)),
            Err(SpecError::Lateness)
        );
        assert_eq!(with(|config| config.windows.extend(small(1_000_000))), Ok(()));
        assert_eq!(
            with(|config| config.windows.extend(small(60_000_000))),
            Err(SpecError::WindowTwice)
        );
    }

    #[test]
    fn detectors_have_sensible_limits() {
        let detector = |spec| with(|config| config.detectors.push(spec));
        assert_eq!(detector(DetectorSpec::Jump { threshold: 0.1 }), Ok(()));
        for threshold in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                detector(DetectorSpec::Jump { threshold }),
                Err(SpecError::JumpThreshold)
            );
        }
        assert_eq!(detector(DetectorSpec::Threshold { above: -3.0 }), Ok(()));
        assert_eq!(
            detector(DetectorSpec::Threshold { above: f64::NAN }),
            Err(SpecError::Threshold)
        );
        assert_eq!(detector(DetectorSpec::Silence { after: 1 }), Ok(()));
        assert_eq!(
            detector(DetectorSpec::Silence { after: 0 }),
            Err(SpecError::Silence)
        );
    }

    #[test]
    fn specifications_are_plain_json() {
        let json = serde_json::to_string(&DetectorSpec::Jump { threshold: 5.0 }).unwrap();
        assert_eq!(json, r#"{"jump":{"threshold":5.0}}"#);
        let json = serde_json::to_string(&WindowSpec::Tumbling { size: 1 }).unwrap();
        assert_eq!(json, r#"{"tumbling":{"size":1}}"#);
    }
}
