//! How often a series is told: the first change after quiet at once, what follows as its newest value, no sooner than a period
//! after the last.
//!
//! Invariants: every change is told, by itself or within a later one; no series is told twice within a period. Pure: time is a
//! parameter.

use std::collections::BTreeSet;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::changes::Change;
use crate::domain::SeriesId;

pub struct Pace {
    period: Duration,
    series: FxHashMap<SeriesId, Entry>,
    due: BTreeSet<(Instant, SeriesId)>,
}

#[derive(Default)]
struct Entry {
    told: Option<Instant>,
    waits: Option<Change>,
}

impl Pace {
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            series: FxHashMap::default(),
            due: BTreeSet::new(),
        }
    }

    pub fn offer(&mut self, series: SeriesId, change: &Change, now: Instant) {
        let entry = self.series.entry(series).or_default();
        match &mut entry.waits {
            Some(waits) => waits.merge(change),
            None => {
                entry.waits = Some(*change);
                let at = entry.told.map_or(now, |told| now.max(told + self.period));
                self.due.insert((at, series));
            }
        }
    }

    /// When the next one is to be told.
    pub fn due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What is to be told now.
    pub fn take(&mut self, now: Instant) -> Vec<(SeriesId, Change)> {
        let mut all = Vec::new();
        while let Some((at, series)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            if let Some(entry) = self.series.get_mut(&series)
                && let Some(change) = entry.waits.take()
            {
                entry.told = Some(now);
                all.push((series, change));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SensorKey, Timestamp};

    const ONE: SeriesId = SeriesId(1);
    const TWO: SeriesId = SeriesId(2);

    fn change(time: i64) -> Change {
        Change::new(SensorKey(1), Timestamp(time), time as f64)
    }

    #[test]
    fn the_first_after_quiet_is_told_at_once_and_the_rest_as_one() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(Duration::from_millis(200));
        assert_eq!(pace.due(), None);
        let mut told = Vec::new();
        // A reading each 10 ms for a second.
        for n in 0..100 {
            pace.offer(ONE, &change(n), at(10 * n as u64));
            told.extend(
                pace.take(at(10 * n as u64))
                    .into_iter()
                    .map(|(_, change)| (n, change.count, change.value)),
            );
        }
        assert_eq!(
            told,
            [
                (0, 1, 0.0),
                (20, 20, 20.0),
                (40, 20, 40.0),
                (60, 20, 60.0),
                (80, 20, 80.0)
            ]
        );
        assert_eq!(pace.due(), Some(at(1_000)));
        let last = pace.take(at(1_000));
        assert_eq!((last[0].1.count, last[0].1.min, last[0].1.max), (19, 81.0, 99.0));
        assert_eq!(pace.due(), None);
        pace.offer(ONE, &change(100), at(5_000));
        assert_eq!(pace.due(), Some(at(5_000)), "at once after quiet");
    }

    #[test]
    fn a_busy_series_holds_up_no_other() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(Duration::from_millis(200));
        pace.offer(ONE, &change(1), at(0));
        assert_eq!(pace.take(at(0)).len(), 1);
        pace.offer(ONE, &change(2), at(10));
        pace.offer(TWO, &change(3), at(20));
        let now: Vec<_> = pace.take(at(20)).into_iter().map(|(series, _)| series).collect();
        assert_eq!(now, [TWO]);
        assert_eq!(pace.due(), Some(at(200)));
    }
}
