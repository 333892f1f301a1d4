//! What the writer makes of a commit whose answer was lost.

use std::sync::Arc;

use sensorhive::actors::storage::retry::{self, GiveUp};
use sensorhive::domain::*;
use sensorhive::metrics::Metrics;
use sensorhive::storage::sqlite::{SqliteSettings, SqliteStore};
use sensorhive::storage::*;

use super::faulty::{Faults, FaultyStore, Shared};

struct Process {
    store: Arc<FaultyStore<SqliteStore>>,
    shared: Arc<Shared>,
}

impl Process {
    /// Claims the writer's row.
    async fn start(settings: &SqliteSettings) -> Self {
        let shared = Shared::new(0);
        let store = FaultyStore::new(SqliteStore::open(settings).await.unwrap(), shared.clone());
        store.claim_writer(&instance()).await.unwrap();
        Self {
            store: Arc::new(store),
            shared,
        }
    }

    async fn commit(&self, number: u64, faults: Faults) -> Result<CommitReport, GiveUp> {
        self.shared.set(faults);
        retry::commit(self.store.clone(), group(number), Arc::new(Metrics::default())).await
    }
}

fn instance() -> InstanceId {
    InstanceId("model".into())
}

/// One batch with one reading.
fn group(number: u64) -> Arc<CommitGroup> {
    let row = Row {
        sensor: SensorKey(1),
        reading: Reading {
            series: SeriesId(1),
            time: Timestamp(number as i64),
            value: 1.0,
            index: 0,
            flags: Flags::NONE,
        },
    };
    let batch = CompleteBatch {
        number: BatchNumber(number),
        at: BatchTime {
            now: Timestamp(0),
            active: ActiveTime(0),
        },
        source: SourceName::parse("test").unwrap(),
        sensors: Vec::new(),
        series: Vec::new(),
        positions: Vec::new(),
        arrivals: Vec::new(),
        source_ledger: LedgerDelta::default(),
        dead_letters: Vec::new(),
        outcomes: vec![SliceOutcome {
            rows: vec![row],
            ..SliceOutcome::default()
        }],
    };
    Arc::new(CommitGroup {
        instance: instance(),
        batches: vec![batch],
    })
}

#[tokio::test]
async fn the_answer_was_lost_and_the_commit_was_not() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(&SqliteSettings::new(directory.path().join("model.db"))).await;
    let lost = Faults {
        lost_after: 1000,
        ..Faults::NONE
    };
    let report = process.commit(5, lost).await.unwrap();
    assert_eq!(report.batches[0].stored, 1);
    assert_eq!(
        process.store.last_batch(&instance()).await.unwrap(),
        Some(BatchNumber(5))
    );
}

#[tokio::test]
async fn the_answer_was_lost_and_somebody_else_has_committed_since() {
    let directory = tempfile::tempdir().unwrap();
    let settings = SqliteSettings::new(directory.path().join("model.db"));
    let old = Process::start(&settings).await;
    old.commit(5, Faults::NONE).await.unwrap();
    let new = Process::start(&settings).await;
    new.commit(10, Faults::NONE).await.unwrap();
    let lost = Faults {
        lost_before: 1000,
        ..Faults::NONE
    };
    let given_up = old.commit(6, lost).await;
    assert!(matches!(given_up, Err(GiveUp::Fenced(_))), "{given_up:?}");
}
