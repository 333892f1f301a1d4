//! The memory by which duplicates are recognised: the most recent readings of a series.
//!
//! Invariants: sorted by event time, no time twice, at most `limit` entries. Whatever was forgotten, or never told, is
//! older than the oldest entry; `forgot` says whether there is any such reading.

use std::collections::VecDeque;

use crate::domain::Timestamp;
use crate::prefetch::prefetch;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ring {
    rows: VecDeque<(Timestamp, f64)>,
    forgot: bool,
}

/// What the ring knows of an event time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// Later than every earlier one.
    Newest,
    /// Not seen before; belongs at this place.
    Between(usize),
    /// Seen, with this value.
    Known(f64),
    /// Older than anything remembered.
    Beyond,
}

impl Ring {
    pub(super) fn new(forgot: bool) -> Self {
        Ring {
            rows: VecDeque::new(),
            forgot,
        }
    }

    /// `None` unless the rows are sorted, without a time twice, and finite.
    pub(super) fn from_rows(rows: VecDeque<(Timestamp, f64)>, forgot: bool) -> Option<Self> {
        let sorted = rows.iter().zip(rows.iter().skip(1)).all(|(a, b)| a.0 < b.0);
        let finite = rows.iter().all(|(_, value)| value.is_finite());
        (sorted && finite).then_some(Ring { rows, forgot })
    }

    /// Asks memory for the newest entry, which the next reading is compared with and put behind.
    pub(super) fn fetch(&self) {
        if let Some(newest) = self.rows.back() {
            prefetch(newest);
        }
    }

    pub(super) fn find(&self, time: Timestamp) -> Place {
        match self.rows.back() {
            Some((newest, _)) if time <= *newest => {}
            _ => return Place::Newest,
        }
        match self.rows.binary_search_by_key(&time, |row| row.0) {
            Ok(at) => Place::Known(self.rows[at].1),
            Err(0) if self.forgot => Place::Beyond,
            Err(at) => Place::Between(at),
        }
    }

    /// Puts a reading at the place that [`Self::find`] gave; the oldest goes when there are more than `limit`.
    pub(super) fn insert(&mut self, place: Place, time: Timestamp, value: f64, limit: usize) {
        let at = match place {
            Place::Newest => self.rows.len(),
            Place::Between(at) => at,
            Place::Known(_) | Place::Beyond => return,
        };
        // Room is made first, so that the buffer never grows past the limit.
        let full = self.rows.len() >= limit.max(1);
        if full {
            self.forgot = true;
            if at == 0 {
                return;
            }
            self.rows.pop_front();
        }
        self.rows.insert(at - usize::from(full), (time, value));
    }

    /// Forgets the oldest until at most `limit` are left.
    pub(super) fn shrink(&mut self, limit: usize) {
        while self.rows.len() > limit.max(1) {
            self.rows.pop_front();
            self.forgot = true;
        }
    }

    pub(super) fn newest(&self) -> Option<(Timestamp, f64)> {
        self.rows.back().copied()
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = (Timestamp, f64)> {
        self.rows.iter().copied()
    }

    pub(super) fn forgot(&self) -> bool {
        self.forgot
    }

    pub(super) fn heap(&self) -> usize {
        self.rows.capacity() * size_of::<(Timestamp, f64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 3;

    fn put(ring: &mut Ring, time: i64) -> Place {
        let place = ring.find(Timestamp(time));
        ring.insert(place, Timestamp(time), time as f64, LIMIT);
        place
    }

    fn times(ring: &Ring) -> Vec<i64> {
        ring.rows().map(|(time, _)| time.0).collect()
    }

    #[test]
    fn until_something_is_forgotten_everything_is_judged() {
        let mut ring = Ring::new(false);
        assert_eq!(put(&mut ring, 20), Place::Newest);
        assert_eq!(put(&mut ring, 10), Place::Between(0));
        assert_eq!(put(&mut ring, 10), Place::Known(10.0));
        assert_eq!(put(&mut ring, 15), Place::Between(1));
        assert_eq!((times(&ring), ring.forgot()), (vec![10, 15, 20], false));
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_older_is_beyond() {
        let mut ring = Ring::new(false);
        for time in [10, 20, 30, 40] {
            put(&mut ring, time);
        }
        assert_eq!((times(&ring), ring.forgot()), (vec![20, 30, 40], true));
        assert_eq!(put(&mut ring, 19), Place::Beyond);
        assert_eq!(put(&mut ring, 20), Place::Known(20.0));
        assert_eq!(put(&mut ring, 21), Place::Between(1));
        assert_eq!(times(&ring), [21, 30, 40]);
    }

    #[test]
    fn what_is_older_than_a_full_ring_is_new_once_and_forgotten_at_once() {
        let mut ring = Ring::new(false);
        for time in [10, 20, 30] {
            put(&mut ring, time);
        }
        assert_eq!(put(&mut ring, 5), Place::Between(0));
        assert_eq!((times(&ring), ring.forgot()), (vec![10, 20, 30], true));
        assert_eq!(put(&mut ring, 5), Place::Beyond);
    }

    #[test]
    fn shrinking_forgets_only_what_is_too_much() {
        let mut ring = Ring::new(false);
        for time in [10, 20, 30] {
            put(&mut ring, time);
        }
        ring.shrink(3);
        assert!(!ring.forgot());
        ring.shrink(2);
        assert_eq!((times(&ring), ring.forgot()), (vec![20, 30], true));
        ring.shrink(0);
        assert_eq!(times(&ring), [30]);
    }

    #[test]
    fn its_buffer_does_not_outgrow_its_limit() {
        let mut ring = Ring::new(false);
        for time in 0..1_000 {
            let place = ring.find(Timestamp(time));
            ring.insert(place, Timestamp(time), 0.0, 64);
        }
        assert_eq!(ring.heap(), 64 * 16);
    }

    #[test]
    fn rows_out_of_order_or_not_finite_are_refused() {
        let from = |rows: &[(i64, f64)]| {
            Ring::from_rows(
                rows.iter()
                    .map(|(time, value)| (Timestamp(*time), *value))
                    .collect(),
                false,
            )
        };
        assert!(from(&[(1, 0.0), (2, 0.0)]).is_some());
        assert!(from(&[(2, 0.0), (1, 0.0)]).is_none());
        assert!(from(&[(2, 0.0), (2, 0.0)]).is_none());
        assert!(from(&[(1, 0.0), (2, f64::NAN)]).is_none());
    }
}
