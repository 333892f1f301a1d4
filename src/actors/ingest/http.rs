//! Readings that are pushed over HTTP: an answer of 2xx means stored.
//!
//! Invariants: what has no time gets the time of its arrival; with an idempotency key, that of the first arrival, which is stored
//! with the readings, so that a repeated request is recognized as one. Without room the sender is told at once to come again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::arrivals::{Arrival, ArrivalKey, Arrivals};
use super::{Intake, ItemRefusal, Payload, Place};
use crate::actors::batch::{Delivery, Receipt};
use crate::actors::permits::{PermitError, Share};
use crate::decode::{Format, Lines, TimeUnit, is_canonical, line_parts};
use crate::domain::{DeadLetter, RejectReason, Timestamp};
use crate::storage::{Store, StoreError};

/// How soon numbers for what is new are looked for again.
const NUMBERS: Duration = Duration::from_millis(5);
/// The most bytes of line protocol that are one batch, unless a line alone has more.
const PART_BYTES: usize = 1 << 20;
/// How many fields that are ignored are logged by their names.
const MAX_LOGGED: usize = 256;

pub struct HttpIngest {
    intake: Intake,
    arrivals: Arrivals,
    patience: Duration,
    /// Fields that are ignored, of which the log has told.
    logged: Mutex<BTreeSet<String>>,
}

/// What a request came to.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Ingested {
    pub received: u64,
    pub stored: u64,
    pub duplicates: u64,
    pub rejected: u64,
    /// What is wrong with each rejected item.
    pub errors: Vec<ItemRefusal>,
    /// Fields of line protocol that are text, which no reading can be, and how often each came beside readings.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ignored: BTreeMap<String, u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the request has {readings} readings, at most {limit} are allowed in one")]
    TooManyReadings { readings: u64, limit: u32 },
    #[error("the request is larger than {} readings or {} bytes", .0.readings, .0.bytes)]
    TooLarge(Share),
    #[error(
        "several instances share this database (storage.shared), and only the one that has a sensor can take its readings: \
         send them to Kafka"
    )]
    Shared,
    #[error("as many readings as allowed are on their way to the database, come again")]
    Busy,
    #[error("the readings could not be stored, send them again")]
    Undelivered,
    #[error(
        "the database did not answer in time; send the same again, what is stored already will be recognized"
    )]
    TimedOut,
    #[error("the idempotency key could not be looked up: {0}")]
    Store(#[from] StoreError),
}

impl HttpIngest {
    pub fn new(intake: Intake, store: Arc<dyn Store>, patience: Duration) -> Self {
        Self {
            arrivals: Arrivals::new(intake.source().clone(), store),
            intake,
            patience,
            logged: Mutex::default(),
        }
    }

    /// Stores the readings of a JSON payload. Waits for the transaction, at most as long as the patience given.
    pub async fn ingest(&self, payload: &[u8], key: Option<&str>) -> Result<Ingested, IngestError> {
        let (arrival, remembered) = self.arrival(key).await?;
        let payload = Payload::plain(payload, arrival);
        self.take(&self.intake, payload, remembered).await
    }

    /// The same for line protocol whose times are in `unit`. There may be more than a batch takes: then it is stored in several, and
    /// an error may come when the first of them are stored already; those are recognized when it comes again.
    pub async fn ingest_lines(
        &self,
        payload: &[u8],
        unit: TimeUnit,
        key: Option<&str>,
    ) -> Result<Ingested, IngestError> {
        let (arrival, remembered) = self.arrival(key).await?;
        let settings = self.intake.settings();
        let mut mapping = settings.mapping.clone();
        mapping.format = Format::Lines(unit);
        let intake = self.intake.on_behalf_of(&self.intake, mapping);
        let mut all = Ingested::default();
        let mut lines = 0;
        for part in line_parts(payload, settings.batch_readings as usize, PART_BYTES) {
            let payload = Payload {
                place: Place {
                    label: label(unit),
                    offset: None,
                    key: None,
                },
                ..Payload::plain(part, arrival)
            };
            let taken = self.take(&intake, payload, remembered.clone()).await?;
            all.append(taken, lines);
            lines += u32::try_from(Lines::of(part).count()).unwrap_or(u32::MAX);
        }
        self.log(&all.ignored);
        Ok(all)
    }

    /// When a request came, or came first.
    async fn arrival(&self, key: Option<&str>) -> Result<(Timestamp, Option<Arc<Arrival>>), StoreError> {
        let now = self.intake.now();
        let Some(key) = key.map(ArrivalKey::given) else {
            return Ok((now, None));
        };
        let arrival = self.arrivals.again(key, Timestamp::MIN, now).await?;
        Ok((arrival.time, Some(Arc::new(arrival))))
    }

    /// Tells of each field that is ignored once.
    fn log(&self, ignored: &BTreeMap<String, u64>) {
        for field in ignored.keys() {
            let mut logged = self.logged.lock();
            if logged.len() < MAX_LOGGED && logged.insert(field.clone()) {
                tracing::info!(
                    field,
                    "a field of line protocol is text and ignored, only numbers and booleans are readings"
                );
            }
        }
    }

