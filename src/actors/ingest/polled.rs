//! A source that is asked at intervals: the machine itself, our own figures, simulated sensors.
//!
//! Invariants: what was read is kept until it is stored; meanwhile further readings may be taken as long as there are permits, and
//! without them the source waits. How it fails: a feed that panics is asked again after a back-off; what it had given and is not
//! stored is read anew or lost with it, which for these sources is a missing sample.

use std::time::Duration;

use actix::prelude::*;

use super::{Intake, Payload, SourceCommand, SourceState, SourceStatus};
use crate::actors::batch::Delivery;
use crate::actors::storage::retry;
use crate::actors::supervision::Supervise;
use crate::domain::Timestamp;

/// Gives readings when asked.
pub trait Feed: Unpin + 'static {
    /// JSON payloads, each of at most as many readings as a batch may have.
    fn poll(&mut self, now: Timestamp) -> Vec<Vec<u8>>;
}

pub struct PolledSource<F: Feed> {
    feed: F,
    intake: Intake,
    interval: Duration,
    state: SourceState,
    under_way: usize,
    delivered: u64,
    retries: u64,
}

impl<F: Feed> PolledSource<F> {
    pub fn new(feed: F, intake: Intake, interval: Duration) -> Self {
        Self {
            feed,
            intake,
            interval,
            state: SourceState::Running,
            under_way: 0,
            delivered: 0,
            retries: 0,
        }
    }

    fn poll(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.state, SourceState::Paused | SourceState::Stopping) {
            return;
        }
        if self.intake.room() == 0 {
            self.state = SourceState::Waiting;
            return;
        }
        self.state = SourceState::Running;
        let now = self.intake.now();
        for payload in self.feed.poll(now) {
            self.under_way += 1;
            let deliver = deliver(self.intake.clone(), payload, now);
            ctx.spawn(deliver.into_actor(self).map(|retries, source, _| {
                source.under_way -= 1;
                source.delivered += 1;
                source.retries += retries;
            }));
        }
    }

    fn status(&self) -> SourceStatus {
        SourceStatus {
            state: self.state,
            under_way: self.under_way,
            delivered: self.delivered,
            retries: self.retries,
            detail: None,
        }
    }
}

/// Sends a payload until it is stored. Returns how often it had to be sent again.
async fn deliver(intake: Intake, payload: Vec<u8>, arrival: Timestamp) -> u64 {
    let mut retries: u32 = 0;
    loop {
        // Decoded anew each time: what a name resolves to may have changed with a rewind.
        let batch = intake.decode(Payload::plain(&payload, arrival));
        match intake.deliver(batch, payload.len(), Vec::new()).await {
            Ok(Delivery::Stored(_)) => return u64::from(retries),
            Ok(Delivery::Undelivered) => {}
            Err(error) => {
                tracing::error!(source = intake.source().as_str(), %error, "a batch can never be sent");
                return u64::from(retries);
            }
        }
        tokio::time::sleep(retry::pause(retries)).await;
        retries = retries.saturating_add(1);
    }
}

impl<F: Feed> Actor for PolledSource<F> {
    type Context = Context<Self>;
}

impl<F: Feed> Supervised for PolledSource<F> {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        self.under_way = 0;
    }
}

impl<F: Feed> Supervise for PolledSource<F> {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        self.poll(ctx);
        ctx.run_interval(self.interval, Self::poll);
    }
}

impl<F: Feed> Handler<SourceCommand> for PolledSource<F> {
    type Result = SourceStatus;

    fn handle(&mut self, command: SourceCommand, _ctx: &mut Context<Self>) -> SourceStatus {
        self.state = self.state.told(command);
        self.status()
    }
}
