//! Topics of a Kafka cluster to write to.
//!
//! Invariants: the producer is idempotent and its messages never time out, so what is under way arrives in order, once, when the
//! cluster is back, however long that takes. The key is the sensor's id: a sensor's records are in one partition of each topic.
//!
//! How it fails: a record is refused for good where the cluster refuses it though it is alone in its request. Everything else, such as a
//! topic that is not there, is tried again with a new producer; whatever had arrived by then comes twice.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{Kind, Message, Refusal, Sink, SinkError};

/// The header that tells records apart.
const ID: &str = "sensorhive-id";

/// The topic of each kind; of a kind without one nothing is sent.
#[derive(Debug, Clone, Default)]
pub struct KafkaTopics {
    pub readings: String,
    pub windows: String,
    pub anomalies: String,
    pub alerts: String,
}

impl KafkaTopics {
    fn of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Reading => &self.readings,
            Kind::Window => &self.windows,
            Kind::Anomaly => &self.anomalies,
            Kind::Alert => &self.alerts,
        }
    }
}

pub struct KafkaSink {
    output: String,
    config: ClientConfig,
    topics: KafkaTopics,
    last_error: Arc<Mutex<Option<String>>>,
    errors: Counter,
    producer: Option<FutureProducer<Events>>,
}

impl KafkaSink {
    /// What the client complains of goes to `last_error`, and is counted.
    pub fn new(
        output: String,
        config: ClientConfig,
        topics: KafkaTopics,
        last_error: Arc<Mutex<Option<String>>>,
        errors: Counter,
    ) -> Self {
        Self {
            output,
            config,
            topics,
            last_error,
            errors,
            producer: None,
        }
    }

    fn producer(&mut self) -> Result<FutureProducer<Events>, SinkError> {
        if let Some(producer) = &self.producer {
            return Ok(producer.clone());
        }
        let events = Events {
            output: self.output.clone(),
            last_error: self.last_error.clone(),
            errors: self.errors.clone(),
        };
        let made: Result<FutureProducer<Events>, _> = self.config.create_with_context(events);
        let producer = made.map_err(|error| SinkError(error.to_string()))?;
        Ok(self.producer.insert(producer).clone())
    }

    /// Puts a message into the producer's queue.
    fn enqueue(
        &self,
        producer: &FutureProducer<Events>,
        message: &Message,
    ) -> Result<DeliveryFuture, KafkaError> {
        let id = Header {
            key: ID,
            value: Some(message.id.as_bytes()),
        };
        let record = FutureRecord::to(self.topics.of(message.kind))
            .key(message.sensor.as_str())
            .payload(&message.json)
            .headers(OwnedHeaders::new_with_capacity(1).insert(id));
        producer.send_result(record).map_err(|(error, _)| error)
    }
}

/// What became of one message; `Err` where it is not known.
async fn confirmed(delivery: DeliveryFuture) -> Result<Option<KafkaError>, SinkError> {
    match delivery.await {
        Ok(Ok(_)) => Ok(None),
        Ok(Err((error, _))) => Ok(Some(error)),
        Err(_) => Err(SinkError("the producer has ended".to_owned())),
    }
}

/// Whether it is the message that is at fault.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp
        )
    )
}

#[async_trait(?Send)]
impl Sink for KafkaSink {
    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Refusal>, SinkError> {
        let producer = self.producer()?;
        let (mut pending, mut failed) = (VecDeque::new(), Vec::new());
        for (place, message) in messages.iter().enumerate() {
            loop {
                match self.enqueue(&producer, message) {
                    Ok(delivery) => {
                        pending.push_back((place, delivery));
                        break;
                    }
                    Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                        let Some((oldest, delivery)) = pending.pop_front() else {
                            return Err(SinkError(error.to_string()));
                        };
                        failed.extend(confirmed(delivery).await?.map(|error| (oldest, error)));
                    }
                    Err(error) => {
                        failed.push((place, error));
                        break;
                    }
                }
            }
        }
        for (place, delivery) in pending {
            failed.extend(confirmed(delivery).await?.map(|error| (place, error)));
        }
        if let Some((_, error)) = failed.iter().find(|(_, error)| !is_final(error)) {
            return Err(SinkError(error.to_string()));
        }
        failed.sort_by_key(|(place, _)| *place);
        let mut refusals = Vec::new();
        for (place, _) in failed {
            // A request is refused as a whole: the fault may be another's in it.
            let alone = match self.enqueue(&producer, &messages[place]) {
                Ok(delivery) => confirmed(delivery).await?,
                Err(error) => Some(error),
            };
            match alone {
                None => {}
                Some(error) if is_final(&error) => refusals.push(Refusal {
                    place,
                    why: error.to_string(),
                }),
                Some(error) => return Err(SinkError(error.to_string())),
            }
        }
        Ok(refusals)
    }

    fn reset(&mut self) {
        if let Some(producer) = self.producer.take() {
            // Its end waits for threads of the client's, which nobody here should.
            std::thread::spawn(move || drop(producer));
        }
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        self.reset();
    }
}

/// What the client calls back with.
struct Events {
    output: String,
    last_error: Arc<Mutex<Option<String>>>,
    errors: Counter,
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, _: &str, message: &str) {
        let output = self.output.as_str();
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(output, message, "kafka client"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(output, message, "kafka client")
            }
            RDKafkaLogLevel::Debug => tracing::debug!(output, message, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.inc();
        *self.last_error.lock() = Some(format!("{error}: {reason}"));
    }
}
