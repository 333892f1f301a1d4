//! What the tests have in common.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use reqwest::Method;
use rumqttc::QoS;
use serde_json::{Value, json};

use crate::api::{Api, number};
use crate::instance::{Instance, Place, until};
use crate::mosquitto::Broker;
use crate::publisher::Message;

/// 2026-01-01.
pub const START: i64 = 1_767_225_600_000_000;

/// Prints a line that `cargo test` does not capture.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "mqtt test: {line}");
}

/// The settings of a source at this broker; `more` are further lines of its table.
pub fn source(name: &str, broker: &Broker, more: &str) -> String {
    format!(
        "\n[sources.{name}]\nkind = 'mqtt'\nbrokers = ['{}']\n{more}\n",
        broker.url()
    )
}

pub async fn start(settings: &str) -> (Arc<Place>, Instance) {
    let place = Place::new(settings, &[]);
    let instance = Instance::start(&place).await;
    (place, instance)
}

/// Readings with times of their own: `count` of each sensor, each at a topic of its sensor below `root`.
pub fn readings(root: &str, sensors: &[&str], count: usize, qos: QoS) -> Vec<Message> {
    let mut messages = Vec::new();
    for index in 0..count {
        for sensor in sensors {
            let payload = json!({
                "sensor_id": sensor,
                "metric": "temperature",
                "value": index,
                "timestamp": START + index as i64 * 1_000_000,
            });
            messages.push(Message::new(format!("{root}/{sensor}"), payload.to_string(), qos));
        }
    }
    messages
}

/// Bare numbers without times, each another, from `begin` on: sensor and metric are in the topic.
pub fn timeless(root: &str, sensor: &str, values: std::ops::Range<usize>, qos: QoS) -> Vec<Message> {
    values
        .map(|value| Message::new(format!("{root}/{sensor}/temperature"), value.to_string(), qos))
        .collect()
}

/// What Prometheus is told.
pub async fn metrics(api: &Api) -> String {
    let answer = api.request(Method::GET, "/metrics").send().await.unwrap();
    answer.text().await.unwrap()
}

/// Tells a source something, as an admin.
pub async fn tell(api: &Api, source: &str, command: &str) {
    let request = api.request(Method::POST, &format!("/api/admin/sources/{source}/{command}"));
    let answer = request.json(&json!({ "why": "a test" })).send().await.unwrap();
    assert_eq!(answer.status(), 202, "{command}");
}

/// What a source says of itself.
pub async fn entry(api: &Api, source: &str) -> Value {
    let all = api.get("/api/sources").await;
    let found = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == source);
    found
        .unwrap_or_else(|| panic!("no source {source}: {all}"))
        .clone()
}

/// What is special to MQTT in what a source says of itself.
pub async fn status(api: &Api, source: &str) -> Value {
    let status = entry(api, source).await["status"]["mqtt"].clone();
    assert!(status.is_object(), "{status}");
    status
}

pub async fn connected(api: &Api, source: &str) {
    until(&format!("{source} to be connected"), async || {
        (status(api, source).await["connected"] == true).then_some(())
    })
    .await;
}

/// What became of everything but the service's own figures.
#[derive(Debug, PartialEq, Eq)]
pub struct Total {
    pub received: usize,
    pub stored: usize,
    pub duplicate: usize,
    pub rejected: usize,
}

pub async fn total(api: &Api) -> Total {
    let own = async || {
        let answer = api.try_get("/api/sensors/sensorhive/ledger").await.unwrap();
        // It is not there before its first reading.
        (answer.status == 200).then_some(answer.body)
    };
    until("a moment without figures of the service's own", async || {
        let before = own().await;
        let total = api.total().await;
        let figure = |name: &str| {
            let own = before.as_ref().map_or(0, |own| number(&own[name]));
            usize::try_from(number(&total[name]) - own).unwrap()
        };
        (before == own().await).then(|| Total {
            received: figure("received"),
            stored: figure("stored"),
            duplicate: figure("duplicate"),
            rejected: figure("rejected"),
        })
    })
    .await
}

/// Until so many readings are stored.
pub async fn stored(api: &Api, count: usize) {
    until(&format!("{count} readings to be stored"), async || {
        (total(api).await.stored >= count).then_some(())
    })
    .await;
}

/// Until the broker has been told of everything.
pub async fn acknowledged(api: &Api, source: &str) {
    until(&format!("{source} to have acknowledged everything"), async || {
        let status = status(api, source).await;
        (status["connected"] == true && status["waiting_for_ack"] == 0).then_some(())
    })
    .await;
}

/// The values that are stored of a sensor, in the order of their times.
pub async fn values(api: &Api, sensor: &str) -> Vec<f64> {
    let answer = api.try_get(&format!("/api/sensors/{sensor}")).await.unwrap();
    match answer.status {
        404 => Vec::new(),
        _ => api
            .readings(sensor)
            .await
            .into_iter()
            .map(|(_, value)| value)
            .collect(),
    }
}

/// Waits until as many values are stored of a sensor, which must be all from 0 on, each once, in the order of their times.
pub async fn has_all(api: &Api, sensor: &str, count: usize) {
    until(
        &format!("{count} readings of {sensor} to be stored"),
        async || {
            let answer = api
                .try_get(&format!("/api/sensors/{sensor}/ledger"))
                .await
                .unwrap();
            (answer.status == 200 && number(&answer.body["stored"]) >= count as u64).then_some(())
        },
    )
    .await;
    let values = values(api, sensor).await;
    let distinct: BTreeSet<usize> = values.iter().map(|value| *value as usize).collect();
    let missing: Vec<usize> = (0..count).filter(|value| !distinct.contains(value)).collect();
    assert!(missing.is_empty(), "{sensor} lacks {missing:?}");
    assert_eq!(
        (values.len(), distinct.len()),
        (count, count),
        "{sensor} has too many"
    );
    let disorder = values.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert_eq!(disorder, 0, "{sensor} has values in disorder");
}
