//! Alerts over HTTP: raised by readings, listed, acknowledged, ended by a reset; and silences.

use reqwest::Method;
use sensorhive::domain::Timestamp;
use serde_json::{Value, json};

use crate::support::{Answer, App, until};

/// One reading of the machine's processor, which a built-in rule watches.
async fn cpu(app: &App, second: i64, value: f64) {
    let time = Timestamp::from_seconds(1_730_332_800 + second).to_rfc3339();
    let body = json!({"sensor_id": "host", "metric": "cpu_usage", "value": value, "timestamp": time});
    let answer = app.post("/api/ingest", body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

async fn alerts(app: &App, query: &str) -> Vec<Value> {
    let answer = app.get(&format!("/api/alerts{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body["data"].as_array().unwrap().clone()
}

async fn send(app: &App, method: Method, path: &str, body: Option<Value>) -> Answer {
    let mut request = app.request(method, path).bearer_auth(&app.operator);
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    Answer::of(request.send().await.unwrap()).await
}

#[actix_web::test]
async fn an_alert_is_raised_acknowledged_and_resolved() {
    let app = App::spawn().await;
    cpu(&app, 0, 50.0).await;
    assert_eq!(alerts(&app, "").await, Vec::<Value>::new());
    cpu(&app, 1, 90.0).await;
    let raised = alerts(&app, "?state=open&level=warning&sensor=host&rule=host%20cpu").await;
    let alert = &raised[0];
    assert_eq!(raised.len(), 1);
    assert_eq!(
        (
            &alert["sensor_id"],
            &alert["metric"],
            &alert["rule"],
            &alert["state"],
            &alert["level"]
        ),
        (
            &json!("host"),
            &json!("cpu_usage"),
            &json!("host cpu"),
            &json!("firing"),
            &json!("warning")
        )
    );
    assert_eq!(
        (&alert["value"], &alert["threshold"]),
        (&json!(90.0), &json!(80.0))
    );
    assert_eq!(alert["reason"], "The value, 90, is above 80.");
    for none in ["?state=resolved", "?level=error", "?sensor=nobody", "?rule=host"] {
        assert_eq!(alerts(&app, none).await, Vec::<Value>::new(), "{none}");
    }

    let path = format!("/api/alerts/{}", alert["alert"].as_str().unwrap());
    let acknowledged = send(
        &app,
        Method::POST,
        &format!("{path}/acknowledge"),
        Some(json!({"comment": "on my way"})),
    )
    .await;
    assert_eq!(acknowledged.status, 200, "{}", acknowledged.text);
    assert_eq!(acknowledged.body["acknowledged"]["by"], "operator");
    let second = send(
        &app,
        Method::POST,
        &format!("{path}/acknowledge"),
        Some(json!({"by": "bob"})),
    )
    .await;
    assert_eq!(second.body["acknowledged"]["comment"], "on my way");

    cpu(&app, 2, 97.0).await;
    cpu(&app, 3, 20.0).await;
    cpu(&app, 70, 20.0).await;
    let ended = app.get(&path).await.body;
    assert_eq!(
        (&ended["state"], &ended["acknowledged"]["by"]),
        (&json!("resolved"), &json!("operator"))
    );
    let changes: Vec<_> = ended["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["change"].clone())
        .collect();
    assert_eq!(changes, ["raised", "escalated", "recovering", "resolved"]);
    assert_eq!(alerts(&app, "?state=open").await, Vec::<Value>::new());

    let audit = app.admin_get("/api/admin/audit").await.body;
    assert_eq!(audit["data"][0]["what"], "alert.acknowledge");
    app.stop().await;
}

#[actix_web::test]
async fn a_restart_keeps_an_alert_and_a_reset_ends_it() {
    let app = App::spawn().await;
    cpu(&app, 0, 90.0).await;
    let before = alerts(&app, "").await;
    for command in ["restart", "reset"] {
        app.admin_post(&format!("/api/admin/sensors/host/{command}"), json!({}))
            .await;
        until(async || {
            let state = app.get("/api/sensors/host/state").await.body;
            (state["mode"] == "running").then_some(())
        })
        .await;
        if command == "restart" {
            assert_eq!(alerts(&app, "").await, before, "nothing is repeated");
        }
    }
    let ended = until(async || alerts(&app, "?state=resolved").await.into_iter().next()).await;
    assert_eq!(ended["alert"], before[0]["alert"]);
    let reason = ended["reason"].as_str().unwrap();
    assert!(reason.contains("sensor was reset"), "{reason}");
    app.stop().await;
}

#[actix_web::test]
async fn a_list_goes_on_where_its_page_ended() {
    let app = App::spawn().await;
    for second in [0, 100, 200] {
        cpu(&app, second, 90.0).await;
        cpu(&app, second + 1, 10.0).await;
        cpu(&app, second + 90, 10.0).await;
    }
    let whole = alerts(&app, "").await;
    assert_eq!(whole.len(), 3);
    let page = app.get("/api/alerts?limit=2").await.body;
    let next = page["next"].as_str().unwrap();
    let rest = app.get(&format!("/api/alerts?limit=2&cursor={next}")).await.body;
    assert_eq!(page["data"].as_array().unwrap()[..], whole[..2]);
    assert_eq!(rest["data"].as_array().unwrap()[..], whole[2..]);
    assert_eq!(rest["next"], Value::Null);
    for wrong in ["state=red", "level=loud", "cursor=x", "limit=0", "since=1h"] {
        app.get(&format!("/api/alerts?{wrong}"))
            .await
            .problem(400, "invalid-parameters");
    }
    app.get("/api/alerts/none").await.problem(404, "not-found");
    app.stop().await;
}

#[actix_web::test]
async fn a_silence_is_made_listed_and_ended() {
    let app = App::spawn().await;
    let body = json!({
        "matchers": {"sensor": "boiler-*", "site": "<b>a</b>"},
        "until": "2999-01-01T00:00:00Z",
        "comment": "cleaning",
    });
    let made = send(&app, Method::POST, "/api/silences", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(
        (&made.body["by"], &made.body["until"]),
        (&json!("operator"), &json!("2999-01-01T00:00:00Z"))
    );
    let listed = app.get("/api/silences").await.body;
    assert_eq!(listed["data"], json!([made.body]));
    let path = format!("/api/silences/{}", made.body["id"]);
    assert_eq!(send(&app, Method::DELETE, &path, None).await.status, 204);
    send(&app, Method::DELETE, &path, None)
        .await
        .problem(404, "not-found");
    assert_eq!(app.get("/api/silences").await.body["data"], json!([]));

    for wrong in [
        json!({"matchers": {}, "until": "2999-01-01T00:00:00Z"}),
        json!({"matchers": {"sensor": "["}, "until": "2999-01-01T00:00:00Z"}),
        json!({"matchers": {"sensor": "a"}, "until": "2001-01-01T00:00:00Z"}),
        json!({"matchers": {"sensor": "a"}, "until": "2999-01-01T00:00:00Z", "comment": "a\u{0}b"}),
    ] {
        send(&app, Method::POST, "/api/silences", Some(wrong))
            .await
            .problem(400, "invalid-parameters");
    }
    app.stop().await;
}
