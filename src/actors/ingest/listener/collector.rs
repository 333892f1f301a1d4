//! Brings the messages of all connections together into batches, and each its fate.
//!
//! There is no linger: a batch is what has come since the last one was sent off. When the pipeline has no room the collector
//! waits, and what comes meanwhile makes the next batch larger. What waits here is bounded by the room that each message holds
//! until its fate is known.
//!
//! Invariant: [`Fate::Decided`] is said only after the transaction that holds the message's readings and refusals has
//! committed. How it fails: a message whose fate is not told, because something panicked, is undelivered to its connection.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;

use super::answers::Verdict;
use super::counters::{Counted, Counters};
use super::wire::Message;
use crate::actors::batch::{Delivery, Receipt};
use crate::actors::ingest::{Arrival, DraftBatch, Intake, Payload, Place, Seen, pages};
use crate::domain::{RejectReason, Timestamp};
use crate::storage::Position;

/// The most messages of one batch.
const MAX_MESSAGES: usize = 4_096;

/// A message on its way.
pub struct Offered {
    pub message: Message,
    /// Its packet id, where it has one.
    pub id: Option<u16>,
    /// When it came, and how that is remembered for a redelivery.
    pub at: Timestamp,
    pub arrival: Option<Seen>,
    /// That its device has a session, to be stored with it.
    pub session: Option<Arrival>,
    /// Why it is refused unread.
    pub refusal: Option<Refusal>,
    pub fate: oneshot::Sender<Fate>,
    pub hold: Hold,
}

/// The room that a message takes until its fate is known.
pub struct Hold {
    _counted: Counted,
    _room: OwnedSemaphorePermit,
}

impl Hold {
    pub fn new(counters: &Counters, room: OwnedSemaphorePermit) -> Self {
        Self {
            _counted: counters.wait(),
            _room: room,
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Decided(Verdict),
    /// It has to be sent again.
    Undelivered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NotAllowed,
    UnknownTopic,
}

/// Runs until nobody can offer any more.
pub async fn collect(intake: Intake, mut offers: mpsc::UnboundedReceiver<Offered>, counters: Arc<Counters>) {
    let mut settling = JoinSet::new();
    let mut waiting = Vec::new();
    loop {
        if waiting.is_empty() && offers.recv_many(&mut waiting, MAX_MESSAGES).await == 0 {
            break;
        }
        let (mut batch, filled) = fill(&intake, &waiting);
        let rest = waiting.split_off(filled.messages);
        let messages = std::mem::replace(&mut waiting, rest);
        let found = Found::new(&batch, &messages);
        let positions = remember(&mut batch, &filled, &messages, intake.now());
        match intake.send(batch, filled.bytes, positions).await {
            Ok(delivery) => {
                let counters = counters.clone();
                settling.spawn(async move { settle(messages, found, delivery.await, &counters) });
            }
            Err(error) if messages.len() > 1 => {
                tracing::debug!(%error, "messages are sent off one by one");
                for message in messages {
                    alone(&intake, message, &counters).await;
                }
            }
            Err(error) => {
                tracing::error!(source = intake.source().as_str(), %error, "a message can never be sent off");
                settle(messages, found, Delivery::Undelivered, &counters);
            }
        }
        while settling.try_join_next().is_some() {}
    }
    while settling.join_next().await.is_some() {}
}

/// For messages that together are more than may be under way.
async fn alone(intake: &Intake, message: Offered, counters: &Counters) {
    let messages = vec![message];
    let (mut batch, filled) = fill(intake, &messages);
    let found = Found::new(&batch, &messages);
    let positions = remember(&mut batch, &filled, &messages, intake.now());
    let delivery = intake.deliver(batch, filled.bytes, positions).await;
    let delivery = delivery.unwrap_or_else(|error| {
        tracing::error!(source = intake.source().as_str(), %error, "a message can never be sent off");
        Delivery::Undelivered
    });
    settle(messages, found, delivery, counters);
}

/// What of the messages a batch took.
#[derive(Default)]
struct Filled {
    messages: usize,
    bytes: usize,
    /// Those whose arrival stands in for a time that they do not give.
    undated: Vec<usize>,
}

/// A batch of the first messages.
fn fill<'i>(intake: &'i Intake, messages: &[Offered]) -> (DraftBatch<'i>, Filled) {
    let limit = u64::from(intake.settings().batch_readings);
    let most_bytes = intake.settings().share.bytes as usize / 2;
    let mapping = &intake.settings().mapping;
    let mut filling = intake.fill();
    let mut filled = Filled::default();
    for (number, offered) in messages.iter().enumerate() {
        let size = offered.message.payload.len();
        if number > 0 && (filling.received() >= limit || filled.bytes + size > most_bytes) {
            break;
        }
        let payload = Payload {
            bytes: offered.message.payload.as_slice(),
            arrival: offered.at,
            place: Place {
                label: &offered.message.topic,
                offset: None,
                key: None,
            },
            hints: mapping.hints(&offered.message.topic),
        };
        match offered.refusal {
            Some(refusal) => filling.refuse(payload, RejectReason::Refused, refusal.reason().to_owned()),
            None => {
                if filling.add(payload) {
                    filled.undated.push(number);
                }
            }
        }
        filled.messages += 1;
        filled.bytes += size;
    }
    (filling.finish(), filled)
}

/// What has to be remembered of the messages: arrivals that stand in for a time, and sessions.
fn remember(
    batch: &mut DraftBatch<'_>,
    filled: &Filled,
    messages: &[Offered],
    now: Timestamp,
) -> Vec<Position> {
    let undated = filled.undated.iter();
    let undated = undated.filter_map(|number| messages.get(*number)?.arrival.as_ref());
    batch.arrivals = pages(undated, now);
    let sessions = messages.iter().filter_map(|message| message.session.as_ref());
    sessions.map(Arrival::position).collect()
}

/// What the decoder found in the messages of a batch.
struct Found {
    /// For each reading, which message it came from.
    readings: Vec<u32>,
    /// For messages with refusals, how many readings there are beside, and the verdict if there are none.
    refused: HashMap<u32, Verdict>,
    /// For each message, its readings.
    counts: Vec<u32>,
}

impl Found {
    fn new(batch: &DraftBatch<'_>, messages: &[Offered]) -> Self {
        let mut counts = vec![0; messages.len()];
        for number in &batch.payloads {
            if let Some(count) = counts.get_mut(*number as usize) {
                *count += 1;
            }
        }
        let mut refused = HashMap::new();
        for (number, refusal) in batch.refused_payloads.iter().zip(batch.refused()) {
            let known = messages.get(*number as usize).and_then(|message| message.refusal);
            let verdict = known.map_or_else(|| verdict(refusal.kind), Refusal::verdict);
            refused.entry(*number).or_insert(verdict);
        }
        Self {
            readings: batch.payloads.clone(),
            refused,
            counts,
        }
    }

