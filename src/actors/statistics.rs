//! Figures of the last minute: events a second, latency, who was heard.
//!
//! Invariants: everything is counted after its commit. Memory is bounded: one slot a second for a minute, and one time a sensor.

use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{Micros, SensorKey, Timestamp};

const SECOND: Micros = 1_000_000;
const SLOTS: usize = 60;
/// Upper bounds of the latency classes are 2^(n/4) times this: 19 % apart, from 50 µs to 14 minutes.
const FINEST: f64 = 50e-6;
const CLASSES: usize = 96;

pub struct Statistics(Mutex<Inner>);

struct Inner {
    /// Stored, ever.
    total: u64,
    slots: [Slot; SLOTS],
    /// When each sensor was heard last, by its key.
    heard: Vec<Timestamp>,
}

#[derive(Clone, Copy)]
struct Slot {
    second: i64,
    events: u64,
    rejected: u64,
    latencies: [u32; CLASSES],
}

/// What the summary says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub total_events: u64,
    /// Mean over the last ten whole seconds.
    pub events_per_second: f64,
    pub active_sources: usize,
    /// Arrival to commit, median of the last minute; `None` before the first.
    pub processing_latency_ms: Option<f64>,
    /// Rejected of all, in the last minute, in percent.
    pub error_rate: f64,
}

impl Statistics {
    /// Other instances store, too: so many readings are stored by all of them.
    pub fn total_is_at_least(&self, total: u64) {
        let inner = &mut *self.0.lock();
        inner.total = inner.total.max(total);
    }

    /// `total` readings are stored already.
    pub fn new(total: u64) -> Self {
        let slot = Slot {
            second: i64::MIN,
            events: 0,
            rejected: 0,
            latencies: [0; CLASSES],
        };
        Self(Mutex::new(Inner {
            total,
            slots: [slot; SLOTS],
            heard: Vec::new(),
        }))
    }

    /// A batch has committed.
    pub fn committed(
        &self,
        now: Timestamp,
        latency: Duration,
        stored: u64,
        rejected: u64,
        sensors: impl Iterator<Item = SensorKey>,
    ) {
        let mut inner = self.0.lock();
        inner.total += stored;
        for sensor in sensors {
            inner.hear(sensor, now);
        }
        let slot = inner.slot(now);
        slot.events += stored;
        slot.rejected += rejected;
        if stored + rejected > 0 {
            slot.latencies[class(latency)] += 1;
        }
    }

    /// The second since 1970 in which each sensor was heard last, by its key; 0 if never.
    pub fn heard_to(&self, seconds: &mut Vec<u32>) {
        let inner = self.0.lock();
        seconds.clear();
        seconds.extend(inner.heard.iter().map(|at| second_of(*at)));
    }

    /// The same of one sensor.
    pub fn heard(&self, sensor: SensorKey) -> u32 {
        let inner = self.0.lock();
        inner.heard.get(sensor.0 as usize).map_or(0, |at| second_of(*at))
    }

    pub fn summary(&self, now: Timestamp) -> Summary {
        let inner = self.0.lock();
        let heard = inner
            .heard
            .iter()
            .filter(|at| now.since(**at) < 60 * SECOND)
            .count();
        let second = now.0.div_euclid(SECOND);
        let within = |seconds: i64| move |slot: &&Slot| (second - seconds..second).contains(&slot.second);
        let last_ten: u64 = inner
            .slots
            .iter()
            .filter(within(10))
            .map(|slot| slot.events)
            .sum();
        let minute = || {
            inner
                .slots
                .iter()
                .filter(|slot| second.saturating_sub(slot.second) < SLOTS as i64)
        };
        let (events, rejected) = minute().fold((0, 0), |(events, rejected), slot| {
            (events + slot.events, rejected + slot.rejected)
        });
        Summary {
            total_events: inner.total,
            events_per_second: last_ten as f64 / 10.0,
            active_sources: heard,
            processing_latency_ms: median(minute()),
            error_rate: if rejected == 0 {
                0.0
            } else {
                100.0 * rejected as f64 / (events + rejected) as f64
            },
        }
    }
}

impl Inner {
    fn hear(&mut self, sensor: SensorKey, now: Timestamp) {
        let at = sensor.0 as usize;
        if self.heard.len() <= at {
            self.heard.resize(at + 1, Timestamp::MIN);
        }
        self.heard[at] = now;
    }

    fn slot(&mut self, now: Timestamp) -> &mut Slot {
        let second = now.0.div_euclid(SECOND);
        let slot = &mut self.slots[second.rem_euclid(SLOTS as i64) as usize];
        if slot.second != second {
            *slot = Slot {
                second,
                events: 0,
                rejected: 0,
                latencies: [0; CLASSES],
            };
        }
        slot
    }
}

fn second_of(time: Timestamp) -> u32 {
    u32::try_from(time.0.div_euclid(SECOND)).unwrap_or(0)
}

fn class(latency: Duration) -> usize {
    let ratio = (latency.as_secs_f64() / FINEST).max(1.0);
    ((ratio.log2() * 4.0).ceil() as usize).min(CLASSES - 1)
}

fn median<'a>(slots: impl Iterator<Item = &'a Slot>) -> Option<f64> {
    let mut sums = [0_u64; CLASSES];
    for slot in slots {
        for (sum, count) in sums.iter_mut().zip(slot.latencies) {
            *sum += u64::from(count);
        }
    }
    let half = sums.iter().sum::<u64>().div_ceil(2);
    let mut seen = 0;
    let class = sums.iter().position(|count| {
        seen += count;
        half > 0 && seen >= half
    })?;
    Some(FINEST * 2_f64.powf(class as f64 / 4.0) * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp(1_000_000 * SECOND);

    fn at(seconds: i64) -> Timestamp {
        T.saturating_add(seconds * SECOND)
    }

    #[test]
    fn rates_are_of_whole_seconds_past() {
        let statistics = Statistics::new(5);
        for second in 0..20 {
            let sensor = SensorKey(second as u32 % 3);
            statistics.committed(at(second), Duration::from_millis(4), 10, 0, [sensor].into_iter());
        }
        let summary = statistics.summary(at(20));
        assert_eq!((summary.total_events, summary.events_per_second), (205, 10.0));
        assert_eq!(summary.active_sources, 3);
        let later = statistics.summary(at(25));
        assert_eq!(later.events_per_second, 5.0);
        assert_eq!(statistics.summary(at(78)).active_sources, 1);
        assert_eq!(statistics.summary(at(79)).active_sources, 0);
    }

    #[test]
    fn the_median_is_within_a_class() {
        let statistics = Statistics::new(0);
        assert_eq!(statistics.summary(T).processing_latency_ms, None);
        for millis in [1, 2, 10, 100, 900] {
            statistics.committed(T, Duration::from_millis(millis), 1, 0, [].into_iter());
        }
        let median = statistics.summary(T).processing_latency_ms.unwrap();
        assert!((10.0..12.0).contains(&median), "{median}");
    }

    #[test]
    fn errors_are_a_share_of_all() {
        let statistics = Statistics::new(0);
        statistics.committed(T, Duration::ZERO, 15, 5, [].into_iter());
        assert_eq!(statistics.summary(T).error_rate, 25.0);
        assert_eq!(statistics.summary(at(60)).error_rate, 0.0);
    }
}
