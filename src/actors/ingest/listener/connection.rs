//! One connection, from the login to its end.
//!
//! Reads as long as it may: not while a message waits for room, while it has as many answers owed or as many bytes under way
//! as it may, nor while the listener is paused. What is not read waits in the device, which TCP tells to slow down.
//!
//! Invariants: an answer to a message is sent only when its fate is decided; without one the connection ends, so that the
//! device sends again. A device is not taken for silent while we do not listen to it. How it fails: what breaks the protocol
//! ends the connection with the code that MQTT 5 has for it, and nobody else notices.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::answers::{self, Acknowledge};
use super::collector::{Fate, Hold, Offered, Refusal};
use super::login::Device;
use super::queue::{Queue, Settled};
use super::wire::{Delivery, Message, Packet, Publish, Reader, Violation};
use super::{Order, Shared};
use crate::actors::ingest::{Arrival, MessageId, Seen, Session};
use crate::actors::storage::retry;
use crate::domain::{Micros, Timestamp};

/// What is read at once, in bytes.
pub const READ_BYTES: usize = 4 * 1024;
/// How long a device may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// What a message takes beside its payload and topic, in bytes.
const OVERHEAD: usize = 256;
/// The most QoS 2 messages that a session may leave unreleased.
const MAX_UNRELEASED: usize = 1024;

/// How often it is stored that a device has a session; such rows are kept for a day.
const MARK_EVERY: Micros = 3_600_000_000;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The device said goodbye; perhaps it wants its last will published.
    Goodbye {
        will: bool,
    },
    /// It went away without a word, or does not read.
    Lost,
    Silent,
    Violated(Violation),
    /// A message has to be sent again.
    Undelivered,
    TakenOver,
    /// The listener ends.
    Drained,
}

/// A connection whose device has logged in.
pub struct Connection<'s, S> {
    pub shared: &'s Shared,
    pub stream: &'s mut S,
    pub reader: Reader,
    pub device: &'s mut Device,
    /// What was read, and how much of it is not looked at.
    pub buffer: Box<[u8; READ_BYTES]>,
    pub unread: Range<usize>,
    pub queue: Queue,
    /// A message for which there is no room yet.
    pub held: Option<Held>,
    pub out: Vec<u8>,
    pub orders: watch::Receiver<Order>,
}

/// A message that has come.
pub struct Taken {
    publish: Publish,
    /// What it takes, in bytes.
    size: usize,
    at: Timestamp,
    /// What it will have in common with itself, if it can be sent again.
    id: Option<MessageId>,
}

/// A message that waits for room, or for the memory of its session.
pub struct Held {
    taken: Taken,
    room: Pin<Box<dyn Future<Output = Room> + Send>>,
}

/// What a message needs to be sent on its way.
struct Room {
    permit: OwnedSemaphorePermit,
    memory: Option<Session>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Connection<'_, S> {
    /// Serves the device until the connection ends, and says goodbye as far as one can.
    pub async fn serve(mut self) -> End {
        let end = self.run().await;
        if let Some(code) = end.code() {
            self.out.extend(answers::goodbye(self.device.version, code));
        }
        if end != End::Lost {
            let goodbye = async {
                self.flush().await?;
                self.stream.shutdown().await
            };
            // It may not listen any more.
            let _ = timeout(GOODBYE_TIMEOUT, goodbye).await;
        }
        end
    }

    async fn run(&mut self) -> End {
        let patience = self.device.patience;
        let mut silent_at = patience.map(|patience| Instant::now() + patience);
        let mut listened = true;
        loop {
            let order = *self.orders.borrow_and_update();
            if order == Order::Run {
                match self.take_packets() {
                    Ok(0) => {}
                    Ok(_) => silent_at = patience.map(|patience| Instant::now() + patience),
                    Err(end) => return end,
                }
            }
            if self.flush().await.is_err() {
                return End::Lost;
            }
            if order == Order::Stop && self.queue.is_empty() {
                return End::Drained;
            }
            let listening = order == Order::Run && self.unread.is_empty() && self.may_take();
            if listening && !listened {
                silent_at = patience.map(|patience| Instant::now() + patience);
            }
            listened = listening;
            let Self { stream, buffer, .. } = self;
            tokio::select! {
                biased;
                changed = self.orders.changed() => if changed.is_err() { return End::Drained },
                _ = &mut self.device.lease.taken_over => return End::TakenOver,
                settled = self.queue.next() => {
                    let mut next = Some(settled);
                    while let Some(settled) = next {
                        if settled.fate == Fate::Undelivered {
                            return End::Undelivered;
                        }
                        self.answer(settled);
                        next = self.queue.ready();
                    }
                }
                (taken, room) = wait(&mut self.held), if order == Order::Run => {
                    self.device.memory = room.memory;
                    self.offer(taken, room.permit);
                }
                read = stream.read(&mut buffer[..]), if listening => match read {
                    Ok(0) | Err(_) => return End::Lost,
                    Ok(bytes) => self.unread = 0..bytes,
                },
                () = sleep(silent_at), if listening => return End::Silent,
            }
        }
    }

