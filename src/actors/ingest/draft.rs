//! A batch in the making: decoded, checked and resolved, from one payload or from many.
//!
//! Invariants: each answer of the decoder adds one to `received` and either a reading or a rejection to the ledgers. A rejection
//! is counted on its sensor if that is stored, or in this batch before it, else on the source: bad input never creates a sensor.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Intake;
use crate::actors::dispatcher::Incoming;
use crate::actors::registry::{self, HomeId, Resolved, Unresolved};
use crate::decode::{CsvMapping, CsvTable, Draft, Hints, Refusal, Sink, decode, decode_row, range};
use crate::domain::{
    DeadLetter, LedgerDelta, MetricName, Quality, Reading, RejectReason, SensorId, SensorKey, SeriesId,
    TimeError, Timestamp,
};
use crate::storage::{ArrivalPage, SliceOutcome};

/// How much of the name of a field is quoted, in bytes: it may be as long as a payload.
const MAX_QUOTED: usize = 256;
/// How many fields that are ignored are told by their names.
const MAX_IGNORED: usize = 64;

/// What a source received at once: a message, a request, a line.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'p> {
    pub bytes: &'p [u8],
    /// Stands in for a time that the device did not send.
    pub arrival: Timestamp,
    pub place: Place<'p>,
    pub hints: Hints<'p>,
}

/// Where a payload lay in its source, as dead letters tell it: `topic/3@1734`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place<'p> {
    /// Topic, partition, file; empty where the source has nothing of the kind.
    pub label: &'p str,
    pub offset: Option<i64>,
    /// What the source gave as the sensor of readings that name none, where that is neither in the payload nor in the label.
    pub key: Option<&'p str>,
}

pub struct DraftBatch<'i> {
    intake: &'i Intake,
    /// What "the future" is measured from.
    now: Timestamp,
    pub(super) readings: Vec<Incoming>,
    /// For each reading, which item of its payload it came from.
    pub(super) items: Vec<u32>,
    /// For each reading, which payload it came from, in the order in which they were added.
    pub(super) payloads: Vec<u32>,
    pub(super) refused: Vec<ItemRefusal>,
    /// For each refusal, which payload it is about.
    pub(super) refused_payloads: Vec<u32>,
    pub(super) received: u64,
    pub(super) unsaved: FxHashSet<SeriesId>,
    pub(super) source_ledger: LedgerDelta,
    rejected: FxHashMap<SensorKey, u64>,
    pub(super) dead_letters: Vec<DeadLetter>,
    /// When messages of it came first, for those that are sent again.
    pub(super) arrivals: Vec<ArrivalPage>,
    /// Fields that can be no readings, and how often each came.
    pub(super) ignored: BTreeMap<String, u64>,
    /// Something new had no number: the batch is to be made again when there are some.
    pub(super) incomplete: bool,
}

/// What is wrong with one item, for its sender.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct ItemRefusal {
    /// Place in the payload, from 0.
    pub index: u32,
    /// The field at fault; `payload` or `item` where it is the whole of it.
    pub field: String,
    #[schema(value_type = String)]
    pub kind: RejectReason,
    /// What is wrong with the field, to be read after its name.
    pub reason: String,
}

impl<'i> DraftBatch<'i> {
    fn new(intake: &'i Intake) -> Self {
        Self {
            intake,
            now: intake.now(),
            readings: Vec::new(),
            items: Vec::new(),
            payloads: Vec::new(),
            refused: Vec::new(),
            refused_payloads: Vec::new(),
            received: 0,
            unsaved: FxHashSet::default(),
            source_ledger: LedgerDelta::default(),
            rejected: FxHashMap::default(),
            dead_letters: Vec::new(),
            arrivals: Vec::new(),
            ignored: BTreeMap::new(),
            incomplete: false,
        }
    }

