//! The ways to read a topic, each measured from the same message on.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};
use sensorhive::actors::ingest::kafka::{KafkaParts, KafkaSource, Reset};
use sensorhive::decode::{Hints, JsonMapping, decode_json};
use sensorhive::startup::kafka;
use sensorhive::storage::null::NullStore;
use sensorhive::storage::{PostgresSettings, PostgresStore, Store, Timescale};

use crate::kafka_server::Broker;
use crate::load::Sum;
use crate::place;
use crate::postgres_server::{Database, Flavor, Server};
use crate::table::{Clock, Spent};
use crate::world;

/// This part of the messages is read before the clocks are started.
const WARM: f64 = 0.2;
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The client's poll loop, and nothing else.
    Poll,
    Decode,
    Null,
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    spent: Spent,
    messages: usize,
}

impl Lane {
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "bare consume",
            Self::Decode => "bare consume + decode",
            Self::Null => "sensorhive, null store",
            Self::Sqlite => "sensorhive, SQLite",
            Self::Postgres => "sensorhive, PostgreSQL",
        }
    }

    /// Reads all of the topic.
    pub fn run(self, broker: &Broker, topic: &str, messages: usize) -> Measured {
        let mut clocks = Clocks::new(messages);
        match self {
            Self::Poll => bare(broker, topic, &mut clocks, |_| {}),
            Self::Decode => {
                let (mapping, mut sum) = (JsonMapping::default(), Sum::default());
                bare(broker, topic, &mut clocks, |payload| {
                    decode_json(payload, Hints::default(), &mapping, &mut sum);
                });
                assert_eq!(sum.readings, messages as u64);
                std::hint::black_box(sum.total);
            }
            Self::Null | Self::Sqlite | Self::Postgres => self.service(broker, topic, &mut clocks),
        }
        clocks.measured()
    }

    fn service(self, broker: &Broker, topic: &str, clocks: &mut Clocks) {
        actix::System::new().block_on(async {
            let directory = place::directory();
            let mut database = None;
            let store: Arc<dyn Store> = match self {
                Self::Sqlite => place::open(&directory.path().join("stored.db")).await,
                Self::Postgres => match postgres().await {
                    Some((store, its)) => {
                        database = Some(its);
                        Arc::new(store)
                    }
                    None => return,
                },
                _ => Arc::new(NullStore::new()),
            };
            let mut pipeline = world::start(store.clone()).await;
            let parts = KafkaParts {
                intake: world::intake(&pipeline, "kafka"),
                store,
                metrics: pipeline.metrics.clone(),
                ownership: pipeline.ownership(),
                client: config(broker),
                topics: vec![topic.to_owned()],
                reset: Reset::Earliest,
                consumers: 1,
                key_as_sensor: false,
                dead_letters: None,
                drain_timeout: Duration::from_secs(10),
                max_payload: 1 << 20,
            };
            let arbiter = pipeline.arbiter();
            let _source = pipeline.supervise(&arbiter, "ingest/kafka", "Source", move || {
                KafkaSource::new(parts)
            });
            let began = Instant::now();
            loop {
                let stored = pipeline.statistics.summary(world::now()).total_events;
                if clocks.read(stored as usize) {
                    break;
                }
                assert!(
                    began.elapsed() < PATIENCE,
                    "{stored} are stored, and no more come"
                );
                tokio::time::sleep(LOOK).await;
            }
            world::stop(pipeline).await;
            drop(database);
        });
    }
}

async fn postgres() -> Option<(PostgresStore, Database)> {
    let database = Server::shared().await?.database(Flavor::Plain).await?;
    let mut settings = PostgresSettings::from_url(database.url()).unwrap();
    settings.timescale = Timescale::Off;
    Some((PostgresStore::open(&settings).await.unwrap(), database))
}

/// What the service tells its client, in a group of its own.
fn config(broker: &Broker) -> ClientConfig {
    let mut config = kafka::defaults();
    config
        .set("bootstrap.servers", broker.address())
        .set("group.id", format!("bench-{:016x}", getrandom::u64().unwrap()));
    config
}

fn bare(broker: &Broker, topic: &str, clocks: &mut Clocks, mut each: impl FnMut(&[u8])) {
    let consumer: BaseConsumer = config(broker).create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let mut read = 0;
    let began = Instant::now();
    loop {
        // A poll that may wait has to look at the clock, even if there is a message.
        let message = consumer.poll(Duration::ZERO);
        if let Some(message) = message.or_else(|| consumer.poll(Duration::from_millis(100))) {
            each(message.unwrap().payload().unwrap());
            read += 1;
            // A look at the clocks costs something.
            if read % 1_000 == 0 && clocks.read(read) {
                return;
            }
        }
        assert!(began.elapsed() < PATIENCE, "{read} are read, and no more come");
    }
}

/// Started when the warm part is read, stopped with the last message.
struct Clocks {
    messages: usize,
    begun: Option<(usize, Clock)>,
    measured: Measured,
}

impl Clocks {
    fn new(messages: usize) -> Self {
        Self {
            messages,
            begun: None,
            measured: Measured::default(),
        }
    }

    /// Whether that is all.
    fn read(&mut self, read: usize) -> bool {
        match &self.begun {
            None if read as f64 >= WARM * self.messages as f64 => self.begun = Some((read, Clock::start())),
            Some((from, clock)) if read >= self.messages => {
                self.measured = Measured {
                    spent: clock.spent(),
                    messages: read - from,
                };
            }
            _ => {}
        }
        read >= self.messages
    }

    fn measured(self) -> Measured {
        self.measured
    }
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.spent.per_second(self.messages)
    }

    pub fn cores_per_million(&self) -> f64 {
        self.spent.cores_per_million(self.messages)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, cores) = (self.per_second() / 1e3, self.cores_per_million());
        write!(f, "{rate:.0} k/s, {cores:.2} s CPU/M")
    }
}
