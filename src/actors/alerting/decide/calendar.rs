//! Maintenance windows: times when nobody is to be told of some alerts.
//!
//! Invariants: a window holds from its begin to before its end. A weekly one is as long each time; one that ends earlier in the day than
//! it begins ends on the day after. Days and times are of the clock whose offset from UTC is given.

use super::policy::{Labels, Matchers};
use crate::domain::{Micros, Timestamp};

const SECOND: Micros = 1_000_000;
const DAY: Micros = 86_400 * SECOND;

#[derive(Debug, Clone)]
pub struct Maintenance {
    pub name: String,
    pub matches: Matchers,
    pub when: When,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    Once {
        from: Timestamp,
        until: Timestamp,
    },
    Weekly {
        /// From Monday.
        days: [bool; 7],
        /// Of the day.
        start: Micros,
        end: Micros,
        /// East of UTC.
        offset: Micros,
    },
}

impl Maintenance {
    /// When it ends, if it holds for these labels.
    pub fn holds(&self, labels: &Labels, now: Timestamp) -> Option<Timestamp> {
        let until = self.when.until(now)?;
        self.matches.accept(labels).then_some(until)
    }
}

impl When {
    /// The end of the window that holds at `now`.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        match *self {
            When::Once { from, until } => (from <= now && now < until).then_some(until),
            When::Weekly {
                days,
                start,
                end,
                offset,
            } => {
                let long = if end > start {
                    end - start
                } else {
                    end - start + DAY
                };
                let local = now.0.saturating_add(offset);
                let today = local.div_euclid(DAY);
                // The window that began today, or the one of yesterday that goes on.
                [today, today.saturating_sub(1)].into_iter().find_map(|day| {
                    // The first day of the epoch was a Thursday.
                    let weekday = (day.rem_euclid(7) + 3).rem_euclid(7) as usize;
                    let begin = day.saturating_mul(DAY).saturating_add(start);
                    let end = begin.saturating_add(long);
                    let holds = days[weekday] && begin <= local && local < end;
                    holds.then(|| Timestamp(end.saturating_sub(offset)))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_text(text).unwrap()
    }

    #[test]
    fn a_weekly_window_may_go_past_midnight() {
        // Friday, 22:00 to 06:00, two hours east.
        let when = When::Weekly {
            days: [false, false, false, false, true, false, false],
            start: 22 * 3_600 * SECOND,
            end: 6 * 3_600 * SECOND,
            offset: 2 * 3_600 * SECOND,
        };
        let end = Some(at("2026-05-02T04:00:00Z"));
        assert_eq!(when.until(at("2026-05-01T19:59:59Z")), None);
        assert_eq!(when.until(at("2026-05-01T20:00:00Z")), end, "a Friday");
        assert_eq!(when.until(at("2026-05-02T03:59:59Z")), end);
        assert_eq!(when.until(at("2026-05-02T04:00:00Z")), None);
        assert_eq!(when.until(at("2026-05-02T21:00:00Z")), None, "a Saturday");
        assert_eq!(when.until(Timestamp::MIN), None);
        assert_eq!(when.until(Timestamp::MAX), None);
    }

    #[test]
    fn the_same_begin_and_end_is_a_whole_day() {
        let when = When::Weekly {
            days: [true; 7],
            start: 0,
            end: 0,
            offset: 0,
        };
        assert_eq!(
            when.until(at("2026-05-01T12:00:00Z")),
            Some(at("2026-05-02T00:00:00Z"))
        );
    }

    #[test]
    fn a_single_window_holds_to_before_its_end() {
        let (from, until) = (Timestamp(10), Timestamp(20));
        let when = When::Once { from, until };
        let holds = |now| when.until(Timestamp(now)).is_some();
        assert_eq!([9, 10, 19, 20].map(holds), [false, true, true, false]);
    }
}
