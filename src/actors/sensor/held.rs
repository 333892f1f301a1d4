//! Readings that passed a sensor by while it was catching up.
//!
//! Invariants: what is held is everything after `lost`, the last batch of which something was dropped for want of room, or
//! else after `since`, the last batch before holding began. A catch-up that has read the store up to `since` or further may be
//! used: together with what is held, or without it, as one step of several. Any other is outdated.

use crate::domain::{BatchNumber, BatchTime, Reading};

#[derive(Debug)]
pub struct Held {
    limit: usize,
    readings: Vec<HeldReading>,
    since: Option<BatchNumber>,
    lost: Option<BatchNumber>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldReading {
    pub batch: BatchNumber,
    pub at: BatchTime,
    pub reading: Reading,
}

/// What there is to add to what was read from the store.
#[derive(Debug, PartialEq)]
pub enum After {
    /// Everything that came since.
    Whole(Vec<HeldReading>),
    /// Some of it is lost, and must be read from the store after this.
    Lost,
    /// The store was read before holding began.
    Outdated,
}

impl Held {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            readings: Vec::new(),
            since: None,
            lost: None,
        }
    }

    pub fn push(&mut self, batch: BatchNumber, at: BatchTime, readings: &[Reading]) {
        if self.readings.len() + readings.len() > self.limit {
            self.readings = Vec::new();
            self.lost = Some(batch);
            return;
        }
        self.readings.extend(readings.iter().map(|reading| HeldReading {
            batch,
            at,
            reading: *reading,
        }));
    }

    /// Begins anew with whatever comes after `last`.
    pub fn begin_after(&mut self, last: Option<BatchNumber>) {
        self.readings = Vec::new();
        self.since = last;
        self.lost = None;
    }

    /// What came after the store was read up to `as_of`.
    pub fn after(&self, as_of: Option<BatchNumber>) -> After {
        if self.since > as_of {
            return After::Outdated;
        }
        if self.lost > as_of {
            return After::Lost;
        }
        let later = self.readings.iter().filter(|held| Some(held.batch) > as_of);
        After::Whole(later.copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ActiveTime, Flags, SeriesId, Timestamp};

    const AT: BatchTime = BatchTime {
        now: Timestamp(0),
        active: ActiveTime(0),
    };

    fn reading(index: u32) -> Reading {
        Reading {
            series: SeriesId(1),
            time: Timestamp(0),
            value: 0.0,
            index,
            flags: Flags::NONE,
        }
    }

    fn batches(held: &Held, as_of: Option<u64>) -> Result<Vec<u64>, After> {
        match held.after(as_of.map(BatchNumber)) {
            After::Whole(held) => Ok(held.iter().map(|held| held.batch.0).collect()),
            other => Err(other),
        }
    }

    #[test]
    fn what_the_store_has_is_left_out() {
        let mut held = Held::new(10);
        for batch in 1..=3 {
            held.push(BatchNumber(batch), AT, &[reading(0)]);
        }
        assert_eq!(batches(&held, None), Ok(vec![1, 2, 3]));
        assert_eq!(batches(&held, Some(2)), Ok(vec![3]));
        assert_eq!(batches(&held, Some(3)), Ok(vec![]));
    }

    #[test]
    fn what_was_lost_must_be_read_from_the_store() {
        let mut held = Held::new(2);
        held.push(BatchNumber(1), AT, &[reading(0), reading(1)]);
        held.push(BatchNumber(2), AT, &[reading(0)]);
        held.push(BatchNumber(3), AT, &[reading(0)]);
        assert_eq!(batches(&held, None), Err(After::Lost));
        assert_eq!(batches(&held, Some(1)), Err(After::Lost));
        assert_eq!(batches(&held, Some(2)), Ok(vec![3]));
        held.begin_after(None);
        assert_eq!(batches(&held, None), Ok(vec![]));
    }

    #[test]
    fn a_catch_up_from_before_it_began_is_of_no_use() {
        let mut held = Held::new(10);
        held.begin_after(Some(BatchNumber(5)));
        held.push(BatchNumber(6), AT, &[reading(0)]);
        assert_eq!(batches(&held, Some(4)), Err(After::Outdated));
        assert_eq!(batches(&held, None), Err(After::Outdated));
        assert_eq!(batches(&held, Some(5)), Ok(vec![6]));
    }

    #[test]
    fn a_batch_cut_in_parts_is_lost_as_a_whole() {
        let mut held = Held::new(1);
        held.push(BatchNumber(1), AT, &[reading(0), reading(1)]);
        held.push(BatchNumber(1), AT, &[reading(2)]);
        assert_eq!(batches(&held, None), Err(After::Lost));
        assert_eq!(batches(&held, Some(1)), Ok(vec![]));
    }

    #[test]
    fn what_overflowed_does_not_outdate_a_catch_up_from_before() {
        let mut held = Held::new(1);
        held.begin_after(Some(BatchNumber(5)));
        held.push(BatchNumber(6), AT, &[reading(0), reading(1)]);
        assert_eq!(batches(&held, Some(4)), Err(After::Outdated));
        assert_eq!(batches(&held, Some(5)), Err(After::Lost));
        assert_eq!(batches(&held, Some(6)), Ok(vec![]));
        held.begin_after(Some(BatchNumber(5)));
        assert_eq!(batches(&held, Some(5)), Ok(vec![]));
    }
}
