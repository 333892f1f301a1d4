//! Readings that are pushed over HTTP: an answer of 2xx means stored.
//!
//! Invariants: what has no time gets the time of its arrival; with an idempotency key, that of the first arrival, which is stored
//! with the readings, so that a repeated request is recognized as one. Without room the sender is told at once to come again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Intake, ItemRefusal};
use crate::actors::batch::{Delivery, Receipt};
use crate::actors::permits::{PermitError, Share};
use crate::domain::{RejectReason, Timestamp};
use crate::storage::{Position, Store, StoreError};

pub struct HttpIngest {
    intake: Intake,
    store: Arc<dyn Store>,
    patience: Duration,
    under_way: UnderWay,
}

/// First arrivals of keys whose readings are on their way, and how many requests of each are.
type UnderWay = Arc<Mutex<HashMap<String, (Timestamp, usize)>>>;

/// What a request came to.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Ingested {
    pub received: u64,
    pub stored: u64,
    pub duplicates: u64,
    pub rejected: u64,
    /// What is wrong with each rejected item.
    pub errors: Vec<ItemRefusal>,
}

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the request has {readings} readings, at most {limit} are allowed in one")]
    TooManyReadings { readings: u64, limit: u32 },
    #[error("the request is larger than {} readings or {} bytes", .0.readings, .0.bytes)]
    TooLarge(Share),
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
            intake,
            store,
            patience,
            under_way: UnderWay::default(),
        }
    }

    /// Stores the readings of a JSON payload. Waits for the transaction, at most as long as the patience given.
    pub async fn ingest(&self, payload: &[u8], key: Option<&str>) -> Result<Ingested, IngestError> {
        let arrival = match key {
            Some(key) => Arrival::begin(self, key).await?,
            None => Arrival {
                time: self.intake.now(),
                key: None,
            },
        };
        let batch = self.intake.decode(payload, arrival.time, String::new());
        let limit = self.intake.settings().batch_readings;
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
        };
        if batch.received() == 0 {
            return Ok(ingested);
        }
        let items = batch.items.clone();
        let positions = arrival.position(&self.intake);
        let delivery =
            self.intake
                .try_deliver(batch, payload.len(), positions)
                .map_err(|error| match error {
                    PermitError::TooLarge(share) => IngestError::TooLarge(share),
                    PermitError::Busy => IngestError::Busy,
                })?;
        let delivery = tokio::spawn(async move {
            let delivery = delivery.await;
            // Not before, though the sender may have gone away long since: if he comes again, he gets the same time.
            drop(arrival);
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

/// The time that stands in for times that are not given, and the key it belongs to while the request is under way.
struct Arrival {
    time: Timestamp,
    key: Option<(UnderWay, String)>,
}

impl Arrival {
    async fn begin(ingest: &HttpIngest, key: &str) -> Result<Self, IngestError> {
        let partition = partition(key);
        // Noted before the database is asked: a request that ends meanwhile is seen here or there.
        let time = {
            let mut under_way = ingest.under_way.lock();
            let first = (ingest.intake.now(), 0);
            let (time, requests) = under_way.entry(partition.clone()).or_insert(first);
            *requests += 1;
            *time
        };
        let mut arrival = Self {
            time,
            key: Some((ingest.under_way.clone(), partition.clone())),
        };
        if let Some(stored) = ingest.store.position(ingest.intake.source(), &partition).await? {
            arrival.time = Timestamp(stored);
        }
        Ok(arrival)
    }

    fn position(&self, intake: &Intake) -> Vec<Position> {
        let position = self.key.as_ref().map(|(_, partition)| Position {
            source: intake.source().clone(),
            partition: partition.clone(),
            offset: self.time.0,
            epoch: None,
        });
        position.into_iter().collect()
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some((under_way, partition)) = &self.key {
            let mut under_way = under_way.lock();
            if let Some((_, requests)) = under_way.get_mut(partition) {
                *requests -= 1;
                if *requests == 0 {
                    under_way.remove(partition);
                }
            }
        }
    }
}

/// Keys live among the source's positions: key to the time of the first arrival.
fn partition(key: &str) -> String {
    format!("idempotency/{key}")
}
