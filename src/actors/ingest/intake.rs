//! The way in for one source.

use std::sync::Arc;

use super::{DraftBatch, Filling, Payload};
use crate::actors::Rails;
use crate::actors::batch::{Acknowledgement, Cargo, Delivery};
use crate::actors::permits::{Permit, PermitError, Permits, Share};
use crate::actors::registry::{HomeId, Registry};
use crate::decode::JsonMapping;
use crate::decode::range::TimeRange;
use crate::domain::{Home, SourceName, Timestamp};
use crate::storage::Position;

/// Bytes of JSON that a reading takes, about.
const ITEM_BYTES: usize = 100;

#[derive(Debug, Clone)]
pub struct IntakeSettings {
    pub share: Share,
    pub time_range: TimeRange,
    /// The most readings of one batch.
    pub batch_readings: u32,
    pub mapping: JsonMapping,
}

/// Why a batch is not on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// For the moment: so it is, too, while there are no numbers for names that are new.
    #[error("the source has as much under way as it may")]
    Busy,
    /// What was sent off before may be undelivered.
    #[error("the pipeline has begun anew from what is stored")]
    Ended,
}

/// Cheap to clone; clones share the permits.
#[derive(Clone)]
pub struct Intake {
    source: SourceName,
    rails: Arc<Rails>,
    permits: Permits,
    settings: Arc<IntakeSettings>,
    home: HomeId,
}

impl Intake {
    pub fn new(source: SourceName, rails: Arc<Rails>, settings: IntakeSettings) -> Self {
        let permits = Permits::new(settings.share);
        Self {
            source,
            rails,
            permits,
            settings: Arc::new(settings),
            home: HomeId::NONE,
        }
    }

    /// What comes in here comes through `home`, unless a batch says otherwise.
    pub fn at_home(self, home: &Home) -> Self {
        Self {
            home: self.registry().home(home),
            ..self
        }
    }

    pub(super) fn home(&self) -> HomeId {
        self.home
    }

    /// A way in for what another source has received, by its settings but for the mapping, in the room of this one.
    pub fn on_behalf_of(&self, other: &Intake, mapping: JsonMapping) -> Intake {
        let settings = IntakeSettings {
            mapping,
            ..(*other.settings).clone()
        };
        Intake {
            source: other.source.clone(),
            settings: Arc::new(settings),
            ..self.clone()
        }
    }

    pub fn source(&self) -> &SourceName {
        &self.source
    }

    pub fn registry(&self) -> &Arc<Registry> {
        self.rails.registry()
    }

    pub fn time_range(&self) -> &TimeRange {
        &self.settings.time_range
    }

    pub fn settings(&self) -> &IntakeSettings {
        &self.settings
    }

    pub fn now(&self) -> Timestamp {
        self.rails.clock().now()
    }

    /// Whether the source has nobody to hear its sensors by, so that none of them is to be missed: see
    /// [`Dispatcher::set_deaf`](crate::actors::dispatcher::Dispatcher::set_deaf).
    pub fn set_deaf(&self, deaf: bool) {
        self.rails.set_deaf(&self.source, deaf);
    }

    /// Readings that could be sent off at once.
    pub fn room(&self) -> usize {
        self.permits.available()
    }

