//! The ways of a message, each measured from a warm start on.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sensorhive::actors::ingest::Arrivals;
use sensorhive::actors::ingest::listener::{Access, Limits, ListenerParts, MqttListener, TokenRole, Tokens};
use sensorhive::actors::ingest::mqtt::{self, MqttOptions, MqttSource, Qos, TlsFiles, Version};
use sensorhive::decode::{JsonMapping, TopicPattern};
use sensorhive::startup::pipeline::Pipeline;
use sensorhive::storage::null::NullStore;
use sensorhive::storage::{Store, StoreError};
use tempfile::TempDir;

use crate::device::{Fleet, Subscriber, TOPIC};
use crate::mosquitto::{Broker, Options};
use crate::table::{Clock, Spent, on_cores};
use crate::{place, world};

/// For each measured message so many before the clocks are started.
const WARM: f64 = 0.1;
const LOOK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(600);

/// Who publishes.
#[derive(Debug, Clone, Copy)]
pub struct Devices {
    pub connections: u32,
    /// What each may have under way.
    pub window: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    Null,
    Sqlite,
}

#[derive(Debug)]
pub struct Measured {
    messages: usize,
    wall: Duration,
    service: Option<Duration>,
    mosquitto: Option<Duration>,
}

/// From a publisher to a subscriber.
pub fn alone(in_flight: u16, messages: usize) -> Option<Measured> {
    runtime().block_on(async {
        let broker = broker(in_flight).await?;
        let subscriber = Subscriber::connect(broker.address());
        let fleet = Fleet::connect(broker.address(), crate::PUBLISHER);
        let arrived = async |messages| until(messages, || subscriber.taken()).await;
        let mut measured = measure(fleet, messages, Some(&broker), arrived).await;
        // The subscriber is ours.
        measured.service = None;
        Some(measured)
    })
}

/// From a publisher through Mosquitto, until that has all acknowledgements.
pub fn source(store: Into, in_flight: u16, messages: usize) -> Option<Measured> {
    actix::System::new().block_on(async {
        let broker = broker(in_flight).await?;
        let (store, _directory) = store.open().await;
        let mut pipeline = world::start(store.clone()).await;
        let mapping = JsonMapping {
            topics: vec![TopicPattern::try_from(TOPIC.to_owned()).unwrap()],
            ..JsonMapping::default()
        };
        let intake = world::intake_by(&pipeline, "mqtt", mapping);
        let figures = pipeline.metrics.mqtt.of(intake.source());
        let unacknowledged = figures.unacknowledged.clone();
        let options = options(&broker);
        let arbiter = pipeline.arbiter();
        let _source = pipeline.supervise(&arbiter, "ingest/mqtt", "Source", move || {
            MqttSource::new(options, intake, store, figures)
        });
        until(1, || usize::from(broker.log().contains(TOPIC))).await;
        let fleet = Fleet::connect(broker.address(), crate::PUBLISHER);
        let acknowledged = async |messages| {
            until(messages, || stored(&pipeline)).await;
            until(1, || usize::from(unacknowledged.get() == 0)).await;
        };
        let measured = measure(fleet, messages, Some(&broker), acknowledged).await;
        world::stop(pipeline).await;
        Some(measured)
    })
}

/// From devices to the listener.
pub fn listener(store: Into, devices: Devices, messages: usize) -> Measured {
    actix::System::new().block_on(async {
        let (store, _directory) = store.open().await;
        let mut pipeline = world::start(store.clone()).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let intake = world::intake(&pipeline, "mqtt_listener");
        let parts = ListenerParts {
            listener,
            tls: None,
            arrivals: Arrivals::new(intake.source().clone(), store),
            limits: limits(intake.settings().share.bytes),
            intake,
            counters: pipeline.metrics.mqtt_listener.clone(),
        };
        let access = Access {
            anonymous: true,
            users: HashMap::new(),
            tokens: Arc::new(NoTokens),
        };
        let arbiter = pipeline.arbiter();
        let _listener = pipeline.supervise(&arbiter, "ingest/mqtt_listener", "MqttListener", move || {
            MqttListener::new(parts, access)
        });
        // Whoever has all his answers is done.
        let answered = async |messages| assert_eq!(stored(&pipeline), messages);
        let measured = measure(Fleet::connect(address, devices), messages, None, answered).await;
        world::stop(pipeline).await;
        measured
    })
}

