//! The oracle: the same promises, kept by brute force.
//!
//! It remembers every reading for ever, finds its answers by looking through all of them, and stores rows and windows
//! as the database would.

use std::collections::{BTreeMap, BTreeSet};

use super::{Outcome, Step};
use crate::core::{Aggregate, DetectorSpec, SeriesConfig, Verdict, WindowSpec};
use crate::domain::{
    Anomaly, DetectorKind, Level, Micros, SeriesId, Timestamp, WindowKind, WindowResult, WindowSpan,
};

/// What the database would hold, and what every series should know.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) rows: BTreeMap<(SeriesId, Timestamp), f64>,
    pub(super) windows: BTreeMap<WindowSpan, WindowResult>,
    pub(super) series: BTreeMap<SeriesId, Past>,
    /// What was stored, in the order of its coming, with the active time it came at.
    pub(super) stored: Vec<(SeriesId, Timestamp, f64, Micros)>,
    pub(super) active: Micros,
}

/// All that happened to a series.
#[derive(Default)]
pub(super) struct Past {
    /// In the order of arrival.
    pub(super) events: Vec<Event>,
    pub(super) watermark: Option<i64>,
    /// Times of readings whose windows have to close some day.
    touched: BTreeSet<i64>,
    pub(super) anomalies: Vec<Anomaly>,
}

#[derive(Clone, Copy)]
pub(super) enum Event {
    Heard {
        active: Micros,
        time: i64,
        value: f64,
    },
    /// Timers were looked at.
    Looked {
        active: Micros,
    },
    Reset,
}

impl Past {
    fn heard(&self) -> impl DoubleEndedIterator<Item = (Micros, i64, f64)> {
        self.events.iter().filter_map(|event| match *event {
            Event::Heard { active, time, value } => Some((active, time, value)),
            Event::Looked { .. } | Event::Reset => None,
        })
    }

    fn newest(&self) -> Option<i64> {
        self.heard().map(|(_, time, _)| time).max()
    }

    fn judge(&self, time: i64, value: f64, ring: usize) -> Verdict {
        let late = self.watermark.is_some_and(|watermark| time < watermark);
        let mut known: Vec<_> = self.heard().map(|(_, time, value)| (time, value)).collect();
        known.sort_by_key(|row| std::cmp::Reverse(row.0));
        let forgot = known.len() > ring;
        known.truncate(ring);
        match known.iter().find(|row| row.0 == time) {
            Some((_, stored)) if *stored == value => Verdict::Duplicate,
            Some((_, stored)) => Verdict::Conflict { stored: *stored },
            None if forgot && known.iter().all(|row| time < row.0) => Verdict::Unjudged { late },
            None => Verdict::Accepted {
                late,
                newest: self.newest().is_none_or(|newest| time > newest),
            },
        }
    }

    /// Lets event time go on with active time, for windows that end on the way.
    fn idle(&mut self, active: Micros, config: &SeriesConfig) {
        let Some((heard_at, _, _)) = self.heard().next_back() else {
            return;
        };
        let (Some(newest), Some(watermark)) = (self.newest(), self.watermark) else {
            return;
        };
        let idle = active - heard_at;
        if idle < config.idle_after {
            return;
        }
        let reach = newest - config.lateness + idle;
        let ends = config.windows.iter().flat_map(|WindowSpec::Tumbling { size }| {
            self.touched
                .iter()
                .map(move |time| time.div_euclid(*size) * size + size)
        });
        let closed = ends.filter(|end| *end > watermark && *end <= reach).max();
        self.watermark = self.watermark.max(closed);
    }
}

impl Oracle {
    /// Follows a step, and checks all that it gave.
    pub(super) fn follow(&mut self, step: Step, outcome: &Outcome, config: &SeriesConfig) {
        let wait = match step {
            Step::Observe { wait, .. } | Step::Advance { wait } => wait,
            Step::Reset => 0,
        };
        self.active += wait;
        if !matches!(step, Step::Reset) {
            for past in self.series.values_mut() {
                past.idle(self.active, config);
                past.events.push(Event::Looked { active: self.active });
            }
        }
        match step {
            Step::Observe {
                series, time, value, ..
            } => {
                let past = self.series.entry(series).or_default();
                let verdict = past.judge(time.0, value, config.ring);
                assert_eq!(outcome.verdict, Some(verdict));
                self.store(series, time, value, verdict, config);
            }
            Step::Reset => {
                self.series
                    .values_mut()
                    .for_each(|past| past.events.push(Event::Reset));
            }
            Step::Advance { .. } => {}
        }
        self.commit(outcome);
        self.check_closed(config);
    }

