//! An operator tells the source something.

use serde_json::{Value, json};

use crate::instance::{Instance, until};
use crate::kafka::Broker;
use crate::plant::{self, START, detail, reaches, source, start, stored};

/// Posts a command; status and body of the answer.
async fn tell(instance: &Instance, command: &str, body: &Value) -> (u16, Value) {
    let base = instance.api.base();
    let path = format!("{base}/api/admin/sources/{}/{command}", plant::SOURCE);
    let request = reqwest::Client::new()
        .post(path)
        .bearer_auth(&instance.token)
        .json(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_source_reads_nothing_and_a_resumed_one_goes_on() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("pause", 2).await;
    let instance = start(broker, &topic, "").await;
    topic.produce_records(plant::messages(0, 100, 4, 2));
    reaches(&instance.place, 100).await;
    assert_eq!(tell(&instance, "pause", &json!({})).await.0, 202);
    until("all partitions to be paused", async || {
        let detail = detail(&instance.api).await;
        let partitions = detail["partitions"].as_array()?;
        partitions
            .iter()
            .all(|partition| partition["paused"] == true)
            .then_some(())
    })
    .await;
    topic.produce_records(plant::messages(100, 200, 4, 2));
    until("the lag to be seen", async || {
        (detail(&instance.api).await["lag"].as_i64()? == 0).then_some(())
    })
    .await;
    assert_eq!(stored(&instance.place).await.sum(), 100);
    assert_eq!(source(&instance.api).await["status"]["state"], "paused");
    // A restart does not resume it.
    assert_eq!(tell(&instance, "restart", &json!({})).await.0, 202);
    until("it to be back", async || {
        let detail = detail(&instance.api).await;
        let partitions = detail["partitions"].as_array()?;
        let paused = partitions.iter().all(|partition| partition["paused"] == true);
        (partitions.len() == 2 && paused).then_some(())
    })
    .await;
    assert_eq!(stored(&instance.place).await.sum(), 100);
    assert_eq!(tell(&instance, "resume", &json!({})).await.0, 202);
    let stored = reaches(&instance.place, 200).await;
    assert_eq!((stored.rows, stored.duplicate), (200, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_restarted_reads_on_from_what_is_stored() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("restart", 3).await;
    let instance = start(broker, &topic, "consumers = 2").await;
    for round in 0..5 {
        topic.produce_records(plant::messages(round * 3_000, (round + 1) * 3_000, 6, 3));
        assert_eq!(
            tell(&instance, "restart", &json!({ "why": "to see" })).await.0,
            202
        );
    }
    let stored = reaches(&instance.place, 15_000).await;
    assert_eq!((stored.rows, stored.duplicate), (15_000, 0));
    let restarts = source(&instance.api).await["restarts"].as_u64().unwrap();
    assert_eq!(restarts, 5);
}

/// Its partitions are assigned and not claimed yet, because the database is locked: it leaves its group all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_waits_for_the_database_can_be_restarted() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("waiting", 2).await;
    let instance = start(broker, &topic, "").await;
    topic.produce_records(plant::messages(0, 100, 4, 2));
    reaches(&instance.place, 100).await;
    let mut lock = instance.place.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    for restarts in 1..=3 {
        assert_eq!(tell(&instance, "restart", &json!({})).await.0, 202);
        let marks = || instance.place.log().matches("partitions are assigned").count();
        until("partitions to be assigned anew", async || {
            (marks() > restarts).then_some(())
        })
        .await;
    }
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    topic.produce_records(plant::messages(100, 200, 4, 2));
    let stored = reaches(&instance.place, 200).await;
    assert_eq!((stored.rows, stored.duplicate), (200, 0));
    assert!(
        !instance.place.log().contains("do not end"),
        "{}",
        instance.place.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_again_is_recognized_and_the_new_position_survives_a_crash() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("seek", 2).await;
    let mut instance = start(broker, &topic, "").await;
    topic.produce_records(plant::messages(0, 400, 4, 2));
    reaches(&instance.place, 400).await;

    let (status, answer) = tell(&instance, "seek", &json!({"to": "earliest"})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["partitions"].as_array().unwrap().len(), 2);
    let again = until("everything to come again", async || {
        let now = stored(&instance.place).await;
        (now.duplicate == 400).then_some(now)
    })
    .await
    .balanced();
    assert_eq!((again.rows, again.sum()), (400, 400));

    // By time: each second of a sensor is one message, four sensors in two partitions.
    let from = sensorhive::domain::Timestamp(START).to_rfc3339();
    let partition = format!("{}/1", topic.name);
    let body = json!({"partition": partition, "to": from});
    let (status, answer) = tell(&instance, "seek", &body).await;
    // What was produced now lies after that time.
    assert_eq!(
        (status, &answer["partitions"][0]["offset"]),
        (200, &json!(0)),
        "{answer}"
    );
    until("half of it to come again", async || {
        (stored(&instance.place).await.duplicate == 600).then_some(())
    })
    .await;

    // Moved while paused, and killed before anything is read: the move stays.
    assert_eq!(tell(&instance, "pause", &json!({})).await.0, 202);
    let body = json!({"partition": partition, "offset": 150, "why": "to see"});
    let (status, answer) = tell(&instance, "seek", &body).await;
    assert_eq!(
        (status, &answer["partitions"][0]["offset"]),
        (200, &json!(150)),
        "{answer}"
    );
    assert_eq!(stored(&instance.place).await.positions[&partition], 150);
    instance.kill9();
    let instance = instance.again(&[]).await;
    until("the rest to come again", async || {
        let now = stored(&instance.place).await;
        (now.duplicate == 650 && now.positions[&partition] == 200).then_some(())
    })
    .await;
    assert_eq!(stored(&instance.place).await.balanced().rows, 400);

    // Skipped is skipped.
    topic.produce_records(plant::messages(400, 404, 4, 2));
    reaches(&instance.place, 404).await;
    let (status, answer) = tell(&instance, "seek", &json!({"to": "latest"})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seek_that_makes_no_sense_is_refused_with_the_reason() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("senseless", 1).await;
    let instance = start(broker, &topic, "").await;
    topic.produce_records(plant::messages(0, 10, 1, 1));
    reaches(&instance.place, 10).await;
    let here = format!("{}/0", topic.name);
    for (body, status, word) in [
        (json!({}), 400, "offset"),
        (json!({"offset": 3}), 400, "partition"),
        (json!({"partition": here, "offset": 3, "to": "latest"}), 400, "to"),
        (json!({"partition": here, "offset": -1}), 400, "offset"),
        (json!({"partition": here, "to": "yesterday"}), 400, "to"),
        (
            json!({"partition": "elsewhere/0", "to": "latest"}),
            404,
            "elsewhere/0",
        ),
        (json!({"partition": "<script>", "to": "latest"}), 404, "script"),
        (json!({"partition": here, "to": "latest", "more": 1}), 400, "more"),
    ] {
        let (answered, answer) = tell(&instance, "seek", &body).await;
        assert_eq!(answered, status, "{body}: {answer}");
        assert!(answer.to_string().contains(word), "{body}: {answer}");
    }
    // An offset that is not there yet is brought to the end.
    let (_, answer) = tell(
        &instance,
        "seek",
        &json!({"partition": here, "offset": 1_000_000}),
    )
    .await;
    assert_eq!(answer["partitions"][0]["offset"], 10, "{answer}");
}
