//! The actor: keeps a connection to one of its brokers, and does what it is told.
//!
//! Invariants: a session that the broker had and has no more is counted and logged, for messages may be gone with it. Paused
//! or stopping, what is at hand is stored and acknowledged first; then the connection is closed, and the broker keeps what
//! comes, as for any client that is away. Without a connection the source is deaf. How it fails: each failure is shown as the last error until there is a connection
//! again, and logged at the 1st, 2nd, 4th, … time in a row.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tokio::time::Instant;

use super::batches::Memory;
use super::session::{self, LinkError};
use super::traffic::Traffic;
use super::undelivered::Undelivered;
use super::{Broker, MqttFigures, MqttOptions, Version};
use crate::actors::batch::Delivery;
use crate::actors::ingest::{
    Arrivals, Intake, Session, SessionName, SourceCommand, SourceDetail, SourceState, SourceStatus,
};
use crate::actors::storage::retry;
use crate::actors::supervision::Supervise;
use crate::decode::TopicPattern;
use crate::domain::{Micros, Timestamp};
use crate::storage::{Position, Store};

/// A connection that lasted so long was a good one: the next failure is the first again.
const STABLE: Duration = Duration::from_secs(60);
/// What we remember of a session after its last message, at least: brokers of version 3.1.1 do not say how long they keep it.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);

pub struct MqttSource {
    shared: Rc<Shared>,
    state: watch::Sender<SourceState>,
}

/// What the actor and its connection share.
pub(super) struct Shared {
    pub options: MqttOptions,
    pub intake: Intake,
    pub arrivals: Arrivals,
    pub store: Arc<dyn Store>,
    pub undelivered: Undelivered,
    pub figures: MqttFigures,
    pub shown: RefCell<Shown>,
    client_id: OnceCell<String>,
    /// When its messages came first; it is read once.
    session: OnceCell<Session>,
}

/// What is shown of it, beside the figures.
#[derive(Default)]
pub(super) struct Shown {
    pub under_way: usize,
    /// There is more than may be under way.
    pub waits: bool,
    pub delivered: u64,
    pub retries: u64,
    broker: usize,
    last_error: Option<String>,
}

impl MqttSource {
    pub fn new(options: MqttOptions, intake: Intake, store: Arc<dyn Store>, figures: MqttFigures) -> Self {
        let shared = Shared {
            arrivals: Arrivals::new(intake.source().clone(), store.clone()),
            options,
            intake,
            store,
            undelivered: Undelivered::default(),
            figures,
            shown: RefCell::default(),
            client_id: OnceCell::new(),
            session: OnceCell::new(),
        };
        Self {
            shared: Rc::new(shared),
            state: watch::Sender::new(SourceState::Running),
        }
    }

    fn status(&self) -> SourceStatus {
        let shown = self.shared.shown.borrow();
        let state = *self.state.borrow();
        let options = &self.shared.options;
        let broker = options.brokers.get(shown.broker).map(Broker::to_string);
        let detail = self.shared.figures.detail(
            broker.unwrap_or_default(),
            self.shared.client_id().to_owned(),
            shown.last_error.clone(),
        );
        SourceStatus {
            state: match state {
                SourceState::Running if shown.waits => SourceState::Waiting,
                state => state,
            },
            under_way: shown.under_way,
            delivered: shown.delivered,
            retries: shown.retries,
            detail: Some(SourceDetail::Mqtt(detail)),
        }
    }
}

impl Shared {
    fn name(&self) -> &str {
        self.intake.source().as_str()
    }

    /// What readings come by.
    pub fn topics(&self) -> &[TopicPattern] {
        &self.intake.settings().mapping.topics
    }

    pub fn filters(&self) -> Vec<String> {
        self.options.filters(self.topics())
    }

    /// Empty until it is known.
    pub fn client_id(&self) -> &str {
        self.client_id.get().map_or("", String::as_str)
    }

    /// Sees to it that it is known. One that is made up is stored before it is used: it is how the broker will know us.
    async fn identify(&self) -> Result<(), LinkError> {
        if self.client_id.get().is_some() {
            return Ok(());
        }
        let client_id = match &self.options.client_id {
            Some(given) => given.clone(),
            None => {
                let (source, partition) = (self.intake.source(), "mqtt/client_id");
                let number = match self.store.position(source, partition).await? {
                    Some(number) => number,
                    None => {
                        let position = Position {
                            source: source.clone(),
                            partition: partition.to_owned(),
                            offset: i64::from(rand::random::<u32>()),
                            epoch: None,
                        };
                        let number = position.offset;
                        let nothing = self.intake.fill().finish();
                        match self.intake.deliver(nothing, 0, vec![position]).await {
                            Ok(Delivery::Stored(_)) => number,
                            Ok(Delivery::Undelivered) | Err(_) => return Err(LinkError::Undelivered),
                        }
                    }
                };
                // Brokers need not take anything but letters and digits, but all take these.
                let name = self
                    .name()
                    .chars()
                    .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-');
                format!("sensorhive-{}-{number:08x}", name.take(40).collect::<String>())
            }
        };
        // Whoever came first has the same.
        let _ = self.client_id.set(client_id);
        Ok(())
    }

