//! What sources have in common that fetch what they bring: files, URLs, Redis.
//!
//! Each is a [`Fetch`] that goes round by itself, behind a [`FetchedSource`]: the mailbox and the life around it. Invariants: what was
//! fetched is sent again until it is stored, decoded anew each time, and only then its source is told; what is under way when the
//! service stops is stored first. How it fails: a panic ends the round, and the next one begins with what is stored.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::LocalBoxFuture;
use tokio::sync::watch;

use super::{DraftBatch, Intake, SourceCommand, SourceDetail, SourceState, SourceStatus};
use crate::actors::batch::Delivery;
use crate::actors::storage::retry;
use crate::actors::supervision::Supervise;
use crate::domain::Timestamp;
use crate::storage::{Position, Store, StoreError};

/// Fetches, and stores what it fetched.
pub trait Fetch: 'static {
    /// Goes round until it is told to stop.
    fn run(self: Rc<Self>, link: Rc<Link>) -> LocalBoxFuture<'static, ()>;
    fn detail(&self) -> SourceDetail;
}

/// What a fetcher works with.
pub struct Link {
    pub intake: Intake,
    store: Arc<dyn Store>,
    state: watch::Sender<SourceState>,
    shown: RefCell<Shown>,
}

#[derive(Default)]
struct Shown {
    under_way: usize,
    delivered: u64,
    retries: u64,
}

/// Told to stop before it was stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;

impl Link {
    /// Waits while the source is paused; [`Stopped`] when it is to take nothing more.
    pub async fn go(&self) -> Result<(), Stopped> {
        let mut state = self.state.subscribe();
        let told = state
            .wait_for(|state| !matches!(state, SourceState::Paused))
            .await;
        match told.map(|state| *state) {
            Ok(SourceState::Stopping) | Err(_) => Err(Stopped),
            Ok(_) => Ok(()),
        }
    }

    /// Waits, or until the source is told to pause or to stop.
    pub async fn rest(&self, time: Duration) {
        self.unless_told(tokio::time::sleep(time)).await;
    }

    /// Does `work` unless the source is told to pause or to stop first.
    pub async fn unless_told<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut state = self.state.subscribe();
        tokio::select! {
            done = work => Some(done),
            _ = state.wait_for(|state| matches!(state, SourceState::Paused | SourceState::Stopping)) => None,
        }
    }

    /// What is stored of a position.
    pub async fn position(&self, partition: &str) -> Result<Option<i64>, StoreError> {
        self.store.position(self.intake.source(), partition).await
    }

    /// The same, asked until the database answers.
    pub async fn insist_position(&self, partition: &str) -> Result<Option<i64>, Stopped> {
        let mut attempt = 0;
        loop {
            match self.position(partition).await {
                Ok(position) => return Ok(position),
                Err(error) => {
                    let source = self.intake.source().as_str();
                    tracing::warn!(source, %error, "a position cannot be read, trying again");
                }
            }
            self.rest(retry::pause(attempt)).await;
            self.go().await?;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Positions whose names begin so, each with when it was last stored.
    pub async fn positions_of(&self, prefix: &str) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.store.positions_of(self.intake.source(), prefix).await
    }

    /// Forgets positions that were last stored before a time.
    pub async fn forget(&self, partitions: &[String], before: Timestamp) -> Result<u64, StoreError> {
        let source = self.intake.source();
        self.store.forget_positions(source, partitions, before).await
    }

    pub fn stored_at(&self, partition: String, offset: i64) -> Position {
        Position {
            source: self.intake.source().clone(),
            partition,
            offset,
            epoch: None,
        }
    }

    /// Sends a batch until it is stored. `make` is asked for it each time: what a name resolves to may have changed.
    pub async fn store(
        &self,
        bytes: usize,
        make: impl for<'i> Fn(&'i Intake) -> (DraftBatch<'i>, Vec<Position>),
    ) -> Result<(), Stopped> {
        let _under_way = UnderWay::begin(self);
        let mut attempt: u32 = 0;
        loop {
            let (batch, positions) = make(&self.intake);
            if let Delivery::Stored(_) = self.intake.deliver_whole(batch, bytes, positions).await {
                self.shown.borrow_mut().delivered += 1;
                return Ok(());
            }
            if *self.state.borrow() == SourceState::Stopping {
                return Err(Stopped);
            }
            self.shown.borrow_mut().retries += 1;
            tokio::time::sleep(retry::pause(attempt)).await;
            attempt = attempt.saturating_add(1);
        }
    }
}

/// Counts a batch, whatever becomes of the one who waits for it.
struct UnderWay<'l>(&'l Link);

impl<'l> UnderWay<'l> {
    fn begin(link: &'l Link) -> Self {
        link.shown.borrow_mut().under_way += 1;
        Self(link)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.shown.borrow_mut().under_way -= 1;
    }
}

/// The actor around a fetcher.
pub struct FetchedSource<F: Fetch> {
    fetch: Rc<F>,
    link: Rc<Link>,
}

impl<F: Fetch> FetchedSource<F> {
    pub fn new(fetch: F, intake: Intake, store: Arc<dyn Store>) -> Self {
        let link = Link {
            intake,
            store,
            state: watch::Sender::new(SourceState::Running),
            shown: RefCell::default(),
        };
        Self {
            fetch: Rc::new(fetch),
            link: Rc::new(link),
        }
    }

    fn status(&self) -> SourceStatus {
        let shown = self.link.shown.borrow();
        let state = *self.link.state.borrow();
        SourceStatus {
            state: match state {
                SourceState::Running if shown.under_way > 0 && self.link.intake.room() == 0 => {
                    SourceState::Waiting
                }
                state => state,
            },
            under_way: shown.under_way,
            delivered: shown.delivered,
            retries: shown.retries,
            detail: Some(self.fetch.detail()),
        }
    }
}

impl<F: Fetch + Unpin> Actor for FetchedSource<F> {
    type Context = Context<Self>;
}

impl<F: Fetch + Unpin> Supervised for FetchedSource<F> {}

impl<F: Fetch + Unpin> Supervise for FetchedSource<F> {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        let run = self.fetch.clone().run(self.link.clone());
        ctx.spawn(run.into_actor(self));
    }
}

impl<F: Fetch + Unpin> Handler<SourceCommand> for FetchedSource<F> {
    type Result = SourceStatus;

    fn handle(&mut self, command: SourceCommand, _ctx: &mut Context<Self>) -> SourceStatus {
        let told = self.link.state.borrow().told(command);
        self.link
            .state
            .send_if_modified(|state| std::mem::replace(state, told) != told);
        self.status()
    }
}
