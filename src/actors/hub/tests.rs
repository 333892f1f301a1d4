use std::task::{Context as Task, Poll, Waker};

use serde_json::Value;

use super::outlet::Taken;
use super::*;
use crate::actors::dispatcher::Incoming;
use crate::actors::fixture;
use crate::actors::latest::{Latest, LatestValue};
use crate::actors::statistics::Statistics;
use crate::actors::supervision::{self, ActorPath, ActorSpec, Backoff, Jitter, Policy, install_panic_hook};
use crate::clock::ManualClock;
use crate::domain::{Anomaly, Band, DetectorKind, Level, SeriesId, Timestamp};
use crate::metrics::Metrics;
use crate::storage::{BatchReport, CommitGroup, CommitReport, CompleteBatch, InstanceId, SliceOutcome};

const SERIES: SeriesId = SeriesId(1);

/// The pipeline's side, and a clock that stands still unless it is moved.
struct Plant {
    parts: HubParts,
    begun: Instant,
}

impl Plant {
    fn new() -> Self {
        let registry = fixture::registry(1);
        let metrics = Arc::new(Metrics::default());
        let live = Live::new(1, registry.clone(), metrics.live.clone());
        let parts = HubParts {
            live: Arc::new(live),
            registry,
            latest: Arc::new(Latest::new(1)),
            statistics: Arc::new(Statistics::new(0)),
            metrics,
            tree: Default::default(),
            clock: Arc::new(ManualClock::new(Timestamp::from_seconds(1_700_000_000))),
            started_at: Timestamp(0),
        };
        Self {
            parts,
            begun: Instant::now(),
        }
    }

    fn hub(&self) -> Hub {
        Hub::new(self.parts.clone(), Duration::from_secs(10))
    }

    fn at(&self, millis: u64) -> Instant {
        self.begun + Duration::from_millis(millis)
    }

    /// A reading of the one series comes, as a shard takes it in.
    fn hear(&self, index: u32) {
        let reading = fixture::reading(index);
        let sensor = self.parts.registry.sensor_of(SERIES).unwrap();
        let value = LatestValue {
            sensor,
            time: reading.time,
            value: reading.value,
        };
        self.parts.latest.offer(0, [(SERIES, value)].into_iter());
        let incoming = Incoming {
            sensor,
            shard: 0,
            fresh: false,
            reading,
        };
        self.parts.live.heard(0, &[incoming]);
    }

    /// So many anomalies commit.
    fn find(&self, count: usize) {
        let anomaly = Anomaly {
            series: SERIES,
            time: Timestamp(1),
            value: 1.0,
            detector: DetectorKind::Jump,
            level: Level::Warning,
            score: 0.5,
            expected: None,
            band: Band::default(),
            explanation: "\"quoted\"".to_owned(),
        };
        let cargo = fixture::cargo(0, crate::actors::batch::Acknowledgement::nobody());
        let batch = CompleteBatch {
            number: fixture::NUMBER.number,
            at: fixture::NUMBER.at,
            source: cargo.source.clone(),
            sensors: Vec::new(),
            series: Vec::new(),
            positions: Vec::new(),
            arrivals: Vec::new(),
            source_ledger: Default::default(),
            dead_letters: Vec::new(),
            outcomes: vec![SliceOutcome {
                anomalies: vec![anomaly; count],
                ..SliceOutcome::default()
            }],
        };
        let group = CommitGroup {
            instance: InstanceId("test".to_owned()),
            batches: vec![batch],
        };
        let report = CommitReport {
            batches: vec![BatchReport::default()],
        };
        self.parts.live.committed(&group, &report, self.parts.clock.now());
    }
}

fn asked(outlet: &Arc<Outlet>, topic: Topic, since: Option<Since>) -> Subscribe {
    Subscribe {
        outlet: outlet.clone(),
        id: "x".to_owned(),
        topic,
        period: 200,
        since,
        again: false,
    }
}

fn sensor() -> Topic {
    Topic::Sensor("s".to_owned())
}