    fn store(
        &mut self,
        series: SeriesId,
        time: Timestamp,
        value: f64,
        verdict: Verdict,
        config: &SeriesConfig,
    ) {
        let past = self.series.entry(series).or_default();
        match verdict {
            Verdict::Accepted { newest, .. } => {
                past.events.push(Event::Heard {
                    active: self.active,
                    time: time.0,
                    value,
                });
                past.touched.insert(time.0);
                if newest {
                    past.watermark = past.watermark.max(Some(time.0 - config.lateness));
                }
                assert!(self.rows.insert((series, time), value).is_none());
                self.stored.push((series, time, value, self.active));
            }
            Verdict::Unjudged { .. } => {
                past.touched.insert(time.0);
                // The unique index judges: the first stays.
                if let std::collections::btree_map::Entry::Vacant(row) = self.rows.entry((series, time)) {
                    row.insert(value);
                    self.stored.push((series, time, value, self.active));
                }
            }
            Verdict::Duplicate | Verdict::Conflict { .. } => {}
        }
    }

    pub(super) fn commit(&mut self, outcome: &Outcome) {
        for result in &outcome.effects.windows {
            assert_eq!(result.revision, 0);
            let before = self.windows.insert(result.span, *result);
            assert_eq!(before, None, "a window closes once");
        }
        for span in &outcome.effects.recompute {
            let rows = self
                .rows
                .range((span.series, span.start)..(span.series, span.end()));
            let sum = Aggregate::from_rows(rows.map(|((_, time), value)| (*time, *value)));
            if let Some(sum) = sum {
                let revision = self.windows.get(span).map_or(0, |before| before.revision + 1);
                self.windows.insert(*span, sum.result(*span, revision));
            }
        }
        for anomaly in &outcome.effects.anomalies {
            self.series
                .entry(anomaly.series)
                .or_default()
                .anomalies
                .push(anomaly.clone());
        }
    }

    /// Every window that the watermark has reached is stored and true, and no other is stored.
    fn check_closed(&self, config: &SeriesConfig) {
        let mut expected = self.all_windows(&config.windows);
        expected.retain(|span, _| Some(span.end().0) <= self.series[&span.series].watermark);
        let stored: Vec<_> = self.windows.keys().collect();
        assert_eq!(stored, expected.keys().collect::<Vec<_>>());
        for (span, values) in &expected {
            check_window(&self.windows[span], values);
        }
    }

    /// The values of every window there is a row in, by event time.
    pub(super) fn all_windows(&self, specs: &[WindowSpec]) -> BTreeMap<WindowSpan, Vec<f64>> {
        let mut windows: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for ((series, time), value) in &self.rows {
            for WindowSpec::Tumbling { size } in specs.iter().copied() {
                let start = Timestamp((time.0 as f64 / size as f64).floor() as i64 * size);
                let span = WindowSpan {
                    series: *series,
                    kind: WindowKind::Tumbling,
                    size,
                    start,
                };
                windows.entry(span).or_default().push(*value);
            }
        }
        windows
    }

    /// What the detectors should have found until now, by detector.
    pub(super) fn check_anomalies(&self, config: &SeriesConfig) {
        for past in self.series.values() {
            let found = |kind| {
                past.anomalies
                    .iter()
                    .filter(move |anomaly| anomaly.detector == kind)
            };
            for detector in &config.detectors {
                match *detector {
                    DetectorSpec::Jump { threshold } => {
                        let found: Vec<_> = found(DetectorKind::Jump)
                            .map(|found| (found.time.0, found.level))
                            .collect();
                        assert_eq!(found, jumps(&past.events, threshold));
                    }
                    DetectorSpec::Threshold { above } => {
                        let found: Vec<_> = found(DetectorKind::Threshold)
                            .map(|found| (found.time.0, found.level))
                            .collect();
                        assert_eq!(found, excesses(&past.events, above));
                    }
                    _ => {}
                }
            }
            let afters = config.detectors.iter().filter_map(|detector| match detector {
                DetectorSpec::Silence { after } => Some(*after),
                _ => None,
            });
            let mut expected: Vec<_> = afters.flat_map(|after| silences(&past.events, after)).collect();
            let mut found: Vec<_> = found(DetectorKind::Silence).map(|found| found.time.0).collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
        }
    }
}

