//! Answers to questions for history that are given again, and what ends that.

use std::time::Duration;

use sensorhive::actors::storage::maintenance::{Maintenance, Progress, Retention};
use sensorhive::actors::supervision::ActorPath;
use sensorhive::clock::SystemClock;
use sensorhive::domain::Timestamp;
use serde_json::{Value, json};

use crate::support::{Answer, App, until};

const MINUTE: i64 = 60;

/// The start of a whole hour, a while ago.
fn hour(app: &App) -> i64 {
    app.state.now().0 / 1_000_000 / 3_600 * 3_600 - 2 * 3_600
}

fn time(seconds: i64) -> String {
    Timestamp::from_seconds(seconds).to_rfc3339()
}

async fn store(app: &App, sensor: &str, at: i64, value: f64, tags: Value) {
    let item = json!({"sensor_id": sensor, "metric": "t", "value": value, "timestamp": at, "tags": tags});
    let answer = app.post("/api/ingest", item.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// The answer, and whether the database was not asked for it.
async fn asked(app: &App, ask: impl AsyncFnOnce() -> Answer) -> (Answer, bool) {
    let (hits, misses) = app.state.metrics.query_cache();
    let answer = ask().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let (hits_now, misses_now) = app.state.metrics.query_cache();
    assert_eq!(hits_now + misses_now, hits + misses + 1);
    (answer, hits_now > hits)
}

async fn question(app: &App, question: &Value) -> (Answer, bool) {
    asked(app, async || app.post("/api/query", question.to_string()).await).await
}

fn values(answer: &Answer) -> Vec<f64> {
    let rows = answer.body["data"].as_array().unwrap();
    rows.iter().map(|row| row["value"].as_f64().unwrap()).collect()
}

#[actix_web::test]
async fn an_answer_is_given_again_until_a_commit_changes_it() {
    let app = App::spawn().await;
    let start = hour(&app);
    store(&app, "a", start + MINUTE, 1.0, json!({})).await;
    store(&app, "b", start + MINUTE, 5.0, json!({})).await;
    let whole = json!({"measurement": "a", "time_range": {"start": time(start), "end": time(start + 3_600)}});

    let (first, again) = question(&app, &whole).await;
    assert!(!again);
    let (second, again) = question(&app, &whole).await;
    assert!(again);
    assert_eq!((values(&second), &second.text), (vec![1.0], &first.text));
    assert_eq!(second.header("content-type"), first.header("content-type"));
    let mut other = whole.clone();
    other["limit"] = json!(7);
    assert!(!question(&app, &other).await.1, "another question");

    // Of another sensor, and of this one just before and just after.
    store(&app, "b", start + 2 * MINUTE, 6.0, json!({})).await;
    store(&app, "a", start - 1, 7.0, json!({})).await;
    store(&app, "a", start + 3_600, 8.0, json!({})).await;
    assert!(question(&app, &whole).await.1);

    // Late, and newer.
    for (at, value) in [(start, 0.5), (start + 2 * MINUTE, 2.0), (start + 3_599, 3.0)] {
        store(&app, "a", at, value, json!({})).await;
        let (changed, again) = question(&app, &whole).await;
        assert!(!again && values(&changed).contains(&value), "{}", changed.text);
        assert!(question(&app, &whole).await.1);
    }
    let page = app.get("/metrics").await.text;
    let bytes = page
        .lines()
        .find(|line| line.starts_with("sensorhive_query_cache_bytes "));
    assert!(bytes.is_some_and(|line| !line.ends_with(" 0")), "{page}");
    app.stop().await;
}

#[actix_web::test]
async fn readings_windows_and_envelopes_are_given_again_too() {
    let app = App::spawn().await;
    let start = hour(&app);
    for minute in 0..5 {
        store(&app, "a", start + minute * MINUTE, minute as f64, json!({})).await;
    }
    let range = format!("from={}&to={}", time(start), time(start + 3_600));
    for (at, what) in (30..).zip(["readings", "windows", "envelope"]) {
        let path = format!("/api/sensors/a/{what}?{range}");
        let get = async || asked(&app, async || app.get(&path).await).await;
        let (first, _) = get().await;
        let (second, again) = get().await;
        assert!(again && first.text == second.text, "{what}");
        // Late for a window that has closed, so that it is revised.
        store(&app, "a", start + at, 100.0 + at as f64, json!({})).await;
        let (changed, again) = get().await;
        assert!(!again && changed.text != first.text, "{what}: {}", changed.text);
    }
    app.get("/api/sensors/none/envelope")
        .await
        .problem(404, "not-found");
    app.stop().await;
}

#[actix_web::test]
async fn a_range_before_now_is_asked_anew_soon_and_at_once_after_a_commit() {
    let app = App::spawn().await;
    let now = || app.state.now().0 / 1_000_000;
    store(&app, "a", now() - 10, 1.0, json!({})).await;
    let last_hour = json!({"measurement": "a", "time_range": "-1h"});
    question(&app, &last_hour).await;
    until(async || question(&app, &last_hour).await.1.then_some(())).await;
    until(async || (!question(&app, &last_hour).await.1).then_some(())).await;
    let mut wanted = vec![1.0];
    for value in 2..20 {
        question(&app, &last_hour).await;
        // In µs: after all before, and before the question that follows.
        let at = app.state.now().0;
        store(&app, "a", at, f64::from(value), json!({})).await;
        wanted.push(f64::from(value));
        assert_eq!(values(&question(&app, &last_hour).await.0), wanted);
    }
    app.stop().await;
}

#[actix_web::test]
async fn new_series_and_other_tags_are_seen_at_once() {
    let app = App::spawn().await;
    let start = hour(&app);
    let range = json!({"start": time(start), "end": time(start + 3_600)});
    let of_site = json!({"measurement": "site=x", "time_range": range});
    let by_site =
        json!({"measurement": "*", "time_range": range, "aggregation": "count", "group_by": "site"});
    store(&app, "a", start + 1, 1.0, json!({"site": "x"})).await;
    store(&app, "b", start + 1, 2.0, json!({"site": "y"})).await;
    let ask = async || {
        let (of, _) = question(&app, &of_site).await;
        let (by, _) = question(&app, &by_site).await;
        assert!(question(&app, &of_site).await.1 && question(&app, &by_site).await.1);
        (values(&of), values(&by))
    };
    assert_eq!(ask().await, (vec![1.0], vec![1.0, 1.0]));
    store(&app, "c", start + 1, 3.0, json!({"site": "x"})).await;
    assert_eq!(ask().await, (vec![1.0, 3.0], vec![2.0, 1.0]));
    // Elsewhere in time: only its tags change something.
    store(&app, "b", start - 60, 4.0, json!({"site": "x"})).await;
    assert_eq!(ask().await, (vec![1.0, 2.0, 3.0], vec![3.0]));
    app.stop().await;
}

#[actix_web::test]
async fn what_expires_is_gone_from_answers() {
    let mut app = App::spawn().await;
    let start = hour(&app);
    store(&app, "a", start, 1.0, json!({})).await;
    let whole =
        json!({"measurement": "a", "time_range": {"start": time(start - 60), "end": time(start + 60)}});
    question(&app, &whole).await;
    assert_eq!(values(&question(&app, &whole).await.0), [1.0]);
    let (store, queries) = (app.pipeline.store.clone(), app.pipeline.queries.clone());
    let registry = app.pipeline.rails.registry().clone();
    let statistics = app.pipeline.statistics.clone();
    let arbiter = app.pipeline.arbiter();
    let make = move || Maintenance {
        store,
        clock: std::sync::Arc::new(SystemClock),
        queries,
        retention: Retention {
            readings: Some(Duration::from_secs(60)),
            dead_letters: None,
            restarts: None,
            batches: None,
            idempotency_keys: None,
        },
        registry,
        statistics,
        every: Duration::from_millis(20),
        expire_every: Duration::ZERO,
        state: Progress::default(),
    };
    let _ = app
        .pipeline
        .supervise(&arbiter, "storage/expiry", "Maintenance", make);
    until(async || values(&question(&app, &whole).await.0).is_empty().then_some(())).await;
    app.stop().await;
}

#[actix_web::test]
async fn what_was_given_up_is_forgotten() {
    let app = App::spawn().await;
    let start = hour(&app);
    store(&app, "a", start, 1.0, json!({})).await;
    let whole =
        json!({"measurement": "a", "time_range": {"start": time(start - 60), "end": time(start + 60)}});
    question(&app, &whole).await;
    assert!(question(&app, &whole).await.1);
    // As if a commit had come true that nobody heard of.
    app.sql("INSERT INTO readings (series_id, time, value, seq, flags) SELECT series_id, time + 1, 2.0, seq + 1, flags FROM readings")
        .await;
    assert_eq!(values(&question(&app, &whole).await.0), [1.0]);
    let writer = app.pipeline.tree.get(&ActorPath::new("storage/writer")).unwrap();
    writer.restart("test", "so that the pipeline rewinds");
    until(async || (values(&question(&app, &whole).await.0) == [1.0, 2.0]).then_some(())).await;
    app.stop().await;
}