    /// Readings to be stored.
    pub fn readings(&self) -> usize {
        self.readings.len()
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether some of it has no numbers yet, because too much was new at once. It cannot be stored; decoded again, a moment
    /// later, it can.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// What was refused at the edge.
    pub fn refused(&self) -> &[ItemRefusal] {
        &self.refused
    }

    /// Rejections of known sensors, as an outcome without rows.
    pub(super) fn rejections(&mut self) -> SliceOutcome {
        let ledger = self.rejected.drain().map(|(sensor, count)| {
            let delta = LedgerDelta {
                received: count,
                rejected: count,
                ..Default::default()
            };
            (sensor, delta)
        });
        SliceOutcome {
            ledger: ledger.collect(),
            ..Default::default()
        }
    }

    fn resolve(
        &mut self,
        draft: &Draft<'_>,
        home: HomeId,
    ) -> Result<Resolved, (&'static str, RejectReason, String)> {
        let registry = self.intake.registry();
        let unit = draft.unit.as_deref();
        let invalid =
            |field, error: crate::domain::IdError| (field, RejectReason::Invalid, error.to_string());
        let sensor = SensorId::parse(&draft.sensor).map_err(|error| invalid("sensor_id", error))?;
        let metric = MetricName::parse(&draft.metric).map_err(|error| invalid("metric", error))?;
        registry
            .resolve(&sensor, &metric, unit, draft.tags.as_ref(), home)
            .map_err(|error| {
                self.incomplete |= error == Unresolved::NoNumbers;
                (
                    "sensor_id",
                    RejectReason::LimitReached,
                    format!("is one too many: {error}"),
                )
            })
    }

    /// A sensor whose row is stored, or will be with this batch: no other can have a ledger.
    fn known(&self, id: &str) -> Option<SensorKey> {
        let sensor = self.intake.registry().sensor_named(id)?;
        let in_batch = || {
            sensor
                .series
                .iter()
                .any(|(_, series)| self.unsaved.contains(series))
        };
        (sensor.saved || in_batch()).then_some(sensor.key)
    }

    fn in_range(&self, time: Timestamp) -> Result<(), TimeError> {
        range::check(time, self.now, self.intake.time_range())
    }

    fn accept(&mut self, draft: &Draft<'_>, time: Timestamp, resolved: Resolved, parcel: Parcel<'_>) {
        if !resolved.saved {
            self.unsaved.insert(resolved.series);
        }
        self.items.push(draft.item);
        self.payloads.push(parcel.number);
        self.readings.push(Incoming {
            sensor: resolved.sensor,
            shard: resolved.shard,
            fresh: !resolved.sensor_saved,
            reading: Reading {
                series: resolved.series,
                time,
                value: draft.value,
                index: 0,
                flags: draft.quality.flags(),
            },
        });
    }

    fn reject(
        &mut self,
        parcel: Parcel<'_>,
        mut refusal: ItemRefusal,
        sensor: Option<&str>,
        payload: Vec<u8>,
    ) {
        let field = &mut refusal.field;
        if field.len() > MAX_QUOTED {
            field.truncate(field.floor_char_boundary(MAX_QUOTED));
            field.push('…');
        }
        let sensor = sensor.and_then(|id| self.known(id));
        match sensor {
            Some(sensor) => *self.rejected.entry(sensor).or_default() += 1,
            None => {
                self.source_ledger.received += 1;
                self.source_ledger.rejected += 1;
            }
        }
        self.dead_letters.push(DeadLetter {
            source: self.intake.source().clone(),
            position: parcel.place.to_string(),
            key: parcel.place.key.map(str::to_owned),
            sensor,
            payload,
            reason: refusal.kind,
            detail: format!(
                "item {}: `{}` {}",
                refusal.index,
                refusal.field.escape_debug(),
                refusal.reason
            ),
        });
        self.refused_payloads.push(parcel.number);
        self.refused.push(refusal);
    }

    /// Takes a draft of whatever kind, new names too.
    fn take(&mut self, draft: &Draft<'_>, time: Timestamp, parcel: Parcel<'_>, home: HomeId) {
        self.received += 1;
        let resolved = match self.in_range(time) {
            Ok(()) => self.resolve(draft, home),
            Err(error) => Err(("timestamp", RejectReason::TimeOutOfRange, error.to_string())),
        };
        match resolved {
            Ok(resolved) => self.accept(draft, time, resolved, parcel),
            Err((field, kind, reason)) => {
                let mut payload = Vec::new();
                crate::decode::encode_canonical(draft, &mut payload);
                let refusal = ItemRefusal {
                    index: draft.item,
                    field: field.to_owned(),
                    kind,
                    reason,
                };
                self.reject(parcel, refusal, Some(&draft.sensor), payload);
            }
        }
    }

    fn ignore(&mut self, field: &str) {
        let end = field.floor_char_boundary(MAX_QUOTED);
        let known = self.ignored.len() < MAX_IGNORED || self.ignored.contains_key(&field[..end]);
        let name = if known { &field[..end] } else { "…" };
        *self.ignored.entry(name.to_owned()).or_default() += 1;
    }

    fn refuse(&mut self, refusal: Refusal<'_>, parcel: Parcel<'_>) {
        self.received += 1;
        let kept = refusal.payload.len().min(DeadLetter::MAX_PAYLOAD);
        let payload = refusal.payload[..kept].to_vec();
        let item = ItemRefusal {
            index: refusal.item,
            field: refusal.field.into_owned(),
            kind: refusal.kind,
            reason: refusal.reason,
        };
        self.reject(parcel, item, refusal.sensor.as_deref(), payload);
    }
}

/// A batch that is being filled, payload by payload. Drafts wait for each other, because known series are looked up fastest
/// together.
pub struct Filling<'i, 'p> {
    batch: DraftBatch<'i>,
    /// Of the drafts that wait.
    home: HomeId,
    waiting: Vec<Waiting<'p>>,
    payloads: u32,
}

struct Waiting<'p> {
    draft: Draft<'p>,
    time: Timestamp,
    parcel: Parcel<'p>,
}

