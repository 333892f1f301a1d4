//! What a client is told.

use serde_json::{Value, json};

use crate::client::Client;
use crate::support::App;

/// Stores one reading of `metric`.
async fn say(app: &App, sensor: &str, metric: &str, value: f64) {
    let body = json!({"sensor_id": sensor, "metric": metric, "value": value, "unit": "C"});
    let answer = app.post("/api/ingest", body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[actix_web::test]
async fn a_client_that_says_nothing_is_told_of_the_overview() {
    let app = App::spawn().await;
    let mut client = Client::connect(&app).await;
    let hello = client.expect("hello").await;
    assert_eq!(
        (&hello["protocol"], &hello["authenticated"]),
        (&json!(1), &json!(true))
    );
    let snapshot = client.expect("snapshot").await;
    assert_eq!(
        (&snapshot["id"], &snapshot["epoch"]),
        (&json!("overview"), &hello["epoch"])
    );
    let data = &snapshot["data"];
    assert_eq!(
        (&data["summary"]["total_events"], &data["values"]),
        (&json!(0), &json!({}))
    );
    // A sensor that nobody knew.
    say(&app, "boiler-1", "temperature", 21.5).await;
    let delta = client
        .find("delta", |delta| delta["data"]["values"].is_object())
        .await;
    let value = &delta["data"]["values"]["boiler-1"]["temperature"];
    assert_eq!(
        (&value["value"], &value["unit"], &value["count"]),
        (&json!(21.5), &json!("C"), &json!(1))
    );
    let mut data = json!({});
    while data["cells"]["state"] != json!([0]) || data["summary"]["total_events"] != 1 {
        let news = client.expect("delta").await["data"].take();
        data.as_object_mut()
            .unwrap()
            .extend(news.as_object().unwrap().clone());
    }
    app.stop().await;
}

#[actix_web::test]
async fn deltas_follow_the_snapshot_without_a_gap() {
    let app = App::spawn().await;
    say(&app, "s", "t", 0.0).await;
    let mut client = Client::connect(&app).await;
    client.expect("hello").await;
    client
        .send(json!({"type": "subscribe", "id": "x", "topic": "sensor/s", "max_hz": 30}))
        .await;
    let writes = async {
        for n in 1..=50 {
            say(&app, "s", "t", f64::from(n)).await;
        }
    };
    let read = async {
        let snapshot = client.expect("snapshot").await;
        assert_eq!(snapshot["data"]["sensor_id"], "s");
        let mut seq = snapshot["seq"].as_u64().unwrap();
        let mut last = snapshot["data"]["values"]["t"]["value"].as_f64().unwrap();
        while last < 50.0 {
            let delta = client.expect("delta").await;
            seq += 1;
            assert_eq!(
                (delta["seq"].as_u64(), delta["id"].as_str()),
                (Some(seq), Some("x"))
            );
            let value = &delta["data"]["values"]["t"];
            if let Some(newest) = value["value"].as_f64() {
                let (min, max) = (value["min"].as_f64().unwrap(), value["max"].as_f64().unwrap());
                assert!(newest >= last && max >= newest && min <= newest, "{delta}");
                last = newest;
            }
        }
    };
    futures_util::join!(writes, read);
    app.stop().await;
}

#[actix_web::test]
async fn values_are_what_the_newest_are_in_the_api() {
    let app = App::spawn().await;
    app.fill("s", 5).await;
    let mut client = Client::connect(&app).await;
    client.subscribe("o", "overview").await;
    let snapshot = client.find("snapshot", |_| true).await;
    let api = app.get("/api/metrics/latest?sensor=s").await.body;
    assert_eq!(snapshot["data"]["values"]["s"]["t"], api["s"]["t"]);
    let summary = app.get("/api/statistics/summary").await.body;
    for (key, value) in snapshot["data"]["summary"].as_object().unwrap() {
        if !["store_failing", "events_per_second"].contains(&key.as_str()) {
            assert_eq!(value, &summary[key], "{key}");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn anomalies_are_replayed_to_who_was_away() {
    let app = App::spawn().await;
    let host = async |value: f64| say(&app, "host", "cpu_usage", value).await;
    host(10.0).await;
    let mut client = Client::connect(&app).await;
    let epoch = client.expect("hello").await["epoch"].clone();
    client.subscribe("a", "anomalies").await;
    assert_eq!(client.expect("snapshot").await["data"], json!({"anomalies": []}));
    host(90.0).await;
    let delta = client.expect("delta").await;
    let seq = delta["seq"].as_u64().unwrap();
    let anomaly = &delta["data"]["anomalies"][0];
    assert_eq!(
        (&anomaly["sensor_id"], &anomaly["seq"], &anomaly["level"]),
        (&json!("host"), &json!(seq), &json!("warning"))
    );
    let stored = &app.get("/api/sensors/host/anomalies").await.body["data"][0];
    for (key, value) in stored.as_object().unwrap() {
        assert_eq!(&anomaly[key], value, "{key}");
    }
    drop(client);
    host(97.0).await;
    host(130.0).await;

    let since = |epoch: &Value, seq: u64| json!({"type": "subscribe", "id": "a", "topic": "anomalies", "since": {"epoch": epoch, "seq": seq}});
    let values = |message: &Value| -> Vec<f64> {
        let anomalies = message["data"]["anomalies"].as_array().unwrap();
        anomalies
            .iter()
            .map(|anomaly| anomaly["value"].as_f64().unwrap())
            .collect()
    };
    let mut client = Client::connect(&app).await;
    client.expect("hello").await;
    client.send(since(&epoch, seq)).await;
    let missed = client.expect("delta").await;
    assert_eq!(
        (values(&missed), missed["seq"].as_u64()),
        (vec![97.0, 130.0], Some(seq + 2))
    );
    client.send(since(&epoch, seq + 2)).await;
    assert!(
        values(&client.expect("delta").await).is_empty(),
        "nothing was missed"
    );
    for (epoch, seq) in [
        (json!("another"), seq),
        (epoch.clone(), seq + 3),
        (epoch.clone(), u64::MAX),
    ] {
        client.send(since(&epoch, seq)).await;
        client.expect("resync").await;
        assert_eq!(values(&client.expect("snapshot").await), [90.0, 97.0, 130.0]);
    }
    client
        .send(json!({"type": "subscribe", "id": "b", "topic": "anomalies", "filter": {"level": "critical", "sensors": ["host", "x"]}}))
        .await;
    assert_eq!(values(&client.expect("snapshot").await), [130.0]);
    app.stop().await;
}

#[actix_web::test]
async fn a_filter_holds_back_what_it_does_not_name() {
    let app = App::spawn().await;
    for sensor in ["a", "b"] {
        let body = json!({"sensor_id": sensor, "metric": "t", "value": 1, "tags": {"site": sensor}});
        assert_eq!(app.post("/api/ingest", body.to_string()).await.status, 200);
    }
    let number = |name: &str| app.state.registry().sensor_named(name).unwrap().key.0;
    let mut client = Client::connect(&app).await;
    client
        .send(json!({"type": "subscribe", "id": "o", "topic": "overview", "filter": {"tags": {"site": "a"}}}))
        .await;
    let data = client.find("snapshot", |_| true).await["data"].clone();
    assert_eq!(
        data["values"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(data["cells"]["number"], json!([number("a")]));
    client
        .send(json!({"type": "subscribe", "id": "o", "topic": "overview", "filter": {"sensors": ["b", "not there"]}}))
        .await;
    let data = client.find("snapshot", |_| true).await["data"].clone();
    assert_eq!(
        data["values"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(data["cells"]["number"], json!([number("a"), number("b")]));
    app.stop().await;
}

#[actix_web::test]
async fn a_sensor_page_is_told_of_state_and_restarts() {
    let app = App::spawn().await;
    say(&app, "s", "t", 1.0).await;
    let mut client = Client::connect(&app).await;
    client.subscribe("s", "sensor/s").await;
    client
        .find("snapshot", |snapshot| snapshot["data"]["state"] == 0)
        .await;
    let command = |command: &str| format!("/api/admin/sensors/s/{command}");
    let answer = app.admin_post(&command("pause"), json!({"why": "test"})).await;
    assert!(answer.status < 300, "{}", answer.text);
    client.find("delta", |delta| delta["data"]["state"] == 3).await;
    app.admin_post(&command("resume"), json!({"why": "test"})).await;
    client.find("delta", |delta| delta["data"]["state"] == 0).await;
    app.admin_post(&command("restart"), json!({"why": "because"}))
        .await;
    let delta = client
        .find("delta", |delta| delta["data"]["restarts"][0]["reason"] == "admin")
        .await;
    assert_eq!(delta["data"]["restarts"][0]["detail"], "because");
    app.stop().await;
}

#[actix_web::test]
async fn windows_are_told_when_they_are_stored() {
    let app = App::spawn().await;
    let first = 1_730_332_800;
    let at = |second: i64, value: f64| json!({"sensor_id": "w", "metric": "t", "value": value, "timestamp": first + second});
    app.post("/api/ingest", at(0, 1.0).to_string()).await;
    let mut client = Client::connect(&app).await;
    client.subscribe("w", "sensor/w").await;
    client.find("snapshot", |_| true).await;
    app.post("/api/ingest", at(30, 3.0).to_string()).await;
    app.post("/api/ingest", at(120, 9.0).to_string()).await;
    let delta = client
        .find("delta", |delta| delta["data"]["windows"].is_object())
        .await;
    let told = &delta["data"]["windows"]["t"][0];
    let stored = &app.get("/api/sensors/w/windows").await.body["data"][0];
    assert_eq!((told, &told["count"]), (stored, &json!(2)));
    app.stop().await;
}

#[actix_web::test]
async fn actors_are_told_when_they_change() {
    let app = App::spawn().await;
    let mut client = Client::connect(&app).await;
    client.subscribe("t", "actors").await;
    let data = client.find("snapshot", |_| true).await["data"].clone();
    let paths = |nodes: &Value| -> Vec<String> {
        let nodes = nodes.as_array().unwrap().iter();
        nodes
            .map(|node| node["path"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        paths(&data["nodes"]),
        paths(&app.get("/api/actors").await.body["nodes"])
    );
    let writer = |nodes: &Value| paths(nodes).contains(&"storage/maintenance".to_owned());
    assert!(writer(&data["nodes"]));
    let answer = app
        .admin_post(
            "/api/admin/actors/storage/maintenance/restart",
            json!({"why": "test"}),
        )
        .await;
    assert!(answer.status < 300, "{}", answer.text);
    let delta = client
        .find("delta", |delta| delta["data"]["nodes"].is_array())
        .await;
    assert!(writer(&delta["data"]["nodes"]), "{delta}");
    app.stop().await;
}

#[actix_web::test]
async fn a_hub_that_begins_anew_has_everybody_resync() {
    let app = App::spawn().await;
    say(&app, "s", "t", 1.0).await;
    let mut client = Client::connect(&app).await;
    let epoch = client.expect("hello").await["epoch"].clone();
    client.subscribe("one", "overview").await;
    client.subscribe("two", "sensor/s").await;
    client.find("snapshot", |snapshot| snapshot["id"] == "two").await;
    let answer = app
        .admin_post("/api/admin/actors/web/hub/restart", json!({"why": "test"}))
        .await;
    assert!(answer.status < 300, "{}", answer.text);
    for id in ["one", "two"] {
        let resync = client.find("resync", |resync| resync["id"] == id).await;
        assert_ne!(resync["epoch"], epoch);
        let snapshot = client.find("snapshot", |_| true).await;
        assert_eq!(
            (&snapshot["id"], &snapshot["epoch"]),
            (&json!(id), &resync["epoch"])
        );
    }
    say(&app, "s", "t", 2.0).await;
    client
        .find("delta", |delta| delta["data"]["values"]["t"]["value"] == 2.0)
        .await;
    app.stop().await;
}

#[actix_web::test]
async fn a_thousand_snapshots_ask_the_database_nothing() {
    let app = App::spawn().await;
    app.fill("s", 5).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Client::connect(&app).await);
    }
    // Whoever asked would not be answered.
    app.state.store.close().await;
    let rendered = app.state.metrics.live.renderings();
    for client in &mut clients {
        for id in 0..20 {
            client.subscribe(&id.to_string(), "overview").await;
        }
    }
    for client in &mut clients {
        for _ in 0..20 {
            client
                .find("snapshot", |snapshot| {
                    snapshot["data"]["values"]["s"]["t"]["value"] == 4.0
                })
                .await;
        }
    }
    let rendered = app.state.metrics.live.renderings() - rendered;
    assert!(rendered < 500, "they share what is written, {rendered}");
}

#[actix_web::test]
async fn hostile_names_are_strings() {
    let app = App::spawn().await;
    for name in [
        "</script><img src=x onerror=alert(1)>",
        "\"},{\"type\":\"hello\"",
        "' OR 1=1 --",
        "%00../..",
        "\u{202e}\u{1f600}",
    ] {
        say(&app, name, name, 1.0).await;
        let mut client = Client::connect(&app).await;
        client.expect("hello").await;
        client
            .subscribe("\"},\"id\":\"\u{0}", &format!("sensor/{name}"))
            .await;
        let snapshot = client.expect("snapshot").await;
        assert_eq!(snapshot["id"], "\"},\"id\":\"\u{0}");
        assert_eq!(
            (
                &snapshot["data"]["sensor_id"],
                &snapshot["data"]["values"][name]["value"]
            ),
            (&json!(name), &json!(1.0))
        );
        client.subscribe("o", "overview").await;
        // Others watched before: what their snapshot lacks is in the delta after it.
        while client.next().await.unwrap()["data"]["values"][name][name]["value"] != 1.0 {}
    }
    app.stop().await;
}

#[actix_web::test]
async fn cells_have_the_names_of_their_numbers() {
    let app = App::spawn().await;
    for (sensor, site) in [("a", Some("x")), ("b", None), ("c", Some("y")), ("d", Some("x"))] {
        let mut body = json!({"sensor_id": sensor, "metric": "t", "value": 1});
        if let Some(site) = site {
            body["tags"] = json!({"site": site});
        }
        assert_eq!(app.post("/api/ingest", body.to_string()).await.status, 200);
    }
    let body = app.get("/api/sensors/cells?group_by=site").await.body;
    assert_eq!(body["sensor_id"], json!(["a", "b", "c", "d"]));
    assert_eq!(
        (&body["groups"], &body["group"]),
        (&json!(["x", "y"]), &json!([0, -1, 1, 0]))
    );
    assert_eq!(body["state"], json!([0, 0, 0, 0]));
    let mut client = Client::connect(&app).await;
    client.subscribe("o", "overview").await;
    let snapshot = client.find("snapshot", |_| true).await;
    assert_eq!(snapshot["data"]["cells"]["number"], body["number"]);
    assert_eq!(snapshot["data"]["names"], body["names"]);
    let some = app.get("/api/sensors/cells?tag=site%3Dx&q=D").await.body;
    assert_eq!(
        (&some["sensor_id"], &some["group"]),
        (&json!(["d"]), &Value::Null)
    );
    app.get("/api/sensors/cells?tag=x")
        .await
        .problem(400, "invalid-parameters");
    app.stop().await;
}
