//! Line protocol over HTTP: our own path, and those of InfluxDB as its writers use them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::{Answer, App, http_settings};

const LINES: &str = "boiler,sensor_id=s1,site=north temperature=21.5,state=\"on\" 1730332800000000000\n\
     room,sensor_id=s2 value=20.5,state=\"x\" 1730332801000000000";

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

async fn sent(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

async fn lines(app: &App, query: &str, body: &str) -> Answer {
    let request = app.request(Method::POST, &format!("/api/ingest{query}"));
    sent(
        request
            .header("content-type", "text/plain; charset=utf-8")
            .body(body.to_owned()),
    )
    .await
}

async fn values(app: &App, sensor: &str, metric: &str) -> Vec<f64> {
    let page = app
        .get(&format!(
            "/api/sensors/{sensor}/readings?metric={metric}&order=asc"
        ))
        .await;
    let data = page.body["data"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", page.text));
    data.iter().map(|row| row["value"].as_f64().unwrap()).collect()
}

#[actix_web::test]
async fn line_protocol_is_stored_and_text_beside_it_is_told() {
    let app = App::spawn().await;
    let answer = lines(&app, "", LINES).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        answer.body,
        json!({"received": 2, "stored": 2, "duplicates": 0, "rejected": 0, "errors": [], "ignored": {"state": 2}})
    );
    assert_eq!(values(&app, "s1", "temperature").await, [21.5]);
    assert_eq!(values(&app, "s2", "room").await, [20.5]);
    let sensor = app.get("/api/sensors/s1").await;
    assert_eq!(sensor.body["tags"], json!({"site": "north"}), "{}", sensor.text);
    // The same time in another unit.
    let again = lines(&app, "?precision=s", "room,sensor_id=s2 value=20.5 1730332801").await;
    assert_eq!(again.body["duplicates"], 1, "{}", again.text);
    lines(&app, "?precision=h", LINES)
        .await
        .problem(400, "invalid-parameters");
    let json = app.request(Method::POST, "/api/ingest?precision=s").body("{}");
    sent(json).await.problem(400, "invalid-parameters");
    app.stop().await;
}

#[actix_web::test]
async fn lines_that_are_wrong_are_named_and_the_others_stored() {
    let app = App::spawn().await;
    let answer = lines(&app, "", "m,sensor_id=s a=1\n\nno line\nm,sensor_id=s a=x,b=2").await;
    assert_eq!(answer.status, 207, "{}", answer.text);
    assert_eq!(
        (&answer.body["stored"], &answer.body["rejected"]),
        (&json!(2), &json!(2))
    );
    let errors = answer.body["errors"].as_array().unwrap();
    let named: Vec<_> = errors
        .iter()
        .map(|error| (error["index"].as_u64().unwrap(), error["field"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [(1, "fields"), (2, "a")]);
    lines(&app, "", "m,sensor_id=s t=\"x\"")
        .await
        .problem(422, "nothing-stored");
    app.stop().await;
}

#[actix_web::test]
async fn a_dead_letter_in_line_protocol_is_read_as_that_when_it_is_replayed() {
    let app = App::spawn().await;
    // A number that is beyond a limit, and a line without fields.
    let far = lines(&app, "?precision=s", "m,sensor_id=late a=1 946684799").await;
    far.problem(422, "nothing-stored");
    lines(&app, "?precision=s", "m,sensor_id=s")
        .await
        .problem(422, "nothing-stored");
    let letters = app.admin_get("/api/admin/dead-letters").await;
    let letters = letters.body["data"].as_array().unwrap().clone();
    let unread = letters
        .iter()
        .find(|letter| letter["payload"] == "m,sensor_id=s")
        .unwrap();
    assert_eq!(
        (&unread["position"], &unread["reason"]),
        (&json!("lines/s"), &json!("invalid"))
    );
    for letter in &letters {
        let path = format!("/api/admin/dead-letters/{}/replay", letter["id"]);
        let answer = app.admin_post(&path, json!({})).await;
        let error = &answer.problem(422, "nothing-stored")["errors"][0];
        let field = if letter == unread { "fields" } else { "timestamp" };
        assert_eq!(error["field"], field, "{}", answer.text);
    }
    app.stop().await;
}

#[actix_web::test]
async fn writers_of_influxdb_are_answered_in_their_words() {
    let app = App::spawn().await;
    // What Telegraf's output for version 2 sends: gzip, and a header even where it has no token.
    let request = app
        .request(Method::POST, "/api/v2/write?bucket=b&org=o")
        .header("authorization", "Token ")
        .header("content-encoding", "gzip")
        .header("content-type", "text/plain; charset=utf-8");
    let answer = sent(request.body(packed(LINES.as_bytes()))).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (204, ""),
        "{}",
        answer.text
    );
    // What that for version 1 sends, or curl as its documentation has it.
    let request = app
        .request(Method::POST, "/write?db=telegraf&precision=u&consistency=any")
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = sent(request.body("m,sensor_id=v1 a=1,b=2 1730332800000000")).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(values(&app, "v1", "b").await, [2.0]);
    let ledger = app.get("/api/ledger").await.body;
    assert_eq!(
        (&ledger["total"]["stored"], &ledger["total"]["rejected"]),
        (&json!(4), &json!(0))
    );
    // The same again is no error.
    let again = app
        .request(Method::POST, "/write")
        .body("m,sensor_id=v1 a=1,b=2 1730332800000000000");
    assert_eq!(sent(again).await.status, 204);
    let part = "m,sensor_id=v1 a=3\nrubbish\nm,sensor_id=v1 a=\n";
    let answer = sent(app.request(Method::POST, "/api/v2/write").body(part)).await;
    assert_eq!(answer.status, 400);
    let told = "partial write: line 2: `fields` are missing, or not each a name, `=` and a value; \
                line 3: `a` is neither a number nor a boolean nor text in quotes; dropped=2";
    assert_eq!(
        answer.body,
        json!({"code": "invalid", "message": told, "error": told})
    );
    let answer = sent(
        app.request(Method::POST, "/api/v2/write?precision=m")
            .body("m a=1"),
    )
    .await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid")));
    // No lines at all are nothing to complain of.
    assert_eq!(
        sent(app.request(Method::POST, "/write").body("\n# nothing\n"))
            .await
            .status,
        204
    );
    let create = app
        .request(Method::POST, "/query")
        .body("q=CREATE+DATABASE+%22telegraf%22");
    let answer = sent(create).await;
    assert_eq!(
        (answer.status, &answer.body["results"][0]["error"]),
        (200, &json!(null))
    );
    let drop = app
        .request(Method::POST, "/query")
        .body("q=DROP+DATABASE+telegraf");
    assert_eq!(sent(drop).await.status, 400);
    app.stop().await;
}

#[actix_web::test]
async fn tokens_come_as_those_writers_send_them() {
    let app = App::spawn_with(http_settings("0.0.0.0:0")).await;
    let write = || {
        app.request(Method::POST, "/api/v2/write")
            .body("m,sensor_id=s a=1")
    };
    assert_eq!(sent(write()).await.status, 401);
    assert_eq!(sent(write().header("authorization", "Token ")).await.status, 401);
    assert_eq!(
        sent(write().header("authorization", "Token wrong")).await.status,
        401
    );
    assert_eq!(
        sent(write().basic_auth("telegraf", None::<&str>)).await.status,
        401
    );
    let viewer = format!("Token {}", app.viewer);
    assert_eq!(sent(write().header("authorization", viewer)).await.status, 403);
    let operator = format!("Token {}", app.operator);
    assert_eq!(sent(write().header("authorization", operator)).await.status, 204);
    let basic = write().basic_auth("telegraf", Some(&app.operator));
    assert_eq!(sent(basic).await.status, 204);
    app.stop().await;
}

#[actix_web::test]
async fn a_batch_of_any_length_is_taken_in_parts() {
    let app = App::spawn().await;
    // More than one batch may have, and a mistake in its last part.
    let mut text: String = (0..12_500)
        .map(|n| format!("m,sensor_id=s a={n},b={n} {}\n", 1_730_332_800 + n))
        .collect();
    text.push_str("m,sensor_id=s c=x\n");
    let answer = lines(&app, "?precision=s", &text).await;
    assert_eq!(
        (answer.status, &answer.body["stored"]),
        (207, &json!(25_000)),
        "{}",
        answer.text
    );
    assert_eq!(answer.body["errors"][0]["index"], 12_500);
    app.stop().await;
}

#[actix_web::test]
async fn what_swells_when_it_is_unpacked_is_refused() {
    let mut settings = http_settings("127.0.0.1:0");
    settings.max_body = 100_000;
    let app = App::spawn_with(settings).await;
    let bomb = packed(&vec![b'\n'; 50_000_000]);
    assert!(bomb.len() < 100_000);
    for path in ["/api/ingest", "/write"] {
        let request = app.request(Method::POST, path).header("content-encoding", "gzip");
        assert_eq!(sent(request.body(bomb.clone())).await.status, 413, "{path}");
    }
    let broken = &packed(LINES.as_bytes())[..20];
    for body in [broken, b"no gzip", b""] {
        let request = app
            .request(Method::POST, "/write")
            .header("content-encoding", "gzip");
        let answer = sent(request.body(body.to_vec())).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    let request = app
        .request(Method::POST, "/write")
        .header("content-encoding", "zstd");
    assert_eq!(sent(request.body("x")).await.status, 415);
    // Several members are one body, and all room is there again.
    let two = [packed(b"m,sensor_id=s a=1\n"), packed(b"m,sensor_id=s b=1\n")].concat();
    let request = app
        .request(Method::POST, "/write")
        .header("content-encoding", "gzip");
    assert_eq!(sent(request.body(two)).await.status, 204);
    assert_eq!(values(&app, "s", "b").await, [1.0]);
    app.stop().await;
}
