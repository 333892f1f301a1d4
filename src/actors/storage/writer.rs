//! The storage writer: the terminus of every batch.
//!
//! Invariants:
//! - Batches commit in the order of their ordinals, in groups that form by themselves: whatever has arrived while one
//!   transaction ran is the next. There is no linger.
//! - A batch is acknowledged only after its transaction has committed. Whatever goes wrong before drops it, which
//!   undelivers it.
//! - A group that the database refuses is committed batch by batch, and a batch that is refused alone without what is at fault:
//!   see [`condemn`].
//! - What cannot be committed for good (a broken train, a condemned part, what other instances have claimed or made, a
//!   crash of this actor) rewinds the pipeline. A rewind
//!   claims the writer's row anew before anything is committed or read, so that a commit left over from before is
//!   behind us, whatever became of it. Then it learns what other instances have done meanwhile: which names they have made,
//!   which sensors come through them, too, and which partitions they have taken.
//!
//! How it fails: while the database is away it holds its group and tries again; permits run out and sources wait. When another
//! process has claimed the row, it stops for good and says so: see [`Fault`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use rustc_hash::FxHashSet;
use tokio::sync::watch;

use super::condemn::{self, Committed};
use super::group::Siding;
use super::progress::Progress;
use super::retry::{self, GiveUp};
use super::scattered;
use crate::actors::Rails;
use crate::actors::batch::{Arrival, Receipt, Terminus, Ticket};
use crate::actors::dispatcher::{Condemned, NUMBER_BLOCK};
use crate::actors::hub::Live;
use crate::actors::query_cache::QueryCache;
use crate::actors::registry::{Registry, Tenure};
use crate::actors::shard::env::Catalog;
use crate::actors::statistics::Statistics;
use crate::actors::supervision::Supervise;
use crate::domain::{BatchNumber, Home, LedgerDelta, SensorId};
use crate::metrics::Metrics;
use crate::storage::{BatchReport, CommitGroup, InstanceId, Scope, Store, StoreError, WriterState};

/// A batch that has waited longer than this for its commit holds the active clock.
const HELD_AFTER: Duration = Duration::from_secs(1);

/// What the service cannot go on with.
pub type Fault = Arc<dyn Fn(String) + Send + Sync>;

/// What the writer works with.
#[derive(Clone)]
pub struct WriterParts {
    pub store: Arc<dyn Store>,
    pub instance: InstanceId,
    pub dispatcher: Arc<Rails>,
    pub catalog: Arc<dyn Catalog>,
    pub progress: Arc<watch::Sender<Progress>>,
    pub statistics: Arc<Statistics>,
    pub metrics: Arc<Metrics>,
    pub queries: Arc<QueryCache>,
    pub live: Arc<Live>,
    pub fault: Fault,
}

pub struct StorageWriter {
    parts: WriterParts,
    siding: Siding,
    /// The commit under way, and when the oldest batch of its group departed.
    busy: Option<(SpawnHandle, Instant)>,
    claimed: bool,
    /// The claim under way. There is never a second one: it would fence what the first has begun.
    claim: Option<SpawnHandle>,
    last: Option<BatchNumber>,
    /// Batches given up since the last commit.
    refusals: u32,
    /// See [`Progress::alerts`].
    alerts: u64,
    ever_started: bool,
}

