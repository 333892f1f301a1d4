//! A day of event time, in UTC: the unit of the cold archive.
//!
//! Invariant: a day begins and ends within what a [`Timestamp`] can hold, less the very last ones, whose ends are cut off.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, TimeDelta};

use super::{Micros, Timestamp};

const MICROS: Micros = 86_400_000_000;

/// Days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i32);

/// Why a day was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a day such as 2026-03-14")]
pub struct DayError;

impl Day {
    pub const MIN: Day = Day(i32::MIN);
    pub const MAX: Day = Day(i32::MAX);

    /// The day that `time` lies in.
    pub fn of(time: Timestamp) -> Self {
        Day(i32::try_from(time.0.div_euclid(MICROS)).unwrap_or(i32::MAX))
    }

    /// Its first microsecond.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0).saturating_mul(MICROS))
    }

    /// The first microsecond after it.
    pub fn end(self) -> Timestamp {
        self.next().start()
    }

    pub fn next(self) -> Self {
        Day(self.0.saturating_add(1))
    }

    pub fn contains(self, time: Timestamp) -> bool {
        Day::of(time) == self
    }

    /// Year, month and day; `None` outside the years that chrono knows.
    pub fn date(self) -> Option<(i32, u32, u32)> {
        let date = self.to_naive()?;
        Some((date.year(), date.month(), date.day()))
    }

    fn to_naive(self) -> Option<NaiveDate> {
        NaiveDate::default().checked_add_signed(TimeDelta::try_days(i64::from(self.0))?)
    }
}

/// `YYYY-MM-DD`; outside chrono's years the bare number of days.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_naive() {
            Some(date) => write!(f, "{date}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let date: NaiveDate = text.trim().parse().map_err(|_| DayError)?;
        let days = date.signed_duration_since(NaiveDate::default()).num_days();
        i32::try_from(days).map(Day).map_err(|_| DayError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_holds_its_first_microsecond_and_not_the_next_days() {
        let day: Day = "2024-02-29".parse().unwrap();
        assert_eq!(day.start().to_string(), "2024-02-29T00:00:00Z");
        assert_eq!(day.end().to_string(), "2024-03-01T00:00:00Z");
        assert!(day.contains(day.start()) && !day.contains(day.end()));
        assert_eq!(Day::of(Timestamp(day.end().0 - 1)), day);
        assert_eq!(Day::of(Timestamp(-1)).to_string(), "1969-12-31");
    }

    #[test]
    fn a_day_is_written_as_it_is_read() {
        for text in ["1970-01-01", "2026-03-14", "1969-07-20"] {
            assert_eq!(text.parse::<Day>().unwrap().to_string(), text);
        }
        for text in ["", "yesterday", "2026-02-30", "2026-3", "2026-03-14T00:00:00Z"] {
            assert_eq!(text.parse::<Day>(), Err(DayError), "{text}");
        }
    }

    #[test]
    fn the_ends_of_time_are_days_too() {
        assert!(Day::of(Timestamp::MAX).contains(Timestamp::MAX));
        assert!(Day::of(Timestamp::MIN).start() <= Timestamp(i64::MIN + MICROS));
        assert_eq!(Day::MAX.end(), Day::MAX.start());
    }
}
