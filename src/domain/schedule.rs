//! When something is due that is told by a schedule.
//!
//! Invariants: pure; times are in UTC. The next time is after the one that was asked about, never at it.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::Timestamp;

/// Five fields, as in a crontab: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// As it was written.
    text: String,
    cron: Box<Cron>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a schedule that comes around such as \"0 7 * * *\": minute, hour, day, month, day of the week"
)]
pub struct ScheduleError;

impl Schedule {
    /// The first time after `time`. `None` where there is none in the years that can be written.
    pub fn next(&self, time: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&time.to_utc()?, false).ok()?;
        Some(Timestamp(next.timestamp_micros())).filter(|next| *next > time)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        /// Nobody writes a longer one.
        const LONGEST: usize = 200;

        if text.len() > LONGEST {
            return Err(ScheduleError);
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let schedule = Self {
            cron: Box::new(parser.parse(text).map_err(|_| ScheduleError)?),
            text: text.to_owned(),
        };
        // One for the 30th of February never comes.
        match schedule.next(Timestamp::from_seconds(1_800_000_000)) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, time: &str) -> String {
        let schedule: Schedule = schedule.parse().unwrap();
        let next = schedule.next(Timestamp::from_text(time).unwrap());
        next.unwrap().to_rfc3339()
    }

    #[test]
    fn the_next_time_is_after_the_one_asked_about() {
        for (schedule, time, due) in [
            ("0 7 * * *", "2026-11-20T06:59:59.999999Z", "2026-11-20T07:00:00Z"),
            ("0 7 * * *", "2026-11-20T07:00:00Z", "2026-11-21T07:00:00Z"),
            ("0 7 * * *", "2026-11-20T07:00:00.000001Z", "2026-11-21T07:00:00Z"),
            ("30 6 * * MON", "2026-11-20T00:00:00Z", "2026-11-23T06:30:00Z"),
            ("0 0 1 * *", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("*/15 * * * *", "1969-12-31T23:50:00Z", "1970-01-01T00:00:00Z"),
            ("@daily", "2026-11-20T12:00:00Z", "2026-11-21T00:00:00Z"),
        ] {
            assert_eq!(next(schedule, time), due, "{schedule} after {time}");
        }
    }

    #[test]
    fn years_end() {
        let daily: Schedule = "0 7 * * *".parse().unwrap();
        assert_eq!(daily.next(Timestamp::MAX), None);
        assert_eq!(daily.next(Timestamp::MIN), None);
    }

    #[test]
    fn what_never_comes_is_no_schedule() {
        for text in [
            "",
            "7",
            "61 7 * * *",
            "0 7 * *",
            "0 0 7 * * *",
            "0 7 * * * 2027",
            "0 0 30 2 *",
            "daily",
            &"1,".repeat(500),
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        let schedule: Schedule = "0 7 * * *".parse().unwrap();
        assert_eq!(schedule.to_string().parse(), Ok(schedule));
    }
}
