//! Messages that are no readings.

use serde_json::Value;

use crate::instance::until;
use crate::kafka::{Broker, Record};
use crate::plant::{self, reaches, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_put_aside_with_its_bytes_and_place_and_the_partition_goes_on() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("poison", 2).await;
    let aside = broker.topic("aside", 1).await;
    let instance = start(broker, &topic, &format!("dead_letter_topic = '{}'", aside.name)).await;
    let poisons: [&[u8]; 6] = [
        b"not json",
        b"",
        b"\xff\xfe\x00",
        b"{\"sensor_id\": \"k0\", \"value\": \"high\"}",
        b"[1, 2]",
        b"{\"sensor_id\": \"k0\", \"value\": 1, \"timestamp\": \"2999-01-01T00:00:00Z\"}",
    ];
    let mut poisonous = 0;
    let mut letters = 0;
    let records = plant::messages(0, 2_000, 4, 2)
        .enumerate()
        .map(|(index, mut record)| {
            if index % 20 == 7 {
                let poison = poisons[(index / 20) % poisons.len()];
                record.payload = Some(poison.to_vec());
                poisonous += 1;
                // An array is refused item by item.
                letters += if poison == b"[1, 2]" { 2 } else { 1 };
            }
            record
        });
    let records: Vec<Record> = records.collect();
    topic.produce_records(records);
    let stored = reaches(&instance.place, 2_000).await;
    assert_eq!((stored.rows, stored.letters), (2_000 - poisonous, letters));

    let told = instance.api.get("/api/admin/dead-letters").await;
    let told = told["data"].as_array().unwrap();
    assert!(!told.is_empty());
    for letter in told {
        let position = letter["position"].as_str().unwrap();
        assert!(
            position.starts_with(&format!("{}/", topic.name)) && position.contains('@'),
            "{letter}"
        );
        assert!(!letter["reason"].as_str().unwrap().is_empty(), "{letter}");
    }
    // And a copy of each for whoever listens.
    let copies = until("the copies", async || {
        let copies = tokio::task::block_in_place(|| aside.read());
        (copies.len() as i64 >= letters).then_some(copies)
    })
    .await;
    assert_eq!(copies.len() as i64, letters);
    let header = |record: &Record, name: &str| {
        let found = record.headers.iter().find(|(key, _)| key == name);
        String::from_utf8(found.unwrap().1.clone()).unwrap()
    };
    let raw: Vec<&Record> = copies
        .iter()
        .filter(|copy| copy.payload.as_deref() == Some(b"\xff\xfe\x00"))
        .collect();
    assert!(!raw.is_empty());
    assert_eq!(header(raw[0], "reason"), "undecodable");
    assert!(header(raw[0], "position").starts_with(&topic.name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_and_messages_that_are_too_long_are_refused_with_the_reason() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("long", 1).await;
    let instance = start(broker, &topic, "").await;
    let long = Record {
        payload: Some(vec![b'x'; 2 << 20]),
        ..Record::default()
    };
    let tombstone = Record {
        key: Some(b"k0".to_vec()),
        ..Record::default()
    };
    let good = |index| Record {
        payload: Some(plant::message(index, 1).into_bytes()),
        ..Record::default()
    };
    topic.produce_records([good(0), long, good(1), tombstone, good(2)]);
    let stored = reaches(&instance.place, 5).await;
    assert_eq!((stored.rows, stored.letters), (3, 2));
    let told = instance.api.get("/api/admin/dead-letters").await;
    let find = |offset: i64| -> Value {
        let position = format!("{}/0@{offset}", topic.name);
        let letters = told["data"].as_array().unwrap();
        letters
            .iter()
            .find(|letter| letter["position"] == position.as_str())
            .unwrap()
            .clone()
    };
    assert!(
        find(1)["detail"].as_str().unwrap().contains("2097152 bytes"),
        "{told}"
    );
    assert_eq!(find(1)["reason"], "limit_reached");
    assert!(
        find(3)["detail"].as_str().unwrap().contains("tombstone"),
        "{told}"
    );
    let mut connection = instance.place.connect().await;
    let kept: i64 = sqlx::query_scalar("SELECT max(length(payload)) FROM dead_letters")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 64 << 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_many_readings_is_one_batch_and_longer_ones_than_allowed_are_refused_whole() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("many", 1).await;
    let place = plant::place(
        broker,
        &topic,
        "",
        &["limits.batch_readings=100", "limits.readings_in_flight=300"],
    );
    let _instance = crate::instance::Instance::start(&place).await;
    let array = |from: u64, count: u64| {
        let items: Vec<String> = (from..from + count)
            .map(|index| plant::message(index, 1))
            .collect();
        format!("[{}]", items.join(","))
    };
    let payloads = [
        array(0, 100),
        array(100, 70),
        array(170, 101),
        array(300, 60),
        plant::message(400, 1),
    ];
    topic.produce(payloads.iter().map(|payload| (0, payload.as_str())));
    let stored = reaches(&place, 5).await;
    // The one of 101 is refused, once.
    assert_eq!((stored.rows, stored.letters), (100 + 70 + 60 + 1, 1));
}
