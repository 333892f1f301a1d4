//! Commands: on sensors, sources, actors and dead letters; each leaves its audit row.

use sensorhive::actors::batch::Delivery;
use sensorhive::actors::ingest::{Payload, Place};
use sensorhive::decode::{Hints, JsonMapping};
use serde_json::{Value, json};

use crate::support::{App, intake, until};

async fn mode_becomes(app: &App, sensor: &str, mode: &str) -> Value {
    until(async || {
        let state = app.get(&format!("/api/sensors/{sensor}/state")).await.body;
        (state["mode"] == mode).then_some(state)
    })
    .await
}

#[actix_web::test]
async fn a_restart_changes_nothing_that_the_sensor_knew() {
    let app = App::spawn().await;
    app.fill("s", 20).await;
    app.fill("neighbor", 5).await;
    let before = mode_becomes(&app, "s", "running").await;
    let told = app
        .admin_post("/api/admin/sensors/s/restart", json!({"why": "to see"}))
        .await;
    assert_eq!(
        (told.status, &told.body["command"]),
        (202, &json!("restart")),
        "{}",
        told.text
    );
    let restart = until(async || {
        let rows = app.get("/api/sensors/s/restarts").await.body;
        rows["data"]
            .as_array()?
            .iter()
            .find(|row| row["reason"] == "admin")
            .cloned()
    })
    .await;
    assert_eq!(
        (&restart["by"], &restart["detail"]),
        (&json!("admin"), &json!("to see"))
    );
    let after = mode_becomes(&app, "s", "running").await;
    assert_eq!(
        after["state"]["series"][0]["windows"],
        before["state"]["series"][0]["windows"]
    );
    assert_eq!(
        after["state"]["series"][0]["newest_value"],
        before["state"]["series"][0]["newest_value"]
    );
    assert_eq!(after["state"]["anomalies"], before["state"]["anomalies"]);
    assert_eq!(after["restarts"], 1);
    assert_eq!(app.get("/api/sensors/neighbor/state").await.body["restarts"], 0);
    let log = app.admin_get("/api/admin/audit").await.body;
    let row = &log["data"][0];
    assert_eq!(
        (&row["who"], &row["what"], &row["target"], &row["detail"]),
        (
            &json!("admin"),
            &json!("sensor.restart"),
            &json!("s"),
            &json!("to see")
        )
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_paused_sensor_stores_without_looking_until_it_is_resumed() {
    let app = App::spawn().await;
    app.fill("s", 3).await;
    let key = app.state.registry().sensor_named("s").unwrap().key;
    assert_eq!(
        app.admin_post("/api/admin/sensors/s/pause", json!({}))
            .await
            .status,
        202
    );
    mode_becomes(&app, "s", "paused").await;
    assert_eq!(app.state.store.paused().await.unwrap(), [key]);
    let now = app.state.now().0 / 1_000_000;
    let body = json!({"sensor_id": "s", "metric": "t", "value": 9, "timestamp": now});
    assert_eq!(app.post("/api/ingest", body.to_string()).await.body["stored"], 1);
    let readings = app.get("/api/sensors/s/readings?limit=1").await.body;
    assert_eq!(
        (&readings["data"][0]["value"], &readings["data"][0]["flags"]),
        (&json!(9.0), &json!(["unprocessed"]))
    );
    assert_eq!(
        app.admin_post("/api/admin/sensors/s/resume", json!({}))
            .await
            .status,
        202
    );
    let state = mode_becomes(&app, "s", "running").await;
    assert_eq!(state["state"]["series"][0]["newest_value"], 9.0);
    assert!(app.state.store.paused().await.unwrap().is_empty());
    app.stop().await;
}

#[actix_web::test]
async fn a_reset_sensor_forgets_and_its_history_stays() {
    let app = App::spawn().await;
    app.fill("s", 4).await;
    assert_eq!(
        app.admin_post("/api/admin/sensors/s/reset", json!({}))
            .await
            .status,
        202
    );
    until(async || {
        let state = app.get("/api/sensors/s/state").await.body;
        let windows = state["state"]["series"]
            .as_array()?
            .first()
            .map(|series| series["windows"][0]["open"].clone());
        windows
            .is_none_or(|open| {
                open.as_array().is_none_or(|open| {
                    open.iter()
                        .all(|window| window["incomplete"] == true || window["count"] == 0)
                })
            })
            .then_some(())
    })
    .await;
    assert_eq!(
        app.get("/api/sensors/s/readings").await.body["data"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    app.stop().await;
}

#[actix_web::test]
async fn commands_that_make_no_sense_are_told_so() {
    let app = App::spawn().await;
    app.fill("s", 1).await;
    let post = async |path: &str, body: Value| app.admin_post(path, body).await;
    post("/api/admin/sensors/none/restart", json!({}))
        .await
        .problem(404, "not-found");
    post("/api/admin/sensors/s/explode", json!({}))
        .await
        .problem(404, "not-found");
    post("/api/admin/sources/none/pause", json!({}))
        .await
        .problem(404, "not-found");
    post("/api/admin/actors/none/at/all/restart", json!({}))
        .await
        .problem(404, "not-found");
    post("/api/admin/dead-letters/7/replay", json!({}))
        .await
        .problem(404, "not-found");
    post("/api/admin/sensors/s/restart", json!({"wy": "x"}))
        .await
        .problem(400, "invalid-parameters");
    let long = post("/api/admin/sensors/s/restart", json!({"why": "x".repeat(1001)})).await;
    assert_eq!(
        long.problem(400, "invalid-parameters")["errors"][0]["field"],
        "why"
    );
    let broken = post("/api/admin/sensors/s/restart", json!({"why": "a\r\nb"})).await;
    assert_eq!(
        broken.problem(400, "invalid-parameters")["errors"][0]["field"],
        "why"
    );
    assert_eq!(app.admin_get("/api/admin/audit").await.body, json!({"data": []}));
    app.stop().await;
}

#[actix_web::test]
async fn sources_and_actors_can_be_commanded() {
    let app = App::spawn().await;
    let paused = app.admin_post("/api/admin/sources/quiet/pause", json!({})).await;
    assert_eq!(
        (paused.status, &paused.body["status"]["state"]),
        (202, &json!("paused")),
        "{}",
        paused.text
    );
    assert_eq!(
        app.get("/api/sources").await.body["data"][0]["status"]["state"],
        "paused"
    );
    let resumed = app.admin_post("/api/admin/sources/quiet/resume", json!({})).await;
    assert_eq!(resumed.body["status"]["state"], "running");
    assert_eq!(
        app.admin_post("/api/admin/sources/quiet/restart", json!({}))
            .await
            .status,
        202
    );
    for path in [
        "/api/admin/actors/storage/maintenance/restart",
        "/api/admin/actors/storage%2Fmaintenance/restart",
    ] {
        let told = app.admin_post(path, json!({"why": "to see"})).await;
        assert_eq!(
            (told.status, &told.body["path"]),
            (202, &json!("storage/maintenance")),
            "{}",
            told.text
        );
    }
    until(async || {
        let nodes = app.get("/api/actors").await.body["nodes"].clone();
        let node = nodes
            .as_array()?
            .iter()
            .find(|node| node["path"] == "storage/maintenance")?
            .clone();
        (node["restarts"].as_u64()? >= 1).then_some(())
    })
    .await;
    app.stop().await;
}

#[actix_web::test]
async fn the_tree_shows_every_actor_and_the_sensors_of_a_shard() {
    let app = App::spawn().await;
    app.fill("s", 1).await;
    let tree = app.get("/api/actors").await.body;
    let paths: Vec<&str> = tree["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "ingest/quiet",
            "shards/0",
            "shards/1",
            "storage/maintenance",
            "storage/writer",
            "web/hub"
        ]
    );
    let running: u64 = tree["shards"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|shard| shard["sensors"]["running"].as_u64())
        .sum();
    assert_eq!(running, 1, "{tree}");
    let shard = app.state.registry().sensor_named("s").unwrap().shard;
    let listed = app.get(&format!("/api/actors?shard={shard}")).await.body;
    assert_eq!(
        (&listed["sensors"][0]["sensor_id"], &listed["sensors"][0]["mode"]),
        (&json!("s"), &json!("running"))
    );
    app.get("/api/actors?shard=9").await.problem(404, "not-found");
    app.stop().await;
}

#[actix_web::test]
async fn a_dead_letter_is_received_anew_once() {
    let app = App::spawn().await;
    let time = app.state.now().0 / 1_000_000 - 60;
    let body =
        |value: i64| json!({"sensor_id": "s", "metric": "t", "value": value, "timestamp": time}).to_string();
    assert_eq!(app.post("/api/ingest", body(1)).await.status, 200);
    app.post("/api/ingest", body(2))
        .await
        .problem(422, "nothing-stored");
    app.post("/api/ingest", "<html>").await.problem(400, "not-json");
    let letters = app.admin_get("/api/admin/dead-letters?limit=1").await.body;
    assert_eq!(
        (&letters["data"][0]["payload"], &letters["data"][0]["reason"]),
        (&json!("<html>"), &json!("undecodable"))
    );
    let next = letters["next"].as_str().unwrap();
    let older = app
        .admin_get(&format!("/api/admin/dead-letters?limit=10&cursor={next}"))
        .await
        .body;
    let letter = &older["data"][0];
    assert_eq!(
        (&letter["reason"], &letter["sensor_id"]),
        (&json!("conflict"), &json!("s"))
    );
    let path = format!("/api/admin/dead-letters/{}", letter["id"]);
    let whole = app.admin_get(&path).await.body;
    assert!(
        whole["payload_base64"].is_string() && whole["replayed_at"].is_null(),
        "{whole}"
    );
    // It contradicts what is stored as it did before: received anew, refused anew, and a new letter.
    app.admin_post(&format!("{path}/replay"), json!({}))
        .await
        .problem(422, "nothing-stored");
    assert!(app.admin_get(&path).await.body["replayed_at"].is_string());
    app.admin_post(&format!("{path}/replay"), json!({}))
        .await
        .problem(409, "conflict");
    let total = app.get("/api/ledger").await.body["total"].clone();
    assert_eq!(
        (&total["received"], &total["rejected"], &total["balances"]),
        (&json!(4), &json!(3), &json!(true))
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_dead_letter_is_replayed_by_the_mapping_of_its_source() {
    let app = App::spawn().await;
    let list = "/api/admin/dead-letters?limit=10";
    // As the source was before its mapping was corrected.
    let wrong = intake("quiet", &app.pipeline, JsonMapping::default());
    let send = async |bytes: &[u8], label: &str| {
        let payload = Payload {
            bytes,
            arrival: wrong.now(),
            place: Place {
                label,
                ..Place::default()
            },
            hints: Hints::default(),
        };
        let batch = wrong.decode(payload);
        assert_eq!(batch.readings(), 0);
        let delivery = wrong.deliver(batch, bytes.len(), Vec::new()).await.unwrap();
        assert!(matches!(delivery, Delivery::Stored(_)));
    };
    send(br#"{"v":21.5}"#, "plant/s1/temperature").await;
    send(br#"{"w":1}"#, "plant/s1/temperature").await;
    let early = r#"{"sensor_id":"s2","metric":"m","value":1,"timestamp":86400}"#;
    send(early.as_bytes(), "plant/s1/temperature").await;
    let listed = app.admin_get(list).await.body["data"].clone();
    let replay = |at: usize| {
        let path = format!("/api/admin/dead-letters/{}/replay", listed[at]["id"]);
        let app = &app;
        async move { app.admin_post(&path, json!({})).await }
    };
    let stored = replay(2).await;
    assert_eq!(
        (stored.status, &stored.body["stored"]),
        (200, &json!(1)),
        "{}",
        stored.body
    );
    let latest = app.get("/api/metrics/latest?sensor=s1").await.body;
    assert_eq!(latest["s1"]["temperature"]["value"], 21.5, "{latest}");
    assert_eq!(latest["s1"]["temperature"]["time"], listed[2]["time"]);

    // Refused again, it is still the source's, and can be replayed again.
    let answer = replay(1).await;
    let refused = answer.problem(422, "nothing-stored");
    assert_eq!(refused["errors"][0]["field"], "/v", "{refused}");
    let newest = app.admin_get(list).await.body["data"][0].clone();
    assert_eq!(
        (&newest["source"], &newest["position"], &newest["payload"]),
        (
            &json!("quiet"),
            &json!("plant/s1/temperature"),
            &json!(r#"{"w":1}"#)
        )
    );

    // What was a reading already is none of the mapping's business.
    let answer = replay(0).await;
    let refused = answer.problem(422, "nothing-stored");
    assert_eq!(refused["errors"][0]["kind"], "time_out_of_range", "{refused}");
    assert_eq!(app.get("/api/ledger").await.body["total"]["balances"], true);
    app.stop().await;
}
