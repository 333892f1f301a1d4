//! What a message means for us: readings, whether a sensor is there, or nothing.

use super::MqttOptions;
use super::frames::Oversized;
use super::packets::{Published, Qos};
use crate::actors::ingest::{Arrival, ArrivalKey, MessageId, Payload, Place, Seen};
use crate::decode::TopicPattern;
use crate::domain::{RejectReason, Timestamp};

/// A message that was received and not handed on yet.
pub struct Message {
    pub published: Published,
    /// The length of its packet, if that was too large to be kept.
    oversized: Option<usize>,
    pub arrival: Arrived,
}

/// When it came first.
pub enum Arrived {
    Now(Timestamp),
    /// It was retained, and was looked up.
    Retained(Arrival),
    /// It is noted in the session.
    Seen(Seen),
}

/// What is to be done with a message.
pub enum Meaning<'m> {
    /// For the decoder.
    Payload(Payload<'m>),
    /// Whether the sensor is there.
    Status(Payload<'m>, bool),
    /// A dead letter, for the reason given.
    Refused(Payload<'m>, RejectReason, String),
    /// Nothing: the settings leave it out.
    Ignored,
    /// Nothing: there is nothing in it, as when a retained message is deleted.
    Empty,
}

impl Message {
    pub fn new(published: Published, now: Timestamp) -> Self {
        Self {
            published,
            oversized: None,
            arrival: Arrived::Now(now),
        }
    }

    pub fn oversized(oversized: Oversized, now: Timestamp) -> Self {
        Self {
            published: oversized.message,
            oversized: Some(oversized.bytes),
            arrival: Arrived::Now(now),
        }
    }

    pub fn time(&self) -> Timestamp {
        match &self.arrival {
            Arrived::Now(time) => *time,
            Arrived::Retained(arrival) => arrival.time,
            Arrived::Seen(seen) => seen.time(),
        }
    }

    pub fn bytes(&self) -> usize {
        self.published.payload.len()
    }

    pub fn is_acknowledged(&self) -> bool {
        self.published.qos != Qos::AtMostOnce
    }

    /// What a retained message has in common with itself when it comes again. Its packet id means nothing.
    pub fn key(&self, client_id: &str) -> ArrivalKey {
        ArrivalKey::retained(client_id, &self.published.topic, &self.published.payload)
    }

    /// What any other has.
    pub fn id(&self) -> MessageId {
        let Published {
            id, topic, payload, ..
        } = &self.published;
        MessageId::new(*id, topic, payload)
    }

    /// With `topics` for readings.
    pub fn meaning(&self, options: &MqttOptions, topics: &[TopicPattern]) -> Meaning<'_> {
        let Published {
            topic,
            payload,
            retained,
            ..
        } = &self.published;
        let find = |patterns: &[TopicPattern]| patterns.iter().find_map(|pattern| pattern.matches(topic));
        let status = options.status.as_ref();
        let status = status.and_then(|status| Some((status, find(&status.topics)?)));
        let hints = match &status {
            Some((_, hints)) => Some(*hints),
            None => find(topics),
        };
        let Some(hints) = hints.filter(|_| !*retained || options.retained) else {
            // Where no pattern matches, the session still has a subscription of earlier settings.
            return Meaning::Ignored;
        };
        let whole = Payload {
            bytes: payload,
            arrival: self.time(),
            place: Place {
                label: topic,
                offset: None,
                key: None,
            },
            hints,
        };
        if let Some(bytes) = self.oversized {
            let most = options.max_packet;
            let reason = format!("is in a packet of {bytes} bytes, at most {most} are allowed");
            return Meaning::Refused(whole, RejectReason::LimitReached, reason);
        }
        if payload.is_empty() {
            return Meaning::Empty;
        }
        let Some((status, _)) = status else {
            return Meaning::Payload(whole);
        };
        let is_one_of = |words: &[String]| words.iter().any(|word| word.as_bytes() == &payload[..]);
        match (is_one_of(&status.online), is_one_of(&status.offline)) {
            (true, _) => Meaning::Status(whole, true),
            (false, true) => Meaning::Status(whole, false),
            (false, false) => {
                let reason = "is none of the words that `status` has in `online` and `offline`";
                Meaning::Refused(whole, RejectReason::Invalid, reason.to_owned())
            }
        }
    }
}
