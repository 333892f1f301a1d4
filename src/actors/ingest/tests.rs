//! What comes in is counted once, on its sensor or on its source.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::actors::Rails;
use crate::actors::batch::{Delivery, SliceGuard};
use crate::actors::dispatcher::{Condemned, Dispatcher, Incoming, Rewind, ShardQueue};
use crate::actors::fixture::{Station, registry};
use crate::actors::permits::{PermitError, Share};
use crate::actors::shard::ShardWork;
use crate::clock::ManualClock;
use crate::decode::range::TimeRange;
use crate::decode::{Hints, JsonMapping};
use crate::domain::{ActiveTime, BatchNumber, Flags, RejectReason, SensorKey, SourceName, Timestamp};
use crate::storage::{NullStore, SliceOutcome};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const HOUR: i64 = 3_600_000_000;

/// Slices that wait for their sensors.
pub(super) type Waiting = Arc<Mutex<Vec<(SliceGuard, Vec<Incoming>)>>>;

struct Queue(Waiting);

impl ShardQueue<ShardWork> for Queue {
    fn slice(&self, guard: SliceGuard, readings: Vec<Incoming>) {
        self.0.lock().push((guard, readings));
    }

    fn work(&self, guard: SliceGuard, _: ShardWork) {
        guard.answer(SliceOutcome::default());
    }

    fn rewind(&self, _: Rewind) {}
}

pub(super) struct Quay {
    clock: Arc<ManualClock>,
    pub station: Arc<Station>,
    pub waiting: Waiting,
    rails: Arc<Rails>,
    pub intake: Intake,
}

impl Quay {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let source = |name| SourceName::parse(name).unwrap();
        let rails: Rails = Dispatcher::new(
            registry(1),
            clock.clone(),
            BatchNumber(1),
            ActiveTime(0),
            source("internal"),
        );
        let (station, waiting) = (Arc::new(Station::default()), Waiting::default());
        rails.connect(station.clone(), vec![Box::new(Queue(waiting.clone()))]);
        let settings = IntakeSettings {
            share: Share {
                readings: 4,
                bytes: 1_000,
            },
            time_range: TimeRange::default(),
            batch_readings: 3,
            mapping: JsonMapping::default(),
        };
        let rails = Arc::new(rails);
        Self {
            clock,
            station,
            waiting,
            intake: Intake::new(source("test"), rails.clone(), settings),
            rails,
        }
    }

    fn decode(&self, payload: &str) -> DraftBatch<'_> {
        self.intake.decode(Payload::plain(payload.as_bytes(), NOW))
    }

    fn key(&self, sensor: &str) -> SensorKey {
        self.intake.registry().sensor_named(sensor).unwrap().key
    }

    /// A batch with this sensor's definition has committed.
    fn save(&self, sensor: &str) {
        let info = self.intake.registry().sensor_named(sensor).unwrap();
        let (sensor, series) = self.intake.registry().define(info.series[0].1).unwrap();
        self.intake.registry().mark_saved(&[sensor], &[series]);
    }
}

