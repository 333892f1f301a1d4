//! Redis: a queue and a stream while the service and Redis are killed, and channels.

use std::time::Duration;

use redis::{AsyncCommands, cmd};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::instance::{Instance, report, until};
use crate::redis_server::Server;
use crate::support::{item, place, same_as_in_peace, status, stored};

const KILLS: usize = 10;
const ROUND: usize = 700;

/// Adds some entries at once.
async fn add(server: &Server, kind: &str, range: std::ops::Range<usize>) {
    let mut connection = server.connect().await;
    let mut pipe = redis::pipe();
    for index in range {
        let item = item("s", index);
        match kind {
            "list" => pipe.cmd("RPUSH").arg("queue").arg(item.to_string()).ignore(),
            // As a payload, and as fields, by turns.
            _ if index % 2 == 0 => pipe
                .cmd("XADD")
                .arg("queue")
                .arg("*")
                .arg("payload")
                .arg(item.to_string())
                .ignore(),
            _ => {
                let fields = pipe.cmd("XADD").arg("queue").arg("*");
                for (name, value) in item.as_object().unwrap() {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    fields.arg(name).arg(text);
                }
                fields.ignore()
            }
        };
    }
    pipe.query_async::<()>(&mut connection).await.unwrap();
}

async fn killed(kind: &str, what: &str) {
    let Some(mut server) = Server::start().await else {
        return;
    };
    let place = place("redis", &format!("url = '{}'\n{what}", server.url()));
    let mut instance = Instance::start(&place).await;
    let mut written = 0;
    for kill in 0..KILLS {
        let before = stored(&instance.api, "s").await;
        add(&server, kind, written..written + ROUND).await;
        written += ROUND;
        until("something to be stored", async || {
            (stored(&instance.api, "s").await > before).then_some(())
        })
        .await;
        add(&server, kind, written..written + ROUND).await;
        written += ROUND;
        tokio::time::sleep(Duration::from_millis(11 * kill as u64)).await;
        instance.kill9();
        instance = instance.again(&[]).await;
        if kill % 4 == 3 {
            server.crash().await;
        }
    }
    let windows = same_as_in_peace(&instance, "s", written).await;
    let mut connection = server.connect().await;
    until("everything to be acknowledged", async || {
        let left: i64 = match kind {
            "list" => {
                let keys: Vec<String> = connection.keys("*").await.unwrap();
                keys.len() as i64
            }
            _ => {
                let pending: (i64, Value0, Value0, Value0) = cmd("XPENDING")
                    .arg("queue")
                    .arg("sensorhive")
                    .query_async(&mut connection)
                    .await
                    .unwrap();
                pending.0
            }
        };
        (left == 0).then_some(())
    })
    .await;
    report(&format!(
        "redis {kind}: {KILLS} x kill -9 of the service, {} of redis: {written} entries = {written} rows, none received twice, \
         {windows} windows equal those of an undisturbed run",
        KILLS / 4
    ));
}

type Value0 = redis::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_each_entry_of_a_queue_is_stored_once() {
    killed("list", "list = 'queue'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_each_entry_of_a_stream_is_stored_once() {
    killed("stream", "stream = 'queue'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_consumer_had_taken_is_taken_over() {
    let Some(server) = Server::start().await else {
        return;
    };
    add(&server, "stream", 0..20).await;
    let mut connection = server.connect().await;
    let _: () = cmd("XGROUP")
        .arg(&["CREATE", "queue", "sensorhive", "0"])
        .query_async(&mut connection)
        .await
        .unwrap();
    let _: Value0 = cmd("XREADGROUP")
        .arg(&[
            "GROUP",
            "sensorhive",
            "dead",
            "COUNT",
            "7",
            "STREAMS",
            "queue",
            ">",
        ])
        .query_async(&mut connection)
        .await
        .unwrap();
    let more = format!("url = '{}'\nstream = 'queue'\nclaim_after = '50ms'", server.url());
    let instance = Instance::start(&place("redis", &more)).await;
    same_as_in_peace(&instance, "s", 20).await;
    let status = status(&instance.api).await;
    assert_eq!(status["redis"]["claimed"], 7, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_heard_while_we_are_there() {
    let Some(mut server) = Server::start().await else {
        return;
    };
    let more = format!("url = '{}'\nchannels = ['one', 'plant.*']", server.url());
    let instance = Instance::start(&place("redis", &more)).await;
    let connected = async || {
        until("a connection", async || {
            (status(&instance.api).await["redis"]["connected"] == true).then_some(())
        })
        .await;
    };
    connected().await;
    let mut publisher = server.connect().await;
    for index in 0..100 {
        let channel = if index % 2 == 0 { "one" } else { "plant.a" };
        let _: i64 = publisher
            .publish(channel, item("s", index).to_string())
            .await
            .unwrap();
    }
    let _: i64 = publisher.publish("one", "no reading").await.unwrap();
    same_as_in_peace(&instance, "s", 100).await;
    let letters = until("the dead letter", async || {
        let letters = instance.api.get("/api/admin/dead-letters").await["data"].clone();
        (letters != json!([])).then_some(letters)
    })
    .await;
    assert_eq!(letters[0]["position"], "one");
    server.crash().await;
    until("it to be heard again", async || {
        let mut publisher = server.connect().await;
        let heard: i64 = publisher
            .publish("one", item("s", 100).to_string())
            .await
            .unwrap();
        (heard > 0).then_some(())
    })
    .await;
    until("the reading", async || {
        (stored(&instance.api, "s").await == 101).then_some(())
    })
    .await;
    let error: Value = status(&instance.api).await["redis"]["errors"].clone();
    assert!(error.as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_read_over_tls_from_the_right_server_alone() {
    let (ours, another) = (Authority::new("ours"), Authority::new("another"));
    let (certificate, key) = ours.sign("localhost");
    let Some(server) = Server::with_tls(&certificate, &key, &ours.certificate()).await else {
        return;
    };
    add(&server, "list", 0..20).await;
    let (client, client_key) = ours.sign("hive");
    let more = "list = 'queue'\ntls = { ca_file = 'ca', cert_file = 'cert', key_file = 'key' }";
    let place = place("redis", &format!("url = '{}'\n{more}", server.url()));
    for (name, text) in [
        ("ca", &another.certificate()),
        ("cert", &client),
        ("key", &client_key),
    ] {
        std::fs::write(place.path(name), text).unwrap();
    }
    let instance = Instance::start(&place).await;
    let error = until("the error", async || {
        let error = status(&instance.api).await["redis"]["last_error"].clone();
        error.as_str().map(str::to_owned)
    })
    .await;
    assert!(error.contains("certificate"), "{error}");
    std::fs::write(place.path("ca"), ours.certificate()).unwrap();
    let instance = instance.again(&[]).await;
    same_as_in_peace(&instance, "s", 20).await;
}
