//! What the cold archive asks of a database: days to be exported, their rows in order, the catalog of objects, the
//! end of a day that is archived, and the way back.
//!
//! Invariants:
//! - An export of a day is everything of it with a sequence up to one that was fixed when it began. Readings are never
//!   changed and groups commit in order, so that pages read one by one, beside commits, are as of that one commit.
//! - No reading that a sensor may have to be brought back from is exported, let alone dropped.
//! - What is dropped has a sequence that its day's verified objects reach to; what came later stays, or keeps what it
//!   lies in from being dropped.
//! - A day that was restored is neither exported nor dropped until it is released.
//!
//! How it fails: as every store does; each method is one step that is done or not.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use super::StoreError;
use super::history::StoredPoint;
use crate::domain::{Day, MetricName, SensorId, Seq, SeriesId, Tags, Timestamp};

#[async_trait]
pub trait Archives: Send + Sync + 'static {
    /// The first day from `from` on that ends at or before `before`, holds readings, and is not archived, restored or being
    /// dropped.
    async fn next_to_archive(&self, from: Day, before: Timestamp) -> Result<Option<Day>, StoreError>;

    /// How far an export of `day` reaches that begins now. `None` while a sensor may need its readings to come back.
    async fn export_up_to(&self, day: Day) -> Result<Option<Seq>, StoreError>;

    /// Up to `limit` rows of `span` after `after`, by series and time.
    async fn page(
        &self,
        span: &Span,
        after: Option<(SeriesId, Timestamp)>,
        limit: usize,
    ) -> Result<Vec<(SeriesId, StoredPoint)>, StoreError>;

    /// How many rows `span` has, asked in another way than they are read.
    async fn count(&self, span: &Span) -> Result<u64, StoreError>;

    /// What these series are called; in any order.
    async fn names(&self, series: &[SeriesId]) -> Result<Vec<(SeriesId, SeriesName)>, StoreError>;

    /// Objects of the catalog, newest day first.
    async fn catalog(&self, page: &ArchivePage) -> Result<Vec<Archive>, StoreError>;

    /// Writes an object into the catalog, over what was said of it before.
    async fn record_archive(&self, archive: &Archive) -> Result<(), StoreError>;

    /// Takes the objects of an export that did not come to its end out of the catalog.
    async fn discard_unfinished(&self, day: Day) -> Result<(), StoreError>;

    /// Moves all objects of `day` from one state to another. Returns how many there were.
    async fn advance(
        &self,
        day: Day,
        from: ArchiveState,
        to: ArchiveState,
        at: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Restored objects whose time to be kept is over are verified ones again.
    async fn release_restored(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Which of these archived days, in ascending order, can be dropped now: groups of days that lie in the same chunks or
    /// partitions, and go together.
    async fn droppable(&self, days: &[Day]) -> Result<Vec<Vec<Day>>, StoreError>;

    /// Deletes the rows of a group of days whose objects are [`ArchiveState::Dropping`], and makes them
    /// [`ArchiveState::Dropped`]. Goes on where an earlier call was interrupted.
    async fn drop_days(&self, days: &[Day], at: Timestamp) -> Result<Dropped, StoreError>;

    /// The numbers of series by name. Where something must be made for them or for `newest` (sensors, series, sequences
    /// that this database never gave), that is done if nobody else is `alone` with the database, and refused otherwise.
    async fn adopt(&self, names: &[SeriesName], newest: Seq, alone: bool) -> Result<Adopted, StoreError>;

    /// Puts readings back as they were. One whose series and time are taken is left out, and changes nothing.
    async fn restore(&self, rows: &[(SeriesId, StoredPoint)]) -> Result<Restored, StoreError>;
}

/// Rows of a day by sequence: after `after`, if any, and up to `up_to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub day: Day,
    pub after: Option<Seq>,
    pub up_to: Seq,
}

/// What a series is called, and its sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesName {
    pub sensor: SensorId,
    pub tags: Tags,
    pub metric: MetricName,
    pub unit: Option<String>,
}

