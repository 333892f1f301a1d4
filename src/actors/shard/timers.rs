//! The deadlines of a shard's sensors: one queue, swept, instead of a timer each.
//!
//! Invariants: for each sensor with a deadline there is an entry at or before it. Entries may be stale; what comes out is
//! checked against the sensor.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::domain::{ActiveTime, SensorKey};

#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(ActiveTime, SensorKey)>>);

impl Timers {
    pub fn schedule(&mut self, sensor: SensorKey, deadline: ActiveTime) {
        self.0.push(Reverse((deadline, sensor)));
    }

    /// Takes the next entry that is due, if one is.
    pub fn pop_due(&mut self, now: ActiveTime) -> Option<SensorKey> {
        let Reverse((deadline, sensor)) = self.0.peek()?;
        let (due, sensor) = (*deadline <= now, *sensor);
        due.then(|| {
            self.0.pop();
            sensor
        })
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_out_earliest_first() {
        let mut timers = Timers::default();
        for (key, deadline) in [(1, 30), (2, 10), (3, 20), (4, 21)] {
            timers.schedule(SensorKey(key), ActiveTime(deadline));
        }
        assert_eq!(timers.pop_due(ActiveTime(9)), None);
        let due: Vec<u32> = std::iter::from_fn(|| timers.pop_due(ActiveTime(20)))
            .map(|key| key.0)
            .collect();
        assert_eq!(due, [2, 3]);
        assert_eq!(timers.len(), 2);
    }
}
