//! Devices connect straight to us, by MQTT 3.1.1 and 5. This is an endpoint, not a broker: nothing can be subscribed to, and
//! PUBACK means stored.
//!
//! ```text
//! connection ──Offered──▶ collector ──batch──▶ Intake ──▶ …
//!      ▲                                                  │ commit
//!      └───────────── Fate: PUBACK, PUBREC ◀──────────────┘
//! ```
//!
//! [`MqttListener`] accepts connections and serves each in a task of its own; [`connection`] is one of them, [`login`] its
//! beginning, [`wire`] and [`answers`] its language, [`sessions`] what outlives it. [`collector`] makes batches of what all of
//! them bring.
//!
//! Invariants: a message is acknowledged after the commit that holds it, and not at all if there is none. What is under way
//! takes room, in bytes, which is limited; without room nothing is read, except that QoS 0 is lost, and counted. The tasks
//! of connections end with the actor. How it fails: a panic in a connection ends that one; one in the collector or in
//! accepting restarts the actor, all connections end, and the devices come again.

mod access;
mod answers;
mod collector;
mod connection;
mod counters;
mod login;
mod queue;
mod sessions;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

pub use access::{Access, PasswordHash, TokenRole, Tokens, User};
pub use counters::{Counters, ListenerFigures};

use super::{Arrivals, Intake, SourceCommand, SourceDetail, SourceState, SourceStatus};
use crate::actors::storage::retry;
use crate::actors::supervision::Supervise;
use crate::domain::Micros;
use collector::{Fate, Hold, Offered};
use connection::{Connection, End, READ_BYTES};
use login::{Device, NoLogin};
use sessions::Sessions;
use wire::{Message, Reader};

/// How long to wait after the system could not give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub struct Limits {
    pub max_connections: usize,
    /// Bytes.
    pub max_packet: u32,
    /// The most messages of a connection that are not answered.
    pub receive_maximum: u16,
    /// The most bytes of a connection that are under way; one message is always let in.
    pub in_flight_bytes: usize,
    /// The most bytes of all connections that are under way.
    pub room: u32,
    /// Seconds, for devices that ask for none or for longer.
    pub keep_alive: u16,
    /// How long a login may take.
    pub connect_timeout: Duration,
    /// How long sessions are kept.
    pub session_kept: Duration,
    /// How long ago a message may have come first that is sent again, where its session does not know better.
    pub redelivery: Micros,
}

/// What the listener is made of.
pub struct ListenerParts {
    /// Bound and listening, and not blocking.
    pub listener: std::net::TcpListener,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub intake: Intake,
    pub arrivals: Arrivals,
    pub limits: Limits,
    pub counters: Arc<Counters>,
}

pub struct MqttListener {
    parts: ListenerParts,
    access: Arc<Access>,
    sessions: Sessions,
    room: Arc<Semaphore>,
    orders: watch::Sender<Order>,
    state: SourceState,
}

/// What connections are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    /// Read nothing.
    Pause,
    /// Read nothing more, answer what is under way, and end.
    Stop,
}

/// What all connections share.
struct Shared {
    intake: Intake,
    arrivals: Arrivals,
    access: Arc<Access>,
    sessions: Sessions,
    room: Arc<Semaphore>,
    offers: mpsc::UnboundedSender<Offered>,
    orders: watch::Receiver<Order>,
    counters: Arc<Counters>,
    limits: Limits,
}

impl MqttListener {
    pub fn new(parts: ListenerParts, access: Access) -> Self {
        Self {
            access: Arc::new(access),
            sessions: Sessions::new(parts.limits.max_connections),
            room: Arc::new(Semaphore::new(parts.limits.room as usize)),
            orders: watch::Sender::new(Order::Run),
            state: SourceState::Running,
            parts,
        }
    }

    fn status(&self) -> SourceStatus {
        let counters = &self.parts.counters;
        let figures = counters.figures();
        let mut under_way = figures.waiting;
        let mut state = self.state;
        match state {
            // Until each device has had its answers.
            SourceState::Stopping => under_way += figures.connections,
            SourceState::Running if self.parts.intake.room() == 0 => state = SourceState::Waiting,
            _ => {}
        }
        SourceStatus {
            state,
            under_way: usize::try_from(under_way).unwrap_or(usize::MAX),
            delivered: figures.settled,
            retries: figures.undelivered,
            detail: Some(SourceDetail::MqttListener(figures)),
        }
    }

    fn work(&mut self, ctx: &mut Context<Self>) -> std::io::Result<()> {
        let listener = TcpListener::from_std(self.parts.listener.try_clone()?)?;
        let (offers, offered) = mpsc::unbounded_channel();
        let ListenerParts {
            tls,
            intake,
            arrivals,
            limits,
            counters,
            ..
        } = &self.parts;
        let shared = Arc::new(Shared {
            intake: intake.clone(),
            arrivals: arrivals.clone(),
            access: self.access.clone(),
            sessions: self.sessions.clone(),
            room: self.room.clone(),
            offers,
            orders: self.orders.subscribe(),
            counters: counters.clone(),
            limits: limits.clone(),
        });
        ctx.spawn(collector::collect(intake.clone(), offered, counters.clone()).into_actor(self));
        ctx.spawn(accept(listener, tls.clone(), shared).into_actor(self));
        Ok(())
    }
}

