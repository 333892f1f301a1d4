//! What describes the service: the OpenAPI document, the pages, the probes; and how it starts.

use std::collections::BTreeSet;

use sensorhive::web::{ServeError, bind, inventory};
use serde_json::json;

use crate::support::{App, http_settings};

/// Files that are there where the dashboard was built before the program.
const BUILT: [&str; 3] = ["/favicon.svg", "/licenses.md", "/assets/{file}"];

/// Pages and their files are not part of the API.
const PAGES: [&str; 12] = [
    "/",
    "/sensors",
    "/sensors/{id}",
    "/alerts",
    "/actors",
    "/sources",
    "/dead-letters",
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
        .filter(|(_, path, _)| !PAGES.contains(path) && !BUILT.contains(path));
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
async fn the_dashboard_is_at_all_its_addresses_and_nowhere_else() {
    let app = App::spawn().await;
    let index = app.get("/").await;
    assert!(index.header("content-type").starts_with("text/html"));
    assert_eq!(index.header("cache-control"), "no-cache");
    assert!(
        index
            .header("content-security-policy")
            .contains("font-src 'self'")
    );
    for path in [
        "/sensors",
        "/sensors/plant%2Fa%3Cimg%3E",
        "/alerts",
        "/actors",
        "/sources",
        "/dead-letters",
    ] {
        let page = app.get(path).await;
        assert_eq!((page.status, &page.text), (200, &index.text), "{path}");
    }
    for path in [
        "/assets/none.js",
        "/assets/..%2Findex.html",
        "/assets/..%2F..%2Fpackage.json",
        "/assets/%2Fetc%2Fpasswd",
        "/sensors/a/b",
        "/index.html",
    ] {
        assert_eq!(app.get(path).await.status, 404, "{path}");
    }
    // Where the dashboard was built, its files are kept by browsers for ever: their names change with them.
    let assets = index.text.match_indices("/assets/").map(|(at, _)| {
        let rest = &index.text[at..];
        &rest[..rest.find('"').unwrap()]
    });
    for path in assets {
        let file = app.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(
            file.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        let kind = file.header("content-type");
        assert!(
            kind.starts_with("text/javascript") || kind.starts_with("text/css"),
            "{path}: {kind}"
        );
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
