//! All state of one sensor: its series, and the anomalies found last.
//!
//! Invariants: series are sorted by id. Whatever is due at the time of a batch is settled before its first reading is
//! judged, so nothing depends on how punctually [`SensorState::advance`] is called. What panics in here leaves a state
//! that must be thrown away.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use super::alerts::orphaned;
use super::config::SeriesConfig;
use super::effects::{Effects, Verdict};
use super::series::Series;
use super::view::SensorView;
use crate::domain::{
    ActiveTime, AlertEvent, AlertState, Anomaly, BatchTime, Episode, Reading, SeriesId, Timestamp,
};

/// How many anomalies a sensor remembers.
pub const ANOMALY_HISTORY: usize = 64;

/// What each series is watched with; asked when a series is first seen, restored or reconfigured.
pub type ConfigOf<'a> = &'a dyn Fn(SeriesId) -> Arc<SeriesConfig>;

#[derive(Debug, Clone)]
pub struct SensorState {
    pub(super) series: SmallVec<[Series; 1]>,
    /// Oldest first.
    pub(super) anomalies: VecDeque<Anomaly>,
    /// Whether a series that is seen for the first time may have stored readings all the same.
    pub(super) amid: bool,
    /// Nothing is due before: the earliest deadline, or earlier if there is more than one series.
    due: ActiveTime,
}

const NEVER: ActiveTime = ActiveTime(i64::MAX);

impl Default for SensorState {
    fn default() -> Self {
        Self::new()
    }
}

impl SensorState {
    /// For a sensor of which nothing is stored yet, or which will be shown all that is.
    pub fn new() -> Self {
        Self::from_parts(SmallVec::new(), VecDeque::new(), false)
    }

    /// For a sensor which will not be shown all that is stored of it. What is older than the first reading of a series is
    /// left to the store to judge, and so are the windows that began before it.
    pub fn amid_history() -> Self {
        Self::from_parts(SmallVec::new(), VecDeque::new(), true)
    }

    pub(super) fn from_parts(
        series: SmallVec<[Series; 1]>,
        anomalies: VecDeque<Anomaly>,
        amid: bool,
    ) -> Self {
        let mut state = SensorState {
            series,
            anomalies,
            amid,
            due: NEVER,
        };
        state.plan();
        state
    }

    /// Asks memory for what the next reading will need that is not in the state itself.
    pub fn fetch(&self) {
        // Nearly all sensors have one series; of the others, which one it will be is not known.
        if let [series] = self.series.as_slice() {
            series.ring.fetch();
        }
    }

    /// Judges a reading and takes it in, after whatever was due before it.
    pub fn observe(
        &mut self,
        reading: &Reading,
        at: BatchTime,
        config: ConfigOf<'_>,
        effects: &mut Effects,
    ) -> Verdict {
        self.take(reading, at, config, true, effects)
    }

    /// As [`Self::observe`], but neither windows nor detectors see the value: for a stored reading that made the sensor
    /// panic, or that is to be forgotten. It is remembered as heard, it moves the watermark, and the windows it falls
    /// in are left to the stored rows, which know whether it counts.
    pub fn remember_only(
        &mut self,
        reading: &Reading,
        at: BatchTime,
        config: ConfigOf<'_>,
        effects: &mut Effects,
    ) -> Verdict {
        self.take(reading, at, config, false, effects)
    }

    /// Does everything that is due at `at.active`, as if it had been done at its time, and nothing else.
    pub fn advance(&mut self, at: BatchTime, effects: &mut Effects) {
        if at.active < self.due {
            return;
        }
        let before = effects.anomalies.len();
        let deadlines = self
            .series
            .iter()
            .enumerate()
            .filter_map(|(i, series)| Some(Reverse((series.deadline()?, i))));
        let mut timers: BinaryHeap<_> = deadlines.filter(|Reverse((due, _))| *due <= at.active).collect();
        while let Some(Reverse((due, i))) = timers.pop() {
            self.series[i].settle(due, effects);
            if let Some(next) = self.series[i].deadline().filter(|next| *next <= at.active) {
                timers.push(Reverse((next, i)));
            }
        }
        self.remember(&effects.anomalies[before..]);
        self.plan();
    }

    /// When [`Self::advance`] has something to do next, if nothing is heard until then.
    pub fn next_deadline(&self) -> Option<ActiveTime> {
        let next = if self.series.len() > 1 {
            self.earliest()
        } else {
            self.due
        };
        (next < NEVER).then_some(next)
    }

