//! What a message means for us: readings, whether a sensor is there, or nothing.

use super::MqttOptions;
use super::frames::Oversized;
use super::packets::{Published, Qos};
use crate::actors::ingest::{Arrival, ArrivalKey, Payload, Place};
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
    /// It may have come before, and was looked up.
    Known(Arrival),
}

impl Arrived {
    pub fn known(self) -> Option<Arrival> {
        match self {
            Arrived::Now(_) => None,
            Arrived::Known(arrival) => Some(arrival),
        }
    }
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
            Arrived::Known(arrival) => arrival.time,
        }
    }

    pub fn bytes(&self) -> usize {
        self.published.payload.len()
    }

    pub fn is_acknowledged(&self) -> bool {
        self.published.qos != Qos::AtMostOnce
    }

    /// Whether it may come again.
    pub fn comes_again(&self) -> bool {
        self.is_acknowledged() || self.published.retained
    }

    /// Whether it may have come before: the broker says so, or it was retained and comes with each subscription.
    pub fn may_be_known(&self) -> bool {
        matches!(self.arrival, Arrived::Now(_))
            && (self.published.retained || self.published.again && self.is_acknowledged())
    }

    /// What it has in common with itself when it comes again. A retained message has its topic and its payload, and no
    /// packet id that would mean something.
    pub fn key(&self, client_id: &str) -> ArrivalKey {
        let Published {
            id,
            retained,
            topic,
            payload,
            ..
        } = &self.published;
        ArrivalKey::mqtt(client_id, if *retained { 0 } else { *id }, topic, payload)
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
