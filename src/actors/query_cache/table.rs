//! The answers that are kept and those that are being read for, by question and by what changes them.
//!
//! Invariants: what is kept takes no more bytes than allowed; the one that was used longest ago goes first. A reading that was
//! touched is not there any more, so that nothing comes of it. [`Interest`] counts what is watched here, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::interest::Interest;
use super::{Asked, Limits, RELATIVE_LIFE, ReadingId, Rows};
use crate::domain::{Micros, SeriesId, Timestamp};

/// An answer takes no more than this part of what is allowed.
const LARGEST: u64 = 8;
/// What an answer takes beside its text and its key, and for each series that it is about: measured, rounded up.
const BYTES_EACH: u64 = 512;
const BYTES_PER_SERIES: u64 = 96;

pub struct Table {
    limits: Limits,
    interest: Arc<Interest>,
    entries: FxHashMap<ReadingId, Entry>,
    /// Those that are kept. Seeded, because keys come from outside.
    by_key: HashMap<Arc<[u8]>, ReadingId>,
    /// Those that are kept, the one used longest ago first.
    by_use: BTreeMap<u64, ReadingId>,
    /// Which entries a change of a series concerns: by the end of their range, so that news pass by what is about the
    /// past. The value is the range's start.
    watched: BTreeMap<(SeriesId, Rows, Timestamp, ReadingId), Timestamp>,
    bytes: u64,
    uses: u64,
    readings: u64,
    names: u64,
}

struct Entry {
    key: Arc<[u8]>,
    rows: Rows,
    from: Timestamp,
    to: Timestamp,
    asked: Timestamp,
    life: Micros,
    watched: Vec<SeriesId>,
    kept: Option<Kept>,
}

struct Kept {
    answer: Bytes,
    used: u64,
    bytes: u64,
}

impl Table {
    pub fn new(limits: Limits, interest: Arc<Interest>) -> Self {
        Self {
            limits,
            interest,
            entries: FxHashMap::default(),
            by_key: HashMap::new(),
            by_use: BTreeMap::new(),
            watched: BTreeMap::new(),
            bytes: 0,
            uses: 0,
            readings: 0,
            names: 0,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn get(&mut self, asked: &Asked) -> Option<Bytes> {
        let id = *self.by_key.get(&asked.key)?;
        let entry = self.entries.get_mut(&id)?;
        if !entry.holds(asked.now) {
            self.remove(id);
            return None;
        }
        let kept = entry.kept.as_mut()?;
        self.by_use.remove(&kept.used);
        self.uses += 1;
        kept.used = self.uses;
        self.by_use.insert(kept.used, id);
        Some(kept.answer.clone())
    }

    pub fn begin(&mut self, asked: &Asked) -> ReadingId {
        self.readings += 1;
        let id = ReadingId(self.readings);
        // Until then a later question of the same words reaches as much further.
        let (life, reach) = match asked.relative {
            true => (self.limits.life.min(RELATIVE_LIFE), RELATIVE_LIFE),
            false => (self.limits.life, 0),
        };
        if self.limits.bytes > 0 {
            let entry = Entry {
                key: asked.key.clone(),
                rows: asked.rows,
                from: asked.from.saturating_sub(reach),
                to: asked.to.saturating_add(reach),
                asked: asked.now,
                life,
                watched: Vec::new(),
                kept: None,
            };
            self.entries.insert(id, entry);
        }
        id
    }

    pub fn watch(&mut self, id: ReadingId, series: impl IntoIterator<Item = SeriesId>) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        for series in series {
            let watched = (series, entry.rows, entry.to, id);
            if self.watched.insert(watched, entry.from).is_none() {
                self.interest.add(series);
                entry.watched.push(series);
            }
        }
    }

    /// Whether nothing has changed that it has read, and it is not too old.
    pub fn is_current(&self, id: ReadingId, now: Timestamp) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.holds(now))
    }

    pub fn keep(&mut self, id: ReadingId, answer: Bytes) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let text = (entry.key.len() + answer.len()) as u64;
        let bytes = text + BYTES_EACH + entry.watched.len() as u64 * BYTES_PER_SERIES;
        if bytes > self.limits.bytes / LARGEST {
            self.remove(id);
            return;
        }
        self.uses += 1;
        let used = self.uses;
        entry.kept = Some(Kept { answer, used, bytes });
        let before = self.by_key.insert(entry.key.clone(), id);
        self.by_use.insert(used, id);
        self.bytes += bytes;
        if let Some(before) = before.filter(|before| *before != id) {
            self.remove(before);
        }
        while self.bytes > self.limits.bytes
            && let Some((_, oldest)) = self.by_use.first_key_value()
        {
            self.remove(*oldest);
        }
    }

    /// Ends the reading; an answer that was kept stays.
    pub fn leave(&mut self, id: ReadingId) {
        if self.entries.get(&id).is_some_and(|entry| entry.kept.is_none()) {
            self.remove(id);
        }
    }

    /// Some rows of the series have changed between these times, both included.
    pub fn touched(&mut self, series: SeriesId, rows: Rows, first: Timestamp, last: Timestamp) {
        let after = (series, rows, first.saturating_add(1), ReadingId(0));
        let end = (series, rows, Timestamp::MAX, ReadingId(u64::MAX));
        let concerned: Vec<ReadingId> = self
            .watched
            .range(after..=end)
            .filter(|(_, from)| **from <= last)
            .map(|((_, _, _, id), _)| *id)
            .collect();
        for id in concerned {
            self.remove(id);
        }
    }

    /// Forgets all if names have changed since.
    pub fn named_as_of(&mut self, version: u64) {
        if version > self.names {
            self.names = version;
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        let all: Vec<ReadingId> = self.entries.keys().copied().collect();
        for id in all {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: ReadingId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        for series in entry.watched {
            self.watched.remove(&(series, entry.rows, entry.to, id));
            self.interest.remove(series);
        }
        if let Some(kept) = entry.kept {
            self.by_use.remove(&kept.used);
            self.bytes -= kept.bytes;
        }
        if self.by_key.get(&entry.key) == Some(&id) {
            self.by_key.remove(&entry.key);
        }
    }
}

impl Entry {
    /// Clocks of others may be a little behind, and clocks may be set.
    fn holds(&self, now: Timestamp) -> bool {
        now.0.abs_diff(self.asked.0) < self.life.unsigned_abs()
    }
}
