//! A topic, a service that reads it, and what must be in the database then.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::api::Api;
use crate::instance::{Instance, Place, until};
use crate::kafka::{Broker, Record, Topic};

/// 2026-05-01, in µs.
pub const START: i64 = 1_777_593_600_000_000;
/// The source's name everywhere here.
pub const SOURCE: &str = "plant";

/// What a place says of its source; `more` is further keys of it.
pub fn settings(broker: &Broker, topic: &Topic, more: &str) -> String {
    // Nobody waits long for a member that was killed.
    let options = match more.contains("options") {
        true => "",
        false => "options = { 'session.timeout.ms' = 1500, 'heartbeat.interval.ms' = 300 }",
    };
    format!(
        "[sources.{SOURCE}]\nkind = 'kafka'\nbrokers = '{}'\ntopics = '{}'\ngroup = '{}'\n{more}\n{options}\n",
        broker.address(),
        topic.name,
        group(topic),
    )
}

pub fn place(broker: &Broker, topic: &Topic, more: &str, flags: &[&str]) -> Arc<Place> {
    Place::new(&settings(broker, topic, more), flags)
}

pub async fn start(broker: &Broker, topic: &Topic, more: &str) -> Instance {
    Instance::start(&place(broker, topic, more, &[])).await
}

pub fn group(topic: &Topic) -> String {
    format!("group-of-{}", topic.name)
}

pub fn sensor(number: u64) -> String {
    format!("k{number}")
}

/// The `index`th message of all: one reading of one of `sensors`.
pub fn message(index: u64, sensors: u64) -> String {
    let time = START + (index / sensors) as i64 * 1_000_000;
    json!({
        "sensor_id": sensor(index % sensors), "metric": "temperature", "value": index as f64, "timestamp": time,
    })
    .to_string()
}

/// Messages `from..to`, each sensor always in the same partition.
pub fn messages(from: u64, to: u64, sensors: u64, partitions: i32) -> impl Iterator<Item = Record> {
    (from..to).map(move |index| Record {
        partition: (index % sensors) as i32 % partitions,
        key: Some(sensor(index % sensors).into_bytes()),
        payload: Some(message(index, sensors).into_bytes()),
        ..Record::default()
    })
}

/// What the database holds of what came from Kafka.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stored {
    pub rows: i64,
    pub received: i64,
    pub stored: i64,
    pub duplicate: i64,
    pub rejected: i64,
    pub letters: i64,
    /// Partition to offset.
    pub positions: BTreeMap<String, i64>,
}

impl Stored {
    /// Checks that every reading is accounted for.
    pub fn balanced(self) -> Self {
        assert_eq!(
            self.received,
            self.stored + self.duplicate + self.rejected,
            "{self:?}"
        );
        assert_eq!(
            (self.stored, self.rejected),
            (self.rows, self.letters),
            "{self:?}"
        );
        self
    }

    pub fn sum(&self) -> i64 {
        self.positions.values().sum()
    }
}

/// Sensors here are called `k…`; the service's own are not.
pub async fn stored(place: &Place) -> Stored {
    let mut connection = place.connect().await;
    look(&mut connection).await
}

async fn look(connection: &mut SqliteConnection) -> Stored {
    let mut transaction = sqlx::Connection::begin(connection).await.unwrap();
    let rows: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM readings r JOIN series s ON s.id = r.series_id
         JOIN sensors e ON e.id = s.sensor_id WHERE e.sensor_id LIKE 'k%'",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap();
    let (received, stored, duplicate, rejected): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(received), 0), coalesce(sum(stored), 0), coalesce(sum(duplicate), 0), coalesce(sum(rejected), 0)
         FROM (SELECT l.received, l.stored, l.duplicate, l.rejected FROM sensor_ledger l
               JOIN sensors e ON e.id = l.sensor_id WHERE e.sensor_id LIKE 'k%'
               UNION ALL SELECT received, stored, duplicate, rejected FROM source_ledger WHERE source = 'plant')",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap();
    let letters: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters WHERE source = 'plant'")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    let positions: Vec<(String, i64)> = sqlx::query_as(
        "SELECT partition, offset FROM positions WHERE source = 'plant' AND offset IS NOT NULL",
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    Stored {
        rows,
        received,
        stored,
        duplicate,
        rejected,
        letters,
        positions: positions.into_iter().collect(),
    }
}

/// Waits until everything up to these positions is stored; what is stored then.
pub async fn reaches(place: &Place, messages: i64) -> Stored {
    let mut last = Stored::default();
    until(&format!("{messages} messages to be stored"), async || {
        last = stored(place).await;
        (last.sum() >= messages).then_some(())
    })
    .await;
    assert_eq!(last.sum(), messages, "{last:?}");
    last.balanced()
}

/// The source as `GET /api/sources` tells it.
pub async fn source(api: &Api) -> Value {
    let sources = api.get("/api/sources").await;
    let data = sources["data"].as_array().unwrap();
    data.iter()
        .find(|source| source["name"] == SOURCE)
        .unwrap()
        .clone()
}

/// What only Kafka has of it.
pub async fn detail(api: &Api) -> Value {
    source(api).await["status"]["kafka"].clone()
}