    /// Takes away what was refused after the decoder.
    fn receive(&mut self, receipt: &Receipt) {
        let refused = receipt
            .refused
            .iter()
            .map(|refused| (refused.index, verdict(refused.reason)));
        let conflicts = receipt
            .conflicts
            .iter()
            .map(|conflict| (conflict.index, Verdict::Refused));
        for (index, verdict) in refused.chain(conflicts) {
            let Some(number) = self.readings.get(index as usize) else {
                continue;
            };
            let count = &mut self.counts[*number as usize];
            *count = count.saturating_sub(1);
            self.refused.entry(*number).or_insert(verdict);
        }
    }

    /// A message of which anything was stored is stored; what is wrong with the rest is in dead letters.
    fn verdict(&self, number: usize) -> Verdict {
        let refused = self.refused.get(&(number as u32)).copied();
        refused
            .filter(|_| self.counts[number] == 0)
            .unwrap_or(Verdict::Stored)
    }
}

fn settle(messages: Vec<Offered>, mut found: Found, delivery: Delivery, counters: &Counters) {
    if let Delivery::Stored(receipt) = &delivery {
        found.receive(receipt);
    }
    for (number, offered) in messages.into_iter().enumerate() {
        let fate = match &delivery {
            Delivery::Stored(_) => {
                counters.settled.inc();
                Fate::Decided(found.verdict(number))
            }
            Delivery::Undelivered => {
                match offered.id {
                    Some(_) => counters.undelivered.inc(),
                    None => counters.lost.inc(),
                };
                Fate::Undelivered
            }
        };
        // The connection may have gone away meanwhile.
        let _ = offered.fate.send(fate);
        drop(offered.hold);
    }
}

fn verdict(reason: RejectReason) -> Verdict {
    match reason {
        RejectReason::Undecodable | RejectReason::Invalid | RejectReason::TimeOutOfRange => {
            Verdict::NotUnderstood
        }
        RejectReason::LimitReached => Verdict::LimitReached,
        RejectReason::Conflict | RejectReason::Panic | RejectReason::Refused => Verdict::Refused,
    }
}

impl Refusal {
    /// To be read after `payload`.
    fn reason(self) -> &'static str {
        match self {
            Refusal::NotAllowed => "came to a topic that its user may not publish to (mqtt_listener.users)",
            Refusal::UnknownTopic => "came to a topic that matches none of mqtt_listener.topics",
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Refusal::NotAllowed => Verdict::NotAllowed,
            Refusal::UnknownTopic => Verdict::UnknownTopic,
        }
    }
}