impl StorageWriter {
    /// The row must have been claimed: `last` is what it says.
    pub fn new(parts: WriterParts, last: Option<BatchNumber>) -> Self {
        parts.progress.send_replace(Progress {
            epoch: 1,
            committed: 0,
            last,
            alerts: 0,
        });
        Self {
            parts,
            siding: Siding::new(1),
            busy: None,
            claimed: true,
            claim: None,
            last,
            refusals: 0,
            alerts: 0,
            ever_started: false,
        }
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        self.parts.metrics.set_waiting(self.siding.waiting());
        if self.busy.is_some() || !self.claimed {
            return;
        }
        let (mut batches, tickets): (Vec<_>, Vec<_>) = self
            .siding
            .depart()
            .into_iter()
            .map(|train| (train.batch, train.ticket))
            .unzip();
        let Some(departed) = tickets.iter().map(|ticket| ticket.departed).min() else {
            return;
        };
        let epoch = self.siding.epoch();
        let (registry, catalog) = (self.parts.dispatcher.registry(), &self.parts.catalog);
        scattered::ask(&mut batches, registry, catalog.as_ref());
        let group = Arc::new(CommitGroup {
            instance: self.parts.instance.clone(),
            batches,
        });
        let began = Instant::now();
        let commit = condemn::commit(
            self.parts.store.clone(),
            group.clone(),
            self.parts.dispatcher.registry().clone(),
            self.parts.metrics.clone(),
        );
        let commit = ctx.spawn(commit.into_actor(self).map(move |result, writer, ctx| {
            writer.busy = None;
            match result {
                Ok(committed) => {
                    if !committed.condemned.is_empty() {
                        writer.condemned(&committed, ctx);
                    }
                    writer.committed(epoch, tickets, &committed, began.elapsed());
                }
                Err(GiveUp::Refused(error)) if tickets.len() > 1 && epoch == writer.siding.epoch() => {
                    tracing::warn!(%error, batches = tickets.len(), "the store refused a group, its batches go one by one");
                    writer.siding.put_back(Arc::unwrap_or_clone(group).batches, tickets);
                }
                Err(error) => {
                    drop(tickets);
                    writer.gave_up(error, ctx);
                }
            }
            writer.pump(ctx);
        }));
        self.busy = Some((commit, departed));
    }

    fn committed(
        &mut self,
        epoch: u64,
        tickets: Vec<Ticket>,
        Committed { group, report, .. }: &Committed,
        took: Duration,
    ) {
        let parts = &self.parts;
        let now = parts.dispatcher.clock().now();
        // Whoever hears of his readings finds them.
        parts.queries.committed(group, report);
        parts.live.committed(group, report, now);
        self.refusals = 0;
        let mut outcomes = group.batches.iter().flat_map(|batch| &batch.outcomes);
        self.alerts += u64::from(outcomes.any(|outcome| !outcome.alerts.is_empty()));
        let mut readings = 0;
        for ((ticket, batch), report) in tickets.into_iter().zip(&group.batches).zip(&report.batches) {
            self.last = Some(batch.number);
            parts
                .dispatcher
                .registry()
                .mark_saved(&batch.sensors, &batch.series);
            let latency = ticket.departed.elapsed();
            let ledger = ledger_of(batch, report);
            readings += ledger.stored;
            parts.metrics.ledger(&batch.source, &ledger);
            if ledger.received > 0 {
                parts.metrics.latency(latency);
            }
            let sensors = batch.outcomes.iter().flat_map(|outcome| &outcome.ledger);
            let sensors = sensors
                .filter(|(_, delta)| delta.received > 0)
                .map(|(sensor, _)| *sensor);
            parts
                .statistics
                .committed(now, latency, ledger.stored, ledger.rejected, sensors);
            ticket.acknowledgement.stored(receipt(batch, report, &ledger));
        }
        parts.metrics.committed(took, group.batches.len(), readings);
        // Trains of an epoch that has ended meanwhile count for nobody.
        if epoch == self.siding.epoch() {
            parts.progress.send_replace(Progress {
                epoch,
                committed: self.siding.left(),
                last: self.last,
                alerts: self.alerts,
            });
        }
    }

    /// A batch was committed without what some sensors made of it: they have to forget it, and so has everybody whose readings
    /// came after. The batch is acknowledged after the rewind, so that what its source sends next belongs to the new epoch.
    fn condemned(&mut self, Committed { group, condemned, .. }: &Committed, ctx: &mut Context<Self>) {
        let batch = group.batches.last().map(|batch| batch.number.0);
        for (sensor, words) in condemned {
            let id = self.parts.dispatcher.registry().sensor_id(*sensor);
            let sensor = id.as_ref().map(SensorId::as_str);
            tracing::error!(sensor, batch, words, "the store refused a part of a batch");
        }
        self.parts.metrics.condemned(condemned.len());
        self.refusals = 0;
        self.rewind_to(self.last, condemned.clone(), ctx);
    }

