//! Maintenance: what is past its age goes, and the store does what it has to do again and again.
//!
//! Invariant: one run at a time, however long it takes, on one instance of all: the one that leads. How it fails: a failed run is logged and the next one does its work.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::neighbors;
use crate::actors::query_cache::QueryCache;
use crate::actors::registry::Registry;
use crate::actors::statistics::Statistics;
use crate::actors::supervision::Supervise;
use crate::clock::Clock;
use crate::domain::{Micros, Timestamp};
use crate::storage::Store;
use crate::storage::history::Expiry;

/// How old each kind of row may get; `None` keeps it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub readings: Option<Duration>,
    pub dead_letters: Option<Duration>,
    pub restarts: Option<Duration>,
    /// Times of batches: needed while a reading of them may be replayed.
    pub batches: Option<Duration>,
    pub idempotency_keys: Option<Duration>,
}

impl Retention {
    pub fn at(&self, now: Timestamp) -> Expiry {
        let before = |age: Option<Duration>| {
            let age = Micros::try_from(age?.as_micros()).unwrap_or(Micros::MAX);
            Some(now.saturating_sub(age))
        };
        Expiry {
            readings_before: before(self.readings),
            dead_letters_before: before(self.dead_letters),
            restarts_before: before(self.restarts),
            batches_before: before(self.batches),
            idempotency_before: before(self.idempotency_keys),
            arrivals_before: Some(now),
        }
    }
}

pub struct Maintenance {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub queries: Arc<QueryCache>,
    pub retention: Retention,
    pub registry: Arc<Registry>,
    pub statistics: Arc<Statistics>,
    /// How often the store is maintained.
    pub every: Duration,
    /// How often what is old is deleted.
    pub expire_every: Duration,
    pub state: Progress,
}

/// What is under way, and what was done last.
#[derive(Debug, Default)]
pub struct Progress {
    running: bool,
    expired_at: Option<Timestamp>,
}

impl Maintenance {
    fn run(&mut self, ctx: &mut Context<Self>) {
        if self.state.running {
            return;
        }
        let (store, now) = (self.store.clone(), self.clock.now());
        let queries = self.queries.clone();
        let pause = Micros::try_from(self.expire_every.as_micros()).unwrap_or(Micros::MAX);
        let due = self.state.expired_at.is_none_or(|at| now.since(at) >= pause);
        let limits = due.then(|| self.retention.at(now));
        if due {
            self.state.expired_at = Some(now);
        }
        let run = async move {
            if !leads(store.as_ref()).await {
                return;
            }
            if let Err(error) = store.maintain(now).await {
                tracing::warn!(%error, "the store could not be maintained");
            }
            let Some(limits) = limits else { return };
            let expired = store.expire(&limits).await;
            // What failed may have deleted some.
            if !matches!(expired, Ok(0)) {
                queries.forget();
            }
            match expired {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "expired rows were deleted"),
                Err(error) => tracing::warn!(%error, "expired rows could not be deleted"),
            }
        };
        self.state.running = true;
        let ended = |_, maintenance: &mut Self, _: &mut Context<Self>| maintenance.state.running = false;
        ctx.spawn(run.into_actor(self).map(ended));
    }
}

/// Whether this instance does what is done once for all.
pub(in crate::actors) async fn leads(store: &dyn Store) -> bool {
    store.lead().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "it could not be found out which instance leads");
        false
    })
}

impl Actor for Maintenance {
    type Context = Context<Self>;
}

impl Supervised for Maintenance {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        self.state = Progress::default();
    }
}

impl Supervise for Maintenance {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.every, |maintenance, ctx| maintenance.run(ctx));
        if self.registry.is_shared() {
            let (store, registry) = (self.store.clone(), self.registry.clone());
            let watch = neighbors::watch(store, registry, self.statistics.clone(), self.every);
            ctx.spawn(watch.into_actor(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_becomes_a_time() {
        let none = Retention {
            readings: None,
            dead_letters: None,
            restarts: None,
            batches: None,
            idempotency_keys: None,
        };
        let kept = Expiry {
            // They say themselves for how long they are kept.
            arrivals_before: Some(Timestamp(0)),
            ..Expiry::default()
        };
        assert_eq!(none.at(Timestamp(0)), kept);
        let day = Retention {
            readings: Some(Duration::from_secs(86_400)),
            ..none
        };
        let at = Timestamp::from_seconds(100_000);
        assert_eq!(day.at(at).readings_before, Some(Timestamp::from_seconds(13_600)));
    }
}
