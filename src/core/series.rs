//! All state of one series.
//!
//! Invariants: it has at least one reading in its ring. The watermark only grows, is never less than the newest event
//! time minus the lateness the readings came under, and no window that ends at or before it is open.

use std::sync::Arc;

use smallvec::SmallVec;

use super::alerts::{Led, Watch, WatchImage};
use super::config::SeriesConfig;
use super::detectors::{Detector, Seen};
use super::effects::{Effects, Verdict};
use super::ring::{Place, Ring};
use super::view::{DetectorView, SeriesView, WindowsView};
use super::windows::Windows;
use crate::domain::{ActiveTime, Reading, SeriesId, Timestamp};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) id: SeriesId,
    pub(super) config: Arc<SeriesConfig>,
    pub(super) heard_at: ActiveTime,
    pub(super) watermark: Timestamp,
    pub(super) ring: Ring,
    pub(super) windows: SmallVec<[Windows; 1]>,
    pub(super) detectors: SmallVec<[Detector; 2]>,
    /// In the order of the configuration's rules.
    pub(super) rules: Vec<Watch>,
}

impl Series {
    /// First seen at `now`. `amid` if readings may be stored that it will not be shown.
    pub(super) fn new(id: SeriesId, config: Arc<SeriesConfig>, amid: bool, now: Timestamp) -> Self {
        Series {
            id,
            heard_at: ActiveTime(0),
            watermark: Timestamp::MIN,
            ring: Ring::new(amid),
            windows: config.windows.iter().copied().map(Windows::new).collect(),
            detectors: config.detectors.iter().copied().map(Detector::new).collect(),
            rules: config
                .rules
                .iter()
                .map(|rule| Watch::new(rule.clone(), Some(now)))
                .collect(),
            config,
        }
    }

    /// Judges a reading and, if it is new, takes it in. Timers that are due must have been settled before.
    /// Unless `processed`, its value is kept from windows and detectors; for the rest it counts like any other.
    pub(super) fn observe(
        &mut self,
        reading: &Reading,
        active: ActiveTime,
        processed: bool,
        effects: &mut Effects,
    ) -> Verdict {
        let Reading { time, value, .. } = *reading;
        let late = time < self.watermark;
        let place = self.ring.find(time);
        match place {
            Place::Known(stored) if stored == value => return Verdict::Duplicate,
            Place::Known(stored) => return Verdict::Conflict { stored },
            // Touches nothing but the windows: if it is a duplicate after all, nobody was heard.
            Place::Beyond => {
                self.doubt(time, effects);
                return Verdict::Unjudged { late };
            }
            Place::Newest | Place::Between(_) => {}
        }
        let newest = place == Place::Newest;
        let (windows_before, found_before) = (effects.windows.len(), effects.anomalies.len());
        self.heard_at = active;
        let seen = Seen {
            series: self.id,
            time,
            value,
            newest,
        };
        // A series that begins amid its history does not know what else is in its first window.
        let amid = self.ring.newest().is_none() && self.ring.forgot();
        self.ring.insert(place, time, value, self.config.ring);
        if amid || !processed {
            self.doubt(time, effects);
        }
        if processed {
            self.process(&seen, effects);
        }
        if newest {
            self.watermark = self.watermark.max(time.saturating_sub(self.config.lateness));
            for windows in &mut self.windows {
                windows.close(self.id, self.watermark, effects);
            }
        }
        if !self.rules.is_empty() {
            let led = Led {
                windows: &effects.windows[windows_before..],
                anomalies: &effects.anomalies[found_before..],
            };
            let latest = self.ring.newest().map_or(time, |(time, _)| time);
            for watch in &mut self.rules {
                watch.heard(
                    &seen,
                    latest,
                    processed,
                    &led,
                    self.config.lateness,
                    &mut effects.alerts,
                );
            }
        }
        Verdict::Accepted { late, newest }
    }

    fn process(&mut self, seen: &Seen, effects: &mut Effects) {
        for windows in &mut self.windows {
            windows.accept(self.id, seen.time, seen.value, self.watermark, effects);
        }
        for detector in &mut self.detectors {
            effects.anomalies.extend(detector.observe(seen));
        }
    }

    fn doubt(&mut self, time: Timestamp, effects: &mut Effects) {
        for windows in &mut self.windows {
            windows.doubt(self.id, time, self.watermark, effects);
        }
    }

    /// When a window that ends at `end` closes if nothing more is heard: when the watermark would have reached it, had
    /// event time gone on with active time since the series was heard, but not before the series counts as idle.
    fn closes_at(&self, end: Timestamp) -> ActiveTime {
        let newest = self.ring.newest().map_or(end, |(time, _)| time);
        let missing = end.saturating_add(self.config.lateness).since(newest);
        self.heard_at + missing.max(self.config.idle_after)
    }

    /// The earliest time at which [`Self::settle`] has something to do.
    pub(super) fn deadline(&self) -> Option<ActiveTime> {
        let windows = self
            .windows
            .iter()
            .filter_map(|set| set.next_end())
            .map(|end| self.closes_at(end))
            .min();
        let detectors = self
            .detectors
            .iter()
            .filter_map(|detector| detector.deadline(self.heard_at))
            .min();
        windows
            .into_iter()
            .chain(detectors)
            .chain(self.alerts_due())
            .min()
    }

