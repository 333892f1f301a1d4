//! What describes the service: the OpenAPI document, the pages, the probes; and how it starts.

use std::collections::BTreeSet;

use sensorhive::web::{ServeError, bind, inventory};
use serde_json::json;

use crate::support::{App, http_settings};

/// Pages and their files are not part of the API.
const PAGES: [&str; 6] = [
    "/",
    "/page/page.css",
    "/page/page.js",
    "/page/docs.js",
    "/api/docs",
    "/api/openapi.json",
];

#[actix_web::test]
async fn every_route_is_in_the_document_and_nothing_else() {
    let app = App::spawn().await;
    let document = app.get("/api/openapi.json").await.body;
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let routes = inventory()
        .into_iter()
        .filter(|(_, path, _)| !PAGES.contains(path));
    let routes: BTreeSet<_> = routes
        .map(|(method, path, _)| (method, path.replace(":.+", "")))
        .collect();
    assert_eq!(documented, routes);
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
    let text = document.to_string();
    for (start, _) in text.match_indices("#/components/schemas/") {
        let name: String = text[start + 21..].chars().take_while(|c| *c != '"').collect();
        assert!(
            document["components"]["schemas"][&name].is_object(),
            "{name} is missing"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_pages_load_nothing_from_elsewhere() {
    let app = App::spawn().await;
    for path in PAGES {
        let page = app.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        if path == "/api/openapi.json" {
            continue;
        }
        assert!(!page.text.is_empty(), "{path}");
        for forbidden in [
            "http://",
            "https://",
            "innerHTML",
            "onclick=",
            "style=",
            "<style",
            "eval(",
        ] {
            assert!(!page.text.contains(forbidden), "{path} has {forbidden}");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn probes_need_no_token_and_tell_strangers_no_reasons() {
    let app = App::spawn_with(http_settings("0.0.0.0:0")).await;
    assert_eq!(app.get("/healthz").await.body, json!({"status": "alive"}));
    let ready = app.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    app.state
        .metrics
        .set_store_failing(Some("the disk at /secret is full".to_owned()));
    let stranger = app.get("/readyz").await;
    assert_eq!(
        (stranger.status, &stranger.body["dependencies"]["writer"]),
        (503, &json!({"ok": false}))
    );
    assert_eq!(stranger.body["dependencies"]["store"], json!({"ok": true}));
    let known = app.admin_get("/readyz").await;
    let what = known.body["dependencies"]["store"]["what"].as_str().unwrap();
    assert!(what.starts_with("sqlite ("), "{what}");
    assert_eq!(
        known.body["dependencies"]["writer"]["because"],
        "the disk at /secret is full"
    );
    app.stop().await;
}

#[actix_web::test]
async fn an_address_in_use_is_told_before_anything_starts() {
    let app = App::spawn().await;
    let second = bind(app.address);
    assert!(matches!(second, Err(ServeError::AddressInUse(address)) if address == app.address));
    let foreign = bind("192.0.2.1:1".parse().unwrap());
    assert!(matches!(foreign, Err(ServeError::Bind { .. })));
    app.stop().await;
}