/// Where an object is on its way. Each step is taken only after what it says has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchiveState {
    /// Being read from the database; the object may be there, whole or not.
    Exporting,
    /// The object is written.
    Uploaded,
    /// It was read back whole, like all others of the same export, and holds what the database held.
    Verified,
    /// Its rows are being deleted.
    Dropping,
    /// Its rows are in the object alone.
    Dropped,
    /// Its rows were brought back.
    Restored,
}

impl ArchiveState {
    pub const ALL: [ArchiveState; 6] = [
        ArchiveState::Exporting,
        ArchiveState::Uploaded,
        ArchiveState::Verified,
        ArchiveState::Dropping,
        ArchiveState::Dropped,
        ArchiveState::Restored,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ArchiveState::Exporting => "exporting",
            ArchiveState::Uploaded => "uploaded",
            ArchiveState::Verified => "verified",
            ArchiveState::Dropping => "dropping",
            ArchiveState::Dropped => "dropped",
            ArchiveState::Restored => "restored",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An object of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pub day: Day,
    /// From 1.
    pub part: u32,
    /// Its path in the archive.
    pub object: String,
    pub state: ArchiveState,
    /// The export reached up to here.
    pub up_to: Seq,
    /// Known once it is written.
    pub contents: Option<Contents>,
    pub started_at: Timestamp,
    pub verified_at: Option<Timestamp>,
    pub dropped_at: Option<Timestamp>,
    pub restored_at: Option<Timestamp>,
    /// How long a restored one is left alone; `None` is until it is released.
    pub keep_until: Option<Timestamp>,
}

/// What an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    pub rows: u64,
    pub bytes: u64,
    pub checksum: RowsChecksum,
    pub sha256: Sha256,
}

/// Of readings, whatever their order: each adds a hash of its own. Names and numbers of this database are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowsChecksum(pub u128);

impl RowsChecksum {
    pub fn add(&mut self, other: RowsChecksum) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for RowsChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for RowsChecksum {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(RowsChecksum)
    }
}

/// Of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Sha256 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .unwrap_or_default();
        bytes.try_into().map(Sha256).map_err(|_| "is no SHA-256")
    }
}

/// A stretch of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivePage {
    pub from: Day,
    /// The last one.
    pub to: Day,
    /// Only those in this state.
    pub state: Option<ArchiveState>,
    /// Only those before this one, where the page before ended.
    pub before: Option<(Day, u32)>,
    pub limit: usize,
}

impl ArchivePage {
    /// All of a day.
    pub fn of(day: Day) -> Self {
        Self {
            from: day,
            to: day,
            ..Self::all()
        }
    }

    pub fn all() -> Self {
        Self {
            from: Day::MIN,
            to: Day::MAX,
            state: None,
            before: None,
            limit: usize::MAX,
        }
    }

    pub fn in_state(state: ArchiveState) -> Self {
        Self {
            state: Some(state),
            ..Self::all()
        }
    }
}

/// How [`Archives::drop_days`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    Done,
    /// Readings came that the objects do not hold, or somebody took the days back. Nothing that is not archived is gone.
    Changed,
}

/// The answer to [`Archives::adopt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopted {
    /// In the order of the names.
    Series(Vec<SeriesId>),
    /// It needs somebody who is alone with the database, because of this.
    NotAlone(String),
}

/// What became of rows that were put back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restored {
    pub stored: u64,
    /// The same value was there.
    pub duplicates: u64,
    /// Another value was there, and stays: places in what was given, with that value.
    pub conflicts: Vec<(usize, f64)>,
}

/// How a day is written in the catalog, the ends of all days included: in the order of the bytes.
pub(super) fn bound(day: Day) -> String {
    match day {
        Day::MIN => String::new(),
        Day::MAX => "~".to_owned(),
        day => day.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_catalog_says_can_be_read_again() {
        for state in ArchiveState::ALL {
            assert_eq!(ArchiveState::parse(state.as_str()), Some(state));
        }
        let checksum = RowsChecksum(0x0102);
        assert_eq!(checksum.to_string().parse(), Ok(checksum));
        let sha = Sha256([7; 32]);
        assert_eq!(sha.to_string().parse(), Ok(sha));
        assert!("07".parse::<Sha256>().is_err());
    }
}
