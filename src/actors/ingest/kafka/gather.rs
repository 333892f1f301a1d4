//! From messages to batches.
//!
//! Invariants: a batch holds messages in the order in which they came, and the position after the last of each partition. It has
//! no more readings than a batch may have, unless a message alone has more.

use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};

use super::worker::{Failure, Flight, Mark, Worker};
use crate::actors::ingest::{DraftBatch, NotSent, Payload, Place};
use crate::actors::registry::HomeId;
use crate::decode::Hints;
use crate::domain::{RejectReason, Timestamp};
use crate::storage::Position;

/// The most bytes of one batch, unless a message alone has more.
const BATCH_BYTES: usize = 4 << 20;
/// How long a thread sleeps that waits for room.
const NAP: Duration = Duration::from_millis(1);

/// A message that waits for its batch.
pub(super) struct Gathered<'c> {
    message: BorrowedMessage<'c>,
    /// Of which assignment it is.
    id: u64,
}

/// A batch that is about to depart.
pub(super) struct Load<'c> {
    batch: DraftBatch<'c>,
    pub readings: usize,
    messages: usize,
    bytes: usize,
    marks: Vec<Mark>,
}

impl<'c> Worker<'c> {
    /// Takes what the client has, up to a batch; serves the client's events in any case.
    pub fn receive(&mut self) -> Result<(), Failure> {
        if self.waits_shortly() {
            // The queue of the client keeps what it has meanwhile.
            std::thread::park_timeout(NAP);
            return Ok(());
        }
        let limit = self.parts.intake.settings().batch_readings as usize;
        let mut patience = self.patience();
        let before = self.gathered.len();
        loop {
            match self.client.poll(patience) {
                Some(Ok(message)) => self.gather(message),
                Some(Err(error)) => self.note(error)?,
                None => break,
            }
            let full = self.gathered.len() >= limit || self.gathered_bytes >= BATCH_BYTES;
            if full {
                break;
            }
            patience = Duration::ZERO;
        }
        let came = self.gathered.len().saturating_sub(before);
        if came > 0 {
            self.shared.note_messages(came as u64);
        }
        Ok(())
    }

    /// Throws away gathered messages of some assignments: they are read again, here or elsewhere.
    pub fn drop_gathered(&mut self, of: impl Fn(u64) -> bool) {
        self.gathered.retain(|gathered| !of(gathered.id));
        self.gathered_bytes = self
            .gathered
            .iter()
            .map(|gathered| gathered.message.payload_len())
            .sum();
    }

