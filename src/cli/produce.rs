//! `simulate --kafka`: made-up readings into a topic, keyed by sensor, so that those of one stay in order.
//!
//! How it fails: a message that the brokers refuse for good ends the command; brokers that are away are waited for.

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::args::SimulateArgs;
use super::commands::print;
use super::exit::{CommandError, ExitCode};
use super::simulate::PROGRESS_EVERY;
use crate::clock::{Clock, SystemClock};
use crate::domain::Timestamp;
use crate::simulate::Simulator;

/// How long the brokers may take to answer for the last messages.
const FLUSH: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);
const TOPIC: &str = "sensor-readings-raw";

/// Writes until the end, or the number of readings asked for; prints how many the brokers have.
pub(super) fn produce(
    args: &SimulateArgs,
    brokers: &str,
    end: Timestamp,
    mut simulator: Peekable<Simulator>,
) -> Result<(), CommandError> {
    let written = Written::default();
    let producer: BaseProducer<Written> = config(args, brokers)
        .create_with_context(written.clone())
        .map_err(failed)?;
    let topic = args.topic.as_deref().unwrap_or(TOPIC);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut told = Instant::now();
    let mut line = Vec::new();
    while left > 0 {
        let now = SystemClock.now();
        let Some(reading) = simulator.next_if(|reading| reading.due <= now && reading.due < end) else {
            if simulator.peek().is_none_or(|reading| reading.due >= end) {
                break;
            }
            producer.poll(TICK);
            written.check()?;
            continue;
        };
        line.clear();
        reading.encode(false, &mut line);
        let key = reading.sensor_id();
        let mut record = BaseRecord::to(topic).key(&key).payload(&line);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    producer.poll(TICK);
                    written.check()?;
                }
                Err((error, _)) => return Err(failed(error)),
            }
        }
        left -= 1;
        producer.poll(Duration::ZERO);
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            written.check()?;
            eprintln!("{written}");
        }
    }
    producer.flush(FLUSH).map_err(failed)?;
    written.check()?;
    print(&written.to_string())
}

fn config(args: &SimulateArgs, brokers: &str) -> ClientConfig {
    let producer = &args.producer;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "sensorhive-simulate")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", &producer.compression)
        .set("batch.num.messages", producer.batch.to_string())
        .set("linger.ms", producer.linger.as_millis().to_string());
    config
}

/// What the brokers say of the messages.
#[derive(Clone, Default)]
struct Written(Arc<Answers>);

#[derive(Default)]
struct Answers {
    written: AtomicU64,
    refused: Mutex<Option<KafkaError>>,
}

impl Written {
    /// Fails once a message was refused for good.
    fn check(&self) -> Result<(), CommandError> {
        self.0
            .refused
            .lock()
            .take()
            .map_or(Ok(()), |error| Err(failed(error)))
    }
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} written", self.0.written.load(Ordering::Relaxed))
    }
}

impl ClientContext for Written {
    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("{error}: {reason}");
    }
}

impl ProducerContext for Written {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.written.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => *self.0.refused.lock() = Some(error.clone()),
        }
    }
}

fn failed(error: KafkaError) -> CommandError {
    CommandError::new(ExitCode::Failed, format!("cannot write to Kafka: {error}"))
}
