//! Files as a source: `kind = "file"`.
//!
//! [`Tail`] knows the files and says what is new in them; [`FileFetch`] has it stored. Invariants: the position of a file is stored in
//! the transaction of the lines before it, and one load is under way at a time, so a crash at any moment loses no line and repeats
//! none. The disk is asked on threads that may block.

mod pattern;
mod piece;
mod slots;
mod stream;
mod tail;
mod tracked;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;

use super::link::{Fetch, Link, Stopped};
use super::{DraftBatch, Intake, Payload, Place, SourceDetail};
use crate::actors::supervision::{Crash, relay};
use crate::decode::{CsvMapping, Hints};
use crate::domain::{Micros, RejectReason, Timestamp};
use crate::metrics::FileFigures;
use crate::storage::{Position, StoreError};

pub use pattern::PathPattern;
use piece::Piece;
use slots::{Beginning, PLACES, Slot, SlotId, forgotten};
use tail::Tail;
pub use tail::{FileStatus, TailOptions};

/// Says that the source has begun once: what is there from then on is new.
const BEGUN: &str = "file/begun";
/// Files that are shown.
const SHOWN: usize = 100;
/// How often it is noted at most which files are there.
const NOTE_EVERY: Micros = 3_600_000_000;
/// Files whose positions are stored at once.
const AT_ONCE: usize = 1_000;

#[derive(Debug, Clone)]
pub struct FileOptions {
    pub tail: TailOptions,
    /// Whether files that are there at the very first start are begun at their ends.
    pub at_end: bool,
    pub interval: Duration,
    /// After how long a file that is gone is forgotten.
    pub forget_after: Option<Duration>,
}

/// What is shown of a source of files.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct FilesStatus {
    /// How many files there are.
    pub count: usize,
    /// The first hundred of them.
    pub files: Vec<FileStatus>,
    /// Lines that were stored or refused since the start.
    pub lines: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

pub struct FileFetch {
    options: FileOptions,
    status: RefCell<FilesStatus>,
    figures: FileFigures,
}

impl FileFetch {
    pub fn new(options: FileOptions, figures: FileFigures) -> Self {
        Self {
            options,
            figures,
            status: RefCell::default(),
        }
    }

    async fn follow(&self, link: &Link) -> Result<(), Stopped> {
        let begun = link.insist_position(BEGUN).await?.is_some();
        let mut at_end = !begun && self.options.at_end;
        let mut tail = Tail::new(self.options.tail.clone());
        let mut last_arrival = Timestamp::MIN;
        let mut first = !begun;
        let mut noted = None;
        loop {
            link.go().await?;
            let looked;
            (tail, looked) = blocking(tail, |tail| tail.look(Instant::now())).await;
            match looked {
                Ok(wanted) => {
                    self.learn(&mut tail, wanted, link).await?;
                    (tail, ()) = blocking(tail, move |tail| tail.settle(at_end)).await;
                    if std::mem::take(&mut first) {
                        self.begin(&tail, link).await?;
                        at_end = false;
                    }
                    self.status.borrow_mut().last_error = None;
                }
                Err(error) => self.complain(link, &error.to_string()),
            }
            let found = self.status.borrow().last_error.is_none();
            loop {
                let pieces;
                (tail, pieces) = blocking(tail, Tail::take).await;
                if pieces.is_empty() {
                    break;
                }
                self.store(&mut tail, &pieces, &mut last_arrival, link).await?;
                self.show(&tail);
                link.go().await?;
            }
            if found {
                self.tidy(&mut tail, &mut noted, link).await?;
            }
            self.show(&tail);
            link.rest(self.options.interval).await;
        }
    }

    async fn learn(&self, tail: &mut Tail, wanted: BTreeSet<Beginning>, link: &Link) -> Result<(), Stopped> {
        for beginning in wanted {
            let mut slots = Vec::new();
            loop {
                let id = SlotId {
                    beginning,
                    number: slots.len(),
                };
                let Some(position) = link.insist_position(&id.position()).await? else {
                    break;
                };
                let check = link.insist_position(&id.check()).await?;
                slots.push(Slot {
                    position: position.unsigned_abs(),
                    check: check.and_then(|check| u32::try_from(check).ok()).unwrap_or(0),
                    holder: None,
                });
            }
            tail.learn(beginning, slots);
        }
        Ok(())
    }

