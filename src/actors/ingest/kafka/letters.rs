//! The topic for what could not be read.
//!
//! A letter is written after the transaction that holds its dead letter has committed; the database's is the one that is
//! promised, this is a copy of it for whoever listens. How it fails: what cannot be written is counted and logged.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::status::Shared;
use crate::domain::DeadLetter;

/// How long what is written may take at the end.
const FLUSH: Duration = Duration::from_secs(5);

pub(super) struct LetterTopic {
    topic: String,
    producer: ThreadedProducer<Heard>,
    shared: Arc<Shared>,
}

impl LetterTopic {
    pub fn open(topic: &str, config: &ClientConfig, shared: Arc<Shared>) -> KafkaResult<Self> {
        Ok(Self {
            topic: topic.to_owned(),
            producer: config.create_with_context(Heard(shared.clone()))?,
            shared,
        })
    }

    /// Writes what it has room for, from the front; what is left is to be tried again.
    pub fn write(&self, letters: &mut std::collections::VecDeque<DeadLetter>) {
        while let Some(letter) = letters.front() {
            let headers = [
                ("source", letter.source.as_str()),
                ("position", letter.position.as_str()),
                ("reason", letter.reason.as_str()),
                ("detail", letter.detail.as_str()),
            ];
            let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header {
                    key,
                    value: Some(value.as_bytes()),
                })
            });
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic)
                .payload(&letter.payload)
                .headers(headers);
            if let Some(key) = &letter.key {
                record = record.key(key.as_bytes());
            }
            match self.producer.send(record) {
                Ok(()) => {}
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => return,
                Err((error, _)) => self
                    .shared
                    .note_error(&format!("a dead letter was not written: {error}")),
            }
            letters.pop_front();
        }
    }
}

impl Drop for LetterTopic {
    fn drop(&mut self) {
        if let Err(error) = self.producer.flush(FLUSH) {
            self.shared
                .note_error(&format!("dead letters were not written: {error}"));
        }
    }
}

struct Heard(Arc<Shared>);

impl ClientContext for Heard {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note_error(&format!("{error}: {reason}"));
    }
}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0
                .note_error(&format!("a dead letter was not written: {error}"));
        }
    }
}
