//! What every sensor does and what was found in it lately, in a few bytes each, for the grid that shows them all.
//!
//! Invariants: each entry is as its sensor set it last; a sensor that set nothing is not in memory. Nothing is written for a
//! reading, only where something changes.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::actors::shard::env::Mode;
use crate::domain::{SensorKey, Timestamp};

/// By the number of the sensor.
pub struct Board {
    entries: Mutex<Vec<Entry>>,
    /// Something changed since it was looked at.
    changed: AtomicBool,
    news: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub mode: Mode,
    /// Of the newest anomaly, in percent.
    pub score: u8,
    /// When that was found, in seconds since 1970; 0 if never.
    pub found: u32,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            mode: Mode::Passive,
            score: 0,
            found: 0,
        }
    }
}

impl Board {
    pub fn new(news: Arc<Notify>) -> Self {
        Self {
            entries: Mutex::default(),
            changed: AtomicBool::new(false),
            news,
        }
    }

    pub fn set_mode(&self, sensor: SensorKey, mode: Mode) {
        entry(&mut self.entries.lock(), sensor).mode = mode;
        self.tell();
    }

    /// Anomalies were found, with scores in 0..=1.
    pub fn found(&self, anomalies: impl Iterator<Item = (SensorKey, f64)>, now: Timestamp) {
        let found = u32::try_from(now.0.div_euclid(1_000_000)).unwrap_or(0);
        let mut entries = self.entries.lock();
        for (sensor, score) in anomalies {
            let entry = entry(&mut entries, sensor);
            entry.found = found;
            entry.score = (score * 100.0).round().clamp(0.0, 100.0) as u8;
        }
        drop(entries);
        self.tell();
    }

    /// The entries of all sensors up to the last that set anything.
    pub fn copy_to(&self, entries: &mut Vec<Entry>) {
        self.changed.store(false, Ordering::SeqCst);
        entries.clone_from(&self.entries.lock());
    }

    /// The same for who does not follow what changes.
    pub fn read(&self, entries: &mut Vec<Entry>) {
        entries.clone_from(&self.entries.lock());
    }

    pub fn of(&self, sensor: SensorKey) -> Entry {
        let entries = self.entries.lock();
        entries.get(sensor.0 as usize).copied().unwrap_or_default()
    }

    pub fn has_changed(&self) -> bool {
        self.changed.load(Ordering::SeqCst)
    }

    fn tell(&self) {
        if !self.changed.swap(true, Ordering::SeqCst) {
            self.news.notify_one();
        }
    }
}

fn entry(entries: &mut Vec<Entry>, sensor: SensorKey) -> &mut Entry {
    let at = sensor.0 as usize;
    if entries.len() <= at {
        entries.resize(at + 1, Entry::default());
    }
    &mut entries[at]
}

/// What a sensor does, as it knows itself and as the board shows it.
pub struct ShownMode {
    mode: Cell<Mode>,
    sensor: SensorKey,
    board: Arc<Board>,
}

impl ShownMode {
    pub fn new(mode: Mode, sensor: SensorKey, board: Arc<Board>) -> Self {
        board.set_mode(sensor, mode);
        Self {
            mode: Cell::new(mode),
            sensor,
            board,
        }
    }

    pub fn get(&self) -> Mode {
        self.mode.get()
    }

    pub fn set(&self, mode: Mode) {
        if self.mode.replace(mode) != mode {
            self.board.set_mode(self.sensor, mode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_is_shown_as_it_is() {
        let board = Arc::new(Board::new(Arc::default()));
        assert_eq!(board.of(SensorKey(9)), Entry::default());
        let mode = ShownMode::new(Mode::CatchingUp, SensorKey(2), board.clone());
        mode.set(Mode::Running);
        board.found([(SensorKey(3), 0.805)].into_iter(), Timestamp::from_seconds(77));
        assert!(board.has_changed());
        let mut entries = Vec::new();
        board.copy_to(&mut entries);
        assert!(!board.has_changed());
        assert_eq!(
            (mode.get(), entries[2].mode, entries[1].mode),
            (Mode::Running, Mode::Running, Mode::Passive)
        );
        assert_eq!((entries[3].score, entries[3].found), (81, 77));
        mode.set(Mode::Running);
        assert!(!board.has_changed(), "nothing changed");
    }
}