/// What waits for a client.
fn taken(outlet: &Outlet) -> Vec<Value> {
    let mut all = Vec::new();
    while let Poll::Ready(taken) = outlet.poll_take(&mut Task::from_waker(Waker::noop()), Instant::now()) {
        match taken {
            Taken::Message(message) => {
                let text = format!("{}{}", message.head, message.body);
                all.push(serde_json::from_str(&text).unwrap());
            }
            Taken::Renew => all.push("renew".into()),
            Taken::Close(_) => break,
        }
    }
    all
}

fn value(message: &Value) -> (&str, Option<f64>, Option<u64>) {
    let kind = message["type"].as_str().unwrap();
    let value = &message["data"]["values"]["m"];
    (kind, value["value"].as_f64(), value["count"].as_u64())
}

#[test]
fn a_busy_series_is_told_as_its_newest_value_at_the_rate_asked_for() {
    let plant = Plant::new();
    let mut hub = plant.hub();
    let outlet = Arc::new(Outlet::new(1, 1 << 20));
    plant.hear(1);
    hub.subscribe(asked(&outlet, sensor(), None), plant.at(0))
        .unwrap();
    assert_eq!(
        taken(&outlet).iter().map(value).collect::<Vec<_>>(),
        [("snapshot", Some(1.0), None)]
    );
    // A reading and a turn each 10 ms for a second.
    for n in 0..100 {
        plant.hear(2 + n);
        hub.turn(plant.at(1_000 + 10 * u64::from(n)));
    }
    let told = taken(&outlet);
    let told: Vec<_> = told.iter().map(value).collect();
    assert_eq!(
        told,
        [
            ("delta", Some(2.0), Some(1)),
            ("delta", Some(22.0), Some(20)),
            ("delta", Some(42.0), Some(20)),
            ("delta", Some(62.0), Some(20)),
            ("delta", Some(82.0), Some(20)),
        ]
    );
    assert_eq!(
        hub.due(plant.at(1_990)).min(plant.at(2_000)),
        plant.at(2_000).min(hub.due(plant.at(1_990)))
    );
    hub.turn(plant.at(2_000));
    assert_eq!(value(&taken(&outlet)[0]), ("delta", Some(101.0), Some(19)));
}

#[test]
fn while_nobody_watches_nothing_is_kept() {
    let plant = Plant::new();
    let mut hub = plant.hub();
    plant.hear(1);
    assert!(plant.parts.live.take_changes().is_empty());
    let outlet = Arc::new(Outlet::new(1, 1 << 20));
    hub.subscribe(asked(&outlet, sensor(), None), plant.at(0))
        .unwrap();
    plant.hear(2);
    assert_eq!(plant.parts.live.take_changes().len(), 1);
    hub.forget(&outlet, "x");
    plant.hear(3);
    assert!(plant.parts.live.take_changes().is_empty());
    assert!(hub.groups.is_empty() && hub.by_topic.is_empty() && hub.by_sensor.is_empty());
}

#[test]
fn what_many_are_told_is_written_once() {
    let plant = Plant::new();
    let mut hub = plant.hub();
    let outlets: Vec<_> = (0..100).map(|n| Arc::new(Outlet::new(n, 1 << 20))).collect();
    for outlet in &outlets {
        hub.subscribe(asked(outlet, sensor(), None), plant.at(0)).unwrap();
    }
    plant.hear(1);
    hub.turn(plant.at(1_000));
    assert_eq!(plant.parts.metrics.live.renderings(), 2, "a snapshot and a delta");
    for outlet in &outlets {
        assert_eq!(taken(outlet).len(), 2);
    }
}

#[test]
fn one_that_is_too_slow_leaves_and_the_others_stay() {
    let plant = Plant::new();
    let mut hub = plant.hub();
    let (slow, healthy) = (Arc::new(Outlet::new(1, 500)), Arc::new(Outlet::new(2, 500)));
    for outlet in [&slow, &healthy] {
        hub.subscribe(asked(outlet, sensor(), None), plant.at(0)).unwrap();
    }
    for n in 0..10 {
        plant.hear(n);
        hub.turn(plant.at(1_000 * u64::from(n)));
        assert!(!taken(&healthy).is_empty(), "{n}");
    }
    assert!(slow.is_closed() && !healthy.is_closed());
    assert_eq!(plant.parts.metrics.live.closed_for(Close::TooSlow), 1);
    assert!(hub.groups.values().all(|group| group.members.len() == 1));
}

