//! Redis: newest readings, streams and channels.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::instance::{Instance, Place, Starting, report, until};
use crate::plant::{Came, NAMES, OUTPUT, SERIES, START, reaches, reading, readings, stored};
use crate::redis_server::Server;

fn place(server: &Server, more: &str) -> Arc<Place> {
    let settings = format!(
        "[outputs.{OUTPUT}]\nkind = 'redis'\nurl = '{}'\nmatch = {{ sensor = 'o*' }}\n{more}\n{SERIES}",
        server.url()
    );
    Place::new(&settings, &[])
}

/// What a stream holds, oldest first: the fields of each entry.
async fn entries(connection: &mut MultiplexedConnection, stream: &str) -> Vec<BTreeMap<String, String>> {
    let all: StreamRangeReply = connection.xrange_all(stream).await.unwrap();
    let text = |value: redis::Value| redis::from_redis_value::<String>(value).unwrap();
    all.ids
        .into_iter()
        .map(|entry| {
            entry
                .map
                .into_iter()
                .map(|(name, value)| (name, text(value)))
                .collect()
        })
        .collect()
}

/// The newest reading of a sensor; `null` where there is none that can be read.
async fn newest(connection: &mut MultiplexedConnection, sensor: &str) -> Value {
    let key = format!("newest:{sensor}");
    let held: Option<String> = connection.hget(key, "temperature").await.unwrap();
    held.and_then(|held| serde_json::from_str(&held).ok())
        .unwrap_or_default()
}