fn item(sensor: &str, time: i64) -> String {
    format!(r#"{{"sensor_id":"{sensor}","metric":"m","value":1,"timestamp":{time}}}"#)
}

fn refusals(batch: &DraftBatch<'_>) -> Vec<(u32, &'static str, String)> {
    let refused = batch.refused().iter();
    refused
        .map(|refusal| (refusal.index, refusal.kind.as_str(), refusal.field.clone()))
        .collect()
}

fn rejected(batch: &mut DraftBatch<'_>) -> Vec<(SensorKey, u64, u64)> {
    let ledger = batch.rejections().ledger.into_iter();
    ledger
        .map(|(sensor, delta)| (sensor, delta.received, delta.rejected))
        .collect()
}

#[test]
fn times_out_of_range_are_refused_and_those_at_its_ends_are_not() {
    let quay = Quay::new();
    let range = TimeRange::default();
    let (first, last) = (range.min_time.0, NOW.0 + range.max_future);
    assert_eq!(range.max_future, HOUR);
    let items = [first - 1, first, last, last + 1].map(|time| item("s", time));
    let batch = quay.decode(&format!("[{}]", items.join(",")));
    assert_eq!((batch.received(), batch.readings()), (4, 2));
    let field = "timestamp".to_owned();
    assert_eq!(
        refusals(&batch),
        [
            (0, "time_out_of_range", field.clone()),
            (3, "time_out_of_range", field)
        ]
    );
    assert_eq!(batch.items, [1, 2]);
    assert_eq!(batch.dead_letters[0].reason, RejectReason::TimeOutOfRange);
}

#[test]
fn payloads_of_one_batch_keep_their_time_place_and_hints_apart() {
    let quay = Quay::new();
    let payload = |bytes: &'static str, offset: i64, sensor: Option<&'static str>| Payload {
        bytes: bytes.as_bytes(),
        arrival: Timestamp(NOW.0 + offset),
        place: Place {
            label: "topic/3",
            offset: Some(offset),
            key: None,
        },
        hints: Hints {
            sensor,
            metric: Some("hinted"),
        },
    };
    let mut filling = quay.intake.fill();
    filling.add(payload(r#"{"value":1}"#, 1, Some("a")));
    filling.add(payload(
        r#"{"sensor_id":"own","metric":"own","value":2}"#,
        2,
        Some("a"),
    ));
    filling.add(payload("", 3, Some("a")));
    assert_eq!(filling.received(), 3);
    filling.add(payload(r#"{"value":4}"#, 4, None));
    filling.add(payload(r#"{"value":5}"#, 5, Some("b\n")));
    filling.add(payload(r#"{"value":6}"#, 6, Some("a")));
    let batch = filling.finish();
    assert_eq!((batch.received(), batch.readings()), (6, 3));

    let sensors = ["a", "own", "a"].map(|sensor| quay.key(sensor));
    let found: Vec<_> = batch
        .readings
        .iter()
        .map(|incoming| {
            (
                incoming.sensor,
                incoming.reading.time.0 - NOW.0,
                incoming.reading.value,
            )
        })
        .collect();
    assert_eq!(
        found,
        [(sensors[0], 1, 1.0), (sensors[1], 2, 2.0), (sensors[2], 6, 6.0)]
    );
    let names = quay.intake.registry().sensor_named("a").unwrap().series;
    assert_eq!(names[0].0.as_str(), "hinted");
    let letters: Vec<_> = batch
        .dead_letters
        .iter()
        .map(|letter| letter.position.as_str())
        .collect();
    assert_eq!(letters, ["topic/3@3", "topic/3@4", "topic/3@5"]);
    let fields: Vec<_> = refusals(&batch).into_iter().map(|(_, _, field)| field).collect();
    assert_eq!(fields, ["payload", "sensor_id", "sensor_id"]);
}

#[test]
fn what_has_no_time_gets_that_of_its_arrival() {
    let quay = Quay::new();
    let batch = quay.decode(r#"{"sensor_id":"s","metric":"m","value":1}"#);
    assert_eq!(batch.readings[0].reading.time, NOW);
}

#[test]
fn a_refusal_is_counted_on_its_sensor_once_that_is_stored() {
    let quay = Quay::new();
    let broken = r#"{"sensor_id":"s","metric":"m","value":"x"}"#;
    let mut batch = quay.decode(broken);
    assert_eq!(rejected(&mut batch), [], "it was named, and never stored");
    assert_eq!(
        (batch.source_ledger.received, batch.source_ledger.rejected),
        (1, 1)
    );
    assert_eq!(batch.dead_letters[0].sensor, None);
    quay.save("s");
    let mut batch = quay.decode(&format!("[{broken},{broken}]"));
    assert_eq!(batch.dead_letters[1].sensor, Some(quay.key("s")));
    assert_eq!(rejected(&mut batch), [(quay.key("s"), 2, 2)]);
    assert!(batch.source_ledger.is_zero());
    assert_eq!(rejected(&mut batch), [], "they are taken out");
}

#[test]
fn a_refusal_is_counted_on_a_sensor_that_the_batch_brings() {
    let quay = Quay::new();
    let broken = r#"{"sensor_id":"s","metric":"m","value":"x"}"#;
    let mut batch = quay.decode(&format!("[{},{broken}]", item("s", NOW.0)));
    assert_eq!(batch.unsaved.len(), 1);
    assert_eq!(rejected(&mut batch), [(quay.key("s"), 1, 1)]);
}

#[test]
fn bad_input_makes_no_sensor() {
    let quay = Quay::new();
    let payload = format!("[{},{}]", item("new", 0), r#"{"sensor_id":"new","value":{}}"#);
    let batch = quay.decode(&payload);
    assert_eq!((batch.received(), batch.readings()), (2, 0));
    assert_eq!(quay.intake.registry().sensor_named("new"), None);
    assert_eq!(batch.source_ledger.rejected, 2);
}

#[test]
fn a_sensor_too_many_is_refused_with_the_reason() {
    let quay = Quay::new();
    for number in 0..9 {
        assert_eq!(quay.decode(&item(&format!("n{number}"), NOW.0)).readings(), 1);
    }
    let batch = quay.decode(&item("n9", NOW.0));
    assert_eq!(refusals(&batch), [(0, "limit_reached", "sensor_id".to_owned())]);
    assert_eq!(quay.decode(&item("n8", NOW.0)).readings(), 1, "known ones go on");
}

#[tokio::test]
async fn a_batch_brings_the_definitions_that_are_not_stored_and_says_what_it_knows() {
    let quay = Quay::new();
    let payload = format!(
        "[{},{},{}]",
        item("a", NOW.0),
        item("a", NOW.0 + 1),
        item("s", NOW.0)
    );
    quay.save("s");
    let batch = quay.decode(&payload);
    let delivery = quay.intake.try_deliver(batch, 10, Vec::new()).unwrap();
    assert_eq!(quay.intake.room(), 1);
    let (guard, readings) = quay.waiting.lock().pop().unwrap();
    let fresh: Vec<bool> = readings.iter().map(|incoming| incoming.fresh).collect();
    assert_eq!(fresh, [true, true, false]);
    assert!(
        readings
            .iter()
            .all(|incoming| incoming.reading.flags == Flags::NONE)
    );
    guard.answer(SliceOutcome::default());
    let arrived = quay.station.complete();
    let sensors: Vec<&str> = arrived
        .batch
        .sensors
        .iter()
        .map(|sensor| sensor.id.as_str())
        .collect();
    assert_eq!(
        (sensors, arrived.batch.series.len(), arrived.ticket.received),
        (vec!["a"], 1, 3)
    );
    drop(arrived);
    assert!(matches!(delivery.await, Delivery::Undelivered));
    assert_eq!(quay.intake.room(), 4);
}

#[tokio::test]
async fn without_room_a_batch_waits_or_is_told_so() {
    let quay = Quay::new();
    let three = format!("[{},{},{}]", item("s", 1), item("s", 2), item("s", 3));
    let first = quay.intake.try_deliver(quay.decode(&three), 999, Vec::new());
    let busy = |bytes| {
        quay.intake
            .try_deliver(quay.decode(&item("s", 1)), bytes, Vec::new())
            .err()
    };
    assert_eq!(busy(2), Some(PermitError::Busy));
    assert!(matches!(busy(1_001), Some(PermitError::TooLarge(_))));
    assert!(busy(1).is_none());
    drop(first);
}

#[tokio::test]
async fn what_must_stay_in_order_departs_only_while_its_epoch_lasts() {
    let quay = Quay::new();
    let epoch = quay.intake.epoch();
    let send = |epoch, time| {
        let batch = quay.decode(&item("s", NOW.0 + time));
        let sent = quay.intake.try_deliver_in(epoch, batch, 1, Vec::new());
        sent.map(drop).err()
    };
    assert_eq!(send(epoch, 1), None);
    quay.rails.rewind(None, Condemned::default());
    assert_eq!(send(epoch, 2), Some(NotSent::Ended));
    assert_eq!(quay.waiting.lock().len(), 1, "it has not departed");
    assert_eq!(quay.intake.room(), 3, "it keeps no room");
    assert_eq!(send(quay.intake.epoch(), 2), None);
    assert_eq!(quay.waiting.lock().len(), 2);
}

#[tokio::test]
async fn a_message_that_is_larger_than_the_share_takes_all_of_it() {
    let quay = Quay::new();
    let six = r#"{"sensor_id":"s","a":1,"b":2,"c":3,"d":4,"e":5,"f":6}"#;
    let epoch = quay.intake.epoch();
    let send = || {
        quay.intake
            .try_deliver_in(epoch, quay.decode(six), 2_000, Vec::new())
    };
    let first = send();
    assert!(first.is_ok());
    assert_eq!(quay.intake.room(), 0);
    assert_eq!(send().map(drop).err(), Some(NotSent::Busy));
}

/// What an HTTP push gets, of a database that answers when it likes.
struct Push {
    quay: Quay,
    ingest: Arc<HttpIngest>,
}

impl Push {
    fn new() -> Self {
        let quay = Quay::new();
        let patience = Duration::from_secs(30);
        let ingest = HttpIngest::new(quay.intake.clone(), Arc::new(NullStore::new()), patience);
        Self {
            quay,
            ingest: Arc::new(ingest),
        }
    }

    const PAYLOAD: &str = r#"{"sensor_id":"s","metric":"m","value":1}"#;

    async fn send(&self, key: Option<&str>) -> Result<Ingested, IngestError> {
        self.ingest.ingest(Self::PAYLOAD.as_bytes(), key).await
    }

    /// The times of the readings on their way.
    fn times(&self) -> Vec<Timestamp> {
        let waiting = self.quay.waiting.lock();
        waiting
            .iter()
            .map(|(_, readings)| readings[0].reading.time)
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_gets_the_time_of_the_first_while_that_is_on_its_way() {
    let push = Push::new();
    let key = Some("k");
    assert!(matches!(push.send(key).await, Err(IngestError::TimedOut)));
    push.quay.clock.advance(HOUR);
    assert!(matches!(push.send(key).await, Err(IngestError::TimedOut)));
    assert!(matches!(push.send(None).await, Err(IngestError::TimedOut)));
    let later = NOW.saturating_add(HOUR);
    assert_eq!(push.times(), [NOW, NOW, later]);
    let arrived = {
        let (guard, _) = push.quay.waiting.lock().remove(0);
        guard.answer(SliceOutcome::default());
        push.quay.station.complete()
    };
    let position = &arrived.batch.positions[0];
    assert_eq!(
        (position.partition.as_str(), position.offset),
        ("idempotency/k", NOW.0)
    );
    push.quay.waiting.lock().clear();
    drop(arrived);
    tokio::task::yield_now().await;
    assert!(matches!(push.send(key).await, Err(IngestError::TimedOut)));
    assert_eq!(push.times(), [later], "nothing of the first was stored");
}

#[tokio::test(start_paused = true)]
async fn more_readings_than_a_batch_may_have_are_refused() {
    let push = Push::new();
    let four = format!("[{0},{0},{0},{0}]", Push::PAYLOAD);
    let refused = push.ingest.ingest(four.as_bytes(), None).await;
    assert!(matches!(
        refused,
        Err(IngestError::TooManyReadings {
            readings: 4,
            limit: 3
        })
    ));
    let three = format!("[{0},{0},{0}]", Push::PAYLOAD);
    assert!(matches!(
        push.ingest.ingest(three.as_bytes(), None).await,
        Err(IngestError::TimedOut)
    ));
    assert_eq!(push.ingest.ingest(b"[]", None).await.unwrap().received, 0);
}

#[tokio::test]
async fn what_was_resolved_to_numbers_that_are_nobodys_now_is_sent_again() {
    let quay = Quay::new();
    let room = quay.intake.room();
    let payload = br#"[{"sensor_id":"s","metric":"m","value":1},{"sensor_id":"new","metric":"m","value":1}]"#;
    let batch = quay.intake.decode(Payload::plain(payload, NOW));
    // Meanwhile another instance has made the sensor.
    let (sensor, series) = (
        crate::storage::SensorDefinition {
            key: SensorKey(900),
            id: crate::domain::SensorId::parse("new").unwrap(),
            tags: crate::domain::Tags::new(),
            home: None,
        },
        crate::storage::SeriesDefinition {
            id: crate::domain::SeriesId(900),
            sensor: SensorKey(900),
            metric: crate::domain::MetricName::parse("m").unwrap(),
            unit: None,
        },
    );
    quay.intake.registry().refresh(vec![sensor], vec![series]);
    let delivery = quay.intake.try_deliver(batch, 1, Vec::new()).unwrap();
    assert!(matches!(delivery.await, Delivery::Undelivered));
    assert!(quay.waiting.lock().is_empty());
    assert_eq!(quay.intake.room(), room);

    let again = quay.intake.decode(Payload::plain(payload, NOW));
    let _delivery = quay.intake.try_deliver(again, 1, Vec::new()).unwrap();
    let slices = quay.waiting.lock();
    let sensors: Vec<u32> = slices[0].1.iter().map(|incoming| incoming.sensor.0).collect();
    assert_eq!(sensors, [1, 900]);
    assert!(!slices[0].1[1].fresh, "something may be stored of it");
}

#[tokio::test]
async fn what_is_new_waits_for_numbers_and_is_no_dead_letter() {
    let quay = Quay::new();
    // As many series as there may be are one more than there are numbers for.
    let registry = quay.intake.registry();
    let names = (0..10).flat_map(|sensor| (0..10).map(move |metric| (sensor, metric)));
    let unresolved = names.filter(|(sensor, metric)| {
        let sensor = if *sensor == 0 {
            "s".to_owned()
        } else {
            format!("s{sensor}")
        };
        let metric = if *metric == 0 {
            "m".to_owned()
        } else {
            format!("m{metric}")
        };
        let sensor = crate::domain::SensorId::parse(&sensor).unwrap();
        let metric = crate::domain::MetricName::parse(&metric).unwrap();
        let resolved = registry.resolve(&sensor, &metric, None, None, Default::default());
        resolved == Err(crate::actors::registry::Unresolved::NoNumbers)
    });
    assert_eq!(unresolved.collect::<Vec<_>>(), [(9, 9)]);
    let batch = quay
        .decode(r#"[{"sensor_id":"s","metric":"m","value":1},{"sensor_id":"s9","metric":"m9","value":1}]"#);
    let delivery = quay.intake.try_deliver(batch, 1, Vec::new()).unwrap();
    assert!(matches!(delivery.await, Delivery::Undelivered));
    assert!(quay.waiting.lock().is_empty() && quay.station.take().is_empty());
    let known = quay.decode(r#"{"sensor_id":"s","metric":"m","value":1}"#);
    let _delivery = quay.intake.try_deliver(known, 1, Vec::new()).unwrap();
    assert_eq!(quay.waiting.lock().len(), 1);
}
