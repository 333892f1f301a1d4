//! What a series is watched with: its windows, its detectors, and how patient it is.
//!
//! Invariants: a configuration that [`SeriesConfig::check`] passes bounds the state of its series. One that it would
//! refuse does no harm beyond its own series: sizes below 1 count as 1.

use serde::{Deserialize, Serialize};

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
        for WindowSpec::Tumbling { size } in &self.windows {
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

impl DetectorSpec {
    fn check(&self) -> Result<(), SpecError> {
        let (sound, otherwise) = match *self {
            DetectorSpec::Jump { threshold } => {
                (threshold.is_finite() && threshold > 0.0, SpecError::JumpThreshold)
            }
            DetectorSpec::Threshold { above } => (above.is_finite(), SpecError::Threshold),
            DetectorSpec::Silence { after } => (after > 0, SpecError::Silence),
            #[cfg(feature = "faults")]
            DetectorSpec::Fault { panic_above } => (panic_above.is_finite(), SpecError::Threshold),
        };
        if sound { Ok(()) } else { Err(otherwise) }
    }
}
