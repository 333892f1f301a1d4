//! What is read: latest values, history, pages, queries.

use sensorhive::domain::Timestamp;
use serde_json::{Value, json};

use crate::support::{App, until};

/// Follows the pages of a list to its end.
async fn pages(app: &App, path: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    for _ in 0..1_000 {
        let page = app.get(&format!("{path}{cursor}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        all.extend(page.body["data"].as_array().unwrap().iter().cloned());
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
    panic!("{path} never ends");
}

#[actix_web::test]
async fn before_the_first_reading_there_is_no_data() {
    let app = App::spawn().await;
    let none = app.get("/api/realtime-data").await;
    assert_eq!(
        (none.status, none.text.as_str()),
        (404, r#"{"error":"No data available"}"#)
    );
    assert_eq!(app.get("/api/metrics/latest").await.body, json!({}));
    assert_eq!(
        app.get("/api/sensors").await.body,
        json!({"data": [], "total": 0})
    );
    let summary = app.get("/api/statistics/summary").await.body;
    assert_eq!(
        (&summary["total_events"], &summary["processing_latency_ms"]),
        (&json!(0), &Value::Null)
    );
    app.stop().await;
}

#[actix_web::test]
async fn the_latest_values_are_by_sensor_and_metric() {
    let app = App::spawn().await;
    let first = app.fill("a", 3).await;
    let flat = r#"{"sensor_id":"b","cpu_usage":75.5,"memory_usage":40,"timestamp":"2024-10-31T00:00:00Z"}"#;
    assert_eq!(app.post("/api/ingest", flat).await.status, 200);
    let all = app.get("/api/metrics/latest").await.body;
    let time = Timestamp::from_seconds(first + 2).to_rfc3339();
    assert_eq!(all["a"]["t"], json!({"value": 2.0, "time": time, "unit": "C"}));
    assert_eq!(
        all["b"]["cpu_usage"],
        json!({"value": 75.5, "time": "2024-10-31T00:00:00Z", "unit": null})
    );
    let flat = app.get("/api/metrics/latest?sensor=b&flat=true").await.body;
    assert_eq!(flat, json!({"cpu_usage": 75.5, "memory_usage": 40.0}));
    let newest = app.get("/api/realtime-data").await;
    assert_eq!(newest.status, 200);
    assert_eq!(
        (
            &newest.body["sensor_id"],
            &newest.body["value"],
            &newest.body["metrics"]["t"]["value"]
        ),
        (&json!("a"), &json!(2.0), &json!(2.0))
    );
    app.get("/api/metrics/latest?sensor=none")
        .await
        .problem(404, "not-found");
    let page = app.get("/api/metrics/latest?limit=1").await;
    assert_eq!(page.body.as_object().unwrap().len(), 1);
    let link = page.header("link");
    let next = link
        .split_once('<')
        .unwrap()
        .1
        .split_once('>')
        .unwrap()
        .0
        .to_owned();
    assert_eq!(app.get(&next).await.body["b"]["memory_usage"]["value"], 40.0);
    app.stop().await;
}

#[actix_web::test]
async fn pages_of_readings_are_stable_while_more_comes() {
    let app = App::spawn().await;
    let first = app.fill("s", 25).await;
    for order in ["desc", "asc"] {
        let page = app
            .get(&format!("/api/sensors/s/readings?limit=10&order={order}"))
            .await
            .body;
        let next = page["next"].as_str().unwrap();
        let path = format!("/api/sensors/s/readings?limit=10&order={order}&cursor={next}");
        let before = app.get(&path).await.body;
        if order == "desc" {
            let newer = json!({"sensor_id": "s", "metric": "t", "value": 99, "timestamp": first + 30});
            assert_eq!(app.post("/api/ingest", newer.to_string()).await.status, 200);
        }
        assert_eq!(app.get(&path).await.body, before, "{order}");
        let all = pages(&app, &format!("/api/sensors/s/readings?limit=7&order={order}")).await;
        let mut values: Vec<f64> = all
            .iter()
            .map(|reading| reading["value"].as_f64().unwrap())
            .collect();
        if order == "desc" {
            values.reverse();
        }
        let wanted: Vec<f64> = (0..25).map(f64::from).chain([99.0]).collect();
        assert_eq!(values, wanted, "{order}");
    }
    let (from, to) = (
        Timestamp::from_seconds(first + 5),
        Timestamp::from_seconds(first + 8),
    );
    let some = pages(&app, &format!("/api/sensors/s/readings?from={from}&to={to}")).await;
    let values: Vec<f64> = some
        .iter()
        .map(|reading| reading["value"].as_f64().unwrap())
        .collect();
    assert_eq!(values, [7.0, 6.0, 5.0]);
    app.stop().await;
}

#[actix_web::test]
async fn lists_of_sensors_can_be_searched_and_paged() {
    let app = App::spawn().await;
    let items: Vec<Value> = (0..25)
        .map(|n| json!({"sensor_id": format!("Boiler-{n}"), "metric": "t", "value": 1, "tags": {"site": if n % 2 == 0 { "a" } else { "b" }}}))
        .collect();
    assert_eq!(
        app.post("/api/ingest", json!(items).to_string()).await.status,
        200
    );
    assert_eq!(pages(&app, "/api/sensors?limit=4").await.len(), 25);
    assert_eq!(pages(&app, "/api/sensors?limit=4&tag=site=a").await.len(), 13);
    assert_eq!(
        pages(&app, "/api/sensors?limit=4&tag=site=a&tag=site=b")
            .await
            .len(),
        0
    );
    let found = pages(&app, "/api/sensors?limit=100&q=boiler-1").await;
    assert_eq!(found.len(), 11);
    assert_eq!(
        (
            &found[0]["sensor_id"],
            &found[0]["mode"],
            &found[0]["metrics"][0]["metric"]
        ),
        (&json!("Boiler-1"), &json!("running"), &json!("t"))
    );
    app.stop().await;
}

#[actix_web::test]
async fn lists_of_sensors_can_be_sorted_and_filtered() {
    let app = App::spawn().await;
    let now = app.state.now().0 / 1_000_000;
    // Heard first to last as 2, 0, 3, 1; their readings are the newer the smaller the number.
    for n in [2, 0, 3, 1] {
        let item =
            json!({"sensor_id": format!("s{n}"), "metric": "t", "value": n, "timestamp": now - 10 * n});
        assert_eq!(app.post("/api/ingest", item.to_string()).await.status, 200);
    }
    let ids = async |query: &str| {
        let found = pages(&app, &format!("/api/sensors?limit=3&{query}")).await;
        let ids = found.iter().map(|sensor| sensor["sensor_id"].as_str().unwrap());
        ids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids("sort=number").await, "s2 s0 s3 s1");
    assert_eq!(ids("order=desc").await, "s1 s3 s0 s2");
    assert_eq!(ids("sort=sensor_id").await, "s0 s1 s2 s3");
    assert_eq!(ids("sort=sensor_id&order=desc").await, "s3 s2 s1 s0");
    assert_eq!(ids("sort=heard").await, "s0 s1 s2 s3");
    assert_eq!(ids("id=s3&id=none&id=s0&sort=sensor_id").await, "s0 s3");
    let paused = app.admin_post("/api/admin/sensors/s3/pause", json!({})).await;
    assert_eq!(paused.status, 202);
    until(async || (ids("mode=paused").await == "s3").then_some(())).await;
    assert_eq!(ids("mode=running&sort=sensor_id").await, "s0 s1 s2");
    assert_eq!(ids("sort=mode").await, "s3 s2 s0 s1");
    let page = app.get("/api/sensors?sort=heard&limit=1&latest=true").await.body;
    assert_eq!(page["total"], 4);
    assert_eq!(page["data"][0]["latest"]["t"]["value"], 0.0);
    let plain = app.get("/api/sensors?limit=1").await.body;
    assert_eq!(
        (&plain["total"], plain["data"][0].get("latest")),
        (&json!(4), None)
    );
    app.stop().await;
}

#[actix_web::test]
async fn where_a_sensor_has_several_metrics_one_must_be_named() {
    let app = App::spawn().await;
    let flat = r#"{"sensor_id":"s","x":1,"y":2}"#;
    assert_eq!(app.post("/api/ingest", flat).await.status, 200);
    let refused = app.get("/api/sensors/s/readings").await;
    let error = refused.problem(400, "invalid-parameters")["errors"][0].clone();
    assert!(error["reason"].as_str().unwrap().ends_with("x, y"), "{error}");
    assert_eq!(
        app.get("/api/sensors/s/readings?metric=y").await.body["data"][0]["value"],
        2.0
    );
    app.get("/api/sensors/s/readings?metric=z")
        .await
        .problem(404, "not-found");
    app.stop().await;
}

#[actix_web::test]
async fn windows_and_anomalies_are_shown_when_they_are_stored() {
    let app = App::spawn().await;
    // Two hours ago and an hour later, so that the first window is closed by event time alone.
    let now = app.state.now().0 / 60_000_000 * 60;
    let body = json!([
        {"sensor_id": "s", "metric": "t", "value": 1, "timestamp": now - 7_200},
        {"sensor_id": "s", "metric": "t", "value": 3, "timestamp": now - 7_190},
        {"sensor_id": "s", "metric": "t", "value": 5, "timestamp": now - 3_600},
    ]);
    assert_eq!(app.post("/api/ingest", body.to_string()).await.status, 200);
    let window = until(async || {
        let page = app.get("/api/sensors/s/windows").await.body;
        page["data"].as_array()?.last().cloned()
    })
    .await;
    assert_eq!(
        (&window["count"], &window["mean"], &window["size_seconds"]),
        (&json!(2), &json!(2.0), &json!(60.0)),
        "{window}"
    );
    let stddev = window["stddev"].as_f64().unwrap();
    assert!((stddev - 2_f64.sqrt()).abs() < 1e-12, "{stddev}");
    assert_eq!(window["start"], Timestamp::from_seconds(now - 7_200).to_rfc3339());
    let none = app.get("/api/sensors/s/anomalies").await.body;
    assert_eq!(none, json!({"data": []}));
    let inside = app.get("/api/sensors/s/state").await.body;
    assert_eq!(
        (&inside["mode"], &inside["state"]["series"][0]["metric"]),
        (&json!("running"), &json!("t")),
        "{inside}"
    );
    assert_eq!(inside["state"]["series"][0]["newest_value"], 5.0);
    app.stop().await;
}

#[actix_web::test]
async fn a_query_gives_raw_readings_and_every_aggregate() {
    let app = App::spawn().await;
    let start = app.state.now().0 / 60_000_000 * 60 - 600;
    let items: Vec<Value> = [4.0, 1.0, 7.0, 2.0]
        .iter()
        .zip([0, 10, 20, 70])
        .map(|(value, at)| json!({"sensor_id": "s", "metric": "t", "value": value, "timestamp": start + at, "tags": {"site": "a"}}))
        .collect();
    assert_eq!(
        app.post("/api/ingest", json!(items).to_string()).await.status,
        200
    );
    let ask = async |more: Value| {
        let mut question =
            json!({"measurement": "s", "time_range": {"start": Timestamp::from_seconds(start).to_rfc3339()}});
        question
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        app.post("/api/query", question.to_string()).await.body
    };
    let raw = ask(json!({})).await;
    let row = json!({"time": Timestamp::from_seconds(start).to_rfc3339(), "measurement": "s", "field": "t", "value": 4.0, "tags": {"site": "a"}});
    assert_eq!(
        (raw["data"].as_array().unwrap().len(), &raw["data"][0]),
        (4, &row)
    );
    let expected = [
        ("mean", 4.0, 3.5),
        ("min", 1.0, 1.0),
        ("max", 7.0, 7.0),
        ("sum", 12.0, 14.0),
        ("count", 3.0, 4.0),
        ("first", 4.0, 4.0),
        ("last", 7.0, 2.0),
    ];
    for (aggregation, minute, whole) in expected {
        let by_minute = ask(json!({"aggregation": aggregation, "step": "1m"})).await;
        let values: Vec<f64> = by_minute["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["value"].as_f64().unwrap())
            .collect();
        assert_eq!((values.len(), values[0]), (2, minute), "{aggregation}");
        let all = ask(json!({"aggregation": aggregation})).await;
        assert_eq!(
            (all["data"].as_array().unwrap().len(), &all["data"][0]["value"]),
            (1, &json!(whole)),
            "{aggregation}: {all}"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_query_by_tag_goes_through_all_its_sensors_page_by_page() {
    let app = App::spawn().await;
    let start = app.state.now().0 / 1_000_000 - 600;
    let mut items = Vec::new();
    for sensor in 0..3 {
        for at in 0..5 {
            items.push(json!({"sensor_id": format!("s{sensor}"), "x": sensor * 10 + at, "y": 0, "timestamp": start + at, "tags": {"site": "a"}}));
        }
    }
    items.push(json!({"sensor_id": "other", "x": 1, "timestamp": start}));
    assert_eq!(
        app.post("/api/ingest", json!(items).to_string()).await.status,
        200
    );
    for (more, limit) in [
        (json!({}), 2),
        (json!({}), 5),
        (json!({}), 100),
        (json!({"aggregation": "max", "step": "1s"}), 3),
    ] {
        let (mut values, mut cursor) = (Vec::new(), Value::Null);
        for page in 0.. {
            assert!(page < 100, "it never ends");
            let mut question = json!({"measurement": "site=a", "filters": {"metric": "x"}, "limit": limit, "cursor": cursor});
            question
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let answer = app.post("/api/query", question.to_string()).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let data = answer.body["data"].as_array().unwrap();
            assert!(data.len() <= limit);
            values.extend(data.iter().map(|row| row["value"].as_f64().unwrap()));
            cursor = answer.body["next"].clone();
            if cursor.is_null() {
                break;
            }
        }
        let wanted: Vec<f64> = (0..3)
            .flat_map(|s| (0..5).map(move |at| f64::from(s * 10 + at)))
            .collect();
        assert_eq!(values, wanted, "{more} {limit}");
    }
    let one_each = json!({"measurement": "site=a", "filters": {"metric": ["x"], "tags": {"site": "a"}}, "aggregation": "last", "limit": 2});
    let page = app.post("/api/query", one_each.to_string()).await.body;
    assert_eq!(
        (page["data"].as_array().unwrap().len(), page["next"].is_string()),
        (2, true),
        "{page}"
    );
    let none = app.post("/api/query", r#"{"measurement":"site=b"}"#).await;
    assert_eq!(none.body, json!({"data": []}));
    app.stop().await;
}
