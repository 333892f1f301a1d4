//! The actor of an output, and its pump: rows of the outbox in, confirmations out, the cursor after them.
//!
//! Invariants: the cursor passes a row only when all of its records are confirmed or refused for good, or when the row is too old to be
//! kept; it is stored now and then, so after a crash some are sent again, with the same ids. One round is under way at a time, so
//! records of a sensor stay in order.
//!
//! How it fails: a receiver that is away is waited for, with a pause that grows; what lies longer than `keep` meanwhile, or beyond
//! `max_size`, is dropped, counted and logged as an error.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::encode::Encoder;
use super::status::{OutputCommand, OutputState, OutputStatus, Sent, WaitingRecords};
use super::{Filter, Message, OutputFigures, Refusal, Sink, SinkError};
use crate::actors::registry::Registry;
use crate::actors::storage::progress::Progress;
use crate::actors::storage::retry;
use crate::actors::supervision::Supervise;
use crate::clock::Clock;
use crate::domain::{Micros, SourceName, Timestamp};
use crate::storage::outbox::{Counts, Outbox};
use crate::storage::{InstanceId, Store, StoreError, Wanted};

/// What a round brings at most, in bytes of the outbox: some ten thousand readings.
const ROUND_BYTES: u64 = 256 << 10;
/// How often the cursor is stored at most: each time is a transaction.
const NOTE_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked at what waits; less often where that takes long.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long it sleeps with nothing to do, should nobody wake it.
const IDLE: Duration = Duration::from_secs(1);
/// How long what is left may take to be sent when the service ends.
const GRACE: Duration = Duration::from_secs(2);

/// What an output works with.
pub struct OutputParts {
    pub name: SourceName,
    pub instance: InstanceId,
    pub store: Arc<dyn Store>,
    pub registry: Arc<Registry>,
    pub clock: Arc<dyn Clock>,
    pub progress: watch::Receiver<Progress>,
    pub wanted: Wanted,
    pub filter: Option<Filter>,
    pub keep: Option<Duration>,
    pub max_size: u64,
    /// The last row that was sent.
    pub cursor: i64,
    pub figures: OutputFigures,
}

pub struct Output<S: Sink> {
    shared: Rc<Shared>,
    make: Box<dyn Fn() -> S>,
    state: watch::Sender<OutputState>,
}

/// What the actor and its pump share.
struct Shared {
    parts: OutputParts,
    cursor: Cell<i64>,
    noted: Cell<i64>,
    last_error: Arc<parking_lot::Mutex<Option<String>>>,
    last_sent: Cell<Option<Timestamp>>,
    waiting: RefCell<WaitingRecords>,
    look_every: Cell<Duration>,
}

impl<S: Sink> Output<S> {
    /// `make` is given where the sink may put what goes wrong behind its back.
    pub fn new(
        parts: OutputParts,
        make: impl Fn(Arc<parking_lot::Mutex<Option<String>>>) -> S + 'static,
    ) -> Self {
        let last_error = Arc::new(parking_lot::Mutex::new(None));
        let shown = last_error.clone();
        Self {
            shared: Rc::new(Shared {
                cursor: Cell::new(parts.cursor),
                noted: Cell::new(parts.cursor),
                last_error,
                last_sent: Cell::new(None),
                waiting: RefCell::default(),
                look_every: Cell::new(LOOK_EVERY),
                parts,
            }),
            make: Box::new(move || make(shown.clone())),
            state: watch::Sender::new(OutputState::Running),
        }
    }

    fn status(&self) -> OutputStatus {
        let shared = &self.shared;
        let figures = &shared.parts.figures;
        OutputStatus {
            state: *self.state.borrow(),
            sent: Sent {
                readings: figures.readings.get(),
                windows: figures.windows.get(),
                anomalies: figures.anomalies.get(),
                alerts: figures.alerts.get(),
            },
            refused: figures.refused.get(),
            dropped: figures.dropped.get(),
            errors: figures.errors.get(),
            last_error: shared.last_error.lock().clone(),
            last_sent: shared.last_sent.get().map(Timestamp::to_rfc3339),
            waiting: shared.waiting.borrow().clone(),
        }
    }
}