    fn alerts_due(&self) -> Option<ActiveTime> {
        if self.rules.is_empty() {
            return None;
        }
        let (newest, _) = self.ring.newest()?;
        let deadline = |watch: &Watch| watch.deadline(self.heard_at, newest, self.config.lateness);
        self.rules.iter().filter_map(deadline).min()
    }

    /// Does what is due at `active`. The watermark goes no further than the windows that close, so that the state does
    /// not depend on when this is called.
    pub(super) fn settle(&mut self, active: ActiveTime, effects: &mut Effects) {
        let windows_before = effects.windows.len();
        for at in 0..self.windows.len() {
            while let Some(end) = self.windows[at].next_end()
                && self.closes_at(end) <= active
            {
                self.windows[at].close(self.id, end, effects);
                self.watermark = self.watermark.max(end);
            }
        }
        let Some((time, value)) = self.ring.newest() else {
            return;
        };
        let last = Seen {
            series: self.id,
            time,
            value,
            newest: true,
        };
        for detector in &mut self.detectors {
            if detector
                .deadline(self.heard_at)
                .is_some_and(|deadline| deadline <= active)
            {
                effects.anomalies.extend(detector.overdue(&last));
            }
        }
        let closed = &effects.windows[windows_before..];
        for watch in &mut self.rules {
            let lateness = self.config.lateness;
            watch.settle(
                active,
                self.heard_at,
                &last,
                lateness,
                closed,
                &mut effects.alerts,
            );
        }
    }

    pub(super) fn reset(&mut self, now: Timestamp, effects: &mut Effects) {
        for watch in &mut self.rules {
            watch.reset(now, self.id, &mut effects.alerts);
        }
        for windows in &mut self.windows {
            windows.reset();
        }
        self.detectors = self.config.detectors.iter().copied().map(Detector::new).collect();
    }

    /// Goes on under another configuration. What has the same specification keeps its state; windows that are new
    /// here did not see what is stored already.
    pub(super) fn reconfigure(&mut self, config: Arc<SeriesConfig>) {
        let mut windows = std::mem::take(&mut self.windows);
        let mut detectors = std::mem::take(&mut self.detectors);
        self.windows = config
            .windows
            .iter()
            .map(|spec| match windows.iter().position(|old| old.spec() == *spec) {
                Some(at) => windows.remove(at),
                None => {
                    let mut fresh = Windows::new(*spec);
                    if let Some((newest, _)) = self.ring.newest() {
                        fresh.begin_amid(self.watermark, newest);
                    }
                    fresh
                }
            })
            .collect();
        self.detectors = config
            .detectors
            .iter()
            .map(
                |spec| match detectors.iter().position(|old| old.spec() == *spec) {
                    Some(at) => detectors.remove(at),
                    None => Detector::new(*spec),
                },
            )
            .collect();
        let watches = std::mem::take(&mut self.rules);
        self.rules = config
            .rules
            .iter()
            .map(|rule| {
                let same = |watch: &&Watch| watch.rule() == rule;
                let known = watches.iter().find(same).cloned();
                known.unwrap_or_else(|| Watch::new(rule.clone(), None))
            })
            .collect();
        self.ring.shrink(config.ring);
        self.config = config;
    }

    /// Takes over what rules that judge alike kept in a snapshot.
    pub(super) fn restore_rules(&mut self, images: impl Iterator<Item = WatchImage>) {
        for image in images {
            if let Some(watch) = image.restore(&self.config.rules)
                && let Some(place) = self.rules.iter_mut().find(|place| place.rule() == watch.rule())
            {
                *place = watch;
            }
        }
    }

    pub(super) fn view(&self) -> SeriesView {
        let (newest_time, newest_value) = self.ring.newest().unwrap_or((Timestamp::MIN, 0.0));
        SeriesView {
            series: self.id,
            newest_time,
            newest_value,
            heard_at: self.heard_at,
            watermark: self.watermark,
            remembered: self.ring.rows().len(),
            ring: self.config.ring,
            forgot: self.ring.forgot(),
            windows: self
                .windows
                .iter()
                .map(|set| WindowsView {
                    spec: set.spec(),
                    open: set.view(),
                })
                .collect(),
            detectors: self
                .detectors
                .iter()
                .map(|detector| DetectorView {
                    spec: detector.spec(),
                    state: detector.state(),
                })
                .collect(),
            rules: self.rules.iter().map(Watch::view).collect(),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        let windows = if self.windows.spilled() {
            self.windows.capacity() * size_of::<Windows>()
        } else {
            0
        };
        let detectors = if self.detectors.spilled() {
            self.detectors.capacity() * size_of::<Detector>()
        } else {
            0
        };
        let inside = self
            .detectors
            .iter()
            .map(|detector| detector.heap())
            .sum::<usize>();
        self.ring.heap()
            + windows
            + detectors
            + self.rules.capacity() * size_of::<Watch>()
            + inside
            + self.windows.iter().map(|set| set.heap()).sum::<usize>()
    }
}
