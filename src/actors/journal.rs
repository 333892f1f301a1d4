//! The journal of restarts: who, when, why, and how long it took.
//!
//! Entries are written to the store in the background. Invariants: whoever reports never waits; when [`Journal::flush`] returns,
//! what was recorded before is written. How it fails: while the store is away entries wait in memory; past [`BACKLOG`] the newest
//! are only logged.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::hub::Live;
use super::storage::retry;
use super::supervision::{EventKind, ExitReason, RestartObserver, SupervisionEvent};
use crate::domain::Timestamp;
use crate::metrics::Metrics;
use crate::storage::Store;
use crate::storage::history::RestartRow;

const BACKLOG: usize = 10_000;

/// Entries of one transaction: a rewind brings back thousands of sensors at the same moment.
const AT_ONCE: usize = 1_000;

#[derive(Clone)]
pub struct Journal {
    entries: mpsc::Sender<Entry>,
    /// Where those are told who look at a sensor.
    live: Option<Arc<Live>>,
}

#[derive(Debug)]
enum Entry {
    Row(RestartRow),
    /// Somebody waits for what came before.
    Flush(oneshot::Sender<()>),
}

impl Journal {
    /// The journal and the task that writes it; the task ends when the last journal is gone.
    pub fn new(store: Arc<dyn Store>, live: Option<Arc<Live>>) -> (Self, impl Future<Output = ()> + Send) {
        let (tx, mut rx) = mpsc::channel(BACKLOG);
        let write = async move {
            let mut entries = Vec::new();
            while rx.recv_many(&mut entries, AT_ONCE).await > 0 {
                let (mut rows, mut waiting) = (Vec::new(), Vec::new());
                for entry in entries.drain(..) {
                    match entry {
                        Entry::Row(row) => rows.push(row),
                        Entry::Flush(done) => waiting.push(done),
                    }
                }
                write_rows(store.as_ref(), &rows).await;
                for done in waiting {
                    // Who waited may have given up.
                    let _ = done.send(());
                }
            }
        };
        (Self { entries: tx, live }, write)
    }

    pub fn record(&self, row: RestartRow) {
        if let Some(live) = &self.live {
            live.restarted(&row);
        }
        if let Err(error) = self.entries.try_send(Entry::Row(row)) {
            tracing::warn!(%error, "a restart is not recorded");
        }
    }

    /// Returns when all that was recorded before is written, or nobody writes any more.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

async fn write_rows(store: &dyn Store, rows: &[RestartRow]) {
    let mut attempt = 0;
    while !rows.is_empty()
        && let Err(error) = store.record_restarts(rows).await
    {
        tracing::warn!(%error, attempt, "restarts could not be recorded, trying again");
        tokio::time::sleep(retry::pause(attempt)).await;
        attempt += 1;
    }
}

/// Writes what the supervisors of long-lived actors tell, and counts it.
pub struct TreeObserver {
    pub journal: Journal,
    pub metrics: Arc<Metrics>,
}

impl RestartObserver for TreeObserver {
    fn observe(&self, event: &SupervisionEvent) {
        count(&self.metrics, "service", event);
        let (reason, detail, by, took) = match &event.kind {
            EventKind::Restarted { reason, took } => match reason {
                ExitReason::Panicked(crash) => ("panic", crash.to_string(), None, Some(*took)),
                ExitReason::Admin { by, why } => ("admin", why.clone(), Some(by.clone()), Some(*took)),
                other => ("stopped", other.to_string(), None, Some(*took)),
            },
            EventKind::Quarantined { crash } => ("quarantine", crash.to_string(), None, None),
            EventKind::Degraded { crash } => ("degraded", crash.to_string(), None, None),
            EventKind::Revived { by, why } => ("revive", why.clone(), Some(by.clone()), None),
            _ => return,
        };
        self.journal.record(RestartRow {
            time: Timestamp(event.at.timestamp_micros()),
            actor: event.path.to_string(),
            reason: reason.to_owned(),
            detail,
            by,
            took_us: took.and_then(|took| i64::try_from(took.as_micros()).ok()),
        });
    }
}

/// Counts what happens to sensors; what is recorded of them, they record themselves when they work again.
pub struct SensorObserver(pub Arc<Metrics>);

impl RestartObserver for SensorObserver {
    fn observe(&self, event: &SupervisionEvent) {
        count(&self.0, "sensor", event);
    }
}

fn count(metrics: &Metrics, kind: &'static str, event: &SupervisionEvent) {
    match &event.kind {
        EventKind::Crashed { .. } | EventKind::Contained { .. } => metrics.crashed(kind),
        EventKind::Restarted { .. } => metrics.restarted(kind),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::{SqliteSettings, SqliteStore};

    fn row(time: usize) -> RestartRow {
        RestartRow {
            time: Timestamp(time as i64),
            actor: "sensor/a".into(),
            reason: "panic".into(),
            detail: String::new(),
            by: None,
            took_us: None,
        }
    }

    #[tokio::test]
    async fn what_was_recorded_before_a_flush_is_written_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let settings = SqliteSettings::new(directory.path().join("journal.db"));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&settings).await.unwrap());
        let (journal, write) = Journal::new(store.clone(), None);
        let flushed = async {
            for time in 0..3 * AT_ONCE {
                journal.record(row(time));
            }
            journal.flush().await;
            store.restarts(None, BACKLOG).await.unwrap().len()
        };
        tokio::select! {
            () = write => panic!("there is a journal"),
            written = flushed => assert_eq!(written, 3 * AT_ONCE),
        }
        // Nobody writes any more.
        journal.flush().await;
    }

    #[tokio::test]
    async fn what_waits_is_written_and_what_is_too_much_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let settings = SqliteSettings::new(directory.path().join("journal.db"));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&settings).await.unwrap());
        let (journal, write) = Journal::new(store.clone(), None);
        for time in 0..=BACKLOG {
            journal.record(row(time));
        }
        drop(journal);
        write.await;
        let rows = store.restarts(None, 2 * BACKLOG).await.unwrap();
        assert_eq!(rows.len(), BACKLOG);
        assert_eq!(
            (rows[BACKLOG - 1].clone(), rows[0].clone()),
            (row(0), row(BACKLOG - 1))
        );
    }
}