    fn gave_up(&mut self, error: GiveUp, ctx: &mut Context<Self>) {
        self.parts.metrics.undelivered();
        match error {
            GiveUp::Fenced(_) => {
                tracing::error!(%error, "the writer was fenced");
                self.claimed = false;
                self.siding.rewind(u64::MAX);
                (self.parts.fault)(error.to_string());
            }
            GiveUp::Moved(_) => {
                tracing::warn!(%error, "another instance was there before, the pipeline rewinds");
                self.refusals = self.refusals.saturating_add(1);
                self.rewind(ctx);
            }
            GiveUp::Refused(_) => {
                tracing::error!(%error, "the store refused a batch as a whole, the pipeline rewinds");
                self.parts.metrics.set_store_failing(Some(error.to_string()));
                self.refusals = self.refusals.saturating_add(1);
                self.rewind(ctx);
            }
        }
    }

    fn rewind(&mut self, ctx: &mut Context<Self>) {
        self.rewind_to(self.last, Condemned::default(), ctx);
    }

    /// Begins a new epoch and claims the row anew before anything of it is committed. What the sensors saw up to `committed` is
    /// stored as they saw it.
    fn rewind_to(&mut self, committed: Option<BatchNumber>, condemned: Condemned, ctx: &mut Context<Self>) {
        if self.siding.epoch() == u64::MAX {
            return;
        }
        self.parts.metrics.rewound();
        self.claimed = false;
        if let Some((commit, _)) = self.busy.take() {
            // Whatever becomes of it: its batches are undelivered, and the claim comes after it.
            ctx.cancel_future(commit);
        }
        if let Some(claim) = self.claim.take() {
            ctx.cancel_future(claim);
        }
        let epoch = self.parts.dispatcher.rewind(committed, condemned);
        self.siding.rewind(epoch);
        tracing::warn!(epoch, "the pipeline rewinds to what is stored");
        let (store, instance) = (self.parts.store.clone(), self.parts.instance.clone());
        let metrics = self.parts.metrics.clone();
        let registry = self.parts.dispatcher.registry().clone();
        // What was refused once is likely to come again.
        let pause = self.refusals.checked_sub(1).map(retry::pause);
        let claim = async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let mut attempt = 0;
            loop {
                match claim_anew(store.as_ref(), &instance, &registry).await {
                    Ok(state) => {
                        if attempt > 0 {
                            metrics.set_store_failing(None);
                        }
                        return state;
                    }
                    Err(error) => {
                        tracing::warn!(%error, attempt, "the writer's row could not be claimed, trying again");
                        metrics.set_store_failing(Some(error.to_string()));
                        tokio::time::sleep(retry::pause(attempt)).await;
                        attempt += 1;
                    }
                }
            }
        };
        let claim = ctx.spawn(claim.into_actor(self).map(move |state, writer, ctx| {
            writer.claim = None;
            writer.claimed = true;
            writer.last = state.last_batch;
            // A commit that was given up may have come true.
            writer.parts.queries.forget();
            writer.alerts += 1;
            writer.parts.progress.send_replace(Progress {
                epoch,
                committed: 0,
                last: writer.last,
                alerts: writer.alerts,
            });
            writer.pump(ctx);
        }));
        self.claim = Some(claim);
    }

    /// Fetches blocks of numbers before they run out.
    fn keep_numbers(&self, ctx: &mut Context<Self>) {
        let (store, dispatcher) = (self.parts.store.clone(), self.parts.dispatcher.clone());
        let refill = async move {
            loop {
                dispatcher.numbers_low().await;
                match store.reserve_batches(NUMBER_BLOCK).await {
                    Ok(first) => dispatcher.add_numbers(first),
                    // The next batch asks again.
                    Err(error) => tracing::warn!(%error, "no batch numbers could be reserved"),
                }
            }
        };
        ctx.spawn(refill.into_actor(self));
        let (store, dispatcher) = (self.parts.store.clone(), self.parts.dispatcher.clone());
        let refill = async move {
            let registry = dispatcher.registry();
            loop {
                let count = registry.numbers_low().await;
                match store.reserve_numbers(count).await {
                    Ok(numbers) => registry.add_numbers(numbers),
                    // The next new name asks again.
                    Err(error) => {
                        tracing::warn!(%error, "no numbers for sensors and series could be reserved")
                    }
                }
            }
        };
        ctx.spawn(refill.into_actor(self));
    }

    fn oldest(&self) -> Option<Instant> {
        self.busy
            .map(|(_, departed)| departed)
            .into_iter()
            .chain(self.siding.oldest())
            .min()
    }
}

impl Actor for StorageWriter {
    type Context = Context<Self>;
}

