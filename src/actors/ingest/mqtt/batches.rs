//! Messages on their way from a connection to the database.
//!
//! Invariants: batches leave in the order in which messages came, and are settled in that order. What is held is bounded by
//! `receive_maximum` and by the source's share: beyond it there is no room, and messages with QoS 0 are dropped and
//! counted. A message has another microsecond of arrival than the one before, so that two without a time are two readings.
//! How it fails: what could not be stored is told when it is settled; the rest is the connection's matter.

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::task::JoinHandle;

use super::message::{Arrived, Meaning, Message};
use super::packets::Qos;
use super::session::LinkError;
use super::source::Shared;
use crate::actors::batch::Delivery;
use crate::actors::ingest::{Arrival, Payload, Session, pages};
use crate::actors::permits::PermitError;
use crate::actors::storage::retry;
use crate::domain::{DeadLetter, Micros, RejectReason, Timestamp};
use crate::storage::Position;

/// The metric that says whether a sensor is there: 1 or 0.
const ONLINE: &str = "online";
/// Bytes of payload that a reading takes at least: so a batch of small messages has never too many readings.
const BYTES_A_READING: usize = 4;
/// An acknowledgement that was lost on its way was sent no longer ago than this before the connection broke.
const LOST_WITHIN: Micros = 120_000_000;

/// What is known of the session as a connection begins.
pub(super) struct Memory {
    /// The arrival of the oldest message that was not acknowledged when something was stored last: what came before that
    /// will not come again.
    pub since: Option<Timestamp>,
    /// Where that is stored.
    pub partition: String,
    /// When its last messages came.
    pub session: Session,
}

/// Of one connection.
pub(super) struct Batches<'s> {
    shared: &'s Shared,
    memory: Memory,
    held: VecDeque<Message>,
    held_bytes: usize,
    /// Of those held, how many nobody will send again.
    held_unsafe: usize,
    next: Next<'s>,
    /// There was no room for the next batch, and none was given back since.
    blocked: bool,
    under_way: FuturesOrdered<JoinHandle<Settled>>,
    /// The oldest arrival in each batch under way.
    oldest: VecDeque<Timestamp>,
    /// Messages that wait for their acknowledgement.
    unacknowledged: usize,
    last_arrival: Timestamp,
}

/// The batch that is next.
enum Next<'s> {
    None,
    /// It is looked up when its messages came first.
    Looking(Pin<Box<dyn Future<Output = Vec<Message>> + 's>>),
    /// It waits for room.
    Ready(Vec<Message>),
}

/// What became of a batch.
struct Settled {
    /// `None` where there was nothing to store.
    delivery: Option<Delivery>,
    acknowledgements: Vec<(Qos, u16)>,
    /// How many of its messages had QoS 0.
    unsafe_messages: usize,
}

/// A batch that has left.
type Departed = Pin<Box<dyn Future<Output = Delivery> + Send>>;

impl<'s> Batches<'s> {
    pub fn new(shared: &'s Shared, memory: Memory) -> Self {
        shared.undelivered.turn();
        Self {
            shared,
            memory,
            held: VecDeque::new(),
            held_bytes: 0,
            held_unsafe: 0,
            next: Next::None,
            blocked: false,
            under_way: FuturesOrdered::new(),
            oldest: VecDeque::new(),
            unacknowledged: 0,
            last_arrival: Timestamp(0),
        }
    }

    /// The time of arrival of the next message.
    pub fn arrival(&mut self, now: Timestamp) -> Timestamp {
        self.last_arrival = now.max(Timestamp(self.last_arrival.0 + 1));
        self.last_arrival
    }

    /// Takes a message, if it can be taken or will not come again.
    pub fn hold(&mut self, message: Message) {
        let figures = &self.shared.figures;
        figures.received(message.published.qos).inc();
        if message.is_acknowledged() {
            self.unacknowledged += 1;
        } else if self.held_unsafe >= self.most() || self.held_bytes + message.bytes() > self.most_bytes() {
            figures.lost.inc();
            return;
        }
        self.count_in(&message);
        self.held.push_back(message);
    }

