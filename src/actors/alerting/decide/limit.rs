//! How many notifications a receiver gets: a burst at once, and one more each time a span has passed.
//!
//! Invariant: within any time there are at most `burst` notifications, and one for each span in it. The state is one time.

use crate::domain::{Micros, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub burst: u32,
    /// 0 is without a limit.
    pub every: Micros,
}

impl Limit {
    /// How many may be sent now. `spent` is when all that was sent will have been made up for.
    pub fn room(self, spent: Timestamp, now: Timestamp) -> u32 {
        if self.every <= 0 {
            return u32::MAX;
        }
        let debt = spent.since(now).max(0);
        let spare = self.whole().saturating_sub(debt);
        u32::try_from(spare / self.every).unwrap_or(0)
    }

    /// What `spent` becomes when one is sent.
    pub fn spend(self, spent: Timestamp, now: Timestamp) -> Timestamp {
        spent.max(now).saturating_add(self.every)
    }

    /// From when on there is room for one.
    pub fn free_at(self, spent: Timestamp) -> Timestamp {
        spent.saturating_sub(self.whole().saturating_sub(self.every))
    }

    fn whole(self) -> Micros {
        self.every.saturating_mul(Micros::from(self.burst.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_time_has_more_than_a_burst_and_what_was_earned(
            burst in 1..6u32,
            every in 1..50i64,
            steps in prop::collection::vec(0..60i64, 1..200),
        ) {
            let limit = Limit { burst, every };
            let (mut now, mut spent, mut sent) = (Timestamp(0), Timestamp::MIN, Vec::new());
            for step in steps {
                now = now.saturating_add(step);
                if limit.room(spent, now) > 0 {
                    spent = limit.spend(spent, now);
                    sent.push(now.0);
                } else {
                    let free = limit.free_at(spent);
                    prop_assert!(free > now);
                    prop_assert_eq!(limit.room(spent, free), 1);
                    prop_assert_eq!(limit.room(spent, free.saturating_sub(1)), 0);
                }
            }
            for (place, first) in sent.iter().enumerate() {
                for (more, last) in sent[place..].iter().enumerate() {
                    let allowed = i64::from(burst) + (last - first) / every;
                    prop_assert!((more as i64) < allowed, "{} in {}", more + 1, last - first);
                }
            }
        }
    }

    #[test]
    fn without_a_span_there_is_no_limit() {
        let limit = Limit { burst: 0, every: 0 };
        assert_eq!(limit.room(Timestamp::MAX, Timestamp(0)), u32::MAX);
    }
}
