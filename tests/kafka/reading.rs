//! From topic to database, with nothing in the way.

use reqwest::Method;
use serde_json::json;

use crate::instance::until;
use crate::kafka::{Broker, Record};
use crate::plant::{self, START, detail, reaches, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_every_form_are_stored_together_with_their_positions() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("forms", 3).await;
    let instance = start(broker, &topic, "key_as_sensor = true\ndefault_metric = 'level'").await;
    let text = |value: serde_json::Value| Some(value.to_string().into_bytes());
    let record = |partition, key: &str, payload| Record {
        partition,
        key: (!key.is_empty()).then(|| key.as_bytes().to_vec()),
        payload,
        ..Record::default()
    };
    topic.produce_records([
        record(
            0,
            "",
            text(json!({"sensor_id": "k1", "metric": "m", "value": 1, "timestamp": START})),
        ),
        record(
            0,
            "",
            text(json!([
                {"sensor_id": "k1", "metric": "m", "value": 2, "timestamp": START + 1},
                {"sensor_id": "k2", "metric": "m", "value": 3, "timestamp": START},
            ])),
        ),
        record(
            1,
            "",
            text(json!({"items": [{"sensor_id": "k3", "metric": "m", "value": 4, "timestamp": START}]})),
        ),
        // The key names the sensor, the record gives the time.
        record(2, "k4", text(json!({"value": 5}))),
        // What the message says itself counts.
        record(
            2,
            "k4",
            text(json!({"sensor_id": "k5", "value": 6, "timestamp": START})),
        ),
    ]);
    let stored = reaches(&instance.place, 5).await;
    assert_eq!((stored.rows, stored.received, stored.letters), (6, 6, 0));
    let partition = |number: i32| stored.positions[&format!("{}/{number}", topic.name)];
    assert_eq!((partition(0), partition(1), partition(2)), (2, 1, 2));
    let by_key = instance.api.get("/api/sensors/k4/readings").await["data"][0].clone();
    assert_eq!(by_key["value"], 5.0, "{by_key}");
    let produced = instance.api.get("/api/sensors/k4").await;
    assert!(produced.to_string().contains("level"), "{produced}");
    // The time is that of the record: now, about, and not 1970.
    let age = sensorhive::clock::Clock::now(&sensorhive::clock::SystemClock).0
        - crate::api::time(&by_key["time"]).0;
    assert!((0..600_000_000).contains(&age), "{by_key}");

    // The group and whoever asks are told, after that.
    until("the group to be told", async || {
        let told = |number| broker.committed(&plant::group(&topic), &topic.name, number);
        let told = tokio::task::block_in_place(|| [told(0), told(1), told(2)]);
        (told == [Some(2), Some(1), Some(2)]).then_some(())
    })
    .await;
    until("the source to say how far it is", async || {
        let detail = detail(&instance.api).await;
        let partitions = detail["partitions"].as_array()?;
        let done = |partition: &serde_json::Value| {
            partition["position"] == partition["end"] && partition["lag"] == 0
        };
        (partitions.len() == 3 && partitions.iter().all(done) && detail["assigned"] == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_takes_in_topics_that_come_later_and_several_consumers_share_them() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let first = broker.topic("pattern-a", 2).await;
    let more = format!(
        "consumers = 2\noptions = {{ 'topic.metadata.refresh.interval.ms' = 200 }}\ntopics = '^{}.*'",
        first.name
    );
    let settings =
        plant::settings(broker, &first, &more).replacen(&format!("topics = '{}'\n", first.name), "", 1);
    let place = crate::instance::Place::new(&settings, &[]);
    let instance = crate::instance::Instance::start(&place).await;
    first.produce_records(plant::messages(0, 100, 4, 2));
    reaches(&place, 100).await;
    let second = broker.topic(&format!("{}-later", first.name), 2).await;
    second.produce_records(plant::messages(100, 200, 4, 2));
    let stored = reaches(&place, 200).await;
    assert_eq!((stored.rows, stored.positions.len()), (200, 4));
    assert_eq!(detail(&instance.api).await["assigned"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_begins_at_the_end_skips_nothing_after_that() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("latest", 1).await;
    topic.produce_records(plant::messages(0, 10, 1, 1));
    let mut instance = start(broker, &topic, "reset = 'latest'").await;
    let at_ten = || async {
        let stored = plant::stored(&instance.place).await;
        (stored.sum() == 10).then_some(stored)
    };
    // Where it began is stored before the first message.
    let stored = until("the end to be known", async || at_ten().await).await;
    assert_eq!(stored.rows, 0);
    instance.kill9();
    topic.produce_records(plant::messages(10, 20, 1, 1));
    let instance = instance.again(&[]).await;
    let stored = reaches(&instance.place, 20).await;
    assert_eq!(stored.rows, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_before_it_was_read_is_counted_and_the_rest_is_read() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("deleted", 1).await;
    topic.produce_records(plant::messages(0, 10, 1, 1));
    let mut instance = start(broker, &topic, "").await;
    reaches(&instance.place, 10).await;
    instance.kill9();
    topic.produce_records(plant::messages(10, 30, 1, 1));
    topic.truncate(0, 25).await;
    let instance = instance.again(&[]).await;
    let stored = reaches(&instance.place, 30).await;
    assert_eq!(stored.rows, 15);
    assert_eq!(detail(&instance.api).await["missed"], 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("anew", 1).await;
    topic.produce_records(plant::messages(0, 20, 1, 1));
    let mut instance = start(broker, &topic, "").await;
    reaches(&instance.place, 20).await;
    instance.kill9();
    topic.recreate().await;
    topic.produce_records(plant::messages(20, 25, 1, 1));
    let instance = instance.again(&[]).await;
    until("the new messages", async || {
        let stored = plant::stored(&instance.place).await;
        (stored.rows == 25 && stored.sum() == 5).then_some(())
    })
    .await;
    assert_eq!(detail(&instance.api).await["recreated"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_readings_are_written_to_a_topic_and_read_from_it() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("simulated", 3).await;
    let instance = start(broker, &topic, "").await;
    let run = |extra: &[&str]| {
        let mut command = instance.place.command(&[]);
        command.args(["simulate", "--kafka", broker.address(), "--topic", &topic.name]);
        command
            .args(["--sensors", "7", "--rate", "5000", "--spikes", "0"])
            .args(extra);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        assert!(output.status.success(), "{}", instance.place.log());
        String::from_utf8(output.stdout).unwrap()
    };
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let told = run(&[
            "--count",
            "200",
            "--compression",
            compression,
            "--batch",
            "50",
            "--linger",
            "1ms",
        ]);
        assert_eq!(told, "200 written\n");
    }
    until("all of them", async || {
        let stored = plant::stored(&instance.place).await;
        (stored.sum() == 1_000).then_some(())
    })
    .await;
    // A sensor is always in the same partition.
    let keys = tokio::task::block_in_place(|| topic.read());
    let places: std::collections::BTreeSet<_> = keys
        .iter()
        .map(|record| (&record.key, record.partition))
        .collect();
    assert_eq!(places.len(), 7, "{places:?}");
    assert_eq!(instance.api.ledger("sim-000001").await["rejected"], 0);
}

/// More new names at once than there are numbers at hand for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_new_sensors_at_once_make_nobody_read_again() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("names", 2).await;
    let messages = 30_000;
    topic.produce_records((0..messages).map(|n| {
        Record {
            partition: (n % 2) as i32,
            payload: Some(
                json!({"sensor_id": format!("k{n}"), "metric": "m", "value": n, "timestamp": START + n})
                    .to_string()
                    .into_bytes(),
            ),
            ..Record::default()
        }
    }));
    let instance = start(broker, &topic, "").await;
    let stored = reaches(&instance.place, messages).await;
    assert_eq!((stored.rows, stored.duplicate, stored.letters), (messages, 0, 0));
    let source = plant::source(&instance.api).await;
    assert_eq!(source["status"]["retries"], 0, "{source}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_remembers_the_sensor_that_the_key_of_its_message_names() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("keyed", 1).await;
    let mut instance = start(broker, &topic, "key_as_sensor = true").await;
    topic.produce_records([Record {
        key: Some(b"k1".to_vec()),
        payload: Some(br#"{"level": {"now": 5}}"#.to_vec()),
        ..Record::default()
    }]);
    assert_eq!(reaches(&instance.place, 1).await.letters, 1);
    // Now the settings say where the value is.
    instance.kill9();
    let instance = instance.again(&["sources.plant.mapping.value=/level/now"]).await;
    let letters = instance.api.get("/api/admin/dead-letters").await;
    let letter = &letters["data"][0];
    assert_eq!(letter["key"], "k1", "{letters}");
    let path = format!("/api/admin/dead-letters/{}/replay", letter["id"]);
    let answer = instance.api.request(Method::POST, &path).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let stored = instance.api.get("/api/sensors/k1/readings").await;
    assert_eq!(stored["data"][0]["value"], 5.0, "{stored}");
}
