//! The cells of the grid: what each of all sensors does, in four small numbers.
//!
//! Invariants: a snapshot holds what was told so far, so that a delta after it fits every client that has it. A change of state
//! or score is told at the next look; that a sensor was heard again only when what was told of it is older than [`HEARD_STEP`].

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use serde::Serialize;

use super::board::Entry;
use crate::actors::shard::env::Mode;
use crate::domain::SensorKey;

/// A sensor that was heard and then not for so long, in seconds, is silent.
pub const SILENT_AFTER: u32 = 60;
/// So long an anomaly marks its sensor.
pub const ANOMALOUS_FOR: u32 = 300;
/// How far what is told of when a sensor was heard may lag behind.
const HEARD_STEP: u32 = 10;
pub const SILENT: u8 = 8;
pub const ANOMALOUS: u8 = 16;

/// By what a cell says of them.
const MODES: [Mode; 8] = [
    Mode::Running,
    Mode::CatchingUp,
    Mode::BackingOff,
    Mode::Paused,
    Mode::Quarantined,
    Mode::Passive,
    Mode::Passive,
    Mode::Passive,
];

/// A sensor at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    state: u8,
    score: u8,
    /// Second in which it was last heard since the start; 0 if never.
    heard: u32,
}

/// All sensors at a moment.
#[derive(Default)]
pub struct Grid {
    /// In seconds since 1970.
    pub at: u32,
    /// In the order of their numbers.
    pub cells: Vec<(SensorKey, Cell)>,
}

/// Columns of the same length.
#[derive(Debug, Default, Serialize, PartialEq, utoipa::ToSchema)]
pub struct Columns {
    pub at: u32,
    pub number: Vec<u32>,
    /// The mode, and flags.
    pub state: Vec<u8>,
    /// Of the newest anomaly, in percent, while it is fresh.
    pub score: Vec<u8>,
    /// Whole seconds before `at`; -1 if not since the start.
    pub heard: Vec<i64>,
}

impl Cell {
    pub fn new(entry: Entry, heard: u32, now: u32) -> Self {
        let place = MODES
            .iter()
            .position(|mode| *mode == entry.mode)
            .unwrap_or_default();
        let mut state = place as u8;
        let anomalous = entry.found > 0 && now.saturating_sub(entry.found) < ANOMALOUS_FOR;
        if heard > 0 && now.saturating_sub(heard) >= SILENT_AFTER {
            state |= SILENT;
        }
        if anomalous {
            state |= ANOMALOUS;
        }
        Self {
            state,
            score: if anomalous { entry.score } else { 0 },
            heard,
        }
    }

    pub fn state(self) -> u8 {
        self.state
    }

    fn is_news_to(self, told: Cell) -> bool {
        (self.state, self.score) != (told.state, told.score)
            || self.heard.saturating_sub(told.heard) >= HEARD_STEP
    }
}

impl Grid {
    pub fn get(&self, sensor: SensorKey) -> Option<Cell> {
        let place = self.cells.binary_search_by_key(&sensor, |(key, _)| *key);
        place.ok().map(|place| self.cells[place].1)
    }

    /// How many sensors are in each mode.
    pub fn modes(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (_, cell) in &self.cells {
            let mode = MODES[usize::from(cell.state % SILENT)];
            *counts.entry(mode.as_str()).or_default() += 1;
        }
        counts
    }
}

impl Columns {
    /// Adds what came after it.
    pub fn append(&mut self, later: Columns) {
        let shift = i64::from(later.at) - i64::from(self.at);
        for heard in self.heard.iter_mut().filter(|heard| **heard >= 0) {
            *heard += shift;
        }
        self.at = later.at;
        self.number.extend(later.number);
        self.state.extend(later.state);
        self.score.extend(later.score);
        self.heard.extend(later.heard);
    }