/// A stored window against its values, computed in two passes.
pub(super) fn check_window(result: &WindowResult, values: &[f64]) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let stddev = if n > 1.0 {
        (squares / (n - 1.0)).sqrt()
    } else {
        0.0
    };
    assert_eq!(result.count, values.len() as u64);
    assert_eq!(result.min, values.iter().copied().fold(f64::INFINITY, f64::min));
    assert_eq!(
        result.max,
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    );
    assert_eq!(Some(&result.first), values.first());
    assert_eq!(Some(&result.last), values.last());
    assert!((result.mean - mean).abs() < 1e-9, "{} is not {mean}", result.mean);
    assert!(
        (result.stddev - stddev).abs() < 1e-9,
        "{} is not {stddev}",
        result.stddev
    );
}

/// The newest readings of each stretch between resets.
fn episodes(events: &[Event]) -> Vec<Vec<(bool, i64, f64)>> {
    let mut newest = None;
    let mut stretches = vec![Vec::new()];
    for event in events {
        match *event {
            Event::Looked { .. } => {}
            Event::Reset => stretches.push(Vec::new()),
            Event::Heard { time, value, .. } => {
                let is_newest = Some(time) > newest;
                newest = newest.max(Some(time));
                if let Some(stretch) = stretches.last_mut() {
                    stretch.push((is_newest, time, value));
                }
            }
        }
    }
    stretches
}

fn jumps(events: &[Event], threshold: f64) -> Vec<(i64, Level)> {
    let mut found = Vec::new();
    for stretch in episodes(events) {
        let newest: Vec<_> = stretch.iter().filter(|row| row.0).collect();
        for pair in newest.windows(2) {
            let ratio = (pair[1].2 - pair[0].2).abs() / threshold;
            let level = match ratio {
                _ if ratio > 4.0 => Level::Critical,
                _ if ratio > 2.0 => Level::Error,
                _ if ratio > 1.0 => Level::Warning,
                _ => continue,
            };
            found.push((pair[1].1, level));
        }
    }
    found
}

fn excesses(events: &[Event], above: f64) -> Vec<(i64, Level)> {
    let scale = if above == 0.0 { 1.0 } else { above.abs() };
    let level = |value: f64| match (value - above) / scale {
        excess if excess <= 0.0 => None,
        excess if excess > 0.5 => Some(Level::Critical),
        excess if excess > 0.2 => Some(Level::Error),
        _ => Some(Level::Warning),
    };
    let mut found = Vec::new();
    for stretch in episodes(events) {
        for (at, (_, time, value)) in stretch.iter().enumerate() {
            // The episode that runs: the newest readings back to the last one that was not above the limit.
            let before = stretch[..at]
                .iter()
                .rev()
                .filter(|row| row.0)
                .map(|row| level(row.2));
            let raised = before.take_while(Option::is_some).max().flatten();
            match level(*value) {
                Some(level) if Some(level) > raised => found.push((*time, level)),
                _ => {}
            }
        }
    }
    found
}

fn silences(events: &[Event], after: Micros) -> Vec<i64> {
    let mut found = Vec::new();
    let (mut newest, mut heard_at, mut told) = (None, None, false);
    let mut listen = |now: Micros, newest: Option<i64>, heard_at: Option<Micros>, told: &mut bool| {
        if let (Some(newest), Some(heard_at)) = (newest, heard_at)
            && now - heard_at >= after
            && !*told
        {
            *told = true;
            found.push(newest + after);
        }
    };
    for event in events {
        match *event {
            Event::Heard { active, time, .. } => {
                newest = newest.max(Some(time));
                (heard_at, told) = (Some(active), false);
            }
            Event::Looked { active } => listen(active, newest, heard_at, &mut told),
            Event::Reset => told = false,
        }
    }
    found
}
