//! Who may listen.

use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::client::{Client, End};
use crate::support::{App, http_settings};

async fn refused(app: &App, headers: &[(&str, &str)]) -> u16 {
    match Client::connect_with(app, headers).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => 101,
    }
}

#[actix_web::test]
async fn pages_of_other_origins_are_kept_out_whatever_they_know() {
    let app = App::spawn().await;
    let bearer = format!("Bearer {}", app.admin);
    let own = format!("http://{}", app.address);
    assert_eq!(refused(&app, &[("origin", &own)]).await, 101);
    for strange in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(refused(&app, &[("origin", strange)]).await, 403, "{strange}");
        assert_eq!(
            refused(&app, &[("origin", strange), ("authorization", &bearer)]).await,
            403
        );
    }
    assert_eq!(refused(&app, &[("sec-fetch-site", "cross-site")]).await, 403);
    app.stop().await;

    let mut settings = http_settings("127.0.0.1:0");
    settings.cors_origins = vec!["*".to_owned()];
    let app = App::spawn_with(settings).await;
    let mut client = Client::connect_with(&app, &[("origin", "https://any.example")])
        .await
        .unwrap();
    assert_eq!(
        client.expect("hello").await["authenticated"],
        false,
        "any page, but with a token"
    );
    client.subscribe("o", "overview").await;
    assert_eq!(client.end().await, End::Closed(4401));
    app.stop().await;
}

#[actix_web::test]
async fn a_name_that_points_here_and_a_proxy_need_a_token() {
    let app = App::spawn().await;
    for header in [("host", "evil.example"), ("x-forwarded-for", "10.1.1.1")] {
        let mut client = Client::connect_with(&app, &[header]).await.unwrap();
        assert_eq!(client.expect("hello").await["authenticated"], false, "{header:?}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn beyond_the_machine_a_token_comes_first() {
    let app = App::spawn_with(http_settings("0.0.0.0:0")).await;
    let mut client = Client::connect(&app).await;
    assert_eq!(client.expect("hello").await["authenticated"], false);
    client
        .send(json!({"type": "authenticate", "token": app.viewer}))
        .await;
    assert_eq!(client.expect("authenticated").await["role"], "viewer");
    // It has said who it is, and not yet what it wants.
    assert_eq!(client.expect("snapshot").await["id"], "overview");
    client
        .send(json!({"type": "authenticate", "token": "A".repeat(43)}))
        .await;
    assert_eq!(
        client.end().await,
        End::Closed(4401),
        "who shows a token is judged by it"
    );

    let bearer = format!("Bearer {}", app.viewer);
    let mut client = Client::connect_with(&app, &[("authorization", &bearer)])
        .await
        .unwrap();
    assert_eq!(client.expect("hello").await["authenticated"], true);
    assert_eq!(refused(&app, &[("authorization", "Bearer x")]).await, 401);
    app.stop().await;
}

#[actix_web::test]
async fn a_token_that_is_revoked_ends_its_sessions() {
    let app = App::spawn().await;
    let mut clients = Vec::new();
    for token in [&app.viewer, &app.operator] {
        let bearer = format!("Bearer {token}");
        clients.push(
            Client::connect_with(&app, &[("authorization", &bearer)])
                .await
                .unwrap(),
        );
    }
    let tokens = app.admin_get("/api/admin/tokens").await.body;
    let viewer = tokens["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["role"] == "viewer")
        .unwrap();
    let path = format!("/api/admin/tokens/{}", viewer["id"].as_str().unwrap());
    let request = app.request(Method::DELETE, &path).bearer_auth(&app.admin);
    assert!(request.send().await.unwrap().status().is_success());
    assert_eq!(clients[0].end().await, End::Closed(4401));
    clients[1].subscribe("o", "overview").await;
    clients[1].find("snapshot", |_| true).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_request_that_is_no_handshake_is_told_so() {
    let app = App::spawn().await;
    let answer = app.get("/ws/realtime").await;
    answer.problem(426, "upgrade-required");
    assert_eq!(answer.header("upgrade"), "websocket");
    let request = app
        .request(Method::GET, "/ws/realtime")
        .header("upgrade", "websocket");
    let answer = crate::support::Answer::of(request.send().await.unwrap()).await;
    answer.problem(400, "bad-request");
    app.stop().await;
}

#[actix_web::test]
async fn what_stops_says_so() {
    let app = App::spawn().await;
    let mut client = Client::connect(&app).await;
    client.expect("hello").await;
    let live = &app.state.live.live;
    live.sessions.stop(&live.metrics);
    assert_eq!(client.end().await, End::Closed(1001));
    assert_eq!(refused(&app, &[]).await, 503);
    app.stop().await;
}
