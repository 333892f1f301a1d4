//! The real store, with faults on top: commits that fail before, that fail after, that are refused, that take their time, that
//! land although nobody waits any more; reads that fail, and snapshots that nobody can read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sensorhive::domain::*;
use sensorhive::storage::history::*;
use sensorhive::storage::*;

/// How likely each fault is, of a thousand commits.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    pub transient: u32,
    /// The answer is lost; the transaction had committed.
    pub lost_after: u32,
    /// The answer is lost; the transaction had not committed.
    pub lost_before: u32,
    pub refused: u32,
    pub slow: u32,
    /// Goes on when the writer has turned away from it.
    pub orphan: u32,
    /// Of a thousand snapshots.
    pub unreadable: u32,
    /// Of a thousand reads for a catch-up; claims after a rewind fail three times as often.
    pub failed_reads: u32,
}

impl Faults {
    pub const NONE: Faults = Faults {
        transient: 0,
        lost_after: 0,
        lost_before: 0,
        refused: 0,
        slow: 0,
        orphan: 0,
        unreadable: 0,
        failed_reads: 0,
    };
}

/// How often each fault happened.
#[derive(Debug, Default)]
pub struct Injected {
    pub commits: AtomicU64,
    pub transient: AtomicU64,
    pub lost_after: AtomicU64,
    pub lost_before: AtomicU64,
    pub refused: AtomicU64,
    pub failed_reads: AtomicU64,
    pub orphans: AtomicU64,
    pub unreadable: AtomicU64,
    /// Not injected: the most snapshots that a batch brought.
    pub most_snapshots: AtomicU64,
    /// Not injected: the service ended by itself.
    pub gave_up: AtomicU64,
}

pub struct FaultyStore<S> {
    inner: Arc<S>,
    shared: Arc<Shared>,
    claimed: AtomicBool,
}

/// What outlives a restart of the process.
pub struct Shared {
    faults: Mutex<Faults>,
    rng: Mutex<ChaCha8Rng>,
    pub injected: Injected,
}

impl Shared {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            faults: Mutex::new(Faults::NONE),
            rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            injected: Injected::default(),
        })
    }

    pub fn set(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    fn draw(&self) -> u32 {
        self.rng.lock().random_range(0..1000)
    }
}

impl<S: Store> FaultyStore<S> {
    pub fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self {
            inner: Arc::new(inner),
            shared,
            claimed: AtomicBool::new(false),
        }
    }
}

fn error(class: ErrorClass) -> StoreError {
    StoreError::new(class, "an injected fault", "as planned")
}

fn copy(group: &CommitGroup) -> CommitGroup {
    CommitGroup {
        instance: group.instance.clone(),
        batches: group.batches.clone(),
    }
}

