//! The outbox: what a transaction stored and outputs are to send on, written in that very transaction.
//!
//! Invariants:
//! - A record is in the outbox if and only if the transaction that wrote it stored what it says: no duplicate, no conflict, no window
//!   that stayed as it was, no anomaly that was known.
//! - Rows of an instance are numbered in the order of its commits, and no number is given twice. Within a row readings of a sensor
//!   lie in the order of their sequence, revisions of a window in theirs.
//! - The id of a record tells what it is and nothing else, so whoever gets it twice can tell.
//! - A row is deleted once every output has sent it.
//!
//! How it fails: a payload that cannot be read is [`Unreadable`]; whoever sends skips it, loudly.

use std::fmt::Write as _;

use async_trait::async_trait;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::alerts::Numbered;
use super::judgement::{Judgement, Verdict};
use super::{CompleteBatch, InstanceId, StoreError};
use crate::domain::{AlertEvent, Anomaly, Flags, Seq, SeriesId, Timestamp, WindowResult};

/// The most records of one row: what an output handles at once, and sends again after a crash.
const RECORDS_A_ROW: usize = 4_096;
const VERSION: u8 = 2;

/// The version before alerts.
const WITHOUT_ALERTS: u8 = 1;

/// Kinds of records that some output wants; the store writes nothing of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    pub readings: bool,
    pub windows: bool,
    pub anomalies: bool,
    pub alerts: bool,
}

impl Wanted {
    pub fn any(self) -> bool {
        self.readings || self.windows || self.anomalies || self.alerts
    }

    /// What either wants.
    pub fn or(self, other: Self) -> Self {
        Self {
            readings: self.readings || other.readings,
            windows: self.windows || other.windows,
            anomalies: self.anomalies || other.anomalies,
            alerts: self.alerts || other.alerts,
        }
    }
}

/// The outbox of a database.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Says which outputs `instance` has, and tells how far each is, in the same order. One that is new begins with what is stored
    /// from now on. Others are forgotten, and with them what they alone had not sent: how much that was, too.
    async fn open_outputs(
        &self,
        instance: &InstanceId,
        outputs: &[&str],
    ) -> Result<(Vec<i64>, Counts), StoreError>;

    /// The rows after `after`, in order: of at most `bytes` in all, but at least one where there is any.
    async fn outbox_rows(
        &self,
        instance: &InstanceId,
        after: i64,
        bytes: u64,
    ) -> Result<Vec<OutboxRow>, StoreError>;

    /// Notes that `output` has sent everything up to a row, and deletes what every output has.
    async fn outbox_sent(&self, instance: &InstanceId, output: &str, up_to: i64) -> Result<(), StoreError>;

    /// What lies after `after`.
    async fn outbox_waiting(&self, instance: &InstanceId, after: i64) -> Result<Waiting, StoreError>;

    /// What lies after `after` and is older than `before`, or has more than `bytes` after it and in it.
    async fn outbox_overdue(
        &self,
        instance: &InstanceId,
        after: i64,
        before: Timestamp,
        bytes: u64,
    ) -> Result<Overdue, StoreError>;
}

/// A row as it lies in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    pub id: i64,
    pub payload: Vec<u8>,
}

/// How many records of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub readings: u64,
    pub windows: u64,
    pub anomalies: u64,
    /// Events of alerts.
    pub alerts: u64,
}

/// What has not been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    pub rows: u64,
    pub records: Counts,
    pub bytes: u64,
    /// When the oldest of it was stored.
    pub since: Option<Timestamp>,
}

/// What is not kept any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overdue {
    /// The last row of it; `None` where there is none.
    pub up_to: Option<i64>,
    pub records: Counts,
}

/// One thing to send.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Reading {
        series: SeriesId,
        time: Timestamp,
        value: f64,
        seq: Seq,
        flags: Flags,
    },
    Window(WindowResult),
    Anomaly(Anomaly),
    Alert(AlertEvent),
}

impl Record {
    pub fn series(&self) -> SeriesId {
        match self {
            Record::Reading { series, .. } => *series,
            Record::Window(window) => window.span.series,
            Record::Anomaly(anomaly) => anomaly.series,
            Record::Alert(event) => event.series,
        }
    }

    /// What no other record of this database has.
    pub fn id(&self) -> String {
        let mut id = String::with_capacity(40);
        // Writing to memory does not fail.
        let _ = match self {
            Record::Reading { seq, .. } => write!(id, "r-{}", seq.0),
            Record::Window(window) => {
                let span = &window.span;
                let (kind, revision) = (span.kind.as_str(), window.revision);
                write!(
                    id,
                    "w-{}-{kind}-{}-{}-{revision}",
                    span.series.0, span.size, span.start.0
                )
            }
            Record::Anomaly(anomaly) => {
                let (detector, level) = (anomaly.detector.as_str(), anomaly.level.as_str());
                write!(id, "a-{}-{}-{detector}-{level}", anomaly.series.0, anomaly.time.0)
            }
            Record::Alert(event) => write!(id, "e-{}-{}", event.episode.0, event.ordinal),
        };
        id
    }
}

