//! Topics of Kafka.

use std::sync::Arc;

use serde_json::json;

use crate::instance::{Instance, Place, Starting, report, until};
use crate::kafka::{Broker, Record, Topic};
use crate::plant::{self, Came, NAMES, OUTPUT, SERIES, reaches, readings, stored};
use crate::postgres::{Flavor, Server};

struct Topics {
    readings: Topic,
    windows: Topic,
    anomalies: Topic,
}

impl Topics {
    async fn new(broker: &Broker) -> Self {
        Self {
            readings: broker.topic("clean", 3).await,
            windows: broker.topic("windows", 2).await,
            anomalies: broker.topic("anomalies", 1).await,
        }
    }

    fn place(&self, broker: &Broker, more: &str, flags: &[&str]) -> Arc<Place> {
        let settings = format!(
            "[outputs.{OUTPUT}]\nkind = 'kafka'\nbrokers = '{}'\nmatch = {{ sensor = 'o*' }}\n{more}\n
             topics = {{ readings = '{}', windows = '{}', anomalies = '{}' }}\n{SERIES}",
            broker.address(),
            self.readings.name,
            self.windows.name,
            self.anomalies.name
        );
        Place::new(&settings, flags)
    }
}

/// Checks the form of every record, and takes what it says.
fn came(topic: &Topic) -> Came {
    let mut came = Came::default();
    let read = tokio::task::block_in_place(|| topic.read());
    for Record {
        key,
        payload,
        headers,
        ..
    } in read
    {
        let payload = payload.unwrap();
        let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(key.unwrap(), value["sensor_id"].as_str().unwrap().as_bytes());
        let id = value["id"].as_str().unwrap().as_bytes().to_vec();
        assert_eq!(headers, [("sensorhive-id".to_owned(), id)]);
        came.take(&payload);
    }
    came
}