    /// Makes a batch of what is gathered, without taking it away yet.
    pub fn load(&self) -> Load<'c> {
        let intake = &self.parts.intake;
        let limit = u64::from(intake.settings().batch_readings);
        let now = intake.now();
        let mut filling = intake.fill();
        filling.expect(self.gathered.len());
        let (mut messages, mut bytes) = (0, 0);
        let mut marks: Vec<Mark> = Vec::new();
        let mut held = self.held.first();
        for Gathered { message, id } in &self.gathered {
            let payload = message.payload();
            let length = payload.map_or(0, <[u8]>::len);
            // No item takes less than two bytes.
            let at_most = 1 + length as u64 / 2;
            if messages > 0 && (filling.received() + at_most > limit || bytes + length > BATCH_BYTES) {
                break;
            }
            if held.is_none_or(|held| held.id != *id) {
                held = self.held.iter().find(|held| held.id == *id);
            }
            let tenure = held.and_then(|held| held.tenure);
            filling.come_through(tenure.map_or(HomeId::NONE, |tenure| tenure.home));
            let hints = self.hints(message);
            let place = Place {
                label: held.map_or("", |held| &held.label),
                offset: Some(message.offset()),
                key: hints.sensor,
            };
            let whole = Payload {
                bytes: payload.unwrap_or_default(),
                arrival: arrival(message, now),
                place,
                hints,
            };
            match payload {
                Some(_) if length <= self.parts.max_payload => {
                    filling.add(whole);
                }
                Some(_) => {
                    let reason = format!(
                        "is {length} bytes long, at most {} are allowed",
                        self.parts.max_payload
                    );
                    filling.refuse(whole, RejectReason::LimitReached, reason);
                }
                None => {
                    let reason = "is missing: a tombstone holds no reading".to_owned();
                    filling.refuse(whole, RejectReason::Undecodable, reason);
                }
            }
            messages += 1;
            bytes += length;
            let next = message.offset() + 1;
            match marks.iter_mut().rfind(|mark| mark.id == *id) {
                Some(mark) => mark.next = next,
                None => marks.push(Mark { id: *id, next }),
            }
        }
        let batch = filling.finish();
        Load {
            readings: batch.received() as usize,
            batch,
            messages,
            bytes,
            marks,
        }
    }

    /// Sends a batch off, and takes its messages away; `false` if it could not depart.
    pub fn depart(&mut self, load: Load<'c>) -> bool {
        let positions = self.positions(&load.marks);
        let keep_letters = self.parts.dead_letters.is_some();
        let letters = if keep_letters {
            load.batch.dead_letters.clone()
        } else {
            Vec::new()
        };
        let epoch = self.epoch();
        let sent = self
            .parts
            .intake
            .try_deliver_in(epoch, load.batch, load.bytes, positions);
        match sent {
            Ok(delivery) => {
                self.shared.departed();
                self.gathered.drain(..load.messages);
                self.gathered_bytes = self.gathered_bytes.saturating_sub(load.bytes);
                self.flights.push_back(Flight {
                    delivery: Box::pin(delivery),
                    marks: load.marks,
                    letters,
                });
                true
            }
            // Where the epoch has ended, what is under way says whether anything was lost.
            Err(NotSent::Busy | NotSent::Ended) => false,
        }
    }

    /// Sends off positions alone, with nothing else; `false` if they could not depart.
    pub fn depart_positions(&mut self, marks: Vec<Mark>) -> bool {
        let load = Load {
            batch: self.parts.intake.fill().finish(),
            readings: 0,
            messages: 0,
            bytes: 0,
            marks,
        };
        self.depart(load)
    }

    fn positions(&self, marks: &[Mark]) -> Vec<Position> {
        let of = |mark: &Mark| {
            let held = self.held.iter().find(|held| held.id == mark.id)?;
            Some(Position {
                source: self.parts.intake.source().clone(),
                partition: held.label.clone(),
                offset: mark.next,
                epoch: held.epoch,
            })
        };
        marks.iter().filter_map(of).collect()
    }

    fn hints<'m>(&self, message: &'m BorrowedMessage<'_>) -> Hints<'m> {
        let key = message.key().filter(|_| self.parts.key_as_sensor);
        Hints {
            // A key that is not text is no name; items without one of their own are refused then.
            sensor: key
                .and_then(|key| std::str::from_utf8(key).ok())
                .filter(|key| !key.is_empty()),
            metric: None,
        }
    }

    fn gather(&mut self, message: BorrowedMessage<'c>) {
        let Some(index) = self.place_of(&message) else {
            // It was fetched before its partition went.
            return;
        };
        self.last = index;
        let held = &mut self.held[index];
        if held.closed || self.rewind.is_some() || self.stopping {
            // It is read again, here or elsewhere.
            return;
        }
        let offset = message.offset();
        let expected = held.next.replace(offset + 1);
        let fresh = std::mem::replace(&mut held.fresh, false);
        let id = held.id;
        if let Some(expected) = expected
            && (offset < expected || (fresh && offset > expected))
        {
            self.note_jump(index, expected, offset);
        }
        self.gathered_bytes += message.payload_len();
        self.gathered.push_back(Gathered { message, id });
    }

    fn place_of(&self, message: &BorrowedMessage<'_>) -> Option<usize> {
        let (topic, number) = (message.topic(), message.partition());
        let is_it = |held: &super::partition::Held| {
            held.partition.number == number && *held.partition.topic == *topic
        };
        // Messages come in runs.
        match self.held.get(self.last) {
            Some(held) if is_it(held) => Some(self.last),
            _ => self.held.iter().position(is_it),
        }
    }

    /// Reading begins elsewhere than it was to. Compacted topics have gaps, which is no loss.
    fn note_jump(&self, index: usize, expected: i64, offset: i64) {
        let held = &self.held[index];
        let (source, partition) = (self.shared.source.as_str(), held.label.as_str());
        if offset < expected {
            self.shared.note_recreated();
            tracing::warn!(
                source,
                partition,
                expected,
                offset,
                "a partition ends before our position, its topic was made anew; it is read from its beginning"
            );
            return;
        }
        let Ok((first, _)) = self.client.ends(&held.partition.topic, held.partition.number) else {
            return;
        };
        if first > expected {
            let missed = first.min(offset) - expected;
            self.shared.note_missed(missed.unsigned_abs());
            tracing::warn!(
                source,
                partition,
                expected,
                offset,
                missed,
                "messages were deleted before they were read; their topic keeps too little, or we were away too long"
            );
        }
    }

    fn note(&self, error: KafkaError) -> Result<(), Failure> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => Err(error.into()),
            error => {
                self.shared.note_error(&error.to_string());
                Ok(())
            }
        }
    }
}

/// What stands in for a time that the device did not send: the record's own, else now.
fn arrival(message: &BorrowedMessage<'_>, now: Timestamp) -> Timestamp {
    match message.timestamp().to_millis() {
        Some(millis) if millis >= 0 => Timestamp(millis.saturating_mul(1_000)),
        _ => now,
    }
}