/// A record, and the time of the batch that it was stored with.
#[derive(Debug, Clone, PartialEq)]
pub struct Sendable {
    pub processed_at: Timestamp,
    pub record: Record,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a row of the outbox cannot be read: {0}")]
pub struct Unreadable(String);

impl OutboxRow {
    /// Its records in the order in which they are to be sent.
    pub fn records(&self) -> Result<Vec<Sendable>, Unreadable> {
        let parts: Result<Vec<Part>, _> = match self.payload.split_first() {
            Some((&VERSION, body)) => postcard::from_bytes(body),
            Some((&WITHOUT_ALERTS, body)) => {
                let parts: Result<Vec<FormerPart>, _> = postcard::from_bytes(body);
                parts.map(|parts| parts.into_iter().map(Part::from).collect())
            }
            _ => return Err(Unreadable("it is of another version".to_owned())),
        };
        let parts = parts.map_err(|error| Unreadable(error.to_string()))?;
        let mut records = Vec::new();
        for part in parts {
            let processed_at = Timestamp(part.now);
            let readings = part.readings.into_iter().map(|reading| Record::Reading {
                series: SeriesId(reading.series),
                time: Timestamp(part.now.wrapping_sub(reading.age)),
                value: reading.value,
                seq: Seq::new(crate::domain::BatchNumber(part.batch), reading.index),
                flags: Flags(reading.flags),
            });
            let anomalies = part.anomalies.into_iter().map(Record::Anomaly);
            let windows = part.windows.into_iter().map(Record::Window);
            let alerts = part.alerts.into_iter().map(Record::Alert);
            records.extend(
                readings
                    .chain(anomalies)
                    .chain(windows)
                    .chain(alerts)
                    .map(|record| Sendable { processed_at, record }),
            );
        }
        Ok(records)
    }
}

/// What the records of one batch have in common is said once. Numbers are as short as they can be: a reading takes about 20 bytes.
#[derive(Default, Serialize, Deserialize)]
struct Part {
    batch: u64,
    now: i64,
    readings: Vec<Brief>,
    anomalies: Vec<Anomaly>,
    windows: Vec<WindowResult>,
    alerts: Vec<AlertEvent>,
}

/// As it was written before there were alerts; such rows may wait for a receiver through an upgrade.
#[derive(Deserialize)]
struct FormerPart {
    batch: u64,
    now: i64,
    readings: Vec<Brief>,
    anomalies: Vec<Anomaly>,
    windows: Vec<WindowResult>,
}

impl From<FormerPart> for Part {
    fn from(former: FormerPart) -> Self {
        Self {
            batch: former.batch,
            now: former.now,
            readings: former.readings,
            anomalies: former.anomalies,
            windows: former.windows,
            alerts: Vec::new(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Brief {
    series: u32,
    /// From its event time to the batch's.
    age: i64,
    value: f64,
    index: u32,
    flags: u8,
}

impl Part {
    fn of(batch: &CompleteBatch) -> Self {
        Self {
            batch: batch.number.0,
            now: batch.at.now.0,
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.readings.is_empty()
            && self.anomalies.is_empty()
            && self.windows.is_empty()
            && self.alerts.is_empty()
    }
}

/// Windows, anomalies and events of alerts that a transaction stored, each with the place of its batch; of kinds that are not wanted, none.
#[derive(Default)]
pub(super) struct News {
    pub windows: Vec<(usize, WindowResult)>,
    pub anomalies: Vec<(usize, Anomaly)>,
    pub alerts: Vec<(usize, AlertEvent)>,
}

impl News {
    /// Takes those of the closed windows that are about to be stored: `known` are the places of those that are there already.
    pub fn closed(&mut self, closed: &[(usize, &WindowResult)], known: &[i64]) {
        let known: FxHashSet<i64> = known.iter().copied().collect();
        let mut seen = FxHashSet::default();
        let new = |place: usize, window: &WindowResult| {
            !known.contains(&(place as i64)) && seen.insert(window.span)
        };
        self.windows
            .extend(first_ones(closed, new).map(|(batch, window)| (batch, *window)));
    }

    /// The same for anomalies.
    pub fn found(&mut self, found: &[(usize, &Anomaly)], known: &[i64]) {
        let known: FxHashSet<i64> = known.iter().copied().collect();
        let mut seen = FxHashSet::default();
        let new = |place: usize, anomaly: &Anomaly| {
            let key = (anomaly.series, anomaly.time, anomaly.detector, anomaly.level);
            !known.contains(&(place as i64)) && seen.insert(key)
        };
        self.anomalies
            .extend(first_ones(found, new).map(|(batch, anomaly)| (batch, anomaly.clone())));
    }
}

impl News {
    /// The same for events of alerts.
    pub fn changed(&mut self, events: &[(usize, Numbered<'_>)], known: &[i64]) {
        let known: FxHashSet<i64> = known.iter().copied().collect();
        let mut seen = FxHashSet::default();
        let places = events.iter().enumerate();
        let new = places.filter(|(place, (_, (_, event)))| {
            !known.contains(&(*place as i64)) && seen.insert((event.episode, event.ordinal))
        });
        self.alerts
            .extend(new.map(|(_, (batch, (_, event)))| (*batch, (*event).clone())));
    }
}

fn first_ones<'a, T>(
    all: &[(usize, &'a T)],
    mut is_new: impl FnMut(usize, &T) -> bool,
) -> impl Iterator<Item = (usize, &'a T)> {
    let places = all.iter().enumerate();
    places.filter_map(move |(place, (batch, item))| is_new(place, item).then_some((*batch, *item)))
}

/// A row to be written.
pub(super) struct NewRow {
    /// The time of its last batch.
    pub time: Timestamp,
    pub records: Counts,
    pub payload: Vec<u8>,
}

/// The rows of a group, in order.
pub(super) fn rows(batches: &[CompleteBatch], judged: &Judgement, news: News, wanted: Wanted) -> Vec<NewRow> {
    let mut readings: Vec<Vec<Brief>> = batches.iter().map(|_| Vec::new()).collect();
    let judged = judged.rows.iter().filter(|_| wanted.readings);
    for row in judged.filter(|row| row.verdict == Verdict::Stored) {
        readings[row.batch].push(Brief {
            series: row.reading.series.0,
            age: batches[row.batch].at.now.0.wrapping_sub(row.reading.time.0),
            value: row.reading.value,
            index: row.reading.index,
            flags: row.reading.flags.0,
        });
    }
    let (mut windows, mut anomalies, mut alerts) = (news.windows, news.anomalies, news.alerts);
    // Stable: what a batch has of one window stays in the order of its revisions.
    windows.sort_by_key(|(batch, _)| *batch);
    anomalies.sort_by_key(|(batch, _)| *batch);
    alerts.sort_by_key(|(batch, _)| *batch);
    let (mut windows, mut anomalies) = (windows.into_iter().peekable(), anomalies.into_iter().peekable());
    let mut alerts = alerts.into_iter().peekable();

    let mut train = Train::default();
    for ((place, batch), mut readings) in batches.iter().enumerate().zip(readings) {
        readings.sort_unstable_by_key(|reading| reading.index);
        train.next(batch);
        for reading in readings {
            train.part(batch).readings.push(reading);
        }
        while let Some((_, anomaly)) = anomalies.next_if(|(of, _)| *of == place) {
            train.part(batch).anomalies.push(anomaly);
        }
        while let Some((_, event)) = alerts.next_if(|(of, _)| *of == place) {
            train.part(batch).alerts.push(event);
        }
        while let Some((_, window)) = windows.next_if(|(of, _)| *of == place) {
            train.part(batch).windows.push(window);
        }
    }
    train.depart();
    train.rows
}

/// The last of rows, told by number and bytes, that together have at most `bytes`; the first one always fits.
pub(super) fn fitting(sizes: &[(i64, i64)], bytes: u64) -> Option<i64> {
    let mut total = 0_u64;
    let mut fits = |(_, size): &&(i64, i64)| {
        total = total.saturating_add(u64::try_from(*size).unwrap_or(0));
        total <= bytes
    };
    let (first, _) = sizes.first()?;
    Some(
        sizes
            .iter()
            .take_while(|size| fits(size))
            .last()
            .map_or(*first, |(id, _)| *id),
    )
}

/// Fills rows.
#[derive(Default)]
struct Train {
    parts: Vec<Part>,
    records: usize,
    rows: Vec<NewRow>,
}

impl Train {
    fn next(&mut self, batch: &CompleteBatch) {
        if self.parts.last().is_some_and(Part::is_empty) {
            self.parts.pop();
        }
        self.parts.push(Part::of(batch));
    }

    /// Where the next record goes.
    fn part(&mut self, batch: &CompleteBatch) -> &mut Part {
        if self.records == RECORDS_A_ROW {
            self.depart();
        }
        self.records += 1;
        if self.parts.is_empty() {
            self.parts.push(Part::of(batch));
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    fn depart(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        self.records = 0;
        let mut records = Counts::default();
        for part in &parts {
            records.readings += part.readings.len() as u64;
            records.windows += part.windows.len() as u64;
            records.anomalies += part.anomalies.len() as u64;
            records.alerts += part.alerts.len() as u64;
        }
        let Some(last) = parts.last().filter(|_| records != Counts::default()) else {
            return;
        };
        let time = Timestamp(last.now);
        // Plain numbers and text can always be written to memory.
        let payload = postcard::to_extend(&parts, vec![VERSION]).unwrap_or_default();
        self.rows.push(NewRow {
            time,
            records,
            payload,
        });
    }
}
