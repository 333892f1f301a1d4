//! The newest anomalies, for those who were away for a while.
//!
//! Invariants: numbers only grow, by one where nothing was left out; what is not here any more is never passed over in silence.

use std::cell::OnceCell;
use std::collections::VecDeque;

use super::body::AnomalyBody;
use super::frames::json;
use super::live::{RING, push};
use crate::actors::registry::Registry;
use crate::domain::{Anomaly, SensorKey};

pub struct Event {
    pub seq: u64,
    pub sensor: SensorKey,
    pub anomaly: Anomaly,
    /// Written when somebody wants it first.
    text: OnceCell<Option<String>>,
}

pub struct Ring {
    events: VecDeque<Event>,
    /// The number of the newest event, told or left out.
    last: u64,
}

impl Event {
    /// As JSON; `None` where its series is not known any more.
    pub fn text(&self, registry: &Registry) -> Option<&str> {
        let write = || {
            let name = registry.name(self.anomaly.series)?;
            Some(json(&AnomalyBody::new(self.seq, &self.anomaly, &name)))
        };
        self.text.get_or_init(write).as_deref()
    }
}

impl Ring {
    /// Empty: what comes is numbered after `last`.
    pub fn new(last: u64) -> Self {
        Self {
            events: VecDeque::new(),
            last,
        }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn add(&mut self, seq: u64, sensor: SensorKey, anomaly: Anomaly) {
        if seq != self.last + 1 {
            // Some were left out: nobody can go on from before.
            self.events.clear();
        }
        self.last = seq;
        let event = Event {
            seq,
            sensor,
            anomaly,
            text: OnceCell::new(),
        };
        push(&mut self.events, event, RING);
    }

    /// Whether all that came after `seq` is here.
    pub fn reaches(&self, seq: u64) -> bool {
        let first = self.events.front().map_or(self.last + 1, |event| event.seq);
        seq <= self.last && seq + 1 >= first
    }

    /// What came after `seq`, oldest first; all there is where it does not reach so far.
    pub fn after(&self, seq: u64) -> impl DoubleEndedIterator<Item = &Event> {
        let begin = self.events.partition_point(|event| event.seq <= seq);
        self.events.range(begin..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Band, DetectorKind, Level, SeriesId, Timestamp};

    fn anomaly() -> Anomaly {
        Anomaly {
            series: SeriesId(1),
            time: Timestamp(1),
            value: 1.0,
            detector: DetectorKind::Jump,
            level: Level::Warning,
            score: 0.5,
            expected: None,
            band: Band::default(),
            explanation: String::new(),
        }
    }

    fn add(ring: &mut Ring, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            ring.add(seq, SensorKey(1), anomaly());
        }
    }

    #[test]
    fn it_reaches_back_as_far_as_it_holds() {
        let mut ring = Ring::new(5);
        assert!(ring.reaches(5) && !ring.reaches(4) && !ring.reaches(6));
        add(&mut ring, 6..=9);
        assert!(ring.reaches(5) && ring.reaches(9) && !ring.reaches(4) && !ring.reaches(10));
        let after: Vec<u64> = ring.after(7).map(|event| event.seq).collect();
        assert_eq!(after, [8, 9]);
        add(&mut ring, 10..10 + RING as u64);
        assert!(!ring.reaches(8) && ring.reaches(9));
    }

    #[test]
    fn nobody_goes_on_over_a_gap() {
        let mut ring = Ring::new(0);
        add(&mut ring, 1..=3);
        add(&mut ring, [10]);
        assert!(!ring.reaches(3) && ring.reaches(9) && ring.reaches(10));
        assert_eq!(ring.after(0).count(), 1);
    }
}