    /// Its memory. Brokers without a common session share it, too: they give it different messages.
    async fn session(&self) -> Result<Session, LinkError> {
        if let Some(session) = self.session.get() {
            return Ok(session.clone());
        }
        // A broker of version 3.1.1 may have more messages under way.
        let window = 2 * usize::from(self.options.receive_maximum);
        let kept = self.options.session_expiry.max(REMEMBERED);
        let kept = Micros::try_from(kept.as_micros()).unwrap_or(Micros::MAX);
        let name = SessionName::client(self.client_id());
        let session = self.arrivals.session(name, window, kept).await?;
        Ok(self.session.get_or_init(|| session).clone())
    }

    /// What went wrong, to be shown.
    pub fn complain(&self, error: String) {
        self.shown.borrow_mut().last_error = Some(error);
    }

    fn at_rest(&self) {
        let mut shown = self.shown.borrow_mut();
        (shown.under_way, shown.waits) = (0, false);
        self.intake.set_deaf(true);
        self.figures.connected.set(0);
        self.figures.unacknowledged.set(0);
    }
}

/// What is remembered of a broker while the process runs.
#[derive(Clone, Copy, Default)]
struct Acquaintance {
    /// It has had a session of ours.
    known: bool,
}

async fn run(shared: Rc<Shared>, mut state: watch::Receiver<SourceState>) {
    shared.at_rest();
    let mut acquaintances = vec![Acquaintance::default(); shared.options.brokers.len()];
    let (mut turn, mut failures) = (0_usize, 0_u32);
    loop {
        let wanted = state
            .wait_for(|state| !matches!(state, SourceState::Paused))
            .await;
        // Whoever stops, or is gone, needs no connection.
        if wanted.is_ok_and(|state| *state == SourceState::Stopping) || state.has_changed().is_err() {
            return;
        }
        let index = turn % shared.options.brokers.len().max(1);
        let (Some(broker), Some(acquaintance)) =
            (shared.options.brokers.get(index), acquaintances.get_mut(index))
        else {
            return;
        };
        shared.shown.borrow_mut().broker = index;
        let began = Instant::now();
        let ended = connection(&shared, broker, acquaintance, &mut state).await;
        shared.at_rest();
        let Err(error) = ended else { continue };
        if began.elapsed() >= STABLE {
            failures = 0;
        }
        if matches!(error, LinkError::Undelivered) {
            tracing::warn!(source = shared.name(), %broker, "a batch was undelivered, the broker is asked for its messages again");
        } else if failures == 0 || failures.is_power_of_two() {
            tracing::warn!(source = shared.name(), %broker, %error, failures, "no connection to the broker, trying again");
        }
        shared.complain(error.to_string());
        turn += 1;
        // Every broker is tried once before a pause.
        if turn.is_multiple_of(shared.options.brokers.len()) {
            tokio::select! {
                () = tokio::time::sleep(retry::pause(failures)) => {}
                _ = state.changed() => {}
            }
        }
        failures = failures.saturating_add(1);
    }
}

/// One connection, from its beginning to its end. `Ok` when it was ended because that was asked for.
async fn connection(
    shared: &Shared,
    broker: &Broker,
    acquaintance: &mut Acquaintance,
    state: &mut watch::Receiver<SourceState>,
) -> Result<(), LinkError> {
    let options = &shared.options;
    shared.identify().await?;
    let partition = format!("mqtt/{}@{}:{}", shared.client_id(), broker.host, broker.port);
    let stored = match options.keeps_session() {
        true => shared.store.position(shared.intake.source(), &partition).await?,
        false => None,
    };
    let memory = shared.session().await?;
    let session = tokio::select! {
        session = session::open(broker, options, shared.client_id()) => session?,
        // It is begun anew, if it is still wanted.
        _ = state.changed() => return Ok(()),
    };
    let had_session = options.keeps_session() && (acquaintance.known || stored.is_some());
    if had_session && !session.present {
        shared.figures.sessions_lost.inc();
        tracing::warn!(
            source = shared.name(),
            %broker,
            "the broker has forgotten the session; messages that it held for us may be gone"
        );
    }
    let reconnects = shared.figures.connections.inc();
    tracing::info!(source = shared.name(), %broker, session_present = session.present, reconnects, "connected");
    shared.figures.connected.set(1);
    shared.intake.set_deaf(false);
    shared.shown.borrow_mut().last_error = None;
    // Version 3.1.1 sends what is retained with each subscription, so as few are made as need be. Version 5 does not.
    let subscribe = options.version == Version::V5 || !session.present || !acquaintance.known;
    acquaintance.known = true;
    memory.turn(session.present);
    let memory = Memory {
        since: stored.map(Timestamp),
        partition,
        session: memory,
    };
    Traffic::new(shared, memory).run(session, subscribe, state).await
}

impl Actor for MqttSource {
    type Context = Context<Self>;
}

impl Supervised for MqttSource {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        self.shared.at_rest();
    }
}

impl Supervise for MqttSource {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        let run = run(self.shared.clone(), self.state.subscribe());
        ctx.spawn(run.into_actor(self));
    }
}

impl Handler<SourceCommand> for MqttSource {
    type Result = SourceStatus;

    fn handle(&mut self, command: SourceCommand, _ctx: &mut Context<Self>) -> SourceStatus {
        let told = self.state.borrow().told(command);
        self.state
            .send_if_modified(|state| std::mem::replace(state, told) != told);
        self.status()
    }
}