impl Supervised for StorageWriter {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        // The context has dropped the commit under way. Its trains and those parked are undelivered; the rewind follows when
        // this actor may work again, and until then whatever arrives is dropped likewise.
        self.busy = None;
        self.claim = None;
        self.claimed = false;
        self.parts.dispatcher.set_held(true);
        let epoch = self.siding.epoch();
        self.siding = Siding::new(epoch);
    }
}

impl Supervise for StorageWriter {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        if self.ever_started {
            self.rewind(ctx);
        }
        self.ever_started = true;
        self.keep_numbers(ctx);
        ctx.run_interval(HELD_AFTER / 4, |writer, _| {
            let held = writer
                .oldest()
                .is_some_and(|departed| departed.elapsed() > HELD_AFTER);
            writer.parts.dispatcher.set_held(held || !writer.claimed);
        });
    }
}

impl Message for Arrival {
    type Result = ();
}

impl Handler<Arrival> for StorageWriter {
    type Result = ();

    fn handle(&mut self, arrival: Arrival, ctx: &mut Context<Self>) {
        match arrival {
            Arrival::Complete(train) => {
                if train.accounted() != train.ticket.received {
                    tracing::error!(
                        received = train.ticket.received,
                        accounted = train.accounted(),
                        batch = train.batch.number.0,
                        "a batch does not account for all it received"
                    );
                }
                self.siding.park(train);
                self.pump(ctx);
            }
            Arrival::Broken { epoch, ordinal } => {
                if epoch == self.siding.epoch() {
                    tracing::warn!(epoch, ordinal, "a batch was lost on its way");
                    self.parts.metrics.undelivered();
                    self.rewind(ctx);
                }
            }
        }
    }
}

/// Claims the row again, and learns what other instances have done since.
async fn claim_anew(
    store: &dyn Store,
    instance: &InstanceId,
    registry: &Registry,
) -> Result<WriterState, StoreError> {
    let state = store.claim_writer(instance).await?;
    let provisional = registry.provisional();
    if !provisional.is_empty() {
        let (sensors, series) = store.load_registry(&provisional).await?;
        let replaced = registry.refresh(sensors, series);
        if replaced > 0 {
            tracing::info!(
                replaced,
                "another instance had made sensors or series of the same names"
            );
        }
    }
    if registry.is_shared() {
        let (sensors, series) = store.load_registry(&Scope::Homes(vec![Home::several()])).await?;
        registry.refresh(sensors, series);
        let tenures = registry.tenures();
        let owned = store.owned_positions().await?;
        let owned: FxHashSet<Home> = owned
            .iter()
            .map(|(source, partition)| Home::partition(source, partition))
            .collect();
        let taken = tenures.into_iter();
        let taken = taken.filter(|(home, _)| home.is_partition() && !owned.contains(home));
        let taken: Vec<Tenure> = taken
            .map(|(home, tenure)| {
                tracing::warn!(%home, "another instance has taken it over");
                tenure
            })
            .collect();
        registry.end(&taken);
    }
    Ok(state)
}

/// The queue into the writer; bounded by the permits that the trains carry.
pub struct WriterQueue(pub Addr<StorageWriter>);

impl Terminus for WriterQueue {
    #[expect(clippy::disallowed_methods, reason = "a train carries its permit")]
    fn arrive(&self, arrival: Arrival) {
        self.0.do_send(arrival);
    }
}

fn ledger_of(batch: &crate::storage::CompleteBatch, report: &BatchReport) -> LedgerDelta {
    let mut sum = batch.source_ledger;
    for (_, delta) in batch.outcomes.iter().flat_map(|outcome| &outcome.ledger) {
        sum += *delta;
    }
    sum.stored += report.stored;
    sum.duplicate += report.duplicates.len() as u64;
    sum.rejected += report.conflicts.len() as u64;
    sum
}

fn receipt(batch: &crate::storage::CompleteBatch, report: &BatchReport, ledger: &LedgerDelta) -> Receipt {
    Receipt {
        number: batch.number,
        stored: ledger.stored,
        duplicates: ledger.duplicate,
        refused: batch
            .outcomes
            .iter()
            .flat_map(|outcome| outcome.refused.iter().cloned())
            .collect(),
        conflicts: report.conflicts.clone(),
    }
}