    /// Empties detectors and anomaly history, and resolves what alerts there are. Open windows forget what they saw and are given to be computed from the
    /// stored rows at their close. What was heard, and when, stays, so that old readings are still recognized.
    pub fn reset(&mut self, at: BatchTime, effects: &mut Effects) {
        for series in &mut self.series {
            series.reset(at.now, effects);
        }
        self.anomalies = VecDeque::new();
        self.plan();
    }

    /// Goes on under another configuration: what has the same specification as before keeps its state, the rest begins
    /// anew. Open windows whose specification is gone are dropped.
    pub fn reconfigure(&mut self, config: ConfigOf<'_>) {
        for series in &mut self.series {
            series.reconfigure(config(series.id));
        }
        self.plan();
    }

    /// Brings what is stored of its alerts to where they are: those that no rule here stands behind end. `stored` are the last events
    /// of all that are not resolved, or changed after the snapshot that this state comes from; what `effects` hold already comes
    /// after them. Rules that are new here begin to look at `now`.
    pub fn reconcile(&mut self, now: Timestamp, stored: &[AlertEvent], effects: &mut Effects) {
        let mut known: BTreeMap<Episode, AlertEvent> = BTreeMap::new();
        for event in stored.iter().chain(&effects.alerts) {
            if known
                .get(&event.episode)
                .is_none_or(|before| before.ordinal < event.ordinal)
            {
                known.insert(event.episode, event.clone());
            }
        }
        for series in &mut self.series {
            for watch in &mut series.rules {
                let stored = |episode| known.remove(&episode);
                watch.reconcile(now, series.id, stored, &mut effects.alerts);
            }
        }
        let left = known.values().filter(|row| row.state != AlertState::Resolved);
        effects.alerts.extend(left.map(|row| orphaned(row, now)));
    }

    pub fn inspect(&self) -> SensorView {
        SensorView {
            series: self.series.iter().map(Series::view).collect(),
            anomalies: self.anomalies.iter().map(Into::into).collect(),
            next_deadline: self.next_deadline(),
        }
    }

    /// The last [`ANOMALY_HISTORY`] anomalies, oldest first.
    pub fn anomalies(&self) -> impl ExactSizeIterator<Item = &Anomaly> {
        self.anomalies.iter()
    }

    /// Bytes, own and on the heap, without the configuration (which is shared) and what the allocator adds.
    pub fn memory(&self) -> usize {
        let spilled = if self.series.spilled() {
            self.series.capacity() * size_of::<Series>()
        } else {
            0
        };
        size_of::<Self>()
            + spilled
            + self.series.iter().map(Series::heap).sum::<usize>()
            + self.anomalies.capacity() * size_of::<Anomaly>()
            + self
                .anomalies
                .iter()
                .map(|anomaly| anomaly.explanation.capacity())
                .sum::<usize>()
    }

    fn take(
        &mut self,
        reading: &Reading,
        at: BatchTime,
        config: ConfigOf<'_>,
        processed: bool,
        effects: &mut Effects,
    ) -> Verdict {
        self.advance(at, effects);
        let i = match self
            .series
            .binary_search_by_key(&reading.series, |series| series.id)
        {
            Ok(i) => i,
            Err(i) => {
                self.series.insert(
                    i,
                    Series::new(reading.series, config(reading.series), self.amid, at.now),
                );
                i
            }
        };
        let before = effects.anomalies.len();
        let series = &mut self.series[i];
        let verdict = series.observe(reading, at.active, processed, effects);
        let deadline = series.deadline().unwrap_or(NEVER);
        self.due = if self.series.len() > 1 {
            self.due.min(deadline)
        } else {
            deadline
        };
        self.remember(&effects.anomalies[before..]);
        verdict
    }

    fn remember(&mut self, found: &[Anomaly]) {
        for anomaly in found {
            if self.anomalies.len() == ANOMALY_HISTORY {
                self.anomalies.pop_front();
            }
            self.anomalies.push_back(anomaly.clone());
        }
    }

    pub(super) fn plan(&mut self) {
        self.due = self.earliest();
    }

    fn earliest(&self) -> ActiveTime {
        let deadlines = self.series.iter().filter_map(Series::deadline);
        deadlines.min().unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests;