    /// Whether more should be read. With version 5 always as far as messages go, which the broker knows the number of.
    pub fn have_room(&self) -> bool {
        self.unacknowledged <= self.most() && self.held_bytes < self.most_bytes()
    }

    /// Nothing is held or under way.
    pub fn are_idle(&self) -> bool {
        self.held.is_empty() && self.under_way.is_empty() && matches!(self.next, Next::None)
    }

    /// There is more, and nothing is under way that would give room back: it belongs to an earlier connection.
    pub fn are_stalled(&self) -> bool {
        self.under_way.is_empty() && self.wait()
    }

    /// Looks for room again.
    pub fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Sends off what there is, as far as there is room.
    pub fn dispatch(&mut self) {
        while !self.blocked {
            match std::mem::replace(&mut self.next, Next::None) {
                Next::None => {
                    let batch = self.collect();
                    if batch.is_empty() {
                        break;
                    }
                    self.next = match batch
                        .iter()
                        .any(|message| may_be_known(message, &self.memory.session))
                    {
                        true => {
                            let (since, session) = (self.memory.since, self.memory.session.clone());
                            Next::Looking(Box::pin(look_up(self.shared, batch, since, session)))
                        }
                        false => Next::Ready(batch),
                    };
                }
                Next::Ready(batch) => {
                    if let Err(batch) = self.depart(batch) {
                        self.next = Next::Ready(batch);
                        self.blocked = true;
                    }
                }
                looking => {
                    self.next = looking;
                    break;
                }
            }
        }
        self.show();
    }

    /// Waits for something to happen to a batch; what may be acknowledged then, in order. May be dropped at any time.
    pub async fn settled(&mut self) -> Result<Vec<(Qos, u16)>, LinkError> {
        let looked_up = async {
            match &mut self.next {
                Next::Looking(looking) => looking.await,
                _ => std::future::pending().await,
            }
        };
        let settled = tokio::select! {
            Some(settled) = self.under_way.next() => settled,
            batch = looked_up => {
                self.next = Next::Ready(batch);
                return Ok(Vec::new());
            }
        };
        // A task that panicked has told nobody.
        let settled = settled.map_err(|_| LinkError::Undelivered)?;
        self.oldest.pop_front();
        self.blocked = false;
        match settled.delivery {
            Some(Delivery::Undelivered) => {
                self.shared.shown.borrow_mut().retries += 1;
                self.shared.figures.lost.inc_by(settled.unsafe_messages as u64);
                return Err(LinkError::Undelivered);
            }
            Some(Delivery::Stored(_)) => self.shared.shown.borrow_mut().delivered += 1,
            None => {}
        }
        self.unacknowledged -= settled.acknowledgements.len();
        for (_, id) in &settled.acknowledgements {
            self.memory.session.acknowledged(*id);
        }
        Ok(settled.acknowledgements)
    }

    /// The connection is gone: counts what will not come again.
    pub fn give_up(self) {
        let ready = match &self.next {
            Next::Ready(batch) => batch.iter().filter(|message| !message.is_acknowledged()).count(),
            // What is looked up comes again.
            _ => 0,
        };
        self.shared.figures.lost.inc_by((self.held_unsafe + ready) as u64);
    }

    fn count_in(&mut self, message: &Message) {
        self.held_bytes += message.bytes();
        self.held_unsafe += usize::from(!message.is_acknowledged());
    }

    fn most(&self) -> usize {
        usize::from(self.shared.options.receive_maximum)
    }

    fn most_bytes(&self) -> usize {
        self.shared.intake.settings().share.bytes as usize
    }

    fn wait(&self) -> bool {
        !self.held.is_empty() || matches!(self.next, Next::Ready(_))
    }

    fn show(&self) {
        let mut shown = self.shared.shown.borrow_mut();
        shown.waits = self.wait();
        let more = !self.held.is_empty() || !matches!(self.next, Next::None);
        shown.under_way = self.under_way.len() + usize::from(more);
        self.shared.figures.unacknowledged.set(self.unacknowledged as i64);
    }

