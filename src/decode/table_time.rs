//! Times of tables: in any form that a payload may have, or in one that the settings describe.

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::TimeUnit;
use super::scalar::Scalar;
use crate::domain::{TimeError, Timestamp};

/// How a column of times is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableTime {
    Unit(TimeUnit),
    /// A pattern such as `%d.%m.%Y %H:%M:%S`. Without a zone it is UTC, without a time of day midnight.
    Pattern(String),
}

impl TableTime {
    /// `auto`, `s`, `ms`, `us`, `ns`, or a pattern.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => TableTime::Unit(TimeUnit::Auto),
            "s" => TableTime::Unit(TimeUnit::S),
            "ms" => TableTime::Unit(TimeUnit::Ms),
            "us" => TableTime::Unit(TimeUnit::Us),
            "ns" => TableTime::Unit(TimeUnit::Ns),
            pattern => {
                let mut items = StrftimeItems::new(pattern).peekable();
                let says_something = pattern.contains('%');
                if !says_something || items.any(|item| item == Item::Error) {
                    return None;
                }
                TableTime::Pattern(pattern.to_owned())
            }
        })
    }

    pub fn as_str(&self) -> &str {
        match self {
            TableTime::Unit(TimeUnit::Auto) => "auto",
            TableTime::Unit(TimeUnit::S) => "s",
            TableTime::Unit(TimeUnit::Ms) => "ms",
            TableTime::Unit(TimeUnit::Us) => "us",
            TableTime::Unit(TimeUnit::Ns) => "ns",
            TableTime::Pattern(pattern) => pattern,
        }
    }

    /// The error is to be read after the name of the column.
    pub(super) fn read(&self, text: &str) -> Result<Timestamp, String> {
        let pattern = match self {
            TableTime::Pattern(pattern) => pattern,
            TableTime::Unit(unit) => {
                let scalar = match text.parse::<i64>() {
                    Ok(number) => Scalar::Integer(number),
                    Err(_) => Scalar::Text(text.into()),
                };
                let read = unit
                    .read(&scalar)
                    .and_then(|time| time.ok_or(TimeError::NotATime));
                return read.map_err(|error| error.to_string());
            }
        };
        let with_zone = DateTime::parse_from_str(text, pattern).map(|time| time.timestamp_micros());
        let without =
            || NaiveDateTime::parse_from_str(text, pattern).map(|time| time.and_utc().timestamp_micros());
        let day = || {
            let day = NaiveDate::parse_from_str(text, pattern);
            day.map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
        };
        let micros = with_zone.or_else(|_| without()).or_else(|_| day());
        micros
            .map(Timestamp)
            .map_err(|_| format!("is not a time in the form \"{}\"", pattern.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_units_are_read() {
        let time = Ok(Timestamp::from_seconds(1_730_332_800));
        for (format, text) in [
            ("auto", "1730332800"),
            ("auto", "2024-10-31T01:00:00+01:00"),
            ("ms", "1730332800000"),
            ("%d.%m.%Y %H:%M", "31.10.2024 00:00"),
            ("%d/%m/%Y", "31/10/2024"),
            ("%Y%m%d%H%M%S%z", "20241031020000+0200"),
        ] {
            let read = TableTime::parse(format).unwrap().read(text);
            assert_eq!(read, time, "{format}: {text}");
        }
        assert!(TableTime::parse("%d.%m.%Y").unwrap().read("2024-10-31").is_err());
        for wrong in ["", "soon", "%Q", "%"] {
            assert_eq!(TableTime::parse(wrong), None, "{wrong}");
        }
    }
}