    /// A batch to be filled, payload by payload.
    pub fn fill<'i: 'p, 'p>(&'i self) -> Filling<'i, 'p> {
        Filling::new(self)
    }

    /// A batch of what one payload holds.
    pub fn decode(&self, payload: Payload<'_>) -> DraftBatch<'_> {
        let mut filling = self.fill();
        filling.expect((payload.bytes.len() / ITEM_BYTES).min(self.settings.mapping.max_items));
        filling.add(payload);
        filling.finish()
    }

    /// Sends the batch off when there is room, and waits for what becomes of it.
    pub async fn deliver(
        &self,
        batch: DraftBatch<'_>,
        bytes: usize,
        positions: Vec<Position>,
    ) -> Result<Delivery, PermitError> {
        Ok(self.send(batch, bytes, positions).await?.await)
    }

    /// As [`Self::deliver`]; a batch that is larger than the share of its source takes the whole of it.
    pub async fn deliver_whole(
        &self,
        batch: DraftBatch<'_>,
        bytes: usize,
        positions: Vec<Position>,
    ) -> Delivery {
        let share = self.settings.share;
        let readings = weight(batch.received()).min(share.readings);
        let permit = self
            .permits
            .acquire(readings, weight(bytes as u64).min(share.bytes));
        match permit.await {
            Ok(permit) => self.depart(batch, permit, positions, None).1.await,
            // Nothing is larger than the share.
            Err(_) => Delivery::Undelivered,
        }
    }

    /// Sends the batch off when there is room. What is returned waits for what becomes of it.
    pub async fn send(
        &self,
        batch: DraftBatch<'_>,
        bytes: usize,
        positions: Vec<Position>,
    ) -> Result<impl Future<Output = Delivery> + use<>, PermitError> {
        let permit = self
            .permits
            .acquire(weight(batch.received()), weight(bytes as u64))
            .await?;
        Ok(self.depart(batch, permit, positions, None).1)
    }

    /// Sends the batch off if there is room now. What is returned waits for what becomes of it.
    pub fn try_deliver(
        &self,
        batch: DraftBatch<'_>,
        bytes: usize,
        positions: Vec<Position>,
    ) -> Result<impl Future<Output = Delivery> + use<>, PermitError> {
        let permit = self
            .permits
            .try_acquire(weight(batch.received()), weight(bytes as u64))?;
        Ok(self.depart(batch, permit, positions, None).1)
    }

    /// As [`Self::try_deliver`], for a source whose batches must be stored in their order or not at all: the batch departs only
    /// while `epoch` lasts, which is to say, while everything that was sent off in it is on its way or stored. One that is
    /// larger than the share of its source takes the whole of it.
    pub fn try_deliver_in(
        &self,
        epoch: u64,
        batch: DraftBatch<'_>,
        bytes: usize,
        positions: Vec<Position>,
    ) -> Result<impl Future<Output = Delivery> + use<>, NotSent> {
        if batch.is_incomplete() {
            return Err(NotSent::Busy);
        }
        let share = self.settings.share;
        let permit = self.permits.try_acquire(
            weight(batch.received()).min(share.readings),
            weight(bytes as u64).min(share.bytes),
        );
        match self.depart(batch, permit.map_err(|_| NotSent::Busy)?, positions, Some(epoch)) {
            (true, delivery) => Ok(delivery),
            (false, _) => Err(NotSent::Ended),
        }
    }

    /// The epoch of what is sent off now.
    pub fn epoch(&self) -> u64 {
        self.rails.dispatched().0
    }

    /// Whether it departed, and what becomes of it.
    fn depart(
        &self,
        mut batch: DraftBatch<'_>,
        permit: Permit,
        positions: Vec<Position>,
        epoch: Option<u64>,
    ) -> (bool, impl Future<Output = Delivery> + use<>) {
        let (acknowledgement, delivery) = Acknowledgement::new();
        let delivery = async move { delivery.await.unwrap_or(Delivery::Undelivered) };
        let unsaved = batch.unsaved.iter().map(|id| self.registry().define(*id));
        let Some(definitions) = unsaved.collect::<Option<Vec<_>>>().filter(|_| !batch.incomplete) else {
            // Its names have to be resolved anew. Dropping the acknowledgement says so.
            return (true, delivery);
        };
        let (mut sensors, series): (Vec<_>, Vec<_>) = definitions.into_iter().unzip();
        sensors.sort_by_key(|sensor| sensor.key);
        sensors.dedup_by_key(|sensor| sensor.key);
        let cargo = Cargo {
            source: self.source.clone(),
            sensors,
            series,
            positions,
            arrivals: std::mem::take(&mut batch.arrivals),
            source_ledger: batch.source_ledger,
            refused: batch.rejections(),
            dead_letters: std::mem::take(&mut batch.dead_letters),
            received: batch.received,
            acknowledgement,
            permit: Some(permit),
        };
        let departed = match epoch {
            Some(epoch) => self.rails.dispatch_in(epoch, batch.readings, cargo),
            None => {
                self.rails.dispatch(batch.readings, cargo);
                true
            }
        };
        (departed, delivery)
    }
}

fn weight(amount: u64) -> u32 {
    u32::try_from(amount).unwrap_or(u32::MAX)
}
