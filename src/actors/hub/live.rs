//! What the pipeline leaves for the hub, and who is connected.
//!
//! The pipeline never waits for the hub and sends it nothing: it writes what changed into tables that are bounded by what is
//! watched, or drop the oldest, and wakes the hub. Invariants: while nobody is connected a slice costs one look at a number. What
//! is left of windows, anomalies and restarts had committed or happened before. Who is connected survives a crash of the hub.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rand::random;
use tokio::sync::Notify;

use super::board::Board;
use super::changes::{Changes, Watched};
use super::figures::LiveMetrics;
use super::sessions::Sessions;
use crate::actors::dispatcher::Incoming;
use crate::actors::registry::Registry;
use crate::domain::{Anomaly, SensorKey, Timestamp, WindowResult};
use crate::storage::history::RestartRow;
use crate::storage::{CommitGroup, CommitReport};

/// Anomalies that may wait for the hub; of more the oldest are not told.
pub const RING: usize = 10_000;
/// The same for windows and for restarts of watched sensors.
const BACKLOG: usize = 10_000;

pub struct Live {
    pub board: Arc<Board>,
    pub watched: Watched,
    pub sessions: Sessions,
    pub metrics: LiveMetrics,
    changes: Changes,
    events: Mutex<Events>,
    news: Arc<Notify>,
    registry: Arc<Registry>,
    /// Of this process, and how often the hub began anew in it.
    process: u64,
    lives: AtomicU64,
}

/// What has committed or happened and is to be told.
#[derive(Default)]
pub struct Events {
    pub anomalies: VecDeque<(u64, SensorKey, Anomaly)>,
    pub windows: VecDeque<(SensorKey, WindowResult)>,
    pub restarts: VecDeque<RestartRow>,
    /// The number of the last anomaly.
    last: u64,
}

impl Live {
    pub fn new(shards: u16, registry: Arc<Registry>, metrics: LiveMetrics) -> Self {
        let news = Arc::new(Notify::new());
        Self {
            board: Arc::new(Board::new(news.clone())),
            watched: Watched::default(),
            sessions: Sessions::default(),
            metrics,
            changes: Changes::new(shards),
            events: Mutex::default(),
            news,
            registry,
            process: random(),
            lives: AtomicU64::new(0),
        }
    }

    /// Readings came; `Latest` shows them already.
    pub fn heard(&self, shard: u16, readings: &[Incoming]) {
        if self.watched.any() && self.changes.offer(shard, readings, &self.watched) {
            self.news.notify_one();
        }
    }

    /// The group has committed.
    pub fn committed(&self, group: &CommitGroup, report: &CommitReport, now: Timestamp) {
        let outcomes = || group.batches.iter().flat_map(|batch| &batch.outcomes);
        let found = outcomes().any(|outcome| !outcome.anomalies.is_empty());
        if found {
            self.found(outcomes().flat_map(|outcome| &outcome.anomalies), now);
        }
        if self.watched.any_stored() {
            let revised = report.batches.iter().flat_map(|batch| &batch.revised);
            let windows = outcomes().flat_map(|outcome| &outcome.windows).chain(revised);
            let closed: Vec<_> = windows
                .filter_map(|window| Some((self.registry.sensor_of(window.span.series)?, *window)))
                .filter(|(sensor, _)| self.watched.about(*sensor))
                .collect();
            if !closed.is_empty() {
                let mut events = self.events.lock();
                for window in closed {
                    push(&mut events.windows, window, BACKLOG);
                }
                drop(events);
                self.news.notify_one();
            }
        }
    }

    /// An actor came back, or was put aside.
    pub fn restarted(&self, row: &RestartRow) {
        if self.watched.any_stored() && row.actor.starts_with("sensor/") {
            push(&mut self.events.lock().restarts, row.clone(), BACKLOG);
            self.news.notify_one();
        }
    }

    /// Resolves when something is left for the hub.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Has the hub look round.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    pub fn take_changes(&self) -> Vec<(crate::domain::SeriesId, super::changes::Change)> {
        self.changes.take()
    }

    pub fn take_events(&self) -> Events {
        let mut events = self.events.lock();
        let last = events.last;
        std::mem::replace(
            &mut *events,
            Events {
                last,
                ..Events::default()
            },
        )
    }

    /// The number of the last anomaly that was left here.
    pub fn last_anomaly(&self) -> u64 {
        self.events.lock().last
    }

    /// Names the memory of the hub: what was numbered in another one means nothing.
    pub fn epoch(&self) -> String {
        format!("{:016x}-{}", self.process, self.lives.load(Ordering::SeqCst))
    }

    /// The hub has forgotten everything.
    pub(super) fn begin_epoch(&self) {
        self.lives.fetch_add(1, Ordering::SeqCst);
        self.watched.clear();
        self.take_changes();
    }

    fn found<'a>(&self, anomalies: impl Iterator<Item = &'a Anomaly>, now: Timestamp) {
        let named: Vec<_> = anomalies
            .filter_map(|anomaly| Some((self.registry.sensor_of(anomaly.series)?, anomaly)))
            .collect();
        self.board.found(
            named.iter().map(|(sensor, anomaly)| (*sensor, anomaly.score)),
            now,
        );
        let mut events = self.events.lock();
        let unseen = named.len().saturating_sub(RING);
        events.last += unseen as u64;
        for (sensor, anomaly) in named.into_iter().skip(unseen) {
            events.last += 1;
            let event = (events.last, sensor, anomaly.clone());
            push(&mut events.anomalies, event, RING);
        }
        drop(events);
        self.news.notify_one();
    }
}

/// Adds it, without the oldest where there are too many.
pub fn push<T>(queue: &mut VecDeque<T>, item: T, limit: usize) {
    if queue.len() >= limit {
        queue.pop_front();
    }
    queue.push_back(item);
}
