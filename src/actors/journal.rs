//! The journal of restarts: who, when, why, and how long it took.
//!
//! Entries are written to the store in the background. Invariant: whoever reports never waits. How it fails: while the store is
//! away entries wait in memory; past [`BACKLOG`] the newest are only logged.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::storage::retry;
use super::supervision::{EventKind, ExitReason, RestartObserver, SupervisionEvent};
use crate::domain::Timestamp;
use crate::metrics::Metrics;
use crate::storage::Store;
use crate::storage::history::RestartRow;

const BACKLOG: usize = 10_000;

#[derive(Debug, Clone)]
pub struct Journal(mpsc::Sender<RestartRow>);

impl Journal {
    /// The journal and the task that writes it; the task ends when the last journal is gone.
    pub fn new(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send) {
        let (tx, mut rx) = mpsc::channel::<RestartRow>(BACKLOG);
        let write = async move {
            while let Some(row) = rx.recv().await {
                let mut attempt = 0;
                while let Err(error) = store.record_restart(&row).await {
                    tracing::warn!(%error, attempt, "a restart could not be recorded, trying again");
                    tokio::time::sleep(retry::pause(attempt)).await;
                    attempt += 1;
                }
            }
        };
        (Self(tx), write)
    }

    pub fn record(&self, row: RestartRow) {
        if let Err(error) = self.0.try_send(row) {
            tracing::warn!(%error, "a restart is not recorded");
        }
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
