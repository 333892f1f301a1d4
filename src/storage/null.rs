//! A store that keeps nothing: for measuring everything that comes before a database.
//!
//! Invariants: it says of every row that it was stored, and counts what it was given. It remembers numbers, never
//! content.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::commit::{epochs, moved, newest_arrivals, newest_positions};
use super::history::{
    AuditRow, Bucket, Expiry, History, Page, RestartRow, SensorRecord, StoredDeadLetter, StoredPoint,
    TokenRow,
};
use super::{
    ArrivalPage, BatchReport, Claimed, CommitGroup, CommitReport, ErrorClass, InstanceId, Loaded, Numbers,
    Scope, SensorDefinition, SeriesDefinition, Store, StoreError, StoredSensor, WriterState,
};
use crate::domain::{
    ActiveTime, Anomaly, BatchNumber, Ledger, SensorKey, SeriesId, SourceName, Timestamp, WindowResult,
};

#[derive(Debug, Default)]
pub struct NullStore {
    next_batch: AtomicU64,
    next_number: AtomicU32,
    /// The last batch and one; 0 before the first.
    last_batch: AtomicU64,
    positions: Mutex<HashMap<(SourceName, String), Claimed>>,
    arrivals: Mutex<HashMap<(SourceName, String, u32), ArrivalPage>>,
    rows: AtomicU64,
    groups: AtomicU64,
}

impl NullStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that were committed.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Groups that were committed.
    pub fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    /// Stores the positions of a group, unless one of them was claimed since.
    fn hold_positions(&self, group: &CommitGroup) -> Result<(), StoreError> {
        let mut positions = self.positions.lock();
        for (source, partition, epoch) in epochs(&group.batches) {
            let row = positions.get(&(source.clone(), partition.to_owned()));
            if row.map(|row| row.epoch) != Some(epoch) {
                let what = "committing to nowhere";
                return Err(StoreError::new(ErrorClass::Moved, what, moved(source, partition)));
            }
        }
        for (_, position) in newest_positions(&group.batches) {
            let key = (position.source.clone(), position.partition.clone());
            let none = Claimed {
                epoch: 0,
                offset: None,
            };
            positions.entry(key).or_insert(none).offset = Some(position.offset);
        }
        Ok(())
    }

    fn last(&self) -> Option<BatchNumber> {
        self.last_batch
            .load(Ordering::Acquire)
            .checked_sub(1)
            .map(BatchNumber)
    }
}

#[async_trait]
impl Store for NullStore {
    fn describe(&self) -> String {
        "null (keeps nothing)".into()
    }

    async fn claim_writer(&self, _: &InstanceId) -> Result<WriterState, StoreError> {
        Ok(WriterState {
            last_batch: self.last(),
            active: ActiveTime::default(),
        })
    }

    async fn reserve_batches(&self, count: u64) -> Result<BatchNumber, StoreError> {
        Ok(BatchNumber(
            self.next_batch.fetch_add(count, Ordering::Relaxed) + 1,
        ))
    }

    async fn reserve_numbers(&self, count: u32) -> Result<Numbers, StoreError> {
        let first = self.next_number.fetch_add(count, Ordering::Relaxed) + 1;
        let numbers = first..first + count;
        Ok(Numbers {
            sensors: numbers.clone(),
            series: numbers,
        })
    }

    async fn claim_positions(
        &self,
        source: &SourceName,
        partitions: &[String],
    ) -> Result<Vec<Claimed>, StoreError> {
        let mut positions = self.positions.lock();
        let claim = |partition: &String| {
            let key = (source.clone(), partition.clone());
            let none = Claimed {
                epoch: 0,
                offset: None,
            };
            let row = positions.entry(key).or_insert(none);
            row.epoch += 1;
            *row
        };
        Ok(partitions.iter().map(claim).collect())
    }

    async fn commit(&self, group: &CommitGroup) -> Result<CommitReport, StoreError> {
        self.hold_positions(group)?;
        for page in newest_arrivals(&group.batches) {
            let key = (page.source.clone(), page.session.clone(), page.slot);
            self.arrivals.lock().insert(key, page.clone());
        }
        let report = self.recall(group).await?;
        self.rows.fetch_add(
            report.batches.iter().map(|batch| batch.stored).sum(),
            Ordering::Relaxed,
        );
        self.groups.fetch_add(1, Ordering::Relaxed);
        if let Some(last) = group.batches.last() {
            self.last_batch.store(last.number.0 + 1, Ordering::Release);
        }
        Ok(report)
    }

    async fn rehearse(&self, _: &CommitGroup) -> Result<(), StoreError> {
        Ok(())
    }

    async fn recall(&self, group: &CommitGroup) -> Result<CommitReport, StoreError> {
        let stored = |batch: &super::CompleteBatch| batch.outcomes.iter().map(|o| o.rows.len() as u64).sum();
        let batches = group.batches.iter().map(|batch| BatchReport {
            stored: stored(batch),
            ..Default::default()
        });
        Ok(CommitReport {
            batches: batches.collect(),
        })
    }

    async fn last_batch(&self, _: &InstanceId) -> Result<Option<BatchNumber>, StoreError> {
        Ok(self.last())
    }

    async fn load_registry(
        &self,
        _: &Scope,
    ) -> Result<(Vec<SensorDefinition>, Vec<SeriesDefinition>), StoreError> {
        Ok((Vec::new(), Vec::new()))
    }

    async fn registry_size(&self) -> Result<(u64, u64), StoreError> {
        Ok((0, 0))
    }

