//! Whether an event time can be believed: neither before the oldest accepted time nor too far in the future.
//!
//! Invariants: both limits are themselves accepted. "Now" is a parameter.

use crate::domain::{Micros, TimeError, Timestamp};

/// The event times that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The earliest.
    pub min_time: Timestamp,
    /// How far past "now" the latest may be, in microseconds.
    pub max_future: Micros,
}

impl Default for TimeRange {
    /// From 2000-01-01 to one hour from now.
    fn default() -> Self {
        TimeRange {
            min_time: Timestamp::from_seconds(946_684_800),
            max_future: 3_600_000_000,
        }
    }
}

/// Refuses a time outside `range`: the dead clock that says 1970, and the one set to 2099.
pub fn check(time: Timestamp, now: Timestamp, range: &TimeRange) -> Result<(), TimeError> {
    if time < range.min_time {
        return Err(TimeError::TooEarly {
            time,
            limit: range.min_time,
        });
    }
    if time > now.saturating_add(range.max_future) {
        return Err(TimeError::TooLate {
            time,
            allowed_s: range.max_future / 1_000_000,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_730_332_800_000_000);

    fn accepted(time: Timestamp) -> bool {
        check(time, NOW, &TimeRange::default()).is_ok()
    }

    #[test]
    fn the_limits_themselves_are_accepted() {
        let first = Timestamp::from_text("2000-01-01 00:00:00").unwrap();
        let last = NOW.saturating_add(3_600_000_000);
        assert!(accepted(first) && accepted(NOW) && accepted(last));
        assert!(!accepted(first.saturating_sub(1)) && !accepted(last.saturating_add(1)));
    }

    #[test]
    fn the_reason_names_time_and_limit() {
        let range = TimeRange::default();
        let early = check(Timestamp(0), NOW, &range).unwrap_err().to_string();
        assert_eq!(
            early,
            "1970-01-01T00:00:00Z is before 2000-01-01T00:00:00Z, the earliest time accepted"
        );
        let late = Timestamp::from_text("2099-01-01 00:00:00").unwrap();
        let late = check(late, NOW, &range).unwrap_err().to_string();
        assert_eq!(late, "2099-01-01T00:00:00Z is more than 3600 s in the future");
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        assert!(!accepted(Timestamp::MIN) && !accepted(Timestamp::MAX));
        assert!(check(Timestamp::MAX, Timestamp::MAX, &TimeRange::default()).is_ok());
    }
}