async fn everything(broker: &Broker, flags: &[&str]) {
    let topics = Topics::new(broker).await;
    let instance = Instance::start(&topics.place(broker, "", flags)).await;
    let api = &instance.api;
    for step in 0..10 {
        stored(api, &readings(step * 20, step * 20 + 20)).await;
        // Again, and something new of nobody who is sent.
        stored(api, &readings(step * 20, step * 20 + 20)).await;
        stored(api, &json!([plant::reading("quiet", step)])).await;
    }
    // A jump up and down again.
    let mut high = plant::reading("o1", 200);
    high["value"] = json!(9000.0);
    stored(api, &json!([high])).await;
    stored(api, &json!([plant::reading("o1", 201)])).await;
    // Late for a window that has closed.
    let mut late = plant::reading("o1", 1);
    late["timestamp"] = json!(plant::START + 1_500_000);
    late["value"] = json!(-40.0);
    stored(api, &json!([late])).await;
    let count = NAMES.len() as u64 * 200 + 3;
    let status = reaches(&instance, "everything to be sent", |status| {
        status["sent"]["readings"] == count
            && status["sent"]["windows"].as_u64() >= Some(NAMES.len() as u64 * 3 + 1)
    })
    .await;
    assert_eq!(status["sent"]["anomalies"], 2, "{status}");
    assert_eq!((&status["refused"], &status["errors"]), (&json!(0), &json!(0)));

    let clean = came(&topics.readings);
    assert_eq!((clean.all, clean.ids.len()), (count as usize, count as usize));
    clean.is_all(api).await;
    let first = &clean.of["o1"][0];
    assert_eq!(first["timestamp"], "2026-05-01T00:00:00Z");
    assert_eq!(
        (&first["metric"], &first["unit"]),
        (&json!("temperature"), &json!("°C"))
    );
    assert!(first["processed_at"].as_str().unwrap().ends_with('Z'));
    let late = clean.of["o1"].last().unwrap();
    assert_eq!(
        (&late["value"], &late["flags"]),
        (&json!(-40.0), &json!(["late"]))
    );

    let windows = came(&topics.windows);
    assert_eq!(windows.all, windows.ids.len());
    for sensor in NAMES {
        let told = api
            .all(&format!("{}/windows?order=asc", plant::path(sensor)))
            .await;
        for window in told {
            let same = |sent: &&serde_json::Value| sent["start"] == window["start"];
            let sent: Vec<_> = windows.of[sensor].iter().filter(same).collect();
            let newest = sent.last().unwrap();
            for key in [
                "end", "count", "min", "max", "mean", "first", "last", "revision", "kind",
            ] {
                assert_eq!(newest[key], window[key], "{sensor} {key}");
            }
        }
    }
    let revised: Vec<_> = windows.of["o1"]
        .iter()
        .filter(|window| window["revision"] == 1)
        .collect();
    assert_eq!(revised.len(), 1);
    assert_eq!(
        (&revised[0]["count"], &revised[0]["min"]),
        (&json!(61), &json!(-40.0))
    );

    let anomalies = came(&topics.anomalies);
    let found: Vec<_> = anomalies.of["o1"]
        .iter()
        .map(|anomaly| anomaly["value"].clone())
        .collect();
    assert_eq!(found, [json!(9000.0), json!(50.25)]);
    assert_eq!(anomalies.of["o1"][0]["detector"], "jump");
    assert_eq!(plant::output(api).await["crashes"], 0);
    let metrics = api.text("/metrics").await;
    let line = format!("sensorhive_output_sent_total{{output=\"line\",kind=\"readings\"}} {count}\n");
    assert!(metrics.contains(&line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_stored_is_sent_once_and_nothing_else() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    everything(broker, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_from_postgres() {
    let (Some(broker), Some(server)) = (Broker::shared().await, Server::shared().await) else {
        return;
    };
    let database = server.database(Flavor::Plain).await.unwrap();
    everything(broker, &[&format!("storage.url={}", database.url())]).await;
}

const ROUNDS: u64 = 8;

async fn killed(broker: &Broker, flags: &[&str], of: &str) {
    let topics = Topics::new(broker).await;
    let place = topics.place(broker, "", flags);
    let mut instance = Instance::start(&place).await;
    let (mut sent, mut steps) = (0, 0);
    for _ in 0..ROUNDS {
        // Sending has begun; and then in the middle of it, or as near to that as can be.
        stored(&instance.api, &readings(steps * 100, steps * 100 + 100)).await;
        let begun = reaches(&instance, "some to be sent", |status| {
            status["sent"]["readings"].as_u64() > Some(0)
        });
        let before = begun.await["sent"]["readings"].as_u64();
        for step in steps + 1..steps + 6 {
            stored(&instance.api, &readings(step * 100, step * 100 + 100)).await;
        }
        steps += 6;
        let more = reaches(&instance, "more to be sent", |status| {
            status["sent"]["readings"].as_u64() > before
        });
        sent += more.await["sent"]["readings"].as_u64().unwrap();
        instance.kill9();
        instance = Starting::new(&place, &[])
            .ready(Some(instance.token.clone()))
            .await;
    }
    let count = steps * 100 * NAMES.len() as u64;
    let clean = until("everything to have come", async || {
        let clean = came(&topics.readings);
        (clean.ids.len() as u64 >= count).then_some(clean)
    })
    .await;
    assert_eq!(clean.ids.len() as u64, count);
    clean.is_all(&instance.api).await;
    report(&format!(
        "outputs: kafka: {of}: {ROUNDS} x kill -9 while sending ({sent} confirmed before): {count} stored, {} records, {} ids, \
         in order",
        clean.all,
        clean.ids.len()
    ));
    // Stopped in peace nothing comes twice.
    stored(&instance.api, &readings(steps * 100, steps * 100 + 10)).await;
    instance.sigterm();
    assert!(instance.ended().await.success(), "{}", place.log());
    let all = clean.all + 10 * NAMES.len();
    assert_eq!(came(&topics.readings).all, all);
    let instance = instance.again(&[]).await;
    stored(&instance.api, &readings(steps * 100 + 10, steps * 100 + 11)).await;
    reaches(&instance, "the rest to be sent", |status| {
        status["sent"]["readings"].as_u64() >= Some(NAMES.len() as u64)
    })
    .await;
    assert_eq!(came(&topics.readings).all, all + NAMES.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_sending_it_sends_everything_and_what_comes_again_has_the_same_id() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    killed(broker, &[], "sqlite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_sending_from_postgres() {
    let (Some(broker), Some(server)) = (Broker::shared().await, Server::shared().await) else {
        return;
    };
    let database = server.database(Flavor::Plain).await.unwrap();
    killed(
        broker,
        &[&format!("storage.url={}", database.url())],
        "postgresql",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_broker_readings_are_stored_and_sent_once_when_it_is_back() {
    let Some(broker) = Broker::private().await else {
        return;
    };
    let topics = Topics::new(&broker).await;
    let place = topics.place(&broker, "", &[]);
    let instance = Instance::start(&place).await;
    stored(&instance.api, &readings(0, 10)).await;
    reaches(&instance, "some to be sent", |status| {
        status["sent"]["readings"] == 40
    })
    .await;
    for round in 1..4 {
        broker.kill();
        for step in 0..20 {
            let from = round * 1_000 + step * 20;
            stored(&instance.api, &readings(from, from + 20)).await;
        }
        reaches(&instance, "it to be noticed", |status| {
            status["waiting"]["records"].as_u64() >= Some(1_600) && status["last_error"].is_string()
        })
        .await;
        let metrics = instance.api.text("/metrics").await;
        assert!(metrics.contains("sensorhive_output_waiting{output=\"line\"}"));
        broker.start().await;
        reaches(&instance, "the rest to be sent", |status| {
            status["sent"]["readings"] == 40 + round * 1_600
        })
        .await;
    }
    let clean = came(&topics.readings);
    clean.is_all(&instance.api).await;
    reaches(&instance, "nothing to wait", |status| {
        status["waiting"]["records"] == 0
    })
    .await;
    report(&format!(
        "outputs: kafka: 3 x broker killed: {} stored meanwhile and before, {} records, {} ids, in order",
        clean.ids.len(),
        clean.all,
        clean.ids.len()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_kept_is_dropped_loudly() {
    let Some(broker) = Broker::private().await else {
        return;
    };
    let topics = Topics::new(&broker).await;
    let place = topics.place(&broker, "max_size = '3KiB'", &[]);
    let instance = Instance::start(&place).await;
    stored(&instance.api, &readings(0, 10)).await;
    reaches(&instance, "some to be sent", |status| {
        status["sent"]["readings"] == 40
    })
    .await;
    broker.kill();
    for step in 1..16 {
        stored(&instance.api, &readings(step * 10, step * 10 + 10)).await;
    }
    let status = reaches(&instance, "some to be dropped", |status| {
        status["dropped"].as_u64() > Some(0)
    })
    .await;
    assert!(
        place
            .log()
            .contains("records could not be sent in time and are given up")
    );
    assert!(status["dropped"].as_u64() < Some(600), "{status}");
    broker.start().await;
    let last = *plant::sequences(&instance.api, "o1").await.last().unwrap();
    until("the newest to have come", async || {
        let clean = came(&topics.readings);
        clean.of["o1"]
            .iter()
            .any(|value| value["seq"] == last)
            .then_some(())
    })
    .await;
    // It was only sent less, not stored less.
    assert_eq!(plant::sequences(&instance.api, "o1").await.len(), 160);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_skipped_and_counted() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topics = Topics::new(broker).await;
    let more = "options = { 'message.max.bytes' = 1000 }";
    let instance = Instance::start(&topics.place(broker, more, &[])).await;
    let long = format!("o{}", "\"".repeat(255));
    stored(&instance.api, &readings(0, 5)).await;
    let mut large = plant::reading(&long, 5);
    large["metric"] = json!("\\".repeat(128));
    stored(
        &instance.api,
        &json!([plant::reading("o1", 5), large, plant::reading("o1", 6)]),
    )
    .await;
    let status = reaches(&instance, "the others to be sent", |status| {
        status["refused"] == 1 && status["sent"]["readings"] == 22
    })
    .await;
    assert_eq!(status["dropped"], 0, "{status}");
    assert!(
        instance
            .place
            .log()
            .contains("a record is refused for good and skipped")
    );
    came(&topics.readings).is_all(&instance.api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_paused_and_restarted() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topics = Topics::new(broker).await;
    let instance = Instance::start(&topics.place(broker, "", &[])).await;
    let tell = async |command: &str| {
        let path = format!("/api/admin/outputs/{OUTPUT}/{command}");
        instance.api.post(&path, &json!({ "why": "to see" })).await.status
    };
    stored(&instance.api, &readings(0, 5)).await;
    reaches(&instance, "some to be sent", |status| {
        status["sent"]["readings"] == 20
    })
    .await;
    assert_eq!((tell("pause").await, tell("dance").await), (202, 404));
    reaches(&instance, "the pause", |status| status["state"] == "paused").await;
    stored(&instance.api, &readings(5, 10)).await;
    let status = reaches(&instance, "some to wait", |status| {
        status["waiting"]["records"].as_u64() >= Some(20)
    })
    .await;
    assert_eq!(status["sent"]["readings"], 20);
    assert_eq!((tell("restart").await, tell("resume").await), (202, 202));
    reaches(&instance, "the rest to be sent", |status| {
        status["sent"]["readings"] == 40
    })
    .await;
    came(&topics.readings).is_all(&instance.api).await;
    assert_eq!(plant::output(&instance.api).await["restarts"], 1);
    let path = "/api/admin/outputs/nobody/pause";
    assert_eq!(instance.api.post(path, &json!({})).await.status, 404);
}
