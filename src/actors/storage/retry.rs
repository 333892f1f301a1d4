//! Committing a group until it is known what became of it.
//!
//! Invariant: a group is sent again only when it is known not to be committed. After a lost answer the database is asked first.
//!
//! How it fails: [`GiveUp`] says that this group will not be committed as it is.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use crate::metrics::Metrics;
use crate::storage::{CommitGroup, CommitReport, ErrorClass, Store, StoreError};

/// Why a group was given up.
#[derive(Debug, thiserror::Error)]
pub enum GiveUp {
    /// Another process writes in this one's place.
    #[error("another process has taken this database over: {0}")]
    Fenced(StoreError),
    /// Others have taken over partitions that it would store.
    #[error("partitions have moved away: {0}")]
    Moved(StoreError),
    #[error("the database refuses the data: {0}")]
    Refused(StoreError),
}

/// How long to wait before the next attempt: 50 ms × 2ⁿ up to 5 s, half of it at random.
pub fn pause(attempt: u32) -> Duration {
    let cap = (50_u64 << attempt.min(7)).min(5_000);
    Duration::from_millis(cap / 2 + rand::rng().random_range(0..=cap / 2))
}

/// Commits `group`, waiting for as long as the database is away.
pub async fn commit(
    store: Arc<dyn Store>,
    group: Arc<CommitGroup>,
    metrics: Arc<Metrics>,
) -> Result<CommitReport, GiveUp> {
    let mut patience = Patience::new(&metrics);
    let mut unknown = false;
    let ours = group.batches.last().map(|batch| batch.number);
    loop {
        let error = if unknown {
            match store.last_batch(&group.instance).await {
                Ok(last) if last > ours => {
                    let what = "finding out what became of a commit";
                    let error =
                        StoreError::new(ErrorClass::Fenced, what, "another process has committed since");
                    return Err(GiveUp::Fenced(error));
                }
                Ok(last) if last == ours => {
                    tracing::info!("the answer to a commit was lost, the commit was not");
                    match store.recall(&group).await {
                        Ok(report) => return Ok(report),
                        Err(error) => error,
                    }
                }
                Ok(_) => {
                    unknown = false;
                    continue;
                }
                Err(error) => error,
            }
        } else {
            match store.commit(&group).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            }
        };
        unknown |= error.class == ErrorClass::Unknown;
        patience.after(error).await?;
    }
}

/// Whether the database would take `group`; with its words where it refuses. Nothing is committed.
pub async fn rehearse(
    store: &dyn Store,
    group: &CommitGroup,
    metrics: &Metrics,
) -> Result<Result<(), StoreError>, GiveUp> {
    let mut patience = Patience::new(metrics);
    loop {
        let Err(error) = store.rehearse(group).await else {
            return Ok(Ok(()));
        };
        match patience.after(error).await {
            Err(GiveUp::Refused(error)) => return Ok(Err(error)),
            other => other?,
        }
    }
}

/// What waits between attempts.
struct Patience<'m> {
    metrics: &'m Metrics,
    attempt: u32,
}

impl<'m> Patience<'m> {
    fn new(metrics: &'m Metrics) -> Self {
        Self { metrics, attempt: 0 }
    }

    /// Returns when it is time for the next attempt, if another one is of use.
    async fn after(&mut self, error: StoreError) -> Result<(), GiveUp> {
        self.metrics.store_error(&error);
        match error.class {
            ErrorClass::Fenced => return Err(GiveUp::Fenced(error)),
            ErrorClass::Moved => return Err(GiveUp::Moved(error)),
            ErrorClass::Refused => return Err(GiveUp::Refused(error)),
            ErrorClass::Unknown | ErrorClass::Transient | ErrorClass::TooNew | ErrorClass::Unusable => {}
        }
        let (attempt, wait) = (self.attempt, pause(self.attempt));
        if attempt.is_power_of_two() || attempt == 0 {
            tracing::warn!(%error, class = error.class.as_str(), cause = error.cause.as_str(), attempt, ?wait, "the store failed, trying again");
        }
        self.metrics.set_store_failing(Some(error.to_string()));
        self.attempt += 1;
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