    /// Stores that the source has begun, and where.
    async fn begin(&self, tail: &Tail, link: &Link) -> Result<(), Stopped> {
        let begun = link.stored_at(BEGUN.to_owned(), 1);
        let at_end = self.options.at_end;
        let positions = tail.positions().into_iter().filter(|_| at_end);
        let positions: Vec<Position> = positions
            .flat_map(|(id, slot)| place(link, id, slot.position, slot.check))
            .chain([begun])
            .collect();
        link.store(0, |intake| (intake.fill().finish(), positions.clone()))
            .await
    }

    /// Notes now and then which files are there, and forgets those that were not seen for long: the first time nothing, because what
    /// is not there yet at the start may come.
    async fn tidy(&self, tail: &mut Tail, noted: &mut Option<Timestamp>, link: &Link) -> Result<(), Stopped> {
        let Some(forget_after) = self.options.forget_after else {
            return Ok(());
        };
        let forget_after = Micros::try_from(forget_after.as_micros()).unwrap_or(Micros::MAX);
        let now = link.intake.now();
        let every = (forget_after / 30).min(NOTE_EVERY);
        if noted.is_some_and(|at| now.since(at) < every) {
            return Ok(());
        }
        let is_first = noted.replace(now).is_none();
        for some in tail.positions().chunks(AT_ONCE) {
            let positions = some
                .iter()
                .flat_map(|(id, slot)| place(link, *id, slot.position, slot.check));
            let positions: Vec<Position> = positions.collect();
            link.store(0, |intake| (intake.fill().finish(), positions.clone()))
                .await?;
        }
        if is_first {
            return Ok(());
        }
        let before = now.saturating_sub(forget_after);
        let forgetting = async {
            let stored = link.positions_of(PLACES).await?;
            let gone = forgotten(stored, before, |beginning| tail.may_have(beginning));
            for (beginning, names) in gone {
                if link.forget(&names, before).await? > 0 {
                    tail.forget(beginning);
                }
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = forgetting.await {
            let source = link.intake.source().as_str();
            tracing::warn!(source, %error, "files that are gone could not be forgotten, trying again later");
        }
        Ok(())
    }

    /// Stores some pieces, in as many batches as that takes.
    async fn store(
        &self,
        tail: &mut Tail,
        pieces: &[Piece],
        last_arrival: &mut Timestamp,
        link: &Link,
    ) -> Result<(), Stopped> {
        // Of each piece, how many lines are stored.
        let mut stored = vec![0; pieces.len()];
        loop {
            // Two lines without a time are two readings.
            let arrival = link.intake.now().max(Timestamp(last_arrival.0.saturating_add(1)));
            let load = Load {
                pieces,
                stored: &stored,
                arrival,
                csv: self.options.tail.csv.as_deref(),
            };
            let taken = load.fill(&link.intake).1;
            let lines: usize = taken
                .iter()
                .zip(&stored)
                .map(|(taken, stored)| taken - stored)
                .sum();
            if lines == 0 {
                return Ok(());
            }
            *last_arrival = Timestamp(arrival.0.saturating_add(i64::try_from(lines).unwrap_or(i64::MAX)));
            let moved = pieces
                .iter()
                .zip(&stored)
                .zip(&taken)
                .filter(|((_, before), now)| before < now);
            let moved: Vec<(SlotId, u64, u32)> = moved
                .filter_map(|((piece, _), lines)| {
                    let (position, check) = piece.after(*lines);
                    Some((piece.slot?, position, check))
                })
                .collect();
            let places = tail.places(&moved);
            let bytes = load.bytes(&taken);
            link.store(bytes, |intake| {
                let positions = places
                    .iter()
                    .flat_map(|(id, position, check)| place(link, *id, *position, *check));
                (load.fill(intake).0, positions.collect())
            })
            .await?;
            for (slot, position, check) in moved {
                tail.stored(slot, position, check);
            }
            stored = taken;
            self.status.borrow_mut().lines += lines as u64;
            self.figures.lines.inc_by(lines as u64);
            self.figures.read.inc_by(bytes as u64);
        }
    }

    fn show(&self, tail: &Tail) {
        let mut files = tail.status();
        let mut status = self.status.borrow_mut();
        let failing = files.iter().filter(|file| file.error.is_some()).count();
        let failing = failing + usize::from(status.last_error.is_some());
        let figures = &self.figures;
        for (gauge, count) in [
            (&figures.files, files.len() as u64),
            (&figures.open, tail.open() as u64),
            (&figures.unread, tail.unread()),
            (&figures.failing, failing as u64),
        ] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        status.count = files.len();
        files.truncate(SHOWN);
        status.files = files;
    }

    fn complain(&self, link: &Link, error: &str) {
        let mut status = self.status.borrow_mut();
        if status.last_error.as_deref() != Some(error) {
            tracing::warn!(
                source = link.intake.source().as_str(),
                error,
                "files cannot be looked for"
            );
            status.last_error = Some(error.to_owned());
        }
    }
}

/// Lines on their way into a batch.
struct Load<'l> {
    pieces: &'l [Piece],
    /// Of each piece, how many lines are stored already.
    stored: &'l [usize],
    arrival: Timestamp,
    csv: Option<&'l CsvMapping>,
}

impl Load<'_> {
    /// As many lines as a batch takes, and how many of each piece are done then. The same each time.
    fn fill<'i>(&self, intake: &'i Intake) -> (DraftBatch<'i>, Vec<usize>) {
        let limit = u64::from(intake.settings().batch_readings);
        let mut filling = intake.fill();
        let mut done = self.stored.to_vec();
        let mut lines = 0;
        'all: for (piece, done) in self.pieces.iter().zip(&mut done) {
            for line in &piece.lines[*done..] {
                let bytes = &piece.bytes[line.range.clone()];
                // No item takes less than two bytes.
                let at_most = 1 + bytes.len() as u64 / 2;
                if lines > 0 && filling.received() + at_most > limit {
                    break 'all;
                }
                *done += 1;
                lines += 1;
                if bytes.is_empty() {
                    continue;
                }
                let offset = piece.base + line.range.start as u64;
                let payload = Payload {
                    bytes,
                    arrival: Timestamp(self.arrival.0.saturating_add(lines - 1)),
                    place: Place {
                        label: &piece.path,
                        offset: i64::try_from(offset).ok(),
                        key: None,
                    },
                    hints: Hints::default(),
                };
                match (line.too_long, self.csv, &piece.table) {
                    (Some(length), ..) => {
                        let reason =
                            format!("is a line of {length} bytes, longer than limits.payload allows");
                        filling.refuse(payload, RejectReason::LimitReached, reason);
                    }
                    (None, Some(csv), Some(table)) => filling.add_row(payload, (csv, table)),
                    _ => {
                        filling.add(payload);
                    }
                }
            }
        }
        (filling.finish(), done)
    }

    fn bytes(&self, done: &[usize]) -> usize {
        let of = |((piece, from), to): ((&Piece, &usize), &usize)| {
            let lines = &piece.lines[*from..*to];
            lines.iter().map(|line| line.range.len()).sum::<usize>()
        };
        self.pieces.iter().zip(self.stored).zip(done).map(of).sum()
    }
}

fn place(link: &Link, id: SlotId, position: u64, check: u32) -> [Position; 2] {
    let offset = i64::try_from(position).unwrap_or(i64::MAX);
    [
        link.stored_at(id.position(), offset),
        link.stored_at(id.check(), i64::from(check)),
    ]
}

/// Does what may wait for a disk.
async fn blocking<T: Send + 'static>(
    mut tail: Tail,
    work: impl FnOnce(&mut Tail) -> T + Send + 'static,
) -> (Tail, T) {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut tail);
        (tail, done)
    });
    match done.await {
        Ok(done) => done,
        Err(error) => relay(Crash::new(format!("looking at files failed: {error}"))),
    }
}

impl Fetch for FileFetch {
    fn run(self: Rc<Self>, link: Rc<Link>) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            // Told to stop, and nothing is under way.
            let _ = self.follow(&link).await;
        })
    }

    fn detail(&self) -> SourceDetail {
        SourceDetail::Files(self.status.borrow().clone())
    }
}

#[cfg(test)]
mod tests;