/// Accepts connections, and holds their tasks: they end with it.
async fn accept(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, shared: Arc<Shared>) {
    let tls = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    let mut orders = shared.orders.clone();
    loop {
        let order = *orders.borrow_and_update();
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            Some(ended) = connections.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    shared.counters.panics.inc();
                }
            }
            accepted = listener.accept(), if order == Order::Run => match accepted {
                Ok(_) if connections.len() >= shared.limits.max_connections => {
                    shared.counters.turned_away.inc();
                }
                Ok((stream, peer)) => {
                    shared.counters.accepted.inc();
                    connections.spawn(serve(stream, peer, tls.clone(), shared.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let _connected = shared.counters.connected();
    // Answers are small, and waited for.
    let _ = stream.set_nodelay(true);
    match tls {
        None => converse(stream, peer, Instant::now(), &shared).await,
        Some(tls) => {
            let began = Instant::now();
            let mut orders = shared.orders.clone();
            let accepted = tokio::select! {
                accepted = timeout(shared.limits.connect_timeout, tls.accept(stream)) => accepted,
                () = stopped(&mut orders) => return,
            };
            match accepted {
                Ok(Ok(stream)) => converse(stream, peer, began, &shared).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a device does not speak TLS with us"),
                Err(_) => tracing::debug!(%peer, "a device took too long to begin TLS"),
            }
        }
    }
}

/// All that is said on a connection that began then.
async fn converse<S>(mut stream: S, peer: SocketAddr, began: Instant, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let counters = &shared.counters;
    let mut reader = Reader::new();
    let mut buffer = Box::new([0; READ_BYTES]);
    let mut orders = shared.orders.clone();
    let left = shared.limits.connect_timeout.saturating_sub(began.elapsed());
    let login = timeout(left, login::login(shared, &mut stream, &mut reader, &mut buffer));
    let login = tokio::select! {
        login = login => login.unwrap_or(Err(NoLogin::Lost)),
        () = stopped(&mut orders) => return,
    };
    let (mut device, unread) = match login {
        Ok(login) => login,
        Err(why) => {
            match why {
                NoLogin::Refused(_) => counters.refused_logins.inc(),
                NoLogin::Violated(violation) => counters.violated(violation),
                NoLogin::Lost => 0,
            };
            tracing::debug!(%peer, %why, "a device did not log in");
            return;
        }
    };
    tracing::debug!(%peer, client = device.client, version = ?device.version, "a device is connected");
    let connection = Connection {
        shared,
        stream: &mut stream,
        reader,
        device: &mut device,
        buffer,
        unread,
        queue: Default::default(),
        held: None,
        out: Vec::new(),
        orders: orders.clone(),
    };
    let end = connection.serve().await;
    drop(stream);
    tracing::debug!(%peer, client = device.client, ?end, "a connection has ended");
    match end {
        End::Violated(violation) => _ = counters.violated(violation),
        End::Silent => _ = counters.silent.inc(),
        End::TakenOver => _ = counters.taken_over.inc(),
        _ => {}
    }
    let Device { will, lease, .. } = device;
    drop(lease);
    if let Some(will) = will.filter(|_| end.publishes_will()) {
        tokio::select! {
            () = shared.publish(will) => {}
            () = stopped(&mut orders) => {}
        }
    }
}

/// Resolves when the listener is to end.
async fn stopped(orders: &mut watch::Receiver<Order>) {
    // If nobody can give orders any more, the listener has ended.
    let _ = orders.wait_for(|order| *order == Order::Stop).await;
}

impl Shared {
    /// Whether messages to this topic are taken.
    fn knows(&self, topic: &str) -> bool {
        let patterns = &self.intake.settings().mapping.topics;
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(topic).is_some())
    }

    fn offer(&self, offered: Offered) {
        // Without the collector, the fate is that of what was dropped.
        let _ = self.offers.send(offered);
    }

    /// Publishes a last will: nobody sends it again, so we do until it is stored.
    async fn publish(&self, will: Message) {
        let at = self.intake.now();
        let weight = u32::try_from(will.payload.len() + will.topic.len()).unwrap_or(u32::MAX);
        for attempt in 0.. {
            let room = self
                .room
                .clone()
                .acquire_many_owned(weight.min(self.limits.room))
                .await;
            let Ok(permit) = room else { return };
            let (fate, told) = oneshot::channel();
            self.offer(Offered {
                message: will.clone(),
                id: Some(0),
                at,
                arrival: None,
                session: None,
                refusal: None,
                fate,
                hold: Hold::new(&self.counters, permit),
            });
            if let Ok(Fate::Decided(_)) = told.await {
                return;
            }
            tokio::time::sleep(retry::pause(attempt)).await;
        }
    }
}

impl Actor for MqttListener {
    type Context = Context<Self>;
}

impl Supervised for MqttListener {}

impl Supervise for MqttListener {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        if let Err(error) = self.work(ctx) {
            // Only a process without file descriptors comes here; the supervisor tries again.
            panic!("the MQTT listener cannot listen: {error}");
        }
    }
}

impl Handler<SourceCommand> for MqttListener {
    type Result = SourceStatus;

    fn handle(&mut self, command: SourceCommand, _ctx: &mut Context<Self>) -> SourceStatus {
        self.state = self.state.told(command);
        let order = match self.state {
            SourceState::Running | SourceState::Waiting => Order::Run,
            SourceState::Paused => Order::Pause,
            SourceState::Stopping => Order::Stop,
        };
        self.orders.send_replace(order);
        self.status()
    }
}
