//! Numbers for what is new, out of blocks that nobody else was given.
//!
//! How it fails: without numbers left, what is new has to wait until there are some.

use std::collections::VecDeque;
use std::ops::Range;

use crate::domain::{SensorKey, SeriesId};
use crate::storage::Numbers;

/// How many numbers are taken at every start, whether there will be anything new or not.
pub const FIRST_NUMBERS: u32 = 1 << 12;
/// How many are taken next; each time twice as many as before, up to the most.
const NEXT_NUMBERS: u32 = 1 << 16;
const MOST_NUMBERS: u32 = 1 << 20;

/// Numbers that were given to us and that we have not given yet.
#[derive(Debug, Default)]
pub(super) struct Given {
    sensors: VecDeque<Range<u32>>,
    series: VecDeque<Range<u32>>,
    block: u32,
}

impl Given {
    pub fn add(&mut self, numbers: Numbers) {
        self.block = numbers.series.len() as u32;
        self.sensors.push_back(numbers.sensors);
        self.series.push_back(numbers.series);
    }

    pub fn sensor(&mut self) -> Option<SensorKey> {
        take(&mut self.sensors).map(SensorKey)
    }

    pub fn series(&mut self) -> Option<SeriesId> {
        take(&mut self.series).map(SeriesId)
    }

    /// Whether there is a number of each kind.
    pub fn is_empty(&self) -> bool {
        self.sensors.iter().all(Range::is_empty) || self.series.iter().all(Range::is_empty)
    }

    pub fn are_low(&self) -> bool {
        let left = |blocks: &VecDeque<Range<u32>>| blocks.iter().map(|block| block.len() as u32).sum::<u32>();
        left(&self.sensors).min(left(&self.series)) <= self.block / 2
    }

    pub fn next_block(&self) -> u32 {
        (self.block * 2).clamp(NEXT_NUMBERS, MOST_NUMBERS)
    }
}

fn take(blocks: &mut VecDeque<Range<u32>>) -> Option<u32> {
    loop {
        let block = blocks.front_mut()?;
        if let Some(number) = block.next() {
            return Some(number);
        }
        blocks.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_given_once_and_more_is_asked_for_in_time() {
        let mut given = Given::default();
        assert!(given.is_empty() && given.are_low());
        given.add(Numbers {
            sensors: 10..14,
            series: 1..5,
        });
        assert!(!given.are_low());
        let series: Vec<u32> = (0..3).filter_map(|_| given.series()).map(|id| id.0).collect();
        assert_eq!((series, given.are_low()), (vec![1, 2, 3], true));
        given.add(Numbers {
            sensors: 40..48,
            series: 20..28,
        });
        let series: Vec<u32> = (0..3).filter_map(|_| given.series()).map(|id| id.0).collect();
        assert_eq!(series, [4, 20, 21]);
        assert_eq!(given.sensor(), Some(SensorKey(10)));
        assert_eq!(given.next_block(), NEXT_NUMBERS);
    }
}
