//! What Prometheus is told of sources, and that the dashboard asks for nothing else than what there is.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use redis::AsyncCommands;
use sensorhive::domain::{LedgerDelta, SourceName};
use sensorhive::metrics::Metrics;
use sensorhive::storage::{ErrorClass, StoreError};
use serde_json::{Value, json};

use crate::instance::{Instance, Place, until};
use crate::redis_server::Server;
use crate::support::{SERIES, item};

/// A figure of the source `source` on the page.
fn figure(page: &str, name: &str, source: &str) -> Option<f64> {
    let label = format!("source=\"{source}\"");
    let is_it = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && line.contains(&label)
    };
    let line = page.lines().find(is_it)?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn reaches(instance: &Instance, name: &str, source: &str, expected: f64) {
    until(&format!("{name} of {source} to be {expected}"), async || {
        let page = instance.api.text("/metrics").await;
        (figure(&page, name, source) == Some(expected)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_urls_are_on_the_page() {
    let settings = format!(
        "{SERIES}\n[sources.log]\nkind = 'file'\npath = 'in/*.jsonl'\ninterval = '10ms'\n
         [sources.web]\nkind = 'http_poll'\nurls = ['http://127.0.0.1:9/a', 'http://127.0.0.1:9/b']\nerror_interval = '20ms'\n"
    );
    let place = Place::new(&settings, &[]);
    std::fs::create_dir(place.path("in")).unwrap();
    let instance = Instance::start(&place).await;
    let mut bytes = 0;
    for name in ["in/a.jsonl", "in/b.jsonl"] {
        let mut file = std::fs::File::create(place.path(name)).unwrap();
        for index in 0..50 {
            let line = item(name, index).to_string();
            bytes += line.len();
            writeln!(file, "{line}").unwrap();
        }
        if name == "in/b.jsonl" {
            // A line without an end is not read.
            write!(file, "0123456789").unwrap();
        }
    }
    reaches(&instance, "sensorhive_file_lines_total", "log", 100.0).await;
    reaches(&instance, "sensorhive_file_unread_bytes", "log", 10.0).await;
    let page = instance.api.text("/metrics").await;
    for (name, expected) in [
        ("sensorhive_file_read_bytes_total", bytes as f64),
        ("sensorhive_file_files", 2.0),
        ("sensorhive_file_open", 2.0),
        ("sensorhive_file_failing", 0.0),
    ] {
        assert_eq!(figure(&page, name, "log"), Some(expected), "{name}: {page}");
    }
    reaches(&instance, "sensorhive_http_poll_failing", "web", 2.0).await;
    let page = instance.api.text("/metrics").await;
    assert!(
        page.contains("sensorhive_http_poll_requests_total{source=\"web\",result=\"failed\"}"),
        "{page}"
    );
    assert_eq!(
        figure(&page, "sensorhive_http_poll_last_success_seconds", "web"),
        Some(0.0)
    );
    // Neither paths nor addresses.
    assert!(!page.contains("jsonl") && !page.contains("127.0.0.1"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_on_the_page_as_source_and_as_output() {
    let Some(mut server) = Server::start().await else {
        return;
    };
    let url = server.url();
    let settings = format!(
        "{SERIES}\n[sources.list]\nkind = 'redis'\nurl = '{url}'\nlist = 'queue'\n
         [sources.stream]\nkind = 'redis'\nurl = '{url}'\nstream = 'events'\n
         [outputs.cache]\nkind = 'redis'\nurl = '{url}'\nlatest = 'newest:'\nmatch = {{ sensor = '[lxh]' }}\n"
    );
    let instance = Instance::start(&Place::new(&settings, &[])).await;
    for source in ["list", "stream"] {
        reaches(&instance, "sensorhive_redis_connected", source, 1.0).await;
    }
    let mut redis = server.connect().await;
    for index in 0..20 {
        let _: i64 = redis.rpush("queue", item("l", index).to_string()).await.unwrap();
        let payload = item("x", index).to_string();
        let _: String = redis.xadd("events", "*", &[("payload", payload)]).await.unwrap();
    }
    for source in ["list", "stream"] {
        reaches(&instance, "sensorhive_redis_entries_total", source, 20.0).await;
        reaches(&instance, "sensorhive_redis_waiting", source, 0.0).await;
    }
    let label = "output=\"cache\"";
    until("what was sent to be told", async || {
        let page = instance.api.text("/metrics").await;
        let sent = format!("sensorhive_output_sent_total{{{label},kind=\"readings\"}} 40\n");
        page.contains(&sent).then_some(())
    })
    .await;
    let page = instance.api.text("/metrics").await;
    assert!(
        page.contains(&format!("sensorhive_output_failing{{{label}}} 0\n")),
        "{page}"
    );
    // What came while the sources were paused, for so long that they look again how much it is.
    let tell = async |command: &str| {
        for source in ["list", "stream"] {
            let path = format!("/api/admin/sources/{source}/{command}");
            let told = instance.api.post(&path, &json!({"why": "test"})).await;
            assert_eq!(told.status, 202, "{}", told.body);
        }
    };
    tell("pause").await;
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    for index in 20..50 {
        let _: i64 = redis.rpush("queue", item("l", index).to_string()).await.unwrap();
        let payload = item("x", index).to_string();
        let _: String = redis.xadd("events", "*", &[("payload", payload)]).await.unwrap();
    }
    tell("resume").await;
    tokio::join!(
        reaches(&instance, "sensorhive_redis_waiting", "list", 30.0),
        reaches(&instance, "sensorhive_redis_waiting", "stream", 30.0),
    );
    for source in ["list", "stream"] {
        reaches(&instance, "sensorhive_redis_waiting", source, 0.0).await;
        reaches(&instance, "sensorhive_redis_entries_total", source, 50.0).await;
    }
    server.kill();
    assert_eq!(instance.api.ingest(&json!([item("h", 0)])).await.status, 200);
    until("the output to fail", async || {
        let page = instance.api.text("/metrics").await;
        page.contains(&format!("sensorhive_output_failing{{{label}}} 1\n"))
            .then_some(())
    })
    .await;
    for source in ["list", "stream"] {
        reaches(&instance, "sensorhive_redis_connected", source, 0.0).await;
    }
    let page = instance.api.text("/metrics").await;
    assert!(
        figure(&page, "sensorhive_redis_errors_total", "list") >= Some(1.0),
        "{page}"
    );
}

/// Every figure that a page can have.
fn page() -> String {
    let metrics = Metrics::default();
    let name = SourceName::parse("any").unwrap();
    metrics.ledger(
        &name,
        &LedgerDelta {
            received: 1,
            ..LedgerDelta::default()
        },
    );
    metrics.committed(Duration::ZERO, 1, 1);
    metrics.latency(Duration::ZERO);
    metrics.store_error(&StoreError::new(ErrorClass::Transient, "any", "any"));
    metrics.restarted("any");
    metrics.crashed("any");
    metrics.set_sensors(0, "any", 1);
    metrics.request("any".to_owned(), "GET".to_owned(), 200);
    metrics.kafka.lag(&name, "0", Some(1));
    metrics.kafka.assigned(&name, 1);
    metrics.kafka.messages(&name, 1);
    metrics.kafka.missed(&name, 1);
    metrics.kafka.rebalanced(&name);
    metrics.kafka.error(&name);
    drop(metrics.mqtt.of(&name));
    drop(metrics.files.of(&name));
    drop(metrics.urls.of(&name));
    drop(metrics.redis.of(&name));
    drop(metrics.outputs.of(&name));
    metrics.render()
}

/// The names in a text that begin with ours.
fn names(text: &str) -> BTreeSet<&str> {
    let begins = text.match_indices("sensorhive_").map(|(at, _)| &text[at..]);
    begins
        .map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}

#[test]
fn the_dashboard_asks_for_figures_that_there_are() {
    fn expressions<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        Some(text) if matches!(name.as_str(), "expr" | "query" | "definition") => {
                            found.push(text)
                        }
                        _ => expressions(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
            _ => {}
        }
    }

    let page = page();
    let there: BTreeSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let dashboard: Value =
        serde_json::from_str(include_str!("../../deploy/grafana/dashboards/service.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 40, "{found:?}");
    let asked: BTreeSet<&str> = found.iter().flat_map(|text| names(text)).collect();
    let missing: Vec<_> = asked.difference(&there).collect();
    assert!(
        asked.len() > 40 && missing.is_empty(),
        "not on the page: {missing:?}"
    );
    // Whoever is told where to look finds it.
    let sources = include_str!("../../deploy/grafana/provisioning/datasources/sensorhive.yaml");
    for text in [
        dashboard.to_string().as_str(),
        include_str!("../../deploy/grafana/dashboards/sensors.json"),
    ] {
        let dashboard: Value = serde_json::from_str(text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let uid = target["datasource"]["uid"].as_str().unwrap();
                assert!(sources.contains(&format!("uid: {uid}\n")), "{uid}");
            }
        }
    }
}

/// The table of figures in the manual.
#[test]
fn the_manual_speaks_of_figures_that_there_are() {
    let manual = include_str!("../../docs/operations.md");
    let table = manual.split("### Figures for Prometheus").nth(1).unwrap();
    let table = table.split("### Grafana").next().unwrap();
    let page = page();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let figures: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(figures.len() > 30, "{figures:?}");
    for figure in figures {
        let name = format!("sensorhive_{}", figure.trim_end_matches('…'));
        assert!(page.contains(&name), "{figure} is not on the page");
    }
}