    /// Stores what a dead letter holds, with the room of HTTP but as its source would take it now: by that source's mapping, and
    /// with what its position, a topic, and the key of its message tell. A reading in our own words needs neither. `source` is `None` if it is gone.
    pub async fn replay(
        &self,
        letter: &DeadLetter,
        time: Timestamp,
        source: Option<&Intake>,
    ) -> Result<Ingested, IngestError> {
        let source = source.unwrap_or(&self.intake);
        let mut mapping = source.settings().mapping.clone();
        if let Some(unit) = labelled(&letter.position) {
            mapping.format = Format::Lines(unit);
        }
        if (mapping.pointers.is_some() || mapping.format != Format::Json) && is_canonical(&letter.payload) {
            (mapping.pointers, mapping.format) = (None, Format::Json);
        }
        let intake = self.intake.on_behalf_of(source, mapping);
        let mut hints = intake.settings().mapping.hints(&letter.position);
        let key = letter.key.as_deref();
        hints.sensor = key.or(hints.sensor);
        let payload = Payload {
            bytes: &letter.payload,
            arrival: time,
            place: Place {
                label: &letter.position,
                offset: None,
                key,
            },
            hints,
        };
        self.take(&intake, payload, None).await
    }

    async fn take(
        &self,
        intake: &Intake,
        payload: Payload<'_>,
        remembered: Option<Arc<Arrival>>,
    ) -> Result<Ingested, IngestError> {
        if intake.registry().is_shared() {
            return Err(IngestError::Shared);
        }
        let mut batch = intake.decode(payload);
        let began = Instant::now();
        while batch.is_incomplete() && began.elapsed() < self.patience {
            tokio::time::sleep(NUMBERS).await;
            batch = intake.decode(payload);
        }
        let limit = intake.settings().batch_readings;
        if batch.received() > u64::from(limit) {
            return Err(IngestError::TooManyReadings {
                readings: batch.received(),
                limit,
            });
        }
        let mut ingested = Ingested {
            received: batch.received(),
            stored: 0,
            duplicates: 0,
            rejected: batch.refused().len() as u64,
            errors: batch.refused().to_vec(),
            ignored: std::mem::take(&mut batch.ignored),
        };
        if batch.received() == 0 {
            return Ok(ingested);
        }
        let items = batch.items.clone();
        let positions = remembered.iter().map(|arrival| arrival.position()).collect();
        let delivery = intake
            .try_deliver(batch, payload.bytes.len(), positions)
            .map_err(|error| match error {
                PermitError::TooLarge(share) => IngestError::TooLarge(share),
                PermitError::Busy => IngestError::Busy,
            })?;
        let delivery = tokio::spawn(async move {
            let delivery = delivery.await;
            // Not before, though the sender may have gone away long since: if he comes again, he gets the same time.
            drop(remembered);
            delivery
        });
        match tokio::time::timeout(self.patience, delivery).await {
            Ok(Ok(Delivery::Stored(receipt))) => {
                ingested.add(&receipt, &items);
                Ok(ingested)
            }
            Ok(Ok(Delivery::Undelivered) | Err(_)) => Err(IngestError::Undelivered),
            Err(_) => Err(IngestError::TimedOut),
        }
    }
}

impl Ingested {
    /// Adds what came of a later part, whose first item is the payload's `before`th.
    fn append(&mut self, part: Ingested, before: u32) {
        self.received += part.received;
        self.stored += part.stored;
        self.duplicates += part.duplicates;
        self.rejected += part.rejected;
        self.errors
            .extend(part.errors.into_iter().map(|error| ItemRefusal {
                index: error.index.saturating_add(before),
                ..error
            }));
        for (field, count) in part.ignored {
            *self.ignored.entry(field).or_default() += count;
        }
    }

    fn add(&mut self, receipt: &Receipt, items: &[u32]) {
        let item = |index: u32| items.get(index as usize).copied().unwrap_or(index);
        self.stored = receipt.stored;
        self.duplicates = receipt.duplicates;
        self.rejected += (receipt.refused.len() + receipt.conflicts.len()) as u64;
        self.errors
            .extend(receipt.refused.iter().map(|refused| ItemRefusal {
                index: item(refused.index),
                field: match refused.reason {
                    RejectReason::Refused => "item".to_owned(),
                    _ => "value".to_owned(),
                },
                kind: refused.reason,
                reason: refused.detail.clone(),
            }));
        self.errors
            .extend(receipt.conflicts.iter().map(|conflict| ItemRefusal {
                index: item(conflict.index),
                field: "value".to_owned(),
                kind: RejectReason::Conflict,
                reason: format!(
                    "contradicts {}, which is stored for the same time",
                    conflict.stored
                ),
            }));
        self.errors.sort_by_key(|error| error.index);
    }
}

/// The place of what came in line protocol, so that its dead letters can be replayed.
fn label(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Auto => "lines",
        TimeUnit::S => "lines/s",
        TimeUnit::Ms => "lines/ms",
        TimeUnit::Us => "lines/us",
        TimeUnit::Ns => "lines/ns",
    }
}

fn labelled(position: &str) -> Option<TimeUnit> {
    let units = [TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns];
    units.into_iter().find(|unit| label(*unit) == position)
}
