//! How far files were read, whatever they are called by now.
//!
//! A file is known by its first bytes: so many lines of it, at most [`HEAD`] bytes. Different files may begin alike; each has a slot
//! of its own among those of the same beginning, and which one it is its bytes before the slot's position tell. Invariant: a slot is
//! held by one file at a time.

use std::collections::{BTreeMap, HashMap};

use twox_hash::XxHash64;

use super::pattern::FileId;
use crate::domain::Timestamp;

/// The most bytes that a file is known by.
pub(super) const HEAD: usize = 1_024;
/// How many bytes before a position tell whether it is this file's.
pub(super) const TAIL: usize = 1_024;

/// What positions of files begin with.
pub(super) const PLACES: &str = "file/";

/// The beginning of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Beginning(u64);

/// One file of those that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId {
    pub beginning: Beginning,
    pub number: usize,
}

/// How far a file was read.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    /// Where to read on.
    pub position: u64,
    /// Of the bytes before.
    pub check: u32,
    pub holder: Option<FileId>,
}

#[derive(Debug, Default)]
pub struct Slots {
    known: HashMap<Beginning, Vec<Slot>>,
}

impl Beginning {
    /// `None` while a file has not `lines` whole lines and is not as long as what it is known by.
    pub fn of(head: &[u8], lines: usize) -> Option<Self> {
        let head = &head[..head.len().min(HEAD)];
        let mut ends = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let length = match ends.nth(lines.saturating_sub(1)) {
            Some((end, _)) => end + 1,
            None if head.len() == HEAD => HEAD,
            None => return None,
        };
        Some(Self(XxHash64::oneshot(0, &head[..length])))
    }
}

impl SlotId {
    /// What its position is called in the database.
    pub fn position(self) -> String {
        format!("{PLACES}{:016x}/{}", self.beginning.0, self.number)
    }

    /// The same for the check of the bytes before it.
    pub fn check(self) -> String {
        format!("{PLACES}{:016x}/{}/check", self.beginning.0, self.number)
    }
}

/// Which beginnings nobody has seen since `before`, with all that is stored of them: `stored` are names of positions, and when each was
/// last stored. All files that begin alike go together, since the numbers of those that stay must have no gap.
pub(super) fn forgotten(
    stored: Vec<(String, Timestamp)>,
    before: Timestamp,
    is_there: impl Fn(Beginning) -> bool,
) -> BTreeMap<Beginning, Vec<String>> {
    let mut all: BTreeMap<Beginning, (bool, Vec<String>)> = BTreeMap::new();
    for (name, at) in stored {
        let hash = name.strip_prefix(PLACES).and_then(|name| name.get(..16));
        let Some(hash) = hash.and_then(|hash| u64::from_str_radix(hash, 16).ok()) else {
            continue;
        };
        let (old, names) = all.entry(Beginning(hash)).or_insert((true, Vec::new()));
        *old &= at < before;
        names.push(name);
    }
    let gone = all
        .into_iter()
        .filter(|(beginning, (old, _))| *old && !is_there(*beginning));
    gone.map(|(beginning, (_, names))| (beginning, names)).collect()
}

pub(super) fn check(tail: &[u8]) -> u32 {
    crc32fast::hash(&tail[tail.len().saturating_sub(TAIL)..])
}

impl Slots {
    pub fn knows(&self, beginning: Beginning) -> bool {
        self.known.contains_key(&beginning)
    }

    /// What the database has of files that begin so.
    pub fn learn(&mut self, beginning: Beginning, slots: Vec<Slot>) {
        self.known.entry(beginning).or_insert(slots);
    }

    pub fn of(&self, beginning: Beginning) -> impl Iterator<Item = (SlotId, &Slot)> {
        let slots = self.known.get(&beginning).map_or(&[][..], Vec::as_slice);
        slots
            .iter()
            .enumerate()
            .map(move |(number, slot)| (SlotId { beginning, number }, slot))
    }

    pub fn get(&self, id: SlotId) -> Slot {
        let slots = self.known.get(&id.beginning);
        slots
            .and_then(|slots| slots.get(id.number))
            .cloned()
            .unwrap_or_default()
    }

    pub fn hold(&mut self, id: SlotId, file: FileId) {
        if let Some(slot) = self.slot(id) {
            slot.holder = Some(file);
        }
    }

    /// A slot for a file that is none of those known.
    pub fn add(&mut self, beginning: Beginning, file: FileId) -> SlotId {
        let slots = self.known.entry(beginning).or_default();
        slots.push(Slot {
            holder: Some(file),
            check: check(b""),
            ..Slot::default()
        });
        SlotId {
            beginning,
            number: slots.len() - 1,
        }
    }

    /// Whether one of those that begin so is there.
    pub fn is_held(&self, beginning: Beginning) -> bool {
        self.of(beginning).any(|(_, slot)| slot.holder.is_some())
    }

    pub fn forget(&mut self, beginning: Beginning) {
        self.known.remove(&beginning);
    }

    pub fn release(&mut self, id: SlotId) {
        if let Some(slot) = self.slot(id) {
            slot.holder = None;
        }
    }

    pub fn advance(&mut self, id: SlotId, position: u64, check: u32) {
        if let Some(slot) = self.slot(id) {
            (slot.position, slot.check) = (position, check);
        }
    }

    fn slot(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.known.get_mut(&id.beginning)?.get_mut(id.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_has_seen_for_long_is_forgotten_and_nothing_by_halves() {
        let before = Timestamp(1_000);
        let id = |beginning, number| SlotId {
            beginning: Beginning(beginning),
            number,
        };
        let mut stored = vec![
            ("file/begun".to_owned(), Timestamp(0)),
            ("file/zz".to_owned(), Timestamp(0)),
        ];
        for (id, at) in [
            (id(1, 0), 999),
            // The second of those that begin alike was there a moment ago.
            (id(2, 0), 5),
            (id(2, 1), 1_000),
            (id(3, 0), 5),
            (id(4, 0), 5),
            (id(4, 1), 7),
        ] {
            stored.push((id.position(), Timestamp(at)));
            stored.push((id.check(), Timestamp(at)));
        }
        let gone = forgotten(stored.clone(), before, |beginning| beginning == Beginning(3));
        let all = |ids: &[SlotId]| -> Vec<String> {
            ids.iter().flat_map(|id| [id.position(), id.check()]).collect()
        };
        assert_eq!(
            gone,
            BTreeMap::from([
                (Beginning(1), all(&[id(1, 0)])),
                (Beginning(4), all(&[id(4, 0), id(4, 1)])),
            ])
        );
        assert_eq!(forgotten(stored, Timestamp(5), |_| false), BTreeMap::new());
    }
}
