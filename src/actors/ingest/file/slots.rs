//! How far files were read, whatever they are called by now.
//!
//! A file is known by its first bytes: so many lines of it, at most [`HEAD`] bytes. Different files may begin alike; each has a slot
//! of its own among those of the same beginning, and which one it is its bytes before the slot's position tell. Invariant: a slot is
//! held by one file at a time.

use std::collections::HashMap;

use twox_hash::XxHash64;

use super::pattern::FileId;

/// The most bytes that a file is known by.
pub(super) const HEAD: usize = 1_024;
/// How many bytes before a position tell whether it is this file's.
pub(super) const TAIL: usize = 1_024;

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
        format!("file/{:016x}/{}", self.beginning.0, self.number)
    }

    /// The same for the check of the bytes before it.
    pub fn check(self) -> String {
        format!("file/{:016x}/{}/check", self.beginning.0, self.number)
    }
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
