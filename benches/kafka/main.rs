//! Messages a second out of Kafka, from one broker in one run: the client's bare poll loop, the same with decoding, and the service
//! (windows, jump, threshold) into a store that keeps nothing, into SQLite and into PostgreSQL.
//!
//! `cargo bench --bench kafka -- [messages]`; the broker is that of `SENSORHIVE_TEST_KAFKA` or a private one. Every lane reads the
//! whole topic, one after the other; what is measured begins when a part of it is read, so that the client's start and sensors
//! that are new are left out. CPU is that of this process alone: neither the broker's nor PostgreSQL's.

#[path = "../../tests/support/kafka/mod.rs"]
mod kafka_server;
mod lanes;
#[allow(dead_code, reason = "another bench uses the rest")]
#[path = "../pipeline/load.rs"]
mod load;
#[path = "../pipeline/place.rs"]
mod place;
#[path = "../../tests/support/postgres/mod.rs"]
mod postgres_server;
#[allow(dead_code, reason = "another bench uses the rest")]
#[path = "../pipeline/table.rs"]
mod table;
#[allow(dead_code, reason = "another bench uses the rest")]
#[path = "../pipeline/world.rs"]
mod world;

use kafka_server::{Broker, Record, Topic};
use lanes::{Lane, Measured};
use load::{Load, id, payload};
use table::{Row, percent};

const PARTITIONS: u32 = 12;
/// Messages that the test's producer is given at once.
const CHUNK: usize = 100_000;

fn main() {
    let messages = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(2_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut rows = Vec::new();
    for (sensors, least) in [(1_000, 0.6), (100_000, 0.4)] {
        let Some(topic) = runtime.block_on(filled(sensors, messages)) else {
            return;
        };
        println!("{messages} messages of {sensors} sensors are in {PARTITIONS} partitions");
        let read = |lane: Lane| {
            let measured = lane.run(topic.0, &topic.1.name, messages);
            println!("  {lane:?}: {measured}");
            measured
        };
        let bare = read(Lane::Poll);
        let ceiling = read(Lane::Decode);
        let stores = [Lane::Null, Lane::Sqlite, Lane::Postgres].map(|lane| (lane, read(lane)));
        for (lane, measured) in [(Lane::Poll, bare)].into_iter().chain(stores) {
            rows.push(row(lane, sensors, &measured, &ceiling, least));
        }
    }
    table::print(&rows);
}

/// A topic of messages that are keyed by their sensor.
async fn filled(sensors: u32, messages: usize) -> Option<(&'static Broker, Topic)> {
    let broker = Broker::shared().await?;
    let topic = broker.topic("bench", PARTITIONS as i32).await;
    let mut load = Load::new(0, sensors, world::past());
    let mut left = messages;
    while left > 0 {
        let chunk = left.min(CHUNK);
        topic.produce_records((0..chunk).map(|_| {
            let said = load.next();
            // An array of one, without its brackets.
            let array = payload(&[said]);
            Record {
                partition: (said.sensor % PARTITIONS) as i32,
                key: Some(id(said.sensor).into_bytes()),
                payload: Some(array.as_bytes()[1..array.len() - 1].to_vec()),
                ..Record::default()
            }
        }));
        left -= chunk;
    }
    Some((broker, topic))
}

fn row(lane: Lane, sensors: u32, measured: &Measured, ceiling: &Measured, least: f64) -> Row {
    let wall = measured.per_second() / ceiling.per_second();
    let cores = ceiling.cores_per_million() / measured.cores_per_million();
    // Whatever else the machine does, the better of two clocks is nobody's merit.
    let ratio = if lane == Lane::Null { wall.min(cores) } else { wall };
    Row {
        name: format!("{}, {sensors} sensors", lane.name()),
        measured: measured.to_string(),
        ceiling: ceiling.to_string(),
        ratio: percent(ratio),
        target: match (lane, sensors) {
            (Lane::Null, 1_000) => "60 % of decode",
            (Lane::Null, _) => "40 % of decode",
            _ => "",
        },
        met: lane != Lane::Null || ratio >= least,
    }
}