/// `arrived` returns when so many messages are where they should be, from the first on.
async fn measure(
    mut fleet: Fleet,
    messages: usize,
    broker: Option<&Broker>,
    arrived: impl AsyncFn(usize),
) -> Measured {
    let warm = fleet.prepare((WARM * messages as f64) as usize);
    (fleet, _) = publish(fleet).await;
    arrived(warm).await;
    let messages = fleet.prepare(messages);
    let of_broker = || broker.map(|broker| on_cores(&broker.id().to_string()));
    let (clock, before) = (Clock::start(), of_broker());
    let (_fleet, publishing) = publish(fleet).await;
    arrived(warm + messages).await;
    let Spent { wall, cores } = clock.spent();
    Measured {
        messages,
        wall,
        service: Some(cores.saturating_sub(publishing)),
        mosquitto: before
            .zip(of_broker())
            .map(|(before, after)| after.saturating_sub(before)),
    }
}

/// On a thread of its own.
async fn publish(mut fleet: Fleet) -> (Fleet, Duration) {
    let (told, done) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let spent = fleet.publish();
        // Whoever waits is there, or everything ends.
        let _ = told.send((fleet, spent));
    });
    done.await.expect("the publisher has said why it panicked")
}

async fn until(wanted: usize, mut found: impl FnMut() -> usize) {
    let began = Instant::now();
    while found() < wanted {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {wanted} came, and no more",
            found()
        );
        tokio::time::sleep(LOOK).await;
    }
}

fn stored(pipeline: &Pipeline) -> usize {
    pipeline.statistics.summary(world::now()).total_events as usize
}

/// One that logs nothing but who subscribes to what.
async fn broker(in_flight: u16) -> Option<Broker> {
    let options = Options::default()
        .line("log_type none")
        .line("log_type subscribe")
        .line("set_tcp_nodelay true")
        .line(format!("max_inflight_messages {in_flight}"));
    Broker::start(&options).await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// The defaults of a source.
fn options(broker: &Broker) -> MqttOptions {
    MqttOptions {
        brokers: vec![mqtt::Broker {
            host: broker.address().ip().to_string(),
            port: broker.address().port(),
            tls: false,
        }],
        version: Version::V3,
        client_id: Some("bench".to_owned()),
        status: None,
        qos: Qos::AtLeastOnce,
        username: None,
        password_file: None,
        tls: TlsFiles::default(),
        session_expiry: Duration::from_secs(7 * 86_400),
        receive_maximum: 1_000,
        keep_alive: Duration::from_secs(30),
        max_packet: 1 << 20,
        retained: true,
    }
}

/// The defaults of the listener, but for the window.
fn limits(room: u32) -> Limits {
    Limits {
        max_connections: 10_000,
        max_packet: 256 << 10,
        receive_maximum: 1_000,
        in_flight_bytes: 1 << 20,
        room,
        keep_alive: 3_600,
        connect_timeout: Duration::from_secs(10),
        session_kept: Duration::from_secs(86_400),
        redelivery: 600_000_000,
    }
}

struct NoTokens;

#[async_trait]
impl Tokens for NoTokens {
    async fn role(&self, _token: &str) -> Result<TokenRole, StoreError> {
        Ok(TokenRole::Unknown)
    }
}

impl Into {
    async fn open(self) -> (Arc<dyn Store>, TempDir) {
        let directory = place::directory();
        let store: Arc<dyn Store> = match self {
            Self::Null => Arc::new(NullStore::new()),
            Self::Sqlite => place::open(&directory.path().join("stored.db")).await,
        };
        (store, directory)
    }
}

impl fmt::Display for Into {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null store",
            Self::Sqlite => "SQLite",
        })
    }
}

impl Measured {
    pub fn per_second(&self) -> u64 {
        (self.messages as f64 / self.wall.as_secs_f64()) as u64
    }

    /// Seconds of a core for a million messages.
    pub fn service(&self) -> Option<f64> {
        self.for_a_million(self.service)
    }

    pub fn mosquitto(&self) -> Option<f64> {
        self.for_a_million(self.mosquitto)
    }

    fn for_a_million(&self, cores: Option<Duration>) -> Option<f64> {
        cores.map(|cores| cores.as_secs_f64() * 1e6 / self.messages as f64)
    }
}
