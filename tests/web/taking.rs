//! Readings over HTTP: what is answered, and that 2xx means stored.

use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, App};

#[actix_web::test]
async fn what_is_answered_with_200_is_stored() {
    let app = App::spawn().await;
    let first = app.fill("boiler", 5).await;
    let page = app.get("/api/sensors/boiler/readings").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(
        (&page.body["metric"], &page.body["unit"]),
        (&json!("t"), &json!("C"))
    );
    let newest = &page.body["data"][0];
    assert_eq!(newest["value"], 4.0);
    let time = sensorhive::domain::Timestamp::from_seconds(first + 4).to_rfc3339();
    assert_eq!(newest["time"], time);
    assert!(newest["seq"].is_u64());
    let mut names: Vec<&String> = newest.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["seq", "time", "unit", "value"]);
    app.stop().await;
}

#[actix_web::test]
async fn the_same_again_is_a_duplicate_and_no_error() {
    let app = App::spawn().await;
    let body = r#"{"sensor_id":"s","metric":"m","value":1,"timestamp":"2024-10-31T00:00:00Z"}"#;
    let first = app.post("/api/ingest", body).await;
    assert_eq!((first.status, &first.body["stored"]), (200, &json!(1)));
    let again = app.post("/api/ingest", body).await;
    assert_eq!(
        (again.status, &again.body["duplicates"]),
        (200, &json!(1)),
        "{}",
        again.text
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_request_with_a_key_is_recognized_when_it_comes_again() {
    let app = App::spawn().await;
    let send = async || {
        let request = app
            .request(Method::POST, "/api/ingest")
            .header("idempotency-key", "order-7");
        let request = request.header("content-type", "application/json");
        Answer::of(
            request
                .body(r#"{"sensor_id":"s","metric":"m","value":1}"#)
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    assert_eq!(send().await.body["stored"], 1);
    let again = send().await;
    assert_eq!(
        (&again.body["stored"], &again.body["duplicates"]),
        (&json!(0), &json!(1)),
        "{}",
        again.text
    );
    for key in ["", "with blank", &"k".repeat(201)] {
        let request = app
            .request(Method::POST, "/api/ingest")
            .header("idempotency-key", key)
            .body("[]");
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(
            answer.problem(400, "invalid-parameters")["errors"][0]["field"],
            "Idempotency-Key"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn bad_items_are_named_and_good_ones_stored() {
    let app = App::spawn().await;
    let body = r#"[{"sensor_id":"s","metric":"m","value":1},{"sensor_id":"","metric":"m","value":2},{"sensor_id":"s","metric":"m","value":"x"}]"#;
    let mixed = app.post("/api/ingest", body).await;
    assert_eq!(mixed.status, 207, "{}", mixed.text);
    assert_eq!(
        (&mixed.body["stored"], &mixed.body["rejected"]),
        (&json!(1), &json!(2))
    );
    let errors = mixed.body["errors"].as_array().unwrap();
    let named: Vec<_> = errors
        .iter()
        .map(|e| (e["index"].as_u64().unwrap(), e["field"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [(1, "sensor_id"), (2, "value")]);
    let conflict = r#"{"sensor_id":"c","metric":"m","value":1,"timestamp":"2024-10-31T00:00:00Z"}"#;
    assert_eq!(app.post("/api/ingest", conflict).await.status, 200);
    let refused = app.post("/api/ingest", conflict.replace("1,", "2,")).await;
    assert_eq!(
        refused.problem(422, "nothing-stored")["errors"][0]["kind"],
        "conflict"
    );
    app.stop().await;
}

/// More new names in one request than there are numbers at hand for.
#[actix_web::test]
async fn very_many_new_series_come_in_one_request() {
    let app = App::spawn().await;
    let items: Vec<String> = (0..9_000)
        .map(|n| {
            format!(
                r#"{{"sensor_id":"n{}","metric":"m{}","value":{n}}}"#,
                n / 10,
                n % 10
            )
        })
        .collect();
    let answer = app.post("/api/ingest", format!("[{}]", items.join(","))).await;
    assert_eq!((answer.status, &answer.body["stored"]), (200, &json!(9_000)));
    app.stop().await;
}

#[actix_web::test]
async fn nothing_is_taken_in_while_the_service_ends() {
    let app = App::spawn().await;
    app.state.shutting_down.store(true, Ordering::Relaxed);
    let answer = app
        .post("/api/ingest", r#"{"sensor_id":"s","metric":"m","value":1}"#)
        .await;
    answer.problem(503, "unavailable");
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
    let ready = app.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.body["dependencies"]["service"]["ok"]),
        (503, &json!(false))
    );
    app.stop().await;
}

#[actix_web::test]
async fn the_ledger_accounts_for_everything() {
    let app = App::spawn().await;
    app.fill("a", 10).await;
    app.post("/api/ingest", "not json").await.problem(400, "not-json");
    app.post(
        "/api/ingest",
        r#"[{"sensor_id":"a","metric":"t","value":null},{"sensor_id":"b","metric":"t","value":1}]"#,
    )
    .await;
    let ledger = app.get("/api/ledger").await.body;
    let total = &ledger["total"];
    assert_eq!(
        (&total["received"], &total["stored"], &total["rejected"]),
        (&json!(13), &json!(11), &json!(2)),
        "{ledger}"
    );
    assert_eq!(total["balances"], true);
    assert_eq!(ledger["sources"]["http"]["rejected"], 1);
    let of_a = app.get("/api/sensors/a/ledger").await.body;
    assert_eq!((&of_a["received"], &of_a["rejected"]), (&json!(11), &json!(1)));
    let summary = app.get("/api/statistics/summary").await.body;
    assert_eq!(
        (&summary["total_events"], &summary["active_sources"]),
        (&json!(11), &json!(2))
    );
    assert_eq!(summary["ledger"]["received"], 13);
    app.stop().await;
}

#[actix_web::test]
async fn what_the_database_refuses_is_told_item_by_item() {
    let app = App::spawn().await;
    app.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON readings WHEN new.value = 7 BEGIN SELECT raise(ABORT, 'no sevens'); END",
    )
    .await;
    let item = |sensor: &str, value: u32| json!({"sensor_id": sensor, "metric": "m", "value": value, "timestamp": "2024-10-31T00:00:00Z"});
    let some = json!([item("good", 1), item("bad", 7)]).to_string();
    let some = app.post("/api/ingest", some).await;
    assert_eq!(
        (some.status, &some.body["stored"]),
        (207, &json!(1)),
        "{}",
        some.text
    );
    let error = &some.body["errors"][0];
    assert_eq!((&error["index"], &error["kind"]), (&json!(1), &json!("refused")));
    assert_eq!(error["field"], "item");
    assert!(error["reason"].as_str().unwrap().contains("no sevens"), "{error}");

    let none = json!([item("bad", 7)]).to_string();
    let none = app.post("/api/ingest", none).await;
    assert_eq!(
        (none.status, &none.body["errors"][0]["kind"]),
        (422, &json!("refused")),
        "{}",
        none.text
    );
    let letters = app.admin_get("/api/admin/dead-letters").await;
    assert_eq!(letters.body["data"][0]["reason"], "refused", "{}", letters.text);
    app.stop().await;
}