impl<S: Sink> Actor for Output<S> {
    type Context = Context<Self>;
}

impl<S: Sink> Supervised for Output<S> {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {}
}

impl<S: Sink> Supervise for Output<S> {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        let pump = Pump {
            shared: self.shared.clone(),
            sink: (self.make)(),
            state: self.state.subscribe(),
            stop_by: None,
            failures: 0,
            noted_at: Instant::now(),
            looked_at: None,
            idle_at: Instant::now(),
        };
        let ended = |(), output: &mut Self, _: &mut Context<Self>| {
            output.state.send_replace(OutputState::Stopped);
        };
        ctx.spawn(pump.run().into_actor(self).map(ended));
    }
}

impl<S: Sink> Handler<OutputCommand> for Output<S> {
    type Result = OutputStatus;

    fn handle(&mut self, command: OutputCommand, _ctx: &mut Context<Self>) -> OutputStatus {
        let told = self.state.borrow().told(command);
        self.state
            .send_if_modified(|state| std::mem::replace(state, told) != told);
        self.status()
    }
}

struct Pump<S> {
    shared: Rc<Shared>,
    sink: S,
    state: watch::Receiver<OutputState>,
    /// When it ends, finished or not.
    stop_by: Option<Instant>,
    /// In a row.
    failures: u32,
    noted_at: Instant,
    looked_at: Option<Instant>,
    /// When the sink last had a moment for itself.
    idle_at: Instant,
}

/// Some rows, as messages.
struct Round {
    messages: Vec<Message>,
    up_to: i64,
}

enum Ended {
    Sent(Vec<Refusal>),
    Failed(SinkError),
    /// Somebody wants something else, or the rows are gone.
    Left,
}

impl<S: Sink> Pump<S> {
    async fn run(mut self) {
        let mut progress = self.shared.parts.progress.clone();
        loop {
            let state = *self.state.borrow_and_update();
            match state {
                OutputState::Running => {}
                OutputState::Paused => {
                    self.sink.reset();
                    self.note().await;
                    self.look().await;
                    // Looks again now and then: what is too old goes while it is paused, too.
                    if let Ok(Err(_)) = timeout(self.shared.look_every.get(), self.state.changed()).await {
                        return;
                    }
                    continue;
                }
                OutputState::Stopping | OutputState::Stopped => {
                    let by = *self.stop_by.get_or_insert_with(|| Instant::now() + GRACE);
                    if Instant::now() >= by {
                        return self.note().await;
                    }
                }
            }
            if self
                .looked_at
                .is_none_or(|at| at.elapsed() >= self.shared.look_every.get())
            {
                self.look().await;
            }
            if self.idle_at.elapsed() >= IDLE {
                self.idle_at = Instant::now();
                self.sink.idle().await;
            }
            progress.borrow_and_update();
            match self.read().await {
                Err(error) => {
                    tracing::warn!(output = self.name(), %error, "the outbox could not be read, trying again");
                    self.failed(error.to_string()).await;
                }
                Ok(None) if self.stop_by.is_some() => return self.note().await,
                Ok(None) => {
                    self.note().await;
                    let woken = async {
                        // The writer is gone: there is nothing more to come.
                        if progress.changed().await.is_err() {
                            sleep(IDLE).await;
                        }
                    };
                    tokio::select! {
                        () = woken => {}
                        _ = self.state.changed() => {}
                        () = sleep(IDLE) => {}
                    }
                }
                Ok(Some(round)) => match self.send(&round).await {
                    Ended::Sent(refusals) => self.sent(&round, &refusals).await,
                    Ended::Left => self.sink.reset(),
                    Ended::Failed(error) => {
                        self.sink.reset();
                        if self.failures == 0 || self.failures.is_power_of_two() {
                            tracing::warn!(output = self.name(), %error, failures = self.failures, "records could not be sent, trying again");
                        }
                        self.failed(error.to_string()).await;
                    }
                },
            }
        }
    }

