//! Who may do what.

use reqwest::Method;
use sensorhive::web::auth::{Access, Role};
use sensorhive::web::inventory;

use crate::support::{Answer, App, http_settings};

/// A path of the inventory with its parameters filled in such that nothing is found.
fn filled(pattern: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        path += before;
        path += "999999";
        rest = after.split_once('}').unwrap().1;
    }
    path + rest
}

async fn ask(app: &App, method: &str, path: &str, token: Option<&str>) -> Answer {
    let mut request = app.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    Answer::of(request.send().await.unwrap()).await
}

/// Every endpoint with every role: let in or not, by its access alone.
async fn matrix(listen: &str, local: bool) {
    let app = App::spawn_with(http_settings(listen)).await;
    let callers = [
        (None, None),
        (Some(Role::Viewer), Some(app.viewer.as_str())),
        (Some(Role::Operator), Some(app.operator.as_str())),
        (Some(Role::Admin), Some(app.admin.as_str())),
    ];
    let all = inventory();
    assert!(all.len() > 30);
    for (method, pattern, access) in all {
        let path = filled(pattern);
        for (role, token) in callers {
            let answer = ask(&app, &method, &path, token).await;
            let allowed = match access {
                Access::Public => true,
                Access::Local(needed) => role.map_or(local, |role| role >= needed),
                Access::Always(needed) => role.is_some_and(|role| role >= needed),
            };
            let what = format!("{method} {path} as {role:?}: {}", answer.text);
            match (allowed, role) {
                (true, _) => assert!(![401, 403].contains(&answer.status), "{what}"),
                (false, None) => {
                    answer.problem(401, "unauthorized");
                    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
                }
                (false, Some(_)) => {
                    answer.problem(403, "forbidden");
                }
            }
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
        }
        assert_eq!(
            pattern.starts_with("/api/admin"),
            access == Access::Always(Role::Admin),
            "{pattern}"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn on_loopback_only_commands_need_a_token() {
    matrix("127.0.0.1:0", true).await;
}

#[actix_web::test]
async fn beyond_the_machine_everything_that_tells_something_needs_a_token() {
    matrix("0.0.0.0:0", false).await;
}

#[actix_web::test]
async fn a_wrong_token_is_refused_even_where_none_is_needed() {
    let app = App::spawn().await;
    let long = "x".repeat(5000);
    for token in ["x", &"A".repeat(43), "", &long] {
        let request = app.request(Method::GET, "/api/sensors").bearer_auth(token);
        Answer::of(request.send().await.unwrap())
            .await
            .problem(401, "unauthorized");
    }
    for header in ["Basic YTpi", "Bearer", "bearer  ", "\u{ff}"] {
        let request = app
            .request(Method::GET, "/api/sensors")
            .header("authorization", header.as_bytes());
        Answer::of(request.send().await.unwrap())
            .await
            .problem(401, "unauthorized");
    }
    app.stop().await;
}

#[actix_web::test]
async fn guessing_is_slowed_down_and_locks_nobody_out() {
    let app = App::spawn().await;
    let mut limited = None;
    for _ in 0..11 {
        let answer = ask(&app, "GET", "/api/admin/audit", Some(&"B".repeat(43))).await;
        if answer.status == 429 {
            limited = Some(answer);
        }
    }
    let limited = limited.expect("the eleventh wrong token at once is too much");
    limited.problem(429, "rate-limited");
    assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(
        ask(&app, "GET", "/api/admin/audit", Some(&app.admin))
            .await
            .status,
        200
    );
    app.stop().await;
}

#[actix_web::test]
async fn tokens_of_another_process_take_effect_and_lose_it() {
    use secrecy::ExposeSecret;
    let app = App::spawn().await;
    assert_eq!(app.admin_get("/api/admin/audit").await.status, 200);
    let now = app.state.now();
    let made = sensorhive::web::tokens::create(&*app.state.store, Role::Admin, "elsewhere", now).await;
    let (row, text) = made.unwrap();
    let text = text.expose_secret().to_owned();
    assert_eq!(text.len(), 43);
    crate::support::until(async || {
        let answer = ask(&app, "GET", "/api/admin/tokens", Some(&text)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(app.state.store.revoke_token(&row.id).await.unwrap());
    crate::support::until(async || {
        let answer = ask(&app, "GET", "/api/admin/tokens", Some(&text)).await;
        ([401, 429].contains(&answer.status)).then_some(())
    })
    .await;
    app.stop().await;
}

#[actix_web::test]
async fn tokens_are_made_listed_and_revoked() {
    let app = App::spawn().await;
    let made = app
        .admin_post(
            "/api/admin/tokens",
            serde_json::json!({"name": "line 3", "role": "operator"}),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let text = made.body["token"].as_str().unwrap().to_owned();
    assert_eq!(text.len(), 43);
    assert_eq!(ask(&app, "GET", "/api/sensors", Some(&text)).await.status, 200);
    ask(&app, "GET", "/api/admin/tokens", Some(&text))
        .await
        .problem(403, "forbidden");
    let listed = app.admin_get("/api/admin/tokens").await;
    assert!(listed.text.contains("line 3") && !listed.text.contains(&text));
    let path = format!("/api/admin/tokens/{}", made.body["id"].as_str().unwrap());
    let gone = app
        .request(Method::DELETE, &path)
        .bearer_auth(&app.admin)
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 204);
    ask(&app, "GET", "/api/sensors", Some(&text))
        .await
        .problem(401, "unauthorized");
    ask(&app, "DELETE", &path, Some(&app.admin))
        .await
        .problem(404, "not-found");
    let log = app.admin_get("/api/admin/audit").await;
    let what: Vec<&str> = log.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["what"].as_str().unwrap())
        .collect();
    assert_eq!(what, ["token.revoke", "token.revoke", "token.create"]);
    assert!(!log.text.contains(&text));
    app.stop().await;
}

#[actix_web::test]
async fn the_first_token_is_made_once() {
    use secrecy::ExposeSecret;
    use sensorhive::storage::{SqliteSettings, SqliteStore};
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&SqliteSettings::new(directory.path().join("db")))
        .await
        .unwrap();
    let now = sensorhive::domain::Timestamp::from_seconds(1_730_332_800);
    let first = sensorhive::web::TokenService::ensure_first_admin(&store, now)
        .await
        .unwrap()
        .unwrap();
    assert!(
        sensorhive::web::TokenService::ensure_first_admin(&store, now)
            .await
            .unwrap()
            .is_none()
    );
    let text = first.expose_secret();
    assert!(
        text.len() == 43
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
        "{text}"
    );
}

#[actix_web::test]
async fn a_strangers_page_can_neither_read_nor_write() {
    let app = App::spawn().await;
    let own = format!("http://{}", app.address);
    let cases = [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("host", "evil.example", 401),
        ("x-forwarded-for", "10.0.0.9", 401),
        ("origin", own.as_str(), 200),
    ];
    for (name, value, status) in cases {
        let body = r#"{"sensor_id":"s","metric":"m","value":1}"#;
        let request = app
            .request(Method::POST, "/api/ingest")
            .header("content-type", "application/json");
        let answer = Answer::of(request.header(name, value).body(body).send().await.unwrap()).await;
        assert_eq!(answer.status, status, "{name}: {value}: {}", answer.text);
        let request = app.request(Method::GET, "/api/sensors").header(name, value);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(
            answer.status == 200,
            status == 200,
            "{name}: {value}: {}",
            answer.text
        );
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    // A page whose name was made to point here: host and origin agree.
    let rebound = app
        .request(Method::POST, "/api/ingest")
        .header("host", "evil.example:80");
    let answer = rebound
        .header("origin", "http://evil.example:80")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    app.stop().await;
}

#[actix_web::test]
async fn bodies_that_a_form_can_send_are_refused() {
    let app = App::spawn().await;
    let body = r#"{"sensor_id":"s","metric":"m","value":1}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
    ] {
        for path in ["/api/ingest", "/api/query"] {
            if (path, kind) == ("/api/ingest", "text/plain") {
                // Line protocol, which the origin alone keeps strangers from.
                continue;
            }
            let request = app
                .request(Method::POST, path)
                .header("content-type", kind)
                .body(body);
            Answer::of(request.send().await.unwrap())
                .await
                .problem(415, "unsupported-media-type");
        }
    }
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "text/json",
        "Application/JSON",
    ] {
        let request = app
            .request(Method::POST, "/api/ingest")
            .header("content-type", kind)
            .body(body);
        assert_eq!(request.send().await.unwrap().status(), 200, "{kind}");
    }
    let bare = app
        .request(Method::POST, "/api/ingest")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(bare.status(), 200);
    let packed = app
        .request(Method::POST, "/api/ingest")
        .header("content-encoding", "br")
        .body(body);
    Answer::of(packed.send().await.unwrap())
        .await
        .problem(415, "unsupported-media-type");
    app.stop().await;
}

/// What a form can send and is taken all the same: line protocol.
#[actix_web::test]
async fn pages_of_other_origins_send_no_line_protocol() {
    let app = App::spawn().await;
    for path in ["/api/ingest", "/api/v2/write", "/write", "/query"] {
        for (name, value, status) in [
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("host", "evil.example", 401),
        ] {
            let request = app
                .request(Method::POST, path)
                .header("content-type", "text/plain");
            let answer = request.header(name, value).body("m v=1").send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}: {name}: {value}");
        }
    }
    assert_eq!(app.get("/api/ledger").await.body["total"]["received"], 0);
    app.stop().await;
}

#[actix_web::test]
async fn origins_of_the_settings_may_call_and_any_only_with_a_token() {
    let mut settings = http_settings("127.0.0.1:0");
    settings.cors_origins = vec!["https://good.example".to_owned()];
    let app = App::spawn_with(settings).await;
    let from = |origin: &str| app.request(Method::GET, "/api/sensors").header("origin", origin);
    let good = Answer::of(from("https://good.example").send().await.unwrap()).await;
    assert_eq!(
        (good.status, good.header("access-control-allow-origin")),
        (200, "https://good.example")
    );
    let bad = Answer::of(from("https://evil.example").send().await.unwrap()).await;
    assert_eq!((bad.status, bad.header("access-control-allow-origin")), (401, ""));
    let preflight = app
        .request(Method::OPTIONS, "/api/ingest")
        .header("origin", "https://good.example");
    let preflight = preflight
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    app.stop().await;

    let mut settings = http_settings("127.0.0.1:0");
    settings.cors_origins = vec!["*".to_owned()];
    let app = App::spawn_with(settings).await;
    let from = |token: Option<&str>| {
        let request = app
            .request(Method::GET, "/api/sensors")
            .header("origin", "https://any.example");
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    assert_eq!(from(None).send().await.unwrap().status(), 401);
    let known = Answer::of(from(Some(&app.viewer)).send().await.unwrap()).await;
    assert_eq!(
        (known.status, known.header("access-control-allow-origin")),
        (200, "*")
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_client_that_asks_too_much_is_told_to_wait() {
    let mut settings = http_settings("127.0.0.1:0");
    settings.requests_per_second = 1;
    let app = App::spawn_with(settings).await;
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(app.get("/healthz").await);
    }
    let limited = answers
        .iter()
        .find(|answer| answer.status == 429)
        .expect("40 requests at once are more than one a second");
    limited.problem(429, "rate-limited");
    assert_eq!(limited.header("retry-after"), "1");
    app.stop().await;
}
