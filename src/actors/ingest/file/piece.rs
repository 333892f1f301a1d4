//! A piece of a file, cut into lines.
//!
//! Invariants: a line that has no end yet is not in it. One that is too long is there once, with its beginning, when its end was found.

use std::io;
use std::sync::Arc;

use super::slots::{SlotId, TAIL, check};
use super::stream::Stream;
use crate::decode::CsvTable;
use crate::domain::DeadLetter;

/// How much of a line that is too long is gone through at once, in steps.
const STEPS: usize = 64;
const STEP: usize = 1 << 20;

/// Bytes of one file that were read at once.
#[derive(Debug, Default)]
pub struct Piece {
    /// Whose position it moves; set for what was taken.
    pub slot: Option<SlotId>,
    pub path: String,
    pub table: Option<Arc<CsvTable>>,
    /// Where it begins in the file.
    pub base: u64,
    /// What is before it, as far as that is looked at.
    pub before: Vec<u8>,
    pub bytes: Vec<u8>,
    pub lines: Vec<Line>,
    /// What is before the end of a line that is too long to be here.
    after: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// In the piece, without its end.
    pub range: std::ops::Range<usize>,
    /// Where the next one begins, from the beginning of the piece.
    pub next: u64,
    /// How long it is, if that is too long; what is here is its beginning.
    pub too_long: Option<u64>,
}

/// Cuts bytes into lines; with `last` what has no end is one, too.
pub(super) fn cut(bytes: Vec<u8>, last: bool, base: u64, max_line: usize) -> Piece {
    let mut lines = Vec::new();
    let mut begin = 0;
    while begin < bytes.len() {
        let (end, next) = match bytes[begin..].iter().position(|byte| *byte == b'\n') {
            Some(length) => (begin + length, begin + length + 1),
            None if last => (bytes.len(), bytes.len()),
            None => break,
        };
        let bom = base == 0 && begin == 0 && bytes.starts_with(b"\xEF\xBB\xBF");
        let start = begin + if bom { 3 } else { 0 };
        let trimmed = start + bytes[start.min(end)..end].trim_ascii_end().len();
        let length = end - begin;
        lines.push(Line {
            range: match length > max_line {
                true => start..start + DeadLetter::MAX_PAYLOAD.min(length),
                false => start..trimmed,
            },
            next: next as u64,
            too_long: (length > max_line).then_some(length as u64),
        });
        begin = next;
    }
    Piece {
        base,
        bytes,
        lines,
        ..Piece::default()
    }
}

impl Piece {
    /// Whether everything that was read is in lines.
    pub(super) fn takes_all(&self) -> bool {
        let end = self.lines.last().map_or(0, |line| line.next);
        end == self.bytes.len() as u64
    }

    /// Looks for the end of a line that is longer than what was read, from where it was looked for before. Where it is found, that
    /// line is the piece. Returns how far it was looked, or 0.
    pub(super) fn end_of_long_line(&mut self, stream: &mut Stream, scanned: u64) -> io::Result<u64> {
        let mut at = scanned.max(self.base + self.bytes.len() as u64);
        for _ in 0..STEPS {
            let chunk = stream.read(at, STEP)?;
            let end = chunk.bytes.iter().position(|byte| *byte == b'\n');
            let found = match end {
                Some(end) => Some((at + end as u64, at + end as u64 + 1)),
                None if chunk.last => Some((at + chunk.bytes.len() as u64, at + chunk.bytes.len() as u64)),
                None => None,
            };
            if let Some((end, next)) = found {
                let from = next.saturating_sub(TAIL as u64).max(self.base);
                let count = usize::try_from(next - from).unwrap_or(TAIL);
                self.after = Some(stream.read(from, count)?.bytes);
                self.bytes.truncate(DeadLetter::MAX_PAYLOAD);
                self.lines = vec![Line {
                    range: 0..self.bytes.len(),
                    next: next - self.base,
                    too_long: Some(end - self.base),
                }];
                return Ok(0);
            }
            at += chunk.bytes.len() as u64;
            if chunk.bytes.len() < STEP {
                break;
            }
        }
        Ok(at)
    }

    /// The position after some of its lines, and the check of what is before.
    pub(super) fn after(&self, lines: usize) -> (u64, u32) {
        let Some(line) = lines.checked_sub(1).and_then(|last| self.lines.get(last)) else {
            return (self.base, check(&self.before));
        };
        let position = self.base + line.next;
        if let Some(after) = &self.after {
            return (position, check(after));
        }
        let end = usize::try_from(line.next)
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        let mut tail = self.before.clone();
        tail.extend_from_slice(&self.bytes[end.saturating_sub(TAIL)..end]);
        (position, check(&tail))
    }
}