    fn name(&self) -> &str {
        self.shared.parts.name.as_str()
    }

    async fn read(&self) -> Result<Option<Round>, StoreError> {
        let parts = &self.shared.parts;
        let Some(outbox) = parts.store.outbox() else {
            return Ok(None);
        };
        let rows = outbox
            .outbox_rows(&parts.instance, self.shared.cursor.get(), ROUND_BYTES)
            .await?;
        let Some(up_to) = rows.last().map(|row| row.id) else {
            return Ok(None);
        };
        let mut encoder = Encoder::new(&parts.registry, parts.wanted, parts.filter.as_ref());
        let mut messages = Vec::new();
        for row in rows {
            match row.records() {
                Ok(records) => messages.extend(records.iter().filter_map(|record| encoder.message(record))),
                Err(error) => {
                    parts.figures.errors.inc();
                    tracing::error!(output = self.name(), row = row.id, %error, "a row of the outbox is skipped");
                }
            }
        }
        Ok(Some(Round { messages, up_to }))
    }

    async fn send(&mut self, round: &Round) -> Ended {
        if round.messages.is_empty() {
            return Ended::Sent(Vec::new());
        }
        let Self {
            shared, sink, state, ..
        } = self;
        let sending = sink.send(&round.messages);
        tokio::pin!(sending);
        loop {
            let stop_by = self.stop_by;
            let late = async {
                match stop_by {
                    Some(by) => sleep_until(by).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = &mut sending => return match ended {
                    Ok(refusals) => Ended::Sent(refusals),
                    Err(error) => Ended::Failed(error),
                },
                changed = state.changed() => match *state.borrow() {
                    OutputState::Running if changed.is_ok() => {}
                    OutputState::Stopping if changed.is_ok() => {
                        self.stop_by.get_or_insert_with(|| Instant::now() + GRACE);
                    }
                    _ => return Ended::Left,
                },
                () = late => return Ended::Left,
                () = sleep(shared.look_every.get()) => {
                    self.looked_at = Some(Instant::now());
                    let before = shared.cursor.get();
                    shared.look().await;
                    if shared.cursor.get() != before {
                        return Ended::Left;
                    }
                }
            }
        }
    }

    async fn sent(&mut self, round: &Round, refusals: &[Refusal]) {
        let parts = &self.shared.parts;
        for refusal in refusals {
            let Some(message) = round.messages.get(refusal.place) else {
                continue;
            };
            parts.figures.refused.inc();
            tracing::error!(
                output = parts.name.as_str(),
                id = message.id,
                sensor = message.sensor.as_str(),
                why = refusal.why,
                "a record is refused for good and skipped; it stays stored"
            );
        }
        for (place, message) in round.messages.iter().enumerate() {
            if !refusals.iter().any(|refusal| refusal.place == place) {
                parts.figures.sent(message.kind);
            }
        }
        if !round.messages.is_empty() {
            self.failures = 0;
            *self.shared.last_error.lock() = None;
            self.shared.last_sent.set(Some(parts.clock.now()));
        }
        self.shared.cursor.set(round.up_to);
        if self.noted_at.elapsed() >= NOTE_EVERY {
            self.note().await;
        }
    }

    /// Shows what went wrong, and waits.
    async fn failed(&mut self, error: String) {
        self.shared.parts.figures.errors.inc();
        *self.shared.last_error.lock() = Some(error);
        tokio::select! {
            () = sleep(retry::pause(self.failures)) => {}
            _ = self.state.changed() => self.state.mark_changed(),
        }
        self.failures = self.failures.saturating_add(1);
    }

    async fn note(&mut self) {
        self.noted_at = Instant::now();
        self.shared.note().await;
    }

    async fn look(&mut self) {
        self.looked_at = Some(Instant::now());
        self.shared.look().await;
    }
}

impl Shared {
    fn outbox(&self) -> Option<&dyn Outbox> {
        self.parts.store.outbox()
    }

