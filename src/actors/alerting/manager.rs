//! The AlertManager: events of alerts in, notifications out, a transaction a turn.
//!
//! Invariants: an event is noticed in the transaction that stores what it led to, so nothing is lost and nothing is told twice, whenever
//! the process dies. What is decided is decided by [`Decider`]; here is only when it is asked and where its answers go. One
//! instance of all decides, the one that leads; should there be two for a moment, the turn of one of them is taken.
//!
//! How it fails: whatever goes wrong with the store, the state is thrown away and read again after a pause.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::decide::{Decider, Policy, Unreadable};
use crate::actors::storage::maintenance::leads;
use crate::actors::storage::progress::Progress;
use crate::actors::storage::retry;
use crate::actors::supervision::Supervise;
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::storage::{Alerts, Notices, Store, StoreError};

/// Events that are noticed in one turn.
const AT_ONCE: usize = 1_000;
/// How often it looks at what people have said elsewhere, and whether it leads.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Wakes the manager: somebody has said something to an alert.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

pub struct ManagerParts {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub policy: Arc<Policy>,
    pub progress: watch::Receiver<Progress>,
    pub bell: Bell,
    /// Counts what there is to be sent.
    pub made: watch::Sender<u64>,
}

pub struct AlertManager {
    parts: Arc<ManagerParts>,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl AlertManager {
    pub fn new(parts: ManagerParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }
}

impl Actor for AlertManager {
    type Context = Context<Self>;
}

impl Supervised for AlertManager {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {}
}

impl Supervise for AlertManager {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        ctx.spawn(async move { run(&parts).await }.into_actor(self));
    }
}

async fn run(parts: &ManagerParts) {
    let (Some(notices), Some(alerts)) = (parts.store.notices(), parts.store.alerts()) else {
        return;
    };
    let mut failures = 0;
    loop {
        if !leads(parts.store.as_ref()).await {
            sleep(LOOK_EVERY).await;
            continue;
        }
        match decide(parts, notices, alerts, &mut failures).await {
            Ok(()) => tracing::info!("another instance has decided on alerts"),
            Err(error) => {
                tracing::warn!(%error, failures, "what alerts lead to could not be decided, trying again");
                sleep(retry::pause(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

/// Decides until somebody else does, or something goes wrong.
async fn decide(
    parts: &ManagerParts,
    notices: &dyn Notices,
    alerts: &dyn Alerts,
    failures: &mut u32,
) -> Result<(), Trouble> {
    let mut progress = parts.progress.clone();
    let mut decider = Decider::load(parts.policy.clone(), notices.alerting_state().await?)?;
    decider.adopt(parts.clock.now());
    let mut look_at = Instant::now();
    let mut heard = true;
    loop {
        let seen = progress.borrow_and_update().alerts;
        let waiting = notices.waiting_events(AT_ONCE).await?;
        let more = waiting.len() == AT_ONCE;
        // Who is silenced before an event must not be told of it.
        let hears = heard || !waiting.is_empty();
        let now = parts.clock.now();
        for event in waiting {
            decider.notice(now, event);
        }
        if hears || look_at <= Instant::now() {
            decider.hear(now, notices.said().await?, alerts.silences(now).await?);
            look_at = Instant::now() + LOOK_EVERY;
            if !hears && !leads(parts.store.as_ref()).await {
                return Ok(());
            }
        }
        decider.settle(now);
        if let Some((turn, decided)) = decider.take() {
            if !notices.decide(turn, &decided).await? {
                return Ok(());
            }
            if !decided.notifications.is_empty() {
                parts.made.send_modify(|made| *made += 1);
            }
        }
        *failures = 0;
        heard = false;
        if more {
            continue;
        }
        let stored = async {
            // The writer is gone: there is nothing more to come.
            if progress
                .wait_for(|progress| progress.alerts != seen)
                .await
                .is_err()
            {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = stored => {}
            () = parts.bell.0.notified() => heard = true,
            () = sleep_until(look_at.min(due(decider.next(), now))) => {}
        }
    }
}

fn due(next: Option<Timestamp>, now: Timestamp) -> Instant {
    let wait = next.map_or(LOOK_EVERY, |next| {
        Duration::from_micros(next.since(now).max(0).unsigned_abs()).min(LOOK_EVERY)
    });
    Instant::now() + wait
}