#[test]
fn who_missed_more_than_is_kept_begins_anew() {
    let plant = Plant::new();
    let mut hub = plant.hub();
    let topic = || Topic::Anomalies {
        sensors: Vec::new(),
        level: Level::Info,
    };
    let outlet = Arc::new(Outlet::new(1, 64 << 20));
    hub.subscribe(asked(&outlet, topic(), None), plant.at(0)).unwrap();
    plant.find(3);
    hub.turn(plant.at(100));
    let told = taken(&outlet);
    assert_eq!((&told[1]["type"], &told[1]["seq"]), (&"delta".into(), &3.into()));
    hub.forget(&outlet, "x");
    let since = |seq| {
        Some(Since {
            epoch: plant.parts.live.epoch(),
            seq,
        })
    };
    plant.find(2);
    hub.subscribe(asked(&outlet, topic(), since(3)), plant.at(200))
        .unwrap();
    let missed = &taken(&outlet)[0];
    assert_eq!(
        (
            &missed["type"],
            missed["data"]["anomalies"].as_array().unwrap().len()
        ),
        (&"delta".into(), 2)
    );
    hub.forget(&outlet, "x");
    plant.find(live::RING + 1);
    hub.subscribe(asked(&outlet, topic(), since(5)), plant.at(300))
        .unwrap();
    let told = taken(&outlet);
    assert_eq!(
        (&told[0]["type"], &told[1]["type"]),
        (&"resync".into(), &"snapshot".into())
    );
    assert_eq!(told[1]["seq"], 5 + live::RING as u64 + 1);
    assert_eq!(plant.parts.metrics.live.renderings(), 3);
}

#[test]
fn what_a_client_cannot_have_is_refused() {
    let plant = Plant::new();
    let mut hub = plant.hub();
    let outlet = Arc::new(Outlet::new(1, 1 << 20));
    let none = Topic::Sensor("none".to_owned());
    let refusal = hub
        .subscribe(asked(&outlet, none, None), plant.at(0))
        .unwrap_err();
    assert_eq!(refusal.code, "unknown-sensor");
    assert!(hub.groups.is_empty() && hub.by_topic.is_empty());
}

/// Makes the hub panic.
#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for Hub {
    type Result = ();

    fn handle(&mut self, _: Panic, _ctx: &mut Context<Self>) {
        panic!("the hub was told to");
    }
}

#[actix::test]
async fn after_a_panic_it_has_everybody_subscribe_again_in_a_new_epoch() {
    install_panic_hook();
    let plant = Plant::new();
    let policy = Policy {
        backoff: Backoff {
            base: Duration::from_millis(1),
            max: Duration::from_millis(1),
            jitter: Jitter::None,
        },
        ..Policy::default()
    };
    let spec = ActorSpec::new(ActorPath::new("web/hub")).policy(policy);
    let (hub, _handle) = supervision::start(spec, |_, _| plant.hub());
    let limits = sessions::Limits {
        connections: 1,
        of_client: 1,
        queue: 1 << 20,
    };
    let place = sessions::Connection::begin(&plant.parts.live, None, None, &limits).unwrap();
    let epoch = plant.parts.live.epoch();
    hub.send(asked(&place.outlet, sensor(), None)).await.unwrap();
    let kinds = |told: &[Value]| -> Vec<String> {
        let named = told.iter().filter(|message| message["type"] != "heartbeat");
        named
            .map(|message| message.as_str().or(message["type"].as_str()).unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds(&taken(&place.outlet)), ["snapshot"]);
    assert!(hub.send(Panic).await.is_err());
    loop {
        let told = kinds(&taken(&place.outlet));
        if told.contains(&"renew".to_owned()) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_ne!(plant.parts.live.epoch(), epoch);
    assert!(!plant.parts.live.watched.any());
    let again = Subscribe {
        again: true,
        ..asked(&place.outlet, sensor(), None)
    };
    hub.send(again).await.unwrap();
    assert_eq!(kinds(&taken(&place.outlet)), ["resync", "snapshot"]);
}