/// A payload among those of its batch.
#[derive(Debug, Clone, Copy)]
struct Parcel<'p> {
    /// From 0, in the order in which they were added.
    number: u32,
    place: Place<'p>,
}

impl<'i: 'p, 'p> Filling<'i, 'p> {
    pub(super) fn new(intake: &'i Intake) -> Self {
        Self {
            batch: DraftBatch::new(intake),
            home: intake.home(),
            waiting: Vec::with_capacity(registry::AT_ONCE),
            payloads: 0,
        }
    }

    /// Makes room for about so many more readings.
    pub fn expect(&mut self, readings: usize) {
        self.batch.readings.reserve(readings);
        self.batch.items.reserve(readings);
        self.batch.payloads.reserve(readings);
    }

    /// How many readings and refusals there are so far.
    pub fn received(&self) -> u64 {
        self.batch.received + self.waiting.len() as u64
    }

    /// What is added from now on comes through this home: see [`Registry::home`](registry::Registry::home).
    pub fn come_through(&mut self, home: HomeId) {
        if home != self.home {
            self.resolve();
            self.home = home;
        }
    }

    /// Whether the time of arrival stood in for one that was not given.
    pub fn add(&mut self, payload: Payload<'p>) -> bool {
        let mapping = &self.batch.intake.settings().mapping;
        let (arrival, parcel) = (payload.arrival, self.parcel(payload.place));
        let mut opened = Opened {
            filling: self,
            arrival,
            parcel,
            timeless: false,
        };
        decode(payload.bytes, payload.hints, mapping, &mut opened);
        opened.timeless
    }

    /// As [`Self::add`], for a row of a table.
    pub fn add_row(&mut self, payload: Payload<'p>, table: (&CsvMapping, &CsvTable)) {
        let mapping = &self.batch.intake.settings().mapping;
        let (arrival, parcel) = (payload.arrival, self.parcel(payload.place));
        let mut opened = Opened {
            filling: self,
            arrival,
            parcel,
            timeless: false,
        };
        decode_row(payload.bytes, 0, payload.hints, table, mapping, &mut opened);
    }

    /// Takes a payload for one value, which it means without being that. The sensor is that of the hints, or the default.
    pub fn add_value(&mut self, payload: Payload<'p>, metric: &'p str, value: f64) {
        let mapping = &self.batch.intake.settings().mapping;
        let default = mapping.default_sensor.as_ref().map(SensorId::as_str);
        let draft = Draft {
            // Without one it is refused, as an id that is empty.
            sensor: payload.hints.sensor.or(default).unwrap_or_default().into(),
            metric: metric.into(),
            value,
            time: None,
            unit: None,
            quality: Quality::Good,
            tags: None,
            item: 0,
        };
        let parcel = self.parcel(payload.place);
        let mut opened = Opened {
            filling: self,
            arrival: payload.arrival,
            parcel,
            timeless: false,
        };
        opened.reading(draft);
    }

    /// Takes a payload for a dead letter, without looking at what is in it. The reason is to be read after `payload`.
    pub fn refuse(&mut self, payload: Payload<'p>, kind: RejectReason, reason: String) {
        let refusal = Refusal {
            item: 0,
            field: "payload".into(),
            reason,
            kind,
            sensor: payload.hints.sensor.map(Into::into),
            payload: payload.bytes.into(),
        };
        let parcel = self.parcel(payload.place);
        self.resolve();
        self.batch.refuse(refusal, parcel);
    }

    fn parcel(&mut self, place: Place<'p>) -> Parcel<'p> {
        let number = self.payloads;
        self.payloads += 1;
        Parcel { number, place }
    }

    pub fn finish(mut self) -> DraftBatch<'i> {
        self.resolve();
        self.batch
    }

    /// Known series are looked up under one lock, which is let go of for whatever else comes.
    fn resolve(&mut self) {
        let registry = self.batch.intake.registry();
        let mut reader = registry.reader();
        let guesses = reader.guess(self.waiting.iter().map(|waiting| &*waiting.draft.sensor));
        for (Waiting { draft, time, parcel }, guess) in self.waiting.drain(..).zip(guesses) {
            let known = reader.lookup(
                guess,
                &draft.sensor,
                &draft.metric,
                draft.unit.as_deref(),
                draft.tags.as_ref(),
                self.home,
            );
            match known {
                Some(resolved) if self.batch.in_range(time).is_ok() => {
                    self.batch.received += 1;
                    self.batch.accept(&draft, time, resolved, parcel);
                }
                _ => {
                    drop(reader);
                    self.batch.take(&draft, time, parcel, self.home);
                    reader = registry.reader();
                }
            }
        }
    }
}

