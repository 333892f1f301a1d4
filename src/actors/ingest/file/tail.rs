//! Following files: which there are, what is new in them, and what became of those that were rotated.
//!
//! | what happens | what follows |
//! | --- | --- |
//! | a file is renamed | it is read on; if the pattern does not match it any more, until nothing has come for [`FAREWELL`] |
//! | it is copied and emptied | the copy is read from where the file was, the file from its beginning |
//! | it is compressed | what was not read is read from the compressed one |
//! | it is written anew | it is another file, and read from its beginning |
//!
//! Invariants: only whole lines are given, in their order; what was given is given again until it is said to be stored, because
//! reading always begins at the stored position. No clock, no database: "now" is a parameter, positions are told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pattern::{FileId, PathPattern};
use super::piece::{Piece, cut};
use super::slots::{Beginning, Slot, SlotId, Slots, TAIL, check};
use super::tracked::{At, Tracked};
use crate::decode::CsvMapping;

/// How long a file that is not where the pattern looks is followed after its last line.
const FAREWELL: Duration = Duration::from_secs(60);
/// Files that are kept open; of more, those that nothing was written to are closed.
const MAX_OPEN: usize = 512;
/// What is read of one file at once.
pub(super) const READ: usize = 1 << 20;
/// What is read of all files at once, about.
const LOAD: usize = 4 << 20;

#[derive(Debug, Clone)]
pub struct TailOptions {
    pub pattern: PathPattern,
    /// The longest line, in bytes.
    pub max_line: usize,
    /// Where lines are rows of tables.
    pub csv: Option<Arc<CsvMapping>>,
}

pub struct Tail {
    options: TailOptions,
    files: BTreeMap<FileId, Tracked>,
    slots: Slots,
}

