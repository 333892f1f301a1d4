//! Times: event time, the time of a batch, and the clock that stands still while we do not listen.
//!
//! Invariants: all times are whole microseconds. Nothing here reads a clock; "now" is always a parameter.

use std::fmt;
use std::ops::{Add, Sub};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A duration in microseconds.
pub type Micros = i64;

/// Microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Why a time was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error(
        "is not a time: give RFC 3339 text, `YYYY-MM-DD HH:MM:SS`, or a number of s, ms, µs or ns since 1970"
    )]
    NotATime,
    #[error("{time} is before {limit}, the earliest time accepted")]
    TooEarly { time: Timestamp, limit: Timestamp },
    #[error("{time} is more than {allowed_s} s in the future")]
    TooLate { time: Timestamp, allowed_s: i64 },
}

impl Timestamp {
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(1_000_000))
    }

    /// Takes a number whose unit its size tells. Seconds reach to the year 5138 (1e11), milliseconds, microseconds
    /// and nanoseconds each a thousand times further; so a time of 1973 or later is told right in every unit.
    pub fn from_number(number: f64) -> Result<Self, TimeError> {
        let size = number.abs();
        let micros = if !number.is_finite() || size >= 1e20 {
            return Err(TimeError::NotATime);
        } else if size < 1e11 {
            number * 1e6
        } else if size < 1e14 {
            number * 1e3
        } else if size < 1e17 {
            number
        } else {
            number / 1e3
        };
        Ok(Timestamp(micros.round() as i64))
    }

    /// As [`Self::from_number`], without the rounding that a float would bring to nanoseconds.
    pub fn from_integer(number: i64) -> Result<Self, TimeError> {
        let size = number.unsigned_abs();
        Ok(Timestamp(if size < 100_000_000_000 {
            number * 1_000_000
        } else if size < 100_000_000_000_000 {
            number * 1_000
        } else if size < 100_000_000_000_000_000 {
            number
        } else {
            number / 1_000
        }))
    }

    /// Takes RFC 3339, `YYYY-MM-DD HH:MM:SS[.f]` or `YYYY-MM-DDTHH:MM:SS[.f]` (no zone means UTC), or a number.
    pub fn from_text(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Timestamp(time.timestamp_micros()));
        }
        for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"] {
            if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
                return Ok(Timestamp(time.and_utc().timestamp_micros()));
            }
        }
        if let Ok(number) = text.parse::<i64>() {
            return Self::from_integer(number);
        }
        match text.parse::<f64>() {
            Ok(number) => Self::from_number(number),
            Err(_) => Err(TimeError::NotATime),
        }
    }

    pub fn saturating_add(self, micros: Micros) -> Self {
        Timestamp(self.0.saturating_add(micros))
    }

    pub fn saturating_sub(self, micros: Micros) -> Self {
        Timestamp(self.0.saturating_sub(micros))
    }

    /// Microseconds from `earlier` to this time; negative if it is later.
    pub fn since(self, earlier: Timestamp) -> Micros {
        self.0.saturating_sub(earlier.0)
    }

    /// `None` outside the years that chrono knows.
    pub fn to_utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }

    /// RFC 3339 in UTC, as precise as needed; outside chrono's years the bare number.
    pub fn to_rfc3339(self) -> String {
        match self.to_utc() {
            Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            None => self.0.to_string(),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// A point on the clock that runs only while Sensorhive listens: it stands still while the service is down, holds its
/// sources back or is behind. Idle and silence are measured on it, so that our own outage is nobody's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct ActiveTime(pub i64);

impl Add<Micros> for ActiveTime {
    type Output = ActiveTime;
    fn add(self, micros: Micros) -> ActiveTime {
        ActiveTime(self.0.saturating_add(micros))
    }
}

impl Sub for ActiveTime {
    type Output = Micros;
    fn sub(self, earlier: ActiveTime) -> Micros {
        self.0.saturating_sub(earlier.0)
    }
}

/// What every reading of a batch sees as "now". Stored once a batch, so that a replay sees what the first run saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchTime {
    /// Wall clock, never going backwards from batch to batch.
    pub now: Timestamp,
    pub active: ActiveTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp(1_730_332_800_123_000);

    #[test]
    fn the_unit_of_a_number_is_told_by_its_size() {
        for number in [
            1_730_332_800_123,
            1_730_332_800_123_000,
            1_730_332_800_123_000_000,
        ] {
            assert_eq!(Timestamp::from_integer(number), Ok(T));
        }
        assert_eq!(
            Timestamp::from_integer(1_730_332_800),
            Ok(Timestamp(1_730_332_800_000_000))
        );
        assert_eq!(Timestamp::from_number(1_730_332_800.123), Ok(T));
    }

    #[test]
    fn text_without_a_zone_is_utc() {
        for text in [
            "2024-10-31T00:00:00.123Z",
            "2024-10-31T01:00:00.123+01:00",
            "2024-10-31 00:00:00.123",
            "2024-10-31T00:00:00.123",
            "1730332800123",
        ] {
            assert_eq!(Timestamp::from_text(text), Ok(T), "{text}");
        }
        assert_eq!(Timestamp::from_text("yesterday"), Err(TimeError::NotATime));
        assert_eq!(Timestamp::from_text("nan"), Err(TimeError::NotATime));
    }

    #[test]
    fn wild_numbers_are_no_times() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e20] {
            assert_eq!(Timestamp::from_number(number), Err(TimeError::NotATime));
        }
        assert!(Timestamp::from_integer(i64::MIN).is_ok());
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(T.to_string(), "2024-10-31T00:00:00.123Z");
        assert_eq!(Timestamp::MAX.to_string(), i64::MAX.to_string());
    }
}