#[async_trait]
impl<S: Store + 'static> Store for FaultyStore<S> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn claim_writer(&self, instance: &InstanceId) -> Result<WriterState, StoreError> {
        // The first is that of the start.
        let again = self.claimed.swap(true, Ordering::Relaxed);
        if again && self.shared.draw() < 3 * self.shared.faults.lock().failed_reads {
            return Err(error(ErrorClass::Transient));
        }
        self.inner.claim_writer(instance).await
    }

    async fn reserve_batches(&self, count: u64) -> Result<BatchNumber, StoreError> {
        self.inner.reserve_batches(count).await
    }

    async fn reserve_numbers(&self, count: u32) -> Result<Numbers, StoreError> {
        self.inner.reserve_numbers(count).await
    }

    async fn claim_positions(
        &self,
        source: &SourceName,
        partitions: &[String],
    ) -> Result<Vec<Claimed>, StoreError> {
        self.inner.claim_positions(source, partitions).await
    }

    async fn commit(&self, group: &CommitGroup) -> Result<CommitReport, StoreError> {
        self.shared.injected.commits.fetch_add(1, Ordering::Relaxed);
        for batch in &group.batches {
            let snapshots = batch.outcomes.iter().map(|outcome| outcome.snapshots.len());
            let most = &self.shared.injected.most_snapshots;
            most.fetch_max(snapshots.sum::<usize>() as u64, Ordering::Relaxed);
        }
        let faults = *self.shared.faults.lock();
        if self.shared.draw() < faults.slow {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut draw = self.shared.draw();
        let mut hit = |share: u32| {
            let hit = draw < share;
            draw = draw.saturating_sub(share).max(if hit { u32::MAX } else { 0 });
            hit
        };
        if hit(faults.transient) {
            self.shared.injected.transient.fetch_add(1, Ordering::Relaxed);
            return Err(error(ErrorClass::Transient));
        }
        if hit(faults.lost_before) {
            self.shared.injected.lost_before.fetch_add(1, Ordering::Relaxed);
            return Err(error(ErrorClass::Unknown));
        }
        if hit(faults.refused) {
            self.shared.injected.refused.fetch_add(1, Ordering::Relaxed);
            return Err(error(ErrorClass::Refused));
        }
        let report = if hit(faults.orphan) {
            let (inner, group) = (self.inner.clone(), copy(group));
            let commit = tokio::spawn(async move { inner.commit(&group).await });
            self.shared.injected.orphans.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(3)).await;
            commit.await.map_err(|_| error(ErrorClass::Unknown))??
        } else {
            self.inner.commit(group).await?
        };
        if hit(faults.lost_after) {
            self.shared.injected.lost_after.fetch_add(1, Ordering::Relaxed);
            return Err(error(ErrorClass::Unknown));
        }
        Ok(report)
    }

    async fn rehearse(&self, group: &CommitGroup) -> Result<(), StoreError> {
        if self.shared.draw() < self.shared.faults.lock().transient {
            return Err(error(ErrorClass::Transient));
        }
        self.inner.rehearse(group).await
    }

    async fn recall(&self, group: &CommitGroup) -> Result<CommitReport, StoreError> {
        self.inner.recall(group).await
    }

    async fn last_batch(&self, instance: &InstanceId) -> Result<Option<BatchNumber>, StoreError> {
        self.inner.last_batch(instance).await
    }

    async fn load_registry(
        &self,
        scope: &Scope,
    ) -> Result<(Vec<SensorDefinition>, Vec<SeriesDefinition>), StoreError> {
        // That of the start is about everybody.
        if *scope != Scope::All && self.shared.draw() < 3 * self.shared.faults.lock().failed_reads {
            return Err(error(ErrorClass::Transient));
        }
        self.inner.load_registry(scope).await
    }

    async fn registry_size(&self) -> Result<(u64, u64), StoreError> {
        self.inner.registry_size().await
    }

    async fn deadlines(&self, scope: &Scope) -> Result<Vec<(SensorKey, ActiveTime)>, StoreError> {
        self.inner.deadlines(scope).await
    }

    async fn sensors_behind(&self, scope: &Scope) -> Result<Vec<SensorKey>, StoreError> {
        self.inner.sensors_behind(scope).await
    }

    async fn load_sensors(&self, sensors: &[SensorKey], max_readings: usize) -> Result<Loaded, StoreError> {
        if self.shared.draw() < self.shared.faults.lock().failed_reads {
            self.shared.injected.failed_reads.fetch_add(1, Ordering::Relaxed);
            return Err(error(ErrorClass::Transient));
        }
        let mut loaded = self.inner.load_sensors(sensors, max_readings).await?;
        let unreadable = self.shared.faults.lock().unreadable;
        for sensor in &mut loaded.sensors {
            if let Some((_, bytes)) = &mut sensor.snapshot
                && self.shared.draw() < unreadable
            {
                self.shared.injected.unreadable.fetch_add(1, Ordering::Relaxed);
                bytes.truncate(bytes.len() / 2);
            }
        }
        Ok(loaded)
    }

    async fn load_recent(&self, sensor: SensorKey, limit: usize) -> Result<Loaded, StoreError> {
        self.inner.load_recent(sensor, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl<S: Store + 'static> History for FaultyStore<S> {
    async fn readings(&self, series: SeriesId, page: &Page) -> Result<Vec<StoredPoint>, StoreError> {
        self.inner.readings(series, page).await
    }

    async fn windows(&self, series: SeriesId, page: &Page) -> Result<Vec<WindowResult>, StoreError> {
        self.inner.windows(series, page).await
    }

    async fn anomalies(&self, series: &[SeriesId], page: &Page) -> Result<Vec<Anomaly>, StoreError> {
        self.inner.anomalies(series, page).await
    }

    async fn buckets(&self, series: SeriesId, page: &Page, step: i64) -> Result<Vec<Bucket>, StoreError> {
        self.inner.buckets(series, page, step).await
    }

    async fn latest(&self, series: &[SeriesId]) -> Result<Vec<(SeriesId, StoredPoint)>, StoreError> {
        self.inner.latest(series).await
    }

    async fn sensor_ledger(&self, sensor: SensorKey) -> Result<SensorRecord, StoreError> {
        self.inner.sensor_ledger(sensor).await
    }

    async fn source_ledgers(&self) -> Result<Vec<(SourceName, Ledger)>, StoreError> {
        self.inner.source_ledgers().await
    }

    async fn ledger_total(&self) -> Result<Ledger, StoreError> {
        self.inner.ledger_total().await
    }

    async fn dead_letters(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        self.inner.dead_letters(before, limit).await
    }

    async fn dead_letter(&self, id: i64) -> Result<Option<StoredDeadLetter>, StoreError> {
        self.inner.dead_letter(id).await
    }

    async fn mark_replayed(&self, id: i64, at: Timestamp) -> Result<bool, StoreError> {
        self.inner.mark_replayed(id, at).await
    }

    async fn record_restarts(&self, restarts: &[RestartRow]) -> Result<(), StoreError> {
        self.inner.record_restarts(restarts).await
    }

    async fn restarts(&self, actor: Option<&str>, limit: usize) -> Result<Vec<RestartRow>, StoreError> {
        self.inner.restarts(actor, limit).await
    }

    async fn record_audit(&self, entry: &AuditRow) -> Result<(), StoreError> {
        self.inner.record_audit(entry).await
    }

    async fn audit_log(&self, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.inner.audit_log(limit).await
    }

    async fn add_token(&self, token: &TokenRow) -> Result<(), StoreError> {
        self.inner.add_token(token).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.inner.tokens().await
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        self.inner.revoke_token(id).await
    }

    async fn position(&self, source: &SourceName, partition: &str) -> Result<Option<i64>, StoreError> {
        self.inner.position(source, partition).await
    }

    async fn arrivals(&self, source: &SourceName, session: &str) -> Result<Vec<ArrivalPage>, StoreError> {
        self.inner.arrivals(source, session).await
    }

    async fn set_paused(&self, sensor: SensorKey, paused: bool) -> Result<(), StoreError> {
        self.inner.set_paused(sensor, paused).await
    }

    async fn paused(&self) -> Result<Vec<SensorKey>, StoreError> {
        self.inner.paused().await
    }

    async fn expire(&self, limits: &Expiry) -> Result<u64, StoreError> {
        self.inner.expire(limits).await
    }
}