    /// Stores the cursor. Where that fails, the next time does it.
    async fn note(&self) {
        let cursor = self.cursor.get();
        let Some(outbox) = self.outbox().filter(|_| cursor > self.noted.get()) else {
            return;
        };
        let (parts, name) = (&self.parts, self.parts.name.as_str());
        match outbox.outbox_sent(&parts.instance, name, cursor).await {
            Ok(()) => self.noted.set(cursor),
            Err(error) => {
                tracing::warn!(output = name, %error, "it could not be noted what was sent, it may be sent again");
            }
        }
    }

    /// Looks at what waits, and drops what is too old or too much.
    async fn look(&self) {
        let Some(outbox) = self.outbox() else { return };
        let began = Instant::now();
        let looked = self.look_at(outbox).await;
        self.look_every.set(LOOK_EVERY.max(began.elapsed() * 20));
        if let Err(error) = looked {
            tracing::warn!(output = self.parts.name.as_str(), %error, "it could not be seen what waits in the outbox");
        }
    }

    async fn look_at(&self, outbox: &dyn Outbox) -> Result<(), StoreError> {
        let parts = &self.parts;
        let mut waiting = outbox.outbox_waiting(&parts.instance, self.cursor.get()).await?;
        let before = parts.keep.map_or(Timestamp::MIN, |keep| {
            let keep = Micros::try_from(keep.as_micros()).unwrap_or(Micros::MAX);
            parts.clock.now().saturating_sub(keep)
        });
        let is_old = waiting.since.is_some_and(|since| since < before);
        if is_old || waiting.bytes > parts.max_size {
            let overdue = outbox
                .outbox_overdue(&parts.instance, self.cursor.get(), before, parts.max_size)
                .await?;
            if let Some(up_to) = overdue.up_to {
                let records = match parts.filter {
                    None => self.count(overdue.records),
                    Some(_) => self.count_sent(outbox, up_to).await?,
                };
                parts.figures.dropped.inc_by(records);
                tracing::error!(
                    output = parts.name.as_str(),
                    records,
                    keep = ?parts.keep,
                    max_size = parts.max_size,
                    "records could not be sent in time and are given up; they stay stored"
                );
                self.cursor.set(up_to);
                self.note().await;
                waiting = outbox.outbox_waiting(&parts.instance, up_to).await?;
            }
        }
        let records = self.count(waiting.records);
        parts.figures.waiting.set(records as i64);
        parts.figures.waiting_bytes.set(waiting.bytes as i64);
        self.waiting.replace(WaitingRecords {
            records,
            bytes: waiting.bytes,
            since: waiting.since.map(Timestamp::to_rfc3339),
        });
        Ok(())
    }

    /// Those that would have been sent, up to a row.
    async fn count_sent(&self, outbox: &dyn Outbox, up_to: i64) -> Result<u64, StoreError> {
        let parts = &self.parts;
        let mut encoder = Encoder::new(&parts.registry, parts.wanted, parts.filter.as_ref());
        let (mut after, mut count) = (self.cursor.get(), 0);
        loop {
            let rows = outbox.outbox_rows(&parts.instance, after, ROUND_BYTES).await?;
            let rows: Vec<_> = rows.into_iter().take_while(|row| row.id <= up_to).collect();
            let Some(last) = rows.last() else {
                return Ok(count);
            };
            after = last.id;
            let records = rows.iter().filter_map(|row| row.records().ok()).flatten();
            count += records.filter_map(|record| encoder.message(&record)).count() as u64;
        }
    }

    /// Those of the kinds that are sent.
    fn count(&self, counts: Counts) -> u64 {
        let Wanted {
            readings,
            windows,
            anomalies,
            alerts,
        } = self.parts.wanted;
        u64::from(readings) * counts.readings
            + u64::from(windows) * counts.windows
            + u64::from(anomalies) * counts.anomalies
            + u64::from(alerts) * counts.alerts
    }
}
