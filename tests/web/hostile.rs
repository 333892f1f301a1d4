//! Hostile payloads, ids, paths, queries and connections: each gets an answer that says what is wrong, and nothing breaks.

use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, App, http_settings, until};

/// A field whose name is too long to be quoted.
const LONG: &str = "(long)";

const HOSTILE_IDS: [&str; 9] = [
    "a/b",
    "../../etc/passwd",
    "'; DROP TABLE sensors; --",
    "<script>alert(1)</script>",
    "100%",
    "%2F%2e",
    "ünï 🙂 code",
    "a+b&c=d?e#f",
    "..",
];

/// Every byte that is not a plain letter or digit, percent-encoded.
fn encoded(id: &str) -> String {
    id.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => (byte as char).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Sends bytes as they are and reads until the server is done with the connection.
async fn raw(app: &App, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[actix_web::test]
async fn a_sensor_may_be_called_anything() {
    let app = App::spawn().await;
    for id in HOSTILE_IDS {
        let body = serde_json::json!({"sensor_id": id, "metric": "m", "value": 1.5});
        assert_eq!(
            app.post("/api/ingest", body.to_string()).await.status,
            200,
            "{id}"
        );
        for part in [
            "/readings",
            "/windows",
            "/anomalies",
            "/state",
            "/restarts",
            "/ledger",
        ] {
            // The client would resolve `..` by itself, so the path goes out as it is.
            let request = format!(
                "GET /api/sensors/{}{part} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                encoded(id)
            );
            let answer = raw(&app, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{id}{part}: {answer}");
        }
        let query = serde_json::json!({"measurement": id, "time_range": {"start": "-1h", "end": "2100-01-01T00:00:00Z"}});
        let found = app.post("/api/query", query.to_string()).await;
        assert_eq!(found.body["data"][0]["measurement"], id, "{}", found.text);
    }
    let listed = app.get("/api/sensors").await;
    let ids: Vec<&str> = listed.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["sensor_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, HOSTILE_IDS);
    app.stop().await;
}

#[actix_web::test]
async fn hostile_payloads_are_refused_by_item_field_and_reason() {
    let app = App::spawn().await;
    let item = |value: &str| format!(r#"{{"sensor_id":"s","metric":"m","value":{value}}}"#).into_bytes();
    let id = |id: &str| format!(r#"{{"sensor_id":{id},"metric":"m","value":1}}"#).into_bytes();
    let at =
        |time: &str| format!(r#"{{"sensor_id":"s","metric":"m","value":1,"timestamp":{time}}}"#).into_bytes();
    let nested = |open: &str| [open.repeat(100_000).into_bytes(), b"1".to_vec()].concat();
    let many = |count: usize| {
        let items: Vec<String> = (0..count)
            .map(|n| format!(r#"{{"sensor_id":"s","metric":"m","value":{n}}}"#))
            .collect();
        format!("[{}]", items.join(",")).into_bytes()
    };
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("NaN", item("NaN"), 400, "value"),
        ("Infinity", item("Infinity"), 400, "value"),
        ("-Infinity", item("-Infinity"), 400, "value"),
        ("1e400", item("1e400"), 422, "value"),
        ("text NaN", item("\"NaN\""), 422, "value"),
        ("null", item("null"), 422, "value"),
        ("array", item("[1]"), 422, "value"),
        (
            "not UTF-8",
            b"{\"sensor_id\":\"\xff\xfe\",\"metric\":\"m\",\"value\":1}".to_vec(),
            400,
            "payload",
        ),
        ("nothing", Vec::new(), 400, "payload"),
        ("half", b"{\"sensor_id\":\"s\"".to_vec(), 400, "sensor_id"),
        ("nested arrays", nested("["), 400, "payload"),
        ("nested objects", nested("{\"a\":"), 400, "a"),
        (
            "a megabyte of a name",
            format!(r#"{{"sensor_id":"s","{}":1}}"#, "é".repeat(500_000)).into_bytes(),
            422,
            LONG,
        ),
        ("100,000 items", many(100_000), 413, "payload"),
        ("empty id", id("\"\""), 422, "sensor_id"),
        ("no id", id("null"), 422, "sensor_id"),
        ("number as id", id("7"), 422, "sensor_id"),
        ("CRLF in id", id("\"a\\r\\nSet-Cookie: x\""), 422, "sensor_id"),
        ("control in id", id("\"a\\u0000b\""), 422, "sensor_id"),
        (
            "long id",
            id(&format!("\"{}\"", "x".repeat(257))),
            422,
            "sensor_id",
        ),
        ("1970", at("1"), 422, "timestamp"),
        ("2099", at("\"2099-01-01T00:00:00Z\""), 422, "timestamp"),
        ("no time", at("\"soon\""), 422, "timestamp"),
        ("text", b"hello".to_vec(), 400, "payload"),
        ("number", b"7".to_vec(), 422, "sensor_id"),
    ];
    for (what, payload, status, field) in cases {
        let answer = app.post("/api/ingest", payload).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert_eq!(answer.header("content-type"), crate::support::PROBLEM, "{what}");
        let error = &answer.body["errors"][0];
        assert!(
            error["index"].is_u64() && !error["reason"].as_str().unwrap().is_empty(),
            "{what}: {}",
            answer.text
        );
        if field == LONG {
            assert!(
                error["field"].as_str().unwrap().starts_with("éé"),
                "{what}: {}",
                answer.text
            );
        } else {
            assert_eq!(error["field"], field, "{what}: {}", answer.text);
        }
        assert!(answer.text.len() < 4096, "{what}: the answer quotes too much");
    }
    assert_eq!(app.get("/api/ledger").await.body["total"]["balances"], true);
    assert_eq!(app.get("/healthz").await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn what_is_too_large_is_answered_not_cut_off() {
    let app = App::spawn().await;
    let ten_megabytes = vec![b' '; 10_000_000];
    app.post("/api/ingest", ten_megabytes.clone())
        .await
        .problem(413, "too-large");
    app.post("/api/query", ten_megabytes)
        .await
        .problem(413, "too-large");
    app.stop().await;
}

#[actix_web::test]
async fn who_is_slow_is_not_waited_for() {
    let mut settings = http_settings("127.0.0.1:0");
    settings.request_timeout = std::time::Duration::from_millis(200);
    let app = App::spawn_with(settings).await;
    let head = "POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let answer = raw(&app, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.contains("/problems/timed-out") && answer.contains("nosniff"),
        "{answer}"
    );
    app.stop().await;
}

#[actix_web::test]
async fn all_bodies_together_have_bounded_room() {
    let mut settings = http_settings("127.0.0.1:0");
    settings.max_body = 1_000;
    let app = App::spawn_with(settings).await;
    let body = r#"{"sensor_id":"s","metric":"m","value":1,"timestamp":"2024-10-31T00:00:00Z"}"#;
    let head = "POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    let mut half_sent = Vec::new();
    // One more each time: whichever of them met another request there was refused itself.
    let busy = until(async || {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b' '; 999]).await.unwrap();
        half_sent.push(stream);
        let answer = app.post("/api/ingest", body).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    busy.problem(429, "busy");
    assert_eq!(busy.header("retry-after"), "1");
    drop(half_sent);
    until(async || (app.post("/api/ingest", body).await.status == 200).then_some(())).await;
    app.stop().await;
}

#[actix_web::test]
async fn wild_paths_and_methods_are_problems() {
    let app = App::spawn().await;
    for path in [
        "/nothing",
        "/api",
        "/api/",
        "/api/sensors/",
        "/api/sensors//readings",
        "/api/admin/nothing",
        "/%00",
        "/..%2f..%2fetc",
    ] {
        app.get(path).await.problem(404, "not-found");
    }
    app.get("/api/sensors/none/readings")
        .await
        .problem(404, "not-found");
    app.get("/api/sensors/%ff%fe").await.problem(404, "not-found");
    for method in ["PUT", "PATCH", "DELETE", "BREW"] {
        let request = app.request(Method::from_bytes(method.as_bytes()).unwrap(), "/api/sensors");
        let answer = Answer::of(request.send().await.unwrap()).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
    let head = app.request(Method::HEAD, "/healthz").send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), head.bytes().await.unwrap().len()),
        (200, 0)
    );
    // However the path is written, it is the same path: nobody comes to the commands by another spelling.
    for path in [
        "/api/%61dmin/audit",
        "/api/admin/%61udit",
        "/api/./admin/audit",
        "//api/admin/audit",
        "/api/admin/../admin/audit",
        "/API/admin/audit",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw(&app, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 401") || answer.starts_with("HTTP/1.1 404"),
            "{path}: {answer}"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn wild_parameters_are_named() {
    let app = App::spawn().await;
    app.fill("s", 3).await;
    let cases = [
        ("/api/sensors?limit=0", "limit"),
        ("/api/sensors?limit=10001", "limit"),
        ("/api/sensors?limit=-1", "limit"),
        ("/api/sensors?limt=1", "limt"),
        ("/api/sensors?cursor=%F0%9F%99%82", "cursor"),
        ("/api/sensors?tag=novalue", "tag"),
        ("/api/sensors?mode=asleep", "mode"),
        ("/api/sensors?sort=value", "sort"),
        ("/api/sensors?order=up", "order"),
        ("/api/sensors?latest=perhaps", "latest"),
        ("/api/sensors/s/readings?from=yesterday", "from"),
        ("/api/sensors/s/readings?from=-99999999999999y", "from"),
        ("/api/sensors/s/readings?order=up", "order"),
        ("/api/sensors/s/readings?cursor=AAAA", "cursor"),
        ("/api/metrics/latest?flat=true", "flat"),
        ("/api/metrics/latest?sensor=s&flat=perhaps", "flat"),
        ("/api/actors?shard=x", "shard"),
    ];
    for (path, field) in cases {
        let answer = app.get(path).await;
        assert_eq!(
            answer.problem(400, "invalid-parameters")["errors"][0]["field"],
            field,
            "{path}: {}",
            answer.text
        );
    }
    let bodies = [
        (r#"{"measurement":"s","limit":0}"#, "limit"),
        (r#"{"measurement":"s","step":"0s","aggregation":"mean"}"#, "step"),
        (r#"{"measurement":"s","step":"1m"}"#, "step"),
        (r#"{"measurement":"s","aggregation":"median"}"#, "aggregation"),
        (
            r#"{"measurement":"s","time_range":{"start":"2024-01-02T00:00:00Z","end":"2024-01-01T00:00:00Z"}}"#,
            "time_range",
        ),
        (
            r#"{"measurement":"s","time_range":{"start":"soon"}}"#,
            "time_range.start",
        ),
        (r#"{"measurement":"s","cursor":"x"}"#, "cursor"),
        (r#"{"measurement":7}"#, "measurement"),
        (r#"{"measurement":"s","extra":1}"#, "extra"),
    ];
    for (body, field) in bodies {
        let answer = app.post("/api/query", body).await;
        assert_eq!(
            answer.problem(400, "invalid-parameters")["errors"][0]["field"],
            field,
            "{body}: {}",
            answer.text
        );
    }
    for body in ["", "[", "{\"measurement\":\"s\"", "nul"] {
        let answer = app.post("/api/query", body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn nothing_that_was_sent_becomes_a_header_a_label_or_markup() {
    let app = App::spawn().await;
    app.fill("secret-sensor-id", 2).await;
    app.get("/api/sensors/secret-sensor-id/readings").await;
    app.get("/api/sensors/other-secret%0d%0aX-Evil:%201")
        .await
        .problem(404, "not-found");
    app.get("/secret-path").await;
    let odd = app
        .request(Method::from_bytes(b"SECRETMETHOD").unwrap(), "/healthz")
        .send()
        .await
        .unwrap();
    assert_eq!(odd.status(), 405);
    let metrics = app.get("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(metrics.text.ends_with("# EOF\n"));
    assert!(
        !metrics.text.to_lowercase().contains("secret"),
        "{}",
        metrics.text
    );
    assert!(
        metrics.text.contains(r#"route="/api/sensors/{id}/readings""#),
        "{}",
        metrics.text
    );
    for (given, kept) in [
        ("abc-1.2_3", true),
        ("a b", false),
        ("", false),
        (&*"x".repeat(65), false),
        ("<b>", false),
    ] {
        let answer = app
            .request(Method::GET, "/healthz")
            .header("x-request-id", given)
            .send()
            .await
            .unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(id == given, kept, "{given}: {id}");
        assert!(!id.is_empty());
    }
    app.stop().await;
}

#[actix_web::test]
async fn every_answer_has_the_security_headers() {
    let app = App::spawn().await;
    for path in [
        "/",
        "/api/docs",
        "/page/page.js",
        "/api/sensors",
        "/nothing",
        "/api/admin/audit",
        "/metrics",
    ] {
        let answer = app.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        let cache = if path.starts_with("/api/s") {
            "no-store"
        } else {
            answer.header("cache-control")
        };
        assert_eq!(answer.header("cache-control"), cache, "{path}");
        assert!(!cache.is_empty(), "{path}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn broken_http_breaks_nothing() {
    let app = App::spawn().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(200_000));
    let many: String = (0..5_000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    for bytes in [
        "\r\n\r\nGARBAGE\r\n\r\n".as_bytes(),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        // The server may hang up before everything is sent; that is an answer too.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(app.get("/healthz").await.body["status"], "alive");
    let health: Value = app.get("/readyz").await.body;
    assert_eq!(health["ready"], true, "{health}");
    app.stop().await;
}
