//! One file that is followed: what is known of it, and what can be asked of its bytes.
//!
//! Nothing here changes what another file is. How it fails: with the error of the disk, which whoever asks keeps for people to see.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::slots::{Beginning, HEAD, Slot, SlotId, TAIL, check};
use super::stream::Stream;
use super::tail::{READ, TailOptions};
use crate::decode::CsvTable;

pub(super) struct Tracked {
    pub path: PathBuf,
    pub compressed: bool,
    pub stream: Option<Stream>,
    /// As it was when it was last looked at.
    pub length: u64,
    pub changed: (i64, i64),
    pub at: At,
    /// When something of it was last new.
    pub news: Instant,
    /// It is not where the pattern looks.
    pub away: bool,
    pub error: Option<String>,
}

/// What is known of a file.
pub(super) enum At {
    /// Not enough to know it by.
    New,
    Begins(Beginning),
    /// It begins as one that is there as well, and is a copy of that as far as it goes.
    Copy(Beginning),
    Known {
        slot: SlotId,
        table: Option<Arc<CsvTable>>,
        /// Where its first line begins: after a header.
        first: u64,
        /// Of a compressed one, which does not grow: everything was given.
        whole: bool,
        /// A line without end was looked through up to here.
        scanned: u64,
        /// Whether there may be something to read.
        unread: bool,
    },
}

impl Tracked {
    pub fn new(now: Instant) -> Self {
        Self {
            path: PathBuf::new(),
            compressed: false,
            stream: None,
            length: 0,
            changed: (0, 0),
            at: At::New,
            news: now,
            away: false,
            error: None,
        }
    }

    pub fn open(&mut self) -> io::Result<&mut Stream> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => Stream::open(File::open(&self.path)?, self.compressed),
        };
        Ok(self.stream.insert(stream))
    }

    pub fn begin(&mut self, options: &TailOptions) {
        match self.beginning(options) {
            Ok(Some(beginning)) => self.at = At::Begins(beginning),
            Ok(None) => {}
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    fn beginning(&mut self, options: &TailOptions) -> io::Result<Option<Beginning>> {
        // Tables often have the same header: the first row tells them apart.
        let lines = if options.csv.as_ref().is_some_and(|csv| csv.header) {
            2
        } else {
            1
        };
        let head = self.open()?.read(0, HEAD)?;
        Ok(match Beginning::of(&head.bytes, lines) {
            None if head.last && !head.bytes.is_empty() => Beginning::of(&head.bytes, 1),
            beginning => beginning,
        })
    }

    /// Whether it begins so, and a slot's position is in it.
    pub fn is_at(&mut self, beginning: Beginning, slot: &Slot, options: &TailOptions) -> io::Result<bool> {
        if !self.compressed && self.length < slot.position {
            return Ok(false);
        }
        if self.beginning(options)? != Some(beginning) {
            return Ok(false);
        }
        let from = slot.position.saturating_sub(TAIL as u64);
        let count = usize::try_from(slot.position - from).unwrap_or(TAIL);
        let tail = self.open()?.read(from, count)?.bytes;
        Ok(tail.len() == count && check(&tail) == slot.check)
    }

    /// Whether a compressed file has so much, or is whole and has not.
    pub fn is_complete(&mut self, position: u64) -> io::Result<bool> {
        let last = position.saturating_sub(1);
        let chunk = self.open()?.read(last, 1)?;
        Ok(position == 0 || chunk.last || !chunk.bytes.is_empty())
    }

    /// Where its last whole line ends, and the bytes before.
    pub fn end(&mut self) -> io::Result<(u64, Vec<u8>)> {
        let mut end = 0;
        let mut from = if self.compressed {
            0
        } else {
            self.length.saturating_sub(READ as u64)
        };
        loop {
            let chunk = self.open()?.read(from, READ)?;
            if let Some(newline) = chunk.bytes.iter().rposition(|byte| *byte == b'\n') {
                end = from + newline as u64 + 1;
            }
            from += chunk.bytes.len() as u64;
            if chunk.bytes.len() < READ {
                break;
            }
        }
        let begin = end.saturating_sub(TAIL as u64);
        let count = usize::try_from(end - begin).unwrap_or(TAIL);
        Ok((end, self.open()?.read(begin, count)?.bytes))
    }

    /// The table of a file of rows, and where its rows begin.
    pub fn header(&mut self, options: &TailOptions) -> io::Result<(Option<Arc<CsvTable>>, u64)> {
        let Some(csv) = &options.csv else {
            return Ok((None, 0));
        };
        if !csv.header {
            return Ok((Some(Arc::new(CsvTable::new(csv, b""))), 0));
        }
        let head = self.open()?.read(0, options.max_line)?.bytes;
        let end = head.iter().position(|byte| *byte == b'\n');
        let line = head[..end.unwrap_or(head.len())].trim_ascii_end();
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        let first = end.map_or(head.len(), |end| end + 1) as u64;
        Ok((Some(Arc::new(CsvTable::new(csv, line))), first))
    }

    /// Whether there may be something to read after `position`.
    pub fn unread(&self, position: u64) -> bool {
        match self.at {
            At::Known { unread, whole, .. } => {
                unread && !whole && (self.compressed || position < self.length)
            }
            _ => false,
        }
    }

    pub fn wake(&mut self) {
        if let At::Known { unread, whole, .. } = &mut self.at {
            (*unread, *whole) = (true, false);
        }
    }
}