    async fn deadlines(&self, _: &Scope) -> Result<Vec<(SensorKey, ActiveTime)>, StoreError> {
        Ok(Vec::new())
    }

    async fn sensors_behind(&self, _: &Scope) -> Result<Vec<SensorKey>, StoreError> {
        Ok(Vec::new())
    }

    async fn load_sensors(&self, sensors: &[SensorKey], _: usize) -> Result<Loaded, StoreError> {
        let empty = |sensor: &SensorKey| StoredSensor {
            alerts: Vec::new(),
            sensor: *sensor,
            snapshot: None,
            tail: Vec::new(),
            more: false,
        };
        Ok(Loaded {
            as_of: self.last(),
            sensors: sensors.iter().map(empty).collect(),
        })
    }

    async fn load_recent(&self, sensor: SensorKey, _: usize) -> Result<Loaded, StoreError> {
        self.load_sensors(&[sensor], 0).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {}
}

#[async_trait]
impl History for NullStore {
    async fn readings(&self, _: SeriesId, _: &Page) -> Result<Vec<StoredPoint>, StoreError> {
        Ok(Vec::new())
    }

    async fn windows(&self, _: SeriesId, _: &Page) -> Result<Vec<WindowResult>, StoreError> {
        Ok(Vec::new())
    }

    async fn anomalies(&self, _: &[SeriesId], _: &Page) -> Result<Vec<Anomaly>, StoreError> {
        Ok(Vec::new())
    }

    async fn buckets(&self, _: SeriesId, _: &Page, _: i64) -> Result<Vec<Bucket>, StoreError> {
        Ok(Vec::new())
    }

    async fn latest(&self, _: &[SeriesId]) -> Result<Vec<(SeriesId, StoredPoint)>, StoreError> {
        Ok(Vec::new())
    }

    async fn sensor_ledger(&self, _: SensorKey) -> Result<SensorRecord, StoreError> {
        Ok(SensorRecord::default())
    }

    async fn source_ledgers(&self) -> Result<Vec<(SourceName, Ledger)>, StoreError> {
        Ok(Vec::new())
    }

    async fn ledger_total(&self) -> Result<Ledger, StoreError> {
        Ok(Ledger::default())
    }

    async fn dead_letters(&self, _: Option<i64>, _: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        Ok(Vec::new())
    }

    async fn dead_letter(&self, _: i64) -> Result<Option<StoredDeadLetter>, StoreError> {
        Ok(None)
    }

    async fn mark_replayed(&self, _: i64, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn record_restarts(&self, _: &[RestartRow]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn restarts(&self, _: Option<&str>, _: usize) -> Result<Vec<RestartRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn record_audit(&self, _: &AuditRow) -> Result<(), StoreError> {
        Ok(())
    }

    async fn audit_log(&self, _: usize) -> Result<Vec<AuditRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn add_token(&self, _: &TokenRow) -> Result<(), StoreError> {
        Ok(())
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn revoke_token(&self, _: &str) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn position(&self, source: &SourceName, partition: &str) -> Result<Option<i64>, StoreError> {
        let key = (source.clone(), partition.to_owned());
        Ok(self.positions.lock().get(&key).and_then(|row| row.offset))
    }

    async fn arrivals(&self, source: &SourceName, session: &str) -> Result<Vec<ArrivalPage>, StoreError> {
        let arrivals = self.arrivals.lock();
        let ours = |page: &&ArrivalPage| page.source == *source && page.session == session;
        Ok(arrivals.values().filter(ours).cloned().collect())
    }

    async fn set_paused(&self, _: SensorKey, _: bool) -> Result<(), StoreError> {
        Ok(())
    }

    async fn paused(&self) -> Result<Vec<SensorKey>, StoreError> {
        Ok(Vec::new())
    }

    async fn expire(&self, _: &Expiry) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BatchTime, Flags, LedgerDelta, Reading};
    use crate::storage::{CompleteBatch, Row, SliceOutcome};

    #[tokio::test]
    async fn it_counts_rows_and_keeps_the_last_batch() {
        let store = NullStore::new();
        let instance = InstanceId("bench".into());
        assert_eq!(store.last_batch(&instance).await.unwrap(), None);
        let first = store.reserve_batches(10).await.unwrap();
        assert!(store.reserve_batches(1).await.unwrap().0 >= first.0 + 10);
        let reading = Reading {
            series: SeriesId(1),
            time: Timestamp(1),
            value: 1.0,
            index: 0,
            flags: Flags::NONE,
        };
        let outcome = SliceOutcome {
            rows: vec![
                Row {
                    sensor: SensorKey(1),
                    reading
                };
                3
            ],
            ..Default::default()
        };
        let batch = CompleteBatch {
            number: first,
            at: BatchTime {
                now: Timestamp(1),
                active: ActiveTime(1),
            },
            source: SourceName::parse("bench").unwrap(),
            sensors: Vec::new(),
            series: Vec::new(),
            positions: Vec::new(),
            arrivals: Vec::new(),
            source_ledger: LedgerDelta::default(),
            dead_letters: Vec::new(),
            outcomes: vec![outcome],
        };
        let group = CommitGroup {
            instance: instance.clone(),
            batches: vec![batch],
        };
        let report = store.commit(&group).await.unwrap();
        assert_eq!(report.batches[0].stored, 3);
        assert_eq!((store.rows(), store.groups()), (3, 1));
        assert_eq!(store.last_batch(&instance).await.unwrap(), Some(first));
    }
}