    /// The next messages, as many as make a batch and there may be room for.
    fn collect(&mut self) -> Vec<Message> {
        let most = self.shared.intake.room();
        let most_bytes = self.shared.intake.settings().batch_readings as usize * BYTES_A_READING;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(message) = self.held.front() {
            bytes += message.bytes();
            if batch.len() >= most || !batch.is_empty() && bytes > most_bytes {
                break;
            }
            let Some(message) = self.held.pop_front() else {
                break;
            };
            self.held_bytes -= message.bytes();
            self.held_unsafe -= usize::from(!message.is_acknowledged());
            batch.push(message);
        }
        batch
    }

    /// Sends a batch off; gives it back where there is no room.
    fn depart(&mut self, mut batch: Vec<Message>) -> Result<(), Vec<Message>> {
        let mut tried = self.try_depart(&mut batch, false);
        if let Err(PermitError::TooLarge(_)) = tried {
            // Alone, each may be small enough.
            for message in batch.drain(1..).rev() {
                self.count_in(&message);
                self.held.push_front(message);
            }
            tried = self.try_depart(&mut batch, false);
        }
        if let Err(PermitError::TooLarge(_)) = tried {
            tried = self.try_depart(&mut batch, true);
        }
        let departed = match tried {
            Ok(departed) => departed,
            Err(PermitError::Busy) => return Err(batch),
            Err(error @ PermitError::TooLarge(_)) => {
                let source = self.shared.intake.source().as_str();
                tracing::error!(source, %error, "a message can never be stored, not even as a dead letter");
                None
            }
        };
        self.departed(batch, departed);
        Ok(())
    }

    fn departed(&mut self, batch: Vec<Message>, departed: Option<Departed>) {
        let acknowledged = batch.iter().filter(|message| message.is_acknowledged());
        let acknowledgements: Vec<_> = acknowledged
            .map(|message| (message.published.qos, message.published.id))
            .collect();
        let unsafe_messages = batch.len() - acknowledgements.len();
        let oldest = batch.iter().map(Message::time).min();
        self.oldest.push_back(oldest.unwrap_or(self.last_arrival));
        let retained = batch.into_iter().filter_map(|message| match message.arrival {
            Arrived::Retained(arrival) => Some(arrival),
            _ => None,
        });
        let retained: Vec<Arrival> = retained.collect();
        let undelivered = self.shared.undelivered.clone();
        // Goes on when the connection is gone: first arrivals are noted until it is known what became of them.
        self.under_way.push_back(tokio::spawn(async move {
            let delivery = match departed {
                Some(delivery) => {
                    let delivery = delivery.await;
                    if matches!(delivery, Delivery::Undelivered) {
                        undelivered.keep(retained);
                    }
                    Some(delivery)
                }
                None => None,
            };
            Settled {
                delivery,
                acknowledgements,
                unsafe_messages,
            }
        }));
    }

