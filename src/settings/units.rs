//! How people write durations, sizes, times and numbers with limits, for use with `#[serde(with)]` and
//! `#[serde(deserialize_with)]`.
//!
//! Invariants: a bare number is neither a duration nor ambiguous; what is shown can be read again.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Unexpected, Visitor};
use serde::{Deserializer, Serializer};

/// Reads text that `parse` understands; `expected` is what the error says is allowed.
pub(super) fn parsed<'de, D, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Text<T, F>(&'static str, F, PhantomData<T>);

    impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for Text<T, F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            let Text(expected, parse, _) = self;
            parse(text.trim()).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &expected))
        }
    }

    deserializer.deserialize_str(Text(expected, parse, PhantomData))
}

/// A whole number from `LOW` to `HIGH`.
pub(super) fn between<'de, const LOW: u64, const HIGH: u64, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    struct Between<const LOW: u64, const HIGH: u64>;

    impl<const LOW: u64, const HIGH: u64> Visitor<'_> for Between<LOW, HIGH> {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from {LOW} to {HIGH}")
        }

        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<u64, E> {
            match u64::try_from(value) {
                Ok(value) => self.visit_u64(value),
                Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
            }
        }

        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u64, E> {
            if (LOW..=HIGH).contains(&value) {
                Ok(value)
            } else {
                Err(E::invalid_value(Unexpected::Unsigned(value), &self))
            }
        }
    }

    let value = deserializer.deserialize_u64(Between::<LOW, HIGH>)?;
    T::try_from(value)
        .map_err(|_| serde::de::Error::invalid_value(Unexpected::Unsigned(value), &Between::<LOW, HIGH>))
}

/// A number that is neither NaN nor infinite.
pub(super) fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Finite;

    impl Visitor<'_> for Finite {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a finite number")
        }

        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<f64, E> {
            if value.is_finite() {
                Ok(value)
            } else {
                Err(E::invalid_value(Unexpected::Float(value), &self))
            }
        }
    }

    deserializer.deserialize_f64(Finite)
}

/// A finite number that is not below zero.
pub(super) fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = finite(deserializer)?;
    if value < 0.0 {
        let found = Unexpected::Float(value);
        return Err(serde::de::Error::invalid_value(
            found,
            &"a number that is not below zero",
        ));
    }
    Ok(value)
}

/// `"250ms"`, `"1h 30m"`; never a bare number, and at most ten thousand years.
pub(super) mod duration {
    use super::*;

    pub const EXPECTED: &str = "a duration such as \"250ms\", \"30s\" or \"1h 30m\"";
    /// Keeps every sum of a time and a duration within 64 bits of microseconds.
    const LONGEST: Duration = Duration::from_secs(10_000 * 366 * 24 * 3600);

    pub fn parse(text: &str) -> Option<Duration> {
        humantime::parse_duration(text)
            .ok()
            .filter(|duration| *duration <= LONGEST)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parsed(deserializer, EXPECTED, parse)
    }

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }
}

/// As [`duration`], but a millisecond at least: for what is done again and again.
pub(super) mod interval {
    use super::*;
    pub use duration::serialize;

    const EXPECTED: &str = "a duration of at least 1ms, such as \"250ms\", \"30s\" or \"1h 30m\"";

    pub fn parse(text: &str) -> Option<Duration> {
        duration::parse(text).filter(|duration| *duration >= Duration::from_millis(1))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parsed(deserializer, EXPECTED, parse)
    }
}

/// How long something is kept; `"forever"` is `None`.
pub(super) mod retention {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        parsed(
            deserializer,
            "\"forever\", or a duration such as \"30d\"",
            |text| match text {
                "forever" => Some(None),
                _ => duration::parse(text).filter(|kept| !kept.is_zero()).map(Some),
            },
        )
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            None => serializer.serialize_str("forever"),
            Some(value) => duration::serialize(value, serializer),
        }
    }
}

/// The age at which something is done; `"never"` is `None`.
pub(super) mod age {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        parsed(
            deserializer,
            "\"never\", or a duration such as \"7d\"",
            |text| match text {
                "never" => Some(None),
                _ => duration::parse(text).filter(|age| !age.is_zero()).map(Some),
            },
        )
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            None => serializer.serialize_str("never"),
            Some(value) => duration::serialize(value, serializer),
        }
    }
}

/// `"16MiB"`, `"1 GB"`, `"512"` bytes; at least one byte, at most a TiB.
pub(super) mod size {
    use super::*;

    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        parsed(deserializer, "a size from 1B to 1TiB such as \"16MiB\"", |text| {
            let size = text.parse::<bytesize::ByteSize>().ok()?.as_u64();
            (1..=1 << 40).contains(&size).then_some(size)
        })
    }

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        match UNITS
            .iter()
            .find(|(unit, _)| value.is_multiple_of(*unit) && *value > 0)
        {
            Some((unit, name)) => serializer.collect_str(&format_args!("{}{name}", value / unit)),
            None => serializer.collect_str(&format_args!("{value}B")),
        }
    }
}

/// As [`size`], or `"0"` for none.
pub(super) mod size_or_none {
    use super::*;

    pub use super::size::serialize;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let expected = "a size up to 1TiB such as \"16MiB\", or \"0\"";
        parsed(deserializer, expected, |text| {
            let size = text.parse::<bytesize::ByteSize>().ok()?.as_u64();
            (size <= 1 << 40).then_some(size)
        })
    }
}

/// A date, or any time that a reading may have.
pub(super) mod time {
    use super::*;
    use crate::domain::Timestamp;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        parsed(
            deserializer,
            "a date or time such as \"2000-01-01\" or \"2000-01-01T00:00:00Z\"",
            |text| {
                Timestamp::from_text(&format!("{text} 00:00:00"))
                    .or_else(|_| Timestamp::from_text(text))
                    .ok()
            },
        )
    }

    pub fn serialize<S: Serializer>(value: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }
}
