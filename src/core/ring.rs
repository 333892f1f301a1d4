//! The memory by which duplicates are recognised: the most recent readings of a series.
//!
//! Invariants: sorted by event time, no time twice, at most `limit` entries. Whatever was forgotten, or never told, is
//! older than the oldest entry; `forgot` says whether there is any such reading.

use std::collections::VecDeque;

use crate::domain::Timestamp;

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
