//! What is put into a service, and what must come out of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::{Api, number};
use crate::instance::{Instance, until};

/// 2026-05-01, in µs.
pub const START: i64 = 1_777_593_600_000_000;
/// The output's name everywhere here.
pub const OUTPUT: &str = "line";
/// Sensors whose names mean something elsewhere.
pub const NAMES: [&str; 4] = ["o1", "o/ü+#%$", "o\"'; drop table outbox; --<b>", "o{metric}"];

/// Windows of a minute that close at once, and a detector that finds jumps.
pub const SERIES: &str = "
[[series]]
match = { sensor = 'o*' }
windows = ['1m']
lateness = '0s'
detectors = [{ kind = 'jump', threshold = 500.0 }]
";

/// The `index`th reading of a sensor, one a second.
pub fn reading(sensor: &str, index: u64) -> Value {
    json!({
        "sensor_id": sensor, "metric": "temperature", "unit": "°C", "value": index as f64 / 4.0,
        "timestamp": START + index as i64 * 1_000_000,
    })
}

/// Readings `from..to` of every sensor.
pub fn readings(from: u64, to: u64) -> Value {
    let all = (from..to).flat_map(|index| NAMES.map(|sensor| reading(sensor, index)));
    Value::Array(all.collect())
}

/// Sends it, also again, until it is stored.
pub async fn stored(api: &Api, payload: &Value) {
    until("readings to be stored", async || {
        let answer = api.try_ingest(payload).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

pub fn path(sensor: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    format!("/api/sensors/{}", sensor.bytes().map(escaped).collect::<String>())
}

/// The sequences of all that is stored of a sensor, by time.
pub async fn sequences(api: &Api, sensor: &str) -> Vec<u64> {
    let rows = api.all(&format!("{}/readings?order=asc", path(sensor))).await;
    rows.iter().map(|row| number(&row["seq"])).collect()
}

pub async fn output(api: &Api) -> Value {
    let outputs = api.get("/api/outputs").await;
    let data = outputs["data"].as_array().unwrap();
    data.iter()
        .find(|output| output["name"] == OUTPUT)
        .unwrap()
        .clone()
}

pub async fn status(api: &Api) -> Value {
    output(api).await["status"].clone()
}

/// Waits until this is so of the status.
pub async fn reaches(instance: &Instance, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let status = status(&instance.api).await;
        is_so(&status).then_some(status)
    })
    .await
}

/// What came, as JSON, in the order in which it came for each sensor.
#[derive(Default)]
pub struct Came {
    pub of: BTreeMap<String, Vec<Value>>,
    pub all: usize,
    pub ids: BTreeMap<String, Value>,
}

impl Came {
    pub fn take(&mut self, payload: &[u8]) {
        let value: Value = serde_json::from_slice(payload).unwrap();
        let sensor = value["sensor_id"].as_str().unwrap().to_owned();
        let id = value["id"].as_str().unwrap().to_owned();
        self.all += 1;
        match self.ids.get(&id) {
            // What comes again is the same.
            Some(first) => assert_eq!(*first, value),
            None => {
                self.ids.insert(id, value.clone());
                self.of.entry(sensor).or_default().push(value);
            }
        }
    }

    /// Checks that all that is stored came, in order, and nothing else.
    pub async fn is_all(&self, api: &Api) {
        let names: BTreeSet<&str> = self.of.keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(NAMES));
        for sensor in NAMES {
            let mut stored = sequences(api, sensor).await;
            stored.sort_unstable();
            let came: Vec<u64> = self.of[sensor]
                .iter()
                .map(|value| number(&value["seq"]))
                .collect();
            assert!(came.is_sorted(), "{sensor} came out of order");
            assert_eq!(came, stored, "{sensor}");
        }
    }
}