/// A file as it is shown.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FileStatus {
    pub path: String,
    /// Bytes that are read and stored; of a compressed file, of what it holds.
    pub position: u64,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Tail {
    pub fn new(options: TailOptions) -> Self {
        Self {
            options,
            files: BTreeMap::new(),
            slots: Slots::default(),
        }
    }

    /// Looks which files there are. Returns beginnings of which it must be told what is stored, by [`Self::learn`], before
    /// [`Self::settle`].
    pub fn look(&mut self, now: Instant) -> io::Result<BTreeSet<Beginning>> {
        let found = self.options.pattern.files()?;
        let gone: Vec<FileId> = self
            .files
            .keys()
            .filter(|id| !found.contains_key(id))
            .copied()
            .collect();
        for id in gone {
            self.look_away(id, now);
        }
        for (id, (path, metadata)) in found {
            let tracked = self.files.entry(id).or_insert_with(|| Tracked::new(now));
            tracked.away = false;
            if tracked.path != path {
                tracked.compressed = path.extension().is_some_and(|extension| extension == "gz");
                tracked.path = path;
            }
            self.check(id, &metadata, now);
        }
        self.close_quiet();
        let mut wanted = BTreeSet::new();
        for tracked in self.files.values_mut() {
            if matches!(tracked.at, At::New) {
                tracked.begin(&self.options);
            }
            if let At::Begins(beginning) = tracked.at
                && !self.slots.knows(beginning)
            {
                wanted.insert(beginning);
            }
        }
        Ok(wanted)
    }

    pub fn learn(&mut self, beginning: Beginning, slots: Vec<Slot>) {
        self.slots.learn(beginning, slots);
    }

    /// Finds out which file is which. With `at_end` those that nothing is stored of are begun at their end.
    pub fn settle(&mut self, at_end: bool) {
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            let Some(tracked) = self.files.get(&id) else {
                continue;
            };
            if let At::Begins(beginning) | At::Copy(beginning) = tracked.at
                && let Err(error) = self.identify(id, beginning, at_end)
                && let Some(tracked) = self.files.get_mut(&id)
            {
                tracked.error = Some(error.to_string());
            }
        }
    }

    /// What is new, a piece of each file, at most about [`LOAD`] at once.
    pub fn take(&mut self) -> Vec<Piece> {
        // What was written first is read first: a rotated file before the one that took its place.
        let mut ids: Vec<_> = self
            .files
            .iter()
            .map(|(id, tracked)| (tracked.changed, *id))
            .collect();
        ids.sort();
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        for (_, id) in &ids {
            match self.read(*id) {
                Ok(Some(piece)) => {
                    bytes += piece.bytes.len();
                    pieces.push(piece);
                }
                Ok(None) => {}
                Err(error) => {
                    if let Some(tracked) = self.files.get_mut(id) {
                        tracked.error = Some(error.to_string());
                    }
                }
            }
            if bytes >= LOAD {
                break;
            }
        }
        pieces
    }

    /// What is to be stored where these move: of those that begin alike the ones before them, too. Slots are told by their numbers, so that
    /// in what is stored no number may be missing.
    pub fn places(&self, moved: &[(SlotId, u64, u32)]) -> Vec<(SlotId, u64, u32)> {
        let mut places: BTreeMap<SlotId, (u64, u32)> = BTreeMap::new();
        for (id, ..) in moved {
            for (before, slot) in self.slots.of(id.beginning).take(id.number) {
                places.insert(before, (slot.position, slot.check));
            }
        }
        places.extend(
            moved
                .iter()
                .map(|(id, position, check)| (*id, (*position, *check))),
        );
        let all = places.into_iter();
        all.map(|(id, (position, check))| (id, position, check)).collect()
    }

    /// What was taken is stored up to here.
    pub fn stored(&mut self, slot: SlotId, position: u64, check: u32) {
        self.slots.advance(slot, position, check);
    }

    /// Positions of all files that are known, to be stored where reading begins at their ends.
    pub fn positions(&self) -> Vec<(SlotId, Slot)> {
        let slots = self.files.values().filter_map(|tracked| match tracked.at {
            At::Known { slot, .. } => Some((slot, self.slots.get(slot))),
            _ => None,
        });
        slots.collect()
    }

    pub fn status(&self) -> Vec<FileStatus> {
        let shown = self.files.values().map(|tracked| FileStatus {
            path: tracked.path.to_string_lossy().into_owned(),
            position: match tracked.at {
                At::Known { slot, .. } => self.slots.get(slot).position,
                _ => 0,
            },
            size: tracked.length,
            error: tracked.error.clone(),
        });
        shown.collect()
    }

    /// Whether a file that begins so is there, or none can be ruled out.
    pub fn may_have(&self, beginning: Beginning) -> bool {
        self.slots.is_held(beginning)
            || self.files.values().any(|tracked| match tracked.at {
                At::Begins(other) | At::Copy(other) => other == beginning,
                At::New | At::Known { .. } => tracked.error.is_some(),
            })
    }

    /// What is stored of files that begin so is no more.
    pub fn forget(&mut self, beginning: Beginning) {
        self.slots.forget(beginning);
    }

    /// Files that are held open.
    pub fn open(&self) -> usize {
        let open = |tracked: &&Tracked| tracked.stream.is_some();
        self.files.values().filter(open).count()
    }

    /// Bytes that are not stored yet, of files that are not compressed.
    pub fn unread(&self) -> u64 {
        let unread = self.files.values().map(|tracked| match tracked.at {
            At::Known { slot, .. } if !tracked.compressed => {
                tracked.length.saturating_sub(self.slots.get(slot).position)
            }
            _ => 0,
        });
        unread.sum()
    }

    /// A file that is not where the pattern looks any more: what is written to it still counts, for a while.
    fn look_away(&mut self, id: FileId, now: Instant) {
        let Some(tracked) = self.files.get_mut(&id) else {
            return;
        };
        tracked.away = true;
        let metadata = tracked.stream.as_ref().map(|stream| stream.file().metadata());
        let position = match tracked.at {
            At::Known { slot, .. } => self.slots.get(slot).position,
            _ => 0,
        };
        let over = now.duration_since(tracked.news) >= FAREWELL && !tracked.unread(position);
        match metadata {
            Some(Ok(metadata)) if !over && matches!(tracked.at, At::Known { .. }) => {
                self.check(id, &metadata, now);
            }
            _ => {
                if let At::Known { slot, .. } = tracked.at {
                    self.slots.release(slot);
                }
                self.files.remove(&id);
            }
        }
    }

    /// Whether a file is still the one that it was.
    fn check(&mut self, id: FileId, metadata: &Metadata, now: Instant) {
        let Some(tracked) = self.files.get_mut(&id) else {
            return;
        };
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        if (tracked.length, tracked.changed) == (metadata.len(), changed) {
            return;
        }
        (tracked.length, tracked.changed, tracked.news) = (metadata.len(), changed, now);
        tracked.error = None;
        let At::Known { slot, .. } = tracked.at else {
            if !matches!(tracked.at, At::New) {
                tracked.at = At::New;
            }
            return;
        };
        let state = self.slots.get(slot);
        let same = tracked.is_at(slot.beginning, &state, &self.options);
        match same {
            Ok(true) => tracked.wake(),
            Ok(false) => {
                self.slots.release(slot);
                tracked.at = At::New;
            }
            Err(error) => tracked.error = Some(error.to_string()),
        }
    }

    fn identify(&mut self, id: FileId, beginning: Beginning, at_end: bool) -> io::Result<()> {
        // Others may have been looked at since: what is seen of one must not be older than what is seen of another.
        if let Some(tracked) = self.files.get_mut(&id) {
            tracked.length = tracked.open()?.file().metadata()?.len();
        }
        let mut found = None;
        let candidates: Vec<(SlotId, Slot)> = self
            .slots
            .of(beginning)
            .map(|(id, slot)| (id, slot.clone()))
            .collect();
        for (slot, state) in candidates {
            if let Some(holder) = state.holder {
                if self.is_copy(id, holder)? {
                    // The longer one of the two is read.
                    let longer = self.is_longer(id, holder);
                    if longer {
                        self.slots.hold(slot, id);
                    }
                    let other = if longer { holder } else { id };
                    if let Some(tracked) = self.files.get_mut(&other) {
                        tracked.at = At::Copy(beginning);
                    }
                    if longer {
                        found = Some(slot);
                        break;
                    }
                    return Ok(());
                }
                let other = self.files.get_mut(&holder);
                if !other.is_some_and(|other| other.is_at(beginning, &state, &self.options).unwrap_or(false))
                {
                    // It was emptied this moment, and this may be its copy: the next look will tell.
                    return Ok(());
                }
                continue;
            }
            let Some(tracked) = self.files.get_mut(&id) else {
                return Ok(());
            };
            if tracked.is_at(beginning, &state, &self.options)? {
                self.slots.hold(slot, id);
                found = Some(slot);
                break;
            }
            if tracked.compressed && !tracked.is_complete(state.position)? {
                // It may be in the making.
                return Ok(());
            }
        }
        let Some(tracked) = self.files.get_mut(&id) else {
            return Ok(());
        };
        let slot = match found {
            Some(slot) => slot,
            None => {
                let slot = self.slots.add(beginning, id);
                if at_end {
                    let (position, tail) = tracked.end()?;
                    self.slots.advance(slot, position, check(&tail));
                }
                slot
            }
        };
        let (table, first) = tracked.header(&self.options)?;
        tracked.at = At::Known {
            slot,
            table,
            first,
            whole: false,
            scanned: 0,
            unread: true,
        };
        Ok(())
    }

    /// Whether a file is, as far as it goes, the same as another one that is there.
    fn is_copy(&mut self, id: FileId, holder: FileId) -> io::Result<bool> {
        let (Some(length), Some(other)) = (
            self.files.get(&id).map(|tracked| tracked.length),
            self.files.get(&holder).map(|tracked| tracked.length),
        ) else {
            return Ok(false);
        };
        if self.files.get(&id).is_some_and(|tracked| tracked.compressed) {
            // While the other one is there, that is the one to be read.
            return Ok(true);
        }
        let end = length.min(other);
        let begin = end.saturating_sub(TAIL as u64);
        let count = usize::try_from(end - begin).unwrap_or(TAIL);
        let mut both = Vec::new();
        for id in [id, holder] {
            let Some(tracked) = self.files.get_mut(&id) else {
                return Ok(false);
            };
            both.push(tracked.open()?.read(begin, count)?.bytes);
        }
        Ok(both[0] == both[1])
    }

    /// Of plain files.
    fn is_longer(&self, id: FileId, than: FileId) -> bool {
        let length = |id: FileId| {
            let tracked = self.files.get(&id).filter(|tracked| !tracked.compressed)?;
            Some(tracked.length)
        };
        matches!((length(id), length(than)), (Some(one), Some(other)) if one > other)
    }

    fn read(&mut self, id: FileId) -> io::Result<Option<Piece>> {
        let Some(tracked) = self.files.get_mut(&id) else {
            return Ok(None);
        };
        let At::Known {
            slot, first, scanned, ..
        } = tracked.at
        else {
            return Ok(None);
        };
        let base = self.slots.get(slot).position.max(first);
        if !tracked.unread(base) {
            return Ok(None);
        }
        let max_line = self.options.max_line;
        let stream = tracked.open()?;
        let from = base.saturating_sub(TAIL as u64);
        let before = stream
            .read(from, usize::try_from(base - from).unwrap_or(TAIL))?
            .bytes;
        let chunk = stream.read(base, READ.max(max_line + 2))?;
        // It may have been emptied and written anew since it was looked at; after reading, what was read is known to be of this file.
        let state = self.slots.get(slot);
        if !tracked.compressed && !tracked.is_at(slot.beginning, &state, &self.options)? {
            tracked.changed = (0, 0);
            return Ok(None);
        }
        let mut piece = cut(chunk.bytes, chunk.last, base, max_line);
        let mut now_scanned = 0;
        if piece.lines.is_empty() && piece.bytes.len() > max_line + 1 {
            now_scanned = piece.end_of_long_line(tracked.open()?, scanned)?;
        }
        let last = chunk.last && piece.takes_all();
        piece.before = before;
        let empty = piece.lines.is_empty();
        if let At::Known {
            whole,
            scanned,
            unread,
            ..
        } = &mut tracked.at
        {
            *scanned = now_scanned;
            *whole = last && empty;
            *unread = !empty || (now_scanned > 0 && (tracked.compressed || now_scanned < tracked.length));
        }
        if empty {
            return Ok(None);
        }
        let At::Known { table, .. } = &tracked.at else {
            return Ok(None);
        };
        piece.slot = Some(slot);
        piece.table = table.clone();
        piece.path = tracked.path.to_string_lossy().into_owned();
        Ok(Some(piece))
    }

    fn close_quiet(&mut self) {
        let mut open: Vec<(Instant, FileId)> = self
            .files
            .iter()
            .filter(|(_, tracked)| tracked.stream.is_some() && !tracked.away)
            .map(|(id, tracked)| (tracked.news, *id))
            .collect();
        if open.len() > MAX_OPEN {
            open.sort();
            let close = open.len() - MAX_OPEN;
            for (_, id) in &open[..close] {
                if let Some(tracked) = self.files.get_mut(id) {
                    tracked.stream = None;
                }
            }
        }
    }
}