    /// `None` for a batch of which nothing is to be stored. With `refuse`, its messages become dead letters whole.
    fn try_depart(&self, batch: &mut [Message], refuse: bool) -> Result<Option<Departed>, PermitError> {
        let (intake, options) = (&self.shared.intake, &self.shared.options);
        let limit = intake.settings().batch_readings;
        let mut timeless = Vec::with_capacity(batch.len());
        let (mut ignored, mut bytes) = (0, 0);
        let mut filling = intake.fill();
        for message in &*batch {
            timeless.push(match message.meaning(options, self.shared.topics()) {
                Meaning::Payload(payload) if refuse => {
                    let reason =
                        format!("has more than {limit} readings, or more bytes than may be under way");
                    let kept = payload.bytes.len().min(DeadLetter::MAX_PAYLOAD);
                    let payload = Payload {
                        bytes: &payload.bytes[..kept],
                        ..payload
                    };
                    bytes += kept;
                    filling.refuse(payload, RejectReason::LimitReached, reason);
                    false
                }
                Meaning::Payload(payload) => {
                    bytes += payload.bytes.len();
                    filling.add(payload)
                }
                Meaning::Status(payload, online) => {
                    bytes += payload.bytes.len();
                    filling.add_value(payload, ONLINE, f64::from(u8::from(online)));
                    true
                }
                Meaning::Refused(payload, kind, reason) => {
                    bytes += payload.bytes.len();
                    filling.refuse(payload, kind, reason);
                    false
                }
                Meaning::Ignored => {
                    ignored += 1;
                    false
                }
                Meaning::Empty => false,
            });
        }
        let mut draft = filling.finish();
        if draft.received() > u64::from(limit) && !refuse {
            return Err(PermitError::TooLarge(intake.settings().share));
        }
        let departed = match draft.received() {
            0 => None,
            _ => {
                let mut positions: Vec<Position> = self.low_water(batch).into_iter().collect();
                let timeless = batch.iter_mut().zip(timeless).filter(|(_, timeless)| *timeless);
                let mut seen = Vec::new();
                for (message, _) in timeless {
                    if let Arrived::Now(time) = message.arrival
                        && message.is_acknowledged()
                    {
                        message.arrival = Arrived::Seen(self.memory.session.first(message.id(), time));
                    }
                    match &message.arrival {
                        Arrived::Now(_) => {}
                        Arrived::Retained(arrival) => positions.push(arrival.position()),
                        Arrived::Seen(noted) => seen.push(noted),
                    }
                }
                draft.arrivals = pages(seen, intake.now());
                Some(Box::pin(intake.try_deliver(draft, bytes, positions)?) as Departed)
            }
        };
        self.shared.figures.ignored.inc_by(ignored);
        Ok(departed)
    }

    /// What [`Memory::since`] is after this batch.
    fn low_water(&self, batch: &[Message]) -> Option<Position> {
        if !self.shared.options.keeps_session() {
            return None;
        }
        let batch = batch.iter().map(Message::time);
        let oldest = batch.chain(self.oldest.iter().copied()).min()?;
        Some(Position {
            source: self.shared.intake.source().clone(),
            partition: self.memory.partition.clone(),
            offset: oldest.0,
            epoch: None,
        })
    }
}

/// Finds out when messages came first that may have come before. Waits for the database as long as it takes.
async fn look_up(
    shared: &Shared,
    batch: Vec<Message>,
    since: Option<Timestamp>,
    session: Session,
) -> Vec<Message> {
    // Without a time nothing of this session was ever stored; but it may be on its way.
    let since = since.map_or(Timestamp::MIN, |since| since.saturating_sub(LOST_WITHIN));
    let mut known = Vec::with_capacity(batch.len());
    for mut message in batch {
        if may_be_known(&message, &session) {
            message.arrival = match message.published.retained {
                true => Arrived::Retained(look_up_retained(shared, &message).await),
                false if message.published.again => {
                    Arrived::Seen(session.again(message.id(), since, message.time()))
                }
                false => Arrived::Seen(session.first(message.id(), message.time())),
            };
        }
        known.push(message);
    }
    known
}

/// Whether it may have come before: the broker says so, it was retained and comes with each subscription, or it has the packet
/// id of one that was never acknowledged.
fn may_be_known(message: &Message, session: &Session) -> bool {
    let published = &message.published;
    let sent_again = || published.again || session.is_left(published.id);
    matches!(message.arrival, Arrived::Now(_))
        && (published.retained || message.is_acknowledged() && sent_again())
}

async fn look_up_retained(shared: &Shared, message: &Message) -> Arrival {
    let mut attempt = 0;
    loop {
        // It may have been there for ever.
        let key = message.key(shared.client_id());
        match shared.arrivals.again(key, Timestamp::MIN, message.time()).await {
            Ok(arrival) => return arrival,
            Err(error) => shared.complain(LinkError::Store(error).to_string()),
        }
        tokio::time::sleep(retry::pause(attempt)).await;
        attempt = attempt.saturating_add(1);
    }
}