    pub fn push(&mut self, number: SensorKey, cell: Cell) {
        self.number.push(number.0);
        self.state.push(cell.state);
        self.score.push(cell.score);
        self.heard.push(match cell.heard {
            0 => -1,
            heard => i64::from(self.at) - i64::from(heard),
        });
    }
}

/// What was told of the cells, to clients that want the same.
#[derive(Default)]
pub struct ToldCells {
    /// By number.
    told: Vec<Option<Cell>>,
    /// Of whom; `None`: of all.
    of: Option<FxHashSet<SensorKey>>,
}

impl ToldCells {
    pub fn of(&mut self, sensors: Option<FxHashSet<SensorKey>>) {
        self.of = sensors;
    }

    /// What is to be told; it counts as told then.
    pub fn news(&mut self, grid: &Grid) -> Option<Columns> {
        let mut columns = Columns {
            at: grid.at,
            ..Columns::default()
        };
        for (sensor, cell) in &grid.cells {
            if self.of.as_ref().is_some_and(|of| !of.contains(sensor)) {
                continue;
            }
            let at = sensor.0 as usize;
            if self.told.len() <= at {
                self.told.resize(at + 1, None);
            }
            if self.told[at].is_none_or(|told| cell.is_news_to(told)) {
                self.told[at] = Some(*cell);
                columns.push(*sensor, *cell);
            }
        }
        (!columns.number.is_empty()).then_some(columns)
    }

    /// All that was told.
    pub fn all(&self, at: u32) -> Columns {
        let mut columns = Columns {
            at,
            ..Columns::default()
        };
        for (number, cell) in (0..).zip(&self.told) {
            if let Some(cell) = cell {
                columns.push(SensorKey(number), *cell);
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: Mode, score: u8, found: u32) -> Entry {
        Entry { mode, score, found }
    }

    #[test]
    fn a_cell_says_what_its_sensor_does() {
        let cell = |entry, heard| Cell::new(entry, heard, 1_000);
        assert_eq!(cell(entry(Mode::Running, 0, 0), 1_000).state, 0);
        assert_eq!(cell(entry(Mode::Running, 0, 0), 940).state, SILENT);
        assert_eq!(cell(Entry::default(), 0).state, 5);
        let found = cell(entry(Mode::Paused, 90, 701), 999);
        assert_eq!((found.state, found.score), (3 | ANOMALOUS, 90));
        let old = cell(entry(Mode::Paused, 90, 700), 999);
        assert_eq!((old.state, old.score), (3, 0));
    }

    #[test]
    fn only_what_changes_is_told_and_a_snapshot_is_what_was_told() {
        let mut told = ToldCells::default();
        let running = entry(Mode::Running, 0, 0);
        let grid = |at: u32, heard: u32| Grid {
            at,
            cells: vec![
                (SensorKey(1), Cell::new(running, heard, at)),
                (SensorKey(4), Cell::new(running, 0, at)),
            ],
        };
        let first = told.news(&grid(100, 100)).unwrap();
        assert_eq!(
            (first.number.as_slice(), first.heard.as_slice()),
            (&[1, 4][..], &[0, -1][..])
        );
        assert_eq!(told.news(&grid(105, 105)), None);
        let later = told.news(&grid(112, 110)).unwrap();
        assert_eq!(
            (later.number.as_slice(), later.heard.as_slice()),
            (&[1][..], &[2][..])
        );
        assert_eq!(told.news(&grid(119, 119)), None);
        let all = told.all(119);
        assert_eq!(
            (all.number.as_slice(), all.heard.as_slice()),
            (&[1, 4][..], &[9, -1][..])
        );
        let silent = told.news(&grid(200, 119)).unwrap();
        assert_eq!(
            (silent.number.as_slice(), silent.state.as_slice()),
            (&[1][..], &[SILENT][..])
        );
        told.of(Some(FxHashSet::default()));
        assert_eq!(told.news(&grid(300, 300)), None);
    }
}