    /// Whether another packet may be looked at.
    fn may_take(&self) -> bool {
        let limits = &self.shared.limits;
        self.held.is_none()
            && self.queue.len() < usize::from(limits.receive_maximum)
            && self.queue.bytes() < limits.in_flight_bytes
    }

    /// Takes what packets there are, as far as it may. Returns how many.
    fn take_packets(&mut self) -> Result<usize, End> {
        let mut taken = 0;
        while !self.unread.is_empty() && self.may_take() {
            let mut bytes = &self.buffer[self.unread.clone()];
            let before = bytes.len();
            let packet = self.reader.next(&mut bytes);
            self.unread.start += before - bytes.len();
            let Some(packet) = packet.map_err(End::Violated)? else {
                continue;
            };
            taken += 1;
            self.take(packet)?;
        }
        Ok(taken)
    }

    fn take(&mut self, packet: Packet) -> Result<(), End> {
        let version = self.device.version;
        let violated = |_| End::Violated(Violation::Malformed);
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::Release(id) => {
                let known = self.device.lease.state.lock().unreleased.remove(&id);
                answers::complete(version, id, known, &mut self.out);
                Ok(())
            }
            Packet::Ping => {
                self.out.extend(answers::PINGRESP);
                Ok(())
            }
            Packet::Subscribe(id, filters) => {
                self.out
                    .extend(answers::no_subscription(version, id, filters).map_err(violated)?);
                Ok(())
            }
            Packet::Unsubscribe(id, filters) => {
                self.out
                    .extend(answers::no_unsubscription(version, id, filters).map_err(violated)?);
                Ok(())
            }
            Packet::Disconnect { will } => Err(End::Goodbye { will }),
            Packet::Connect(_) => Err(End::Violated(Violation::Protocol)),
        }
    }

    fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let counters = &self.shared.counters;
        let qos = match publish.delivery {
            Delivery::AtMostOnce => 0,
            Delivery::AtLeastOnce { .. } => 1,
            Delivery::ExactlyOnce { .. } => 2,
        };
        counters.received(qos);
        if let Delivery::ExactlyOnce { id, .. } = publish.delivery {
            let unreleased = self.device.lease.state.lock();
            if unreleased.unreleased.contains(&id) {
                answers::acknowledge(
                    self.device.version,
                    Acknowledge::Pubrec,
                    id,
                    answers::Verdict::Stored,
                    &mut self.out,
                );
                return Ok(());
            }
            if unreleased.unreleased.len() >= MAX_UNRELEASED {
                return Err(End::Violated(Violation::TooMany));
            }
            drop(unreleased);
            if self.queue.holds(id) {
                // It will be answered once.
                return Ok(());
            }
        }
        let size = publish.message.topic.len() + publish.message.payload.len() + OVERHEAD;
        // Sizes are limited to less.
        let weight = u32::try_from(size)
            .unwrap_or(u32::MAX)
            .min(self.shared.limits.room);
        let permit = self.shared.room.clone().try_acquire_many_owned(weight).ok();
        if permit.is_none() && publish.delivery == Delivery::AtMostOnce {
            counters.lost.inc();
            return Ok(());
        }
        let Message { topic, payload } = &publish.message;
        let id = publish.delivery.id().filter(|_| self.device.name.is_some());
        let taken = Taken {
            id: id.map(|id| MessageId::new(id, topic, payload.as_slice())),
            publish,
            size,
            at: self.device.arrives(self.shared.intake.now()),
        };
        match permit {
            Some(permit) if taken.id.is_none() || self.device.memory.is_some() => self.offer(taken, permit),
            permit => {
                let (memory, room) = (self.memory(), self.shared.room.clone());
                let room = Box::pin(async move {
                    let memory = memory.await;
                    let permit = match permit {
                        Some(permit) => permit,
                        None => match room.acquire_many_owned(weight).await {
                            Ok(permit) => permit,
                            // It is never closed.
                            Err(_) => std::future::pending().await,
                        },
                    };
                    Room { permit, memory }
                });
                self.held = Some(Held { taken, room });
            }
        }
        Ok(())
    }

    /// When messages of the session came first; waits for the database where that has to be read.
    fn memory(&self) -> impl Future<Output = Option<Session>> + Send + use<S> {
        let Device {
            memory,
            name,
            lease,
            kept,
            ..
        } = &*self.device;
        let (memory, name, state) = (memory.clone(), name.clone(), lease.state.clone());
        let (present, kept) = (lease.present, *kept);
        let window = usize::from(self.shared.limits.receive_maximum);
        let arrivals = self.shared.arrivals.clone();
        async move {
            let (None, Some(name)) = (&memory, name) else {
                return memory;
            };
            let mut attempt = 0;
            loop {
                match arrivals.session(name.clone(), window, kept).await {
                    Ok(memory) => {
                        memory.turn(present);
                        state.lock().memory = Some(memory.clone());
                        return Some(memory);
                    }
                    Err(error) => tracing::warn!(%error, "a message waits for the database"),
                }
                tokio::time::sleep(retry::pause(attempt)).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }

    /// Notes a message in the memory of its session.
    fn see(&self, taken: &Taken) -> Option<Seen> {
        let (id, memory) = (taken.id?, self.device.memory.as_ref()?);
        if !taken.publish.delivery.is_again() {
            return Some(memory.first(id, taken.at));
        }
        let most = usize::from(self.shared.limits.receive_maximum);
        let window = self.device.lease.state.lock().window(most);
        let since = window.unwrap_or_else(|| taken.at.saturating_sub(self.shared.limits.redelivery));
        Some(memory.again(id, since, taken.at))
    }

    fn offer(&mut self, taken: Taken, permit: OwnedSemaphorePermit) {
        let arrival = self.see(&taken);
        let at = arrival.as_ref().map_or(taken.at, Seen::time);
        let Taken { publish, size, .. } = taken;
        let (fate, told) = oneshot::channel();
        let id = publish.delivery.id();
        let with = match publish.delivery {
            Delivery::AtMostOnce => None,
            Delivery::AtLeastOnce { .. } => Some(Acknowledge::Puback),
            Delivery::ExactlyOnce { .. } => Some(Acknowledge::Pubrec),
        };
        let mut session = None;
        if let (Some(id), Some(with)) = (id, with) {
            self.queue.push(id, with, size, told);
            let most = usize::from(self.shared.limits.receive_maximum);
            self.device.lease.state.lock().arrived(at, most);
            session = self.device.mark(self.shared, at);
        }
        let refusal = self.device.refusal(self.shared, &publish.message.topic);
        self.shared.offer(Offered {
            message: publish.message,
            id,
            at,
            arrival,
            session,
            refusal,
            fate,
            hold: Hold::new(&self.shared.counters, permit),
        });
    }

    fn answer(&mut self, settled: Settled) {
        let Fate::Decided(verdict) = settled.fate else {
            return;
        };
        let version = self.device.version;
        if let Some(memory) = &self.device.memory {
            memory.acknowledged(settled.id);
        }
        if settled.with == Acknowledge::Pubrec && !answers::frees(version, verdict) {
            self.device.lease.state.lock().unreleased.insert(settled.id);
        }
        answers::acknowledge(version, settled.with, settled.id, verdict, &mut self.out);
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        let written = timeout(WRITE_TIMEOUT, write).await;
        self.out.clear();
        written.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

/// The message that was held, when there is room for it; for ever if there is none.
async fn wait(held: &mut Option<Held>) -> (Taken, Room) {
    let Some(waiting) = held else {
        return std::future::pending().await;
    };
    let room = waiting.room.as_mut().await;
    match held.take() {
        Some(held) => (held.taken, room),
        None => unreachable!("it was there just before"),
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl Device {
    /// When a message came that is here now: no two came at once, for their readings may be of one series.
    fn arrives(&mut self, now: Timestamp) -> Timestamp {
        self.last = now.max(self.last.saturating_add(1));
        self.last
    }

    /// Now and then a message brings with it that the device has a session.
    fn mark(&mut self, shared: &Shared, now: Timestamp) -> Option<Arrival> {
        let due = |marked: Timestamp| now.since(marked) >= MARK_EVERY;
        let key = self.session.as_ref().filter(|_| self.marked.is_none_or(due))?;
        self.marked = Some(now);
        Some(shared.arrivals.first(key.clone(), now))
    }

    /// Why a message of this device to this topic is not even read.
    pub fn refusal(&self, shared: &Shared, topic: &str) -> Option<Refusal> {
        if !self.grant.allows(topic) {
            return Some(Refusal::NotAllowed);
        }
        (!shared.knows(topic)).then_some(Refusal::UnknownTopic)
    }
}

impl End {
    /// What the device is told, if its version has words for it.
    fn code(self) -> Option<DisconnectReasonCode> {
        match self {
            End::Goodbye { .. } | End::Lost => None,
            End::Silent => Some(DisconnectReasonCode::KeepAliveTimeout),
            End::Violated(violation) => Some(violation.code()),
            End::Undelivered => Some(DisconnectReasonCode::UnspecifiedError),
            End::TakenOver => Some(DisconnectReasonCode::SessionTakenOver),
            End::Drained => Some(DisconnectReasonCode::ServerShuttingDown),
        }
    }

    /// Whether the last will is to be published: not if we are what ended the connection.
    pub fn publishes_will(self) -> bool {
        !matches!(self, End::Goodbye { will: false } | End::Drained)
    }
}
