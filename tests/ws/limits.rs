//! What a client may do, and what becomes of one that does more, or nothing.

use std::time::Duration;

use futures_util::SinkExt;
use sensorhive::actors::hub::outlet::Close;
use sensorhive::settings::LiveSettings;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Client, End};
use crate::support::{App, http_settings, live_settings, until};

async fn app(settings: LiveSettings) -> App {
    App::spawn_live(http_settings("127.0.0.1:0"), settings).await
}

fn status(result: Result<Client, Error>) -> u16 {
    match result {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => 101,
    }
}

#[actix_web::test]
async fn connections_are_limited_and_given_back() {
    for (all, of_client, told) in [(2, 9, 503), (9, 2, 429)] {
        let app = app(LiveSettings {
            max_connections: all,
            max_connections_per_client: of_client,
            ..live_settings()
        })
        .await;
        let first = Client::connect(&app).await;
        let _second = Client::connect(&app).await;
        assert_eq!(status(Client::connect_with(&app, &[]).await), told);
        drop(first);
        until(async || (status(Client::connect_with(&app, &[]).await) == 101).then_some(())).await;
        app.stop().await;
    }
}

#[actix_web::test]
async fn subscriptions_are_limited() {
    let app = app(LiveSettings {
        max_subscriptions: 2,
        ..live_settings()
    })
    .await;
    let mut client = Client::connect(&app).await;
    for id in ["a", "b", "a"] {
        client.subscribe(id, "overview").await;
        client.find("snapshot", |snapshot| snapshot["id"] == id).await;
    }
    client.subscribe("c", "overview").await;
    let error = client.find("error", |_| true).await;
    assert_eq!(
        (&error["id"], &error["code"]),
        (&json!("c"), &json!("too-many-subscriptions"))
    );
    client.send(json!({"type": "unsubscribe", "id": "a"})).await;
    client.subscribe("c", "overview").await;
    client.find("snapshot", |snapshot| snapshot["id"] == "c").await;
    app.stop().await;
}

#[actix_web::test]
async fn what_is_not_understood_is_told_and_what_is_no_message_ends_it() {
    let app = app(live_settings()).await;
    let mut client = Client::connect(&app).await;
    client.expect("hello").await;
    for (message, code) in [
        (json!({"type": "shout"}), "bad-message"),
        (
            json!({"type": "subscribe", "id": "a", "topic": "weather"}),
            "unknown-topic",
        ),
        (
            json!({"type": "subscribe", "id": "a", "topic": "alerts"}),
            "not-available",
        ),
        (
            json!({"type": "subscribe", "id": "a", "topic": "sensor/none"}),
            "unknown-sensor",
        ),
        (
            json!({"type": "subscribe", "id": "a", "topic": "overview", "max_hz": 1000}),
            "bad-message",
        ),
    ] {
        client.send(message.clone()).await;
        assert_eq!(client.expect("error").await["code"], code, "{message}");
    }
    for message in [
        Message::text("not JSON"),
        Message::binary(vec![1, 2, 3]),
        Message::text("x".repeat(20_000)),
    ] {
        let mut client = Client::connect(&app).await;
        client.0.send(message).await.unwrap();
        assert_eq!(client.end().await, End::Closed(4400));
    }
    app.stop().await;
}

#[actix_web::test]
async fn who_talks_too_much_is_closed() {
    let app = app(LiveSettings {
        messages_per_second: 1,
        ..live_settings()
    })
    .await;
    let mut client = Client::connect(&app).await;
    for _ in 0..20 {
        // It may be closed already.
        let _ = client
            .0
            .send(Message::text(r#"{"type":"unsubscribe","id":"a"}"#))
            .await;
    }
    assert!([End::Closed(4429), End::Broken].contains(&client.end().await));
    assert_eq!(app.state.metrics.live.closed_for(Close::TooMany), 1);
    app.stop().await;
}

#[actix_web::test]
async fn who_reads_nothing_is_closed_and_holds_up_nobody() {
    let app = app(LiveSettings {
        max_queue: 64 << 10,
        slow_after: Duration::from_secs(1),
        ..live_settings()
    })
    .await;
    let items: Vec<_> = (0..900)
        .map(|n| json!({"sensor_id": format!("sensor-with-a-long-name-{n}"), "metric": "t", "value": n}))
        .collect();
    let answer = app.post("/api/ingest", serde_json::to_vec(&items).unwrap()).await;
    assert_eq!(answer.status, 200);
    let mut healthy = Client::connect(&app).await;
    healthy.subscribe("s", "sensor/sensor-with-a-long-name-0").await;
    healthy.find("snapshot", |_| true).await;
    let mut stalled = Client::connect_narrow(&app).await;
    for n in 0..60 {
        stalled.subscribe(&n.to_string(), "overview").await;
    }
    let live = app.state.metrics.live.clone();
    until(async || (live.closed_for(Close::TooSlow) == 1).then_some(())).await;
    // It never reads that it was closed: it is cut off.
    until(async || (app.state.live.live.sessions.count() == 1).then_some(())).await;
    let body = json!({"sensor_id": "sensor-with-a-long-name-0", "metric": "t", "value": 77});
    app.post("/api/ingest", body.to_string()).await;
    healthy
        .find("delta", |delta| delta["data"]["values"]["t"]["value"] == 77.0)
        .await;
    assert!(matches!(stalled.end().await, End::Broken | End::Closed(4408)));
    app.stop().await;
}

#[actix_web::test]
async fn who_answers_no_ping_is_closed() {
    let app = app(LiveSettings {
        ping_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_millis(200),
        ..live_settings()
    })
    .await;
    // A client of this kind answers pings while it reads.
    let silent = Client::connect(&app).await;
    let mut talking = Client::connect(&app).await;
    let live = app.state.metrics.live.clone();
    let closed = until(async || (live.closed_for(Close::TooSlow) == 1).then_some(()));
    let read = async {
        loop {
            talking.next().await.unwrap();
        }
    };
    tokio::select! {
        () = closed => {}
        () = read => {}
    }
    drop(silent);
    talking.subscribe("o", "overview").await;
    talking.find("snapshot", |snapshot| snapshot["id"] == "o").await;
    app.stop().await;
}

#[actix_web::test]
async fn a_long_message_comes_whole() {
    let app = app(live_settings()).await;
    let items: Vec<_> = (0..900)
        .map(|n| json!({"sensor_id": format!("s{n:05}"), "metric": "a metric with a long name", "value": n, "unit": "°C".repeat(50)}))
        .collect();
    let answer = app.post("/api/ingest", serde_json::to_vec(&items).unwrap()).await;
    assert_eq!(answer.status, 200);
    let mut client = Client::connect_narrow(&app).await;
    client.subscribe("o", "overview").await;
    let snapshot = client.find("snapshot", |_| true).await;
    assert_eq!(snapshot["data"]["values"].as_object().unwrap().len(), 100);
    assert_eq!(snapshot["data"]["cells"]["number"].as_array().unwrap().len(), 900);
    app.stop().await;
}
