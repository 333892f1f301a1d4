//! Which notification of a receiver is sent next, and when one that failed is tried again: pure.
//!
//! Invariants: those of one thread are sent in order, and a digest after all before it and before all after it. What somebody has taken
//! already holds up nobody.

use std::time::Duration;

use crate::domain::{Micros, Timestamp};
use crate::storage::notices::ToSend;

/// What a sender does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Send(i64),
    /// Nothing before then.
    Wait(Timestamp),
    Nothing,
}

/// Of what waits, in the order in which it was made.
pub fn next(queue: &[ToSend], now: Timestamp) -> Next {
    let mut earliest: Option<Timestamp> = None;
    for (place, one) in queue.iter().enumerate() {
        let before =
            |other: &ToSend| !other.partly && (other.thread == one.thread || other.digest || one.digest);
        if queue[..place].iter().any(before) {
            continue;
        }
        if one.due <= now {
            return Next::Send(one.seq);
        }
        earliest = Some(earliest.map_or(one.due, |due| due.min(one.due)));
    }
    earliest.map_or(Next::Nothing, Next::Wait)
}

/// How long to wait after so many failures in a row: a second, doubled each time up to ten minutes, half of it by `chance` (0 to 1).
pub fn pause(failures: u32, chance: f64) -> Duration {
    let whole = (1_u64 << failures.min(10)).min(600) as f64;
    Duration::from_secs_f64(whole / 2.0 + whole / 2.0 * chance.clamp(0.0, 1.0))
}

/// Whether something made at `at` is given up at `now`.
pub fn is_overdue(at: Timestamp, now: Timestamp, keep: Duration) -> bool {
    now.since(at) >= Micros::try_from(keep.as_micros()).unwrap_or(Micros::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(seq: i64, thread: &str, due: i64) -> ToSend {
        ToSend {
            seq,
            thread: thread.to_owned(),
            digest: false,
            due: Timestamp(due),
            partly: false,
        }
    }

    #[test]
    fn a_thread_stays_in_order_and_others_pass() {
        let queue = [one(1, "a", 50), one(2, "a", 0), one(3, "b", 20), one(4, "c", 60)];
        assert_eq!(next(&queue, Timestamp(10)), Next::Wait(Timestamp(20)));
        assert_eq!(next(&queue, Timestamp(20)), Next::Send(3));
        assert_eq!(next(&queue, Timestamp(60)), Next::Send(1));
        assert_eq!(next(&[], Timestamp(60)), Next::Nothing);
    }

    #[test]
    fn a_digest_is_a_fence() {
        let digest = ToSend {
            digest: true,
            ..one(2, "d", 0)
        };
        let queue = [one(1, "a", 50), digest.clone(), one(3, "b", 0)];
        assert_eq!(next(&queue, Timestamp(10)), Next::Wait(Timestamp(50)));
        assert_eq!(next(&queue[1..], Timestamp(10)), Next::Send(2));
    }

    #[test]
    fn who_has_it_does_not_wait_for_who_has_not() {
        let partly = ToSend {
            partly: true,
            ..one(1, "a", 50)
        };
        assert_eq!(next(&[partly, one(2, "a", 0)], Timestamp(10)), Next::Send(2));
    }

    #[test]
    fn pauses_grow_to_ten_minutes() {
        assert_eq!(pause(0, 0.0), Duration::from_millis(500));
        assert_eq!(pause(0, 1.0), Duration::from_secs(1));
        assert_eq!(pause(3, 1.0), Duration::from_secs(8));
        assert_eq!(pause(u32::MAX, 2.0), Duration::from_secs(600));
    }
}