async fn newest_is(connection: &mut MultiplexedConnection, sensor: &str, value: f64) -> Value {
    until(&format!("{value} to be the newest of {sensor}"), async || {
        let held = newest(connection, sensor).await;
        (held["value"] == value).then_some(held)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_reading_of_each_series_is_there_and_no_older_one_takes_its_place() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut redis = server.connect().await;
    let more = "latest = 'newest:'\nttl = '1h'\nstreams = { readings = 'all' }";
    let instance = Instance::start(&place(&server, more)).await;
    stored(&instance.api, &readings(0, 50)).await;
    for sensor in NAMES {
        let held = newest_is(&mut redis, sensor, 49.0 / 4.0).await;
        assert_eq!(
            (
                &held["sensor_id"],
                &held["metric"],
                &held["unit"],
                &held["timestamp"]
            ),
            (
                &json!(sensor),
                &json!("temperature"),
                &json!("°C"),
                &json!("2026-05-01T00:00:49Z")
            )
        );
        let left: i64 = redis.pttl(format!("newest:{sensor}")).await.unwrap();
        assert!((1..=3_600_000).contains(&left), "{left}");
    }
    // Nothing but these keys was made of the names.
    let mut keys: Vec<String> = redis.keys("*").await.unwrap();
    keys.sort();
    let mut expected: Vec<String> = NAMES.iter().map(|sensor| format!("newest:{sensor}")).collect();
    expected.push("all".to_owned());
    expected.sort();
    assert_eq!(keys, expected);

    // Older ones come later, with fractions of a second and without; the stream says when they were sent.
    let at = |micros: i64, value: f64| json!({"sensor_id": "o1", "metric": "temperature", "value": value, "timestamp": START + micros});
    let rounds = [
        (at(48_999_999, 1.0), 49.0 / 4.0),
        (at(49_000_001, 2.0), 2.0),
        (at(49_000_000 - 1_000, 3.0), 2.0),
        (at(49_250_000, 4.0), 4.0),
        (at(49_240_000, 5.0), 4.0),
        (at(49_250_001, 6.0), 6.0),
        (at(50_000_000, 7.0), 7.0),
        (at(49_999_999, 8.0), 7.0),
    ];
    for (count, (item, newest)) in rounds.into_iter().enumerate() {
        stored(&instance.api, &json!([item])).await;
        until("it to be sent", async || {
            let sent = entries(&mut redis, "all").await.len();
            (sent == 50 * NAMES.len() + count + 1).then_some(())
        })
        .await;
        newest_is(&mut redis, "o1", newest).await;
    }
    // Another program has left something there: it is taken for older.
    let _: () = redis.hset("newest:o1", "temperature", "{no json").await.unwrap();
    stored(&instance.api, &json!([at(51_000_000, 9.0)])).await;
    newest_is(&mut redis, "o1", 9.0).await;
    // A key that is no hash refuses its own sensor's readings alone.
    let _: () = redis.set("newest:o{metric}", "mine").await.unwrap();
    stored(&instance.api, &readings(60, 61)).await;
    newest_is(&mut redis, "o1", 15.0).await;
    let status = reaches(&instance, "the refusal", |status| status["refused"] == 1).await;
    assert_eq!(status["errors"], 0, "{status}");
    let mine: String = redis.get("newest:o{metric}").await.unwrap();
    assert_eq!(mine, "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_and_anomalies_are_added_to_streams_and_published() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut redis = server.connect().await;
    let mut listener = redis::Client::open(server.url())
        .unwrap()
        .get_async_pubsub()
        .await
        .unwrap();
    listener.subscribe("alarm").await.unwrap();
    let more = "streams = { windows = 'events', anomalies = 'events' }\nmax_entries = 50\nchannels = { anomalies = 'alarm' }";
    let instance = Instance::start(&place(&server, more)).await;
    stored(&instance.api, &readings(0, 59)).await;
    let mut jump = reading("o1", 59);
    jump["value"] = json!(1_000.0);
    stored(&instance.api, &json!([jump, reading("o1", 60)])).await;
    let came = until("window and anomalies", async || {
        let came = entries(&mut redis, "events").await;
        (came.len() == 3).then_some(came)
    })
    .await;
    let mut kinds = BTreeMap::new();
    for entry in &came {
        let payload: Value = serde_json::from_str(&entry["payload"]).unwrap();
        assert_eq!(payload["id"], entry["id"].as_str());
        assert_eq!(payload["sensor_id"], "o1");
        kinds
            .entry(entry["kind"].as_str())
            .or_insert_with(Vec::new)
            .push(payload);
    }
    assert_eq!(kinds["windows"][0]["count"], 60);
    assert_eq!(kinds["anomalies"][0]["value"], 1_000.0);
    let mut heard = listener.into_on_message();
    let heard: Value = serde_json::from_slice(heard.next().await.unwrap().get_payload_bytes()).unwrap();
    assert_eq!(heard, kinds["anomalies"][0]);
    // Of a stream about as much is kept as was asked for.
    for minute in 1..300 {
        stored(&instance.api, &json!([reading("o1", 60 + minute * 60)])).await;
    }
    reaches(&instance, "all windows to be sent", |status| {
        status["sent"]["windows"].as_u64() >= Some(299)
    })
    .await;
    let left: usize = redis.xlen("events").await.unwrap();
    assert!((50..250).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_without_redis_everything_is_added_at_least_once() {
    let Some(mut server) = Server::start().await else {
        return;
    };
    let place = place(&server, "latest = 'newest:'\nstreams = { readings = 'all' }");
    let mut instance = Instance::start(&place).await;
    let mut next = 0;
    for round in 0..8 {
        if round % 2 == 1 {
            server.kill();
        }
        for _ in 0..5 {
            stored(&instance.api, &readings(next, next + 50)).await;
            next += 50;
        }
        if round % 4 == 3 {
            reaches(&instance, "it to be noticed", |status| {
                status["last_error"].is_string() && status["waiting"]["records"].as_u64() >= Some(1_000)
            })
            .await;
        }
        if round % 4 != 3 {
            instance.kill9();
            instance = Starting::new(&place, &[])
                .ready(Some(instance.token.clone()))
                .await;
        }
        if round % 2 == 1 {
            server.again().await;
        }
    }
    let count = next as usize * NAMES.len();
    let mut redis = server.connect().await;
    let came = until("everything to have come", async || {
        let mut came = Came::default();
        for entry in entries(&mut redis, "all").await {
            came.take(entry["payload"].as_bytes());
        }
        (came.ids.len() >= count).then_some(came)
    })
    .await;
    assert_eq!(came.ids.len(), count);
    came.is_all(&instance.api).await;
    for sensor in NAMES {
        newest_is(&mut redis, sensor, (next - 1) as f64 / 4.0).await;
    }
    report(&format!(
        "outputs: redis: 6 x kill -9 of the service, 4 of redis: {count} stored, {} entries, {} ids, in order, newest right",
        came.all,
        came.ids.len()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_redis_is_reached_by_tls_if_it_is_the_right_one() {
    let (ours, another) = (Authority::new("ours"), Authority::new("another"));
    let (certificate, key) = ours.sign("localhost");
    let Some(server) = Server::with_tls(&certificate, &key, &ours.certificate()).await else {
        return;
    };
    let place = place(&server, "latest = 'newest:'\ntls = { ca_file = 'ca' }");
    std::fs::write(place.path("ca"), another.certificate()).unwrap();
    let instance = Instance::start(&place).await;
    stored(&instance.api, &readings(0, 5)).await;
    let status = reaches(&instance, "the error", |status| status["last_error"].is_string()).await;
    let error = status["last_error"].as_str().unwrap();
    assert!(error.contains("certificate"), "{error}");
    std::fs::write(place.path("ca"), ours.certificate()).unwrap();
    let instance = instance.again(&[]).await;
    newest_is(&mut server.connect().await, "o1", 1.0).await;
    assert_eq!(crate::plant::status(&instance.api).await["refused"], 0);
}