/// Takes what one payload holds.
struct Opened<'f, 'i, 'p> {
    filling: &'f mut Filling<'i, 'p>,
    arrival: Timestamp,
    parcel: Parcel<'p>,
    timeless: bool,
}

impl<'i: 'p, 'p> Sink<'p> for Opened<'_, 'i, 'p> {
    fn reading(&mut self, draft: Draft<'p>) {
        if self.filling.waiting.len() == registry::AT_ONCE {
            self.filling.resolve();
        }
        self.timeless |= draft.time.is_none();
        self.filling.waiting.push(Waiting {
            time: draft.time.unwrap_or(self.arrival),
            draft,
            parcel: self.parcel,
        });
    }

    fn refuse(&mut self, refusal: Refusal<'p>) {
        self.filling.resolve();
        self.filling.batch.refuse(refusal, self.parcel);
    }

    fn ignored(&mut self, field: Cow<'p, str>) {
        self.filling.batch.ignore(&field);
    }
}

impl<'p> Payload<'p> {
    /// One of which nothing is known but when it came.
    pub fn plain(bytes: &'p [u8], arrival: Timestamp) -> Self {
        Self {
            bytes,
            arrival,
            place: Place::default(),
            hints: Hints::default(),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label)?;
        match self.offset {
            Some(offset) => write!(f, "@{offset}"),
            None => Ok(()),
        }
    }
}
