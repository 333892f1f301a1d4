//! Asking an instance, as anybody would.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use sensorhive::domain::Timestamp;
use serde_json::{Value, json};

use crate::instance::until;

#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

/// An answer: status, `Retry-After`, body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: Value,
}

impl Api {
    pub fn new(address: SocketAddr, token: &str) -> Self {
        sensorhive::tls::install_provider();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(120));
        Self {
            client: client.build().unwrap(),
            base: format!("http://{address}"),
            token: token.to_owned(),
        }
    }

    /// A request of the admin, to be sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.bearer_auth(&self.token)
    }

    /// `http://host:port`
    #[allow(dead_code, reason = "the tests of Kafka share this file")]
    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        Answer::read(self.request(Method::GET, path).send().await?).await
    }

    /// An answer that is not JSON.
    #[allow(dead_code, reason = "others share this file")]
    pub async fn text(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.base));
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        answer.text().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.try_get(path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Without a token, as a device would.
    pub async fn try_ingest(&self, payload: &Value) -> reqwest::Result<Answer> {
        let request = self.client.post(format!("{}/api/ingest", self.base));
        Answer::read(request.json(payload).send().await?).await
    }

    pub async fn ingest(&self, payload: &Value) -> Answer {
        self.try_ingest(payload).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.base));
        let sent = request.bearer_auth(&self.token).json(body).send().await;
        Answer::read(sent.unwrap()).await.unwrap()
    }

    pub async fn command(&self, sensor: &str, command: &str, why: &str) {
        let path = format!("/api/admin/sensors/{sensor}/{command}");
        let answer = self.post(&path, &json!({ "why": why })).await;
        assert_eq!(answer.status, 202, "{command}: {}", answer.body);
    }

    /// Everything of a list, over all its pages.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{sign}limit=10000{cursor}")).await;
            found.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }

    /// Stored readings by time, as (µs, value).
    pub async fn readings(&self, sensor: &str) -> Vec<(i64, f64)> {
        let all = self
            .all(&format!("/api/sensors/{sensor}/readings?order=asc"))
            .await;
        let reading = |row: &Value| (time(&row["time"]).0, row["value"].as_f64().unwrap());
        all.iter().map(reading).collect()
    }

    pub async fn windows(&self, sensor: &str) -> Vec<Value> {
        self.all(&format!("/api/sensors/{sensor}/windows?order=asc"))
            .await
    }

    pub async fn mode(&self, sensor: &str) -> String {
        let body = self.get(&format!("/api/sensors/{sensor}")).await;
        body["mode"].as_str().unwrap().to_owned()
    }

    pub async fn ledger(&self, sensor: &str) -> Value {
        let ledger = self.get(&format!("/api/sensors/{sensor}/ledger")).await;
        assert_eq!(ledger["balances"], true, "{ledger}");
        ledger
    }

    /// The sum of all ledgers.
    pub async fn total(&self) -> Value {
        let total = self.get("/api/ledger").await["total"].clone();
        assert_eq!(total["balances"], true, "{total}");
        total
    }

    /// Waits until the sensor runs and has seen everything that is stored of it; its ledger then.
    pub async fn caught_up(&self, sensor: &str) -> Value {
        until(&format!("{sensor} to have caught up"), async || {
            // Asking for the state brings back one that is not in memory.
            let state = self.get(&format!("/api/sensors/{sensor}/state")).await;
            let ledger = self.ledger(sensor).await;
            (state["mode"] == "running" && ledger["unprocessed"] == 0).then_some(ledger)
        })
        .await
    }

    /// Windows, detectors and history of a sensor that runs.
    pub async fn state(&self, sensor: &str) -> Value {
        until(&format!("{sensor} to run"), async || {
            let mut inside = self.get(&format!("/api/sensors/{sensor}/state")).await;
            (inside["mode"] == "running").then(|| inside["state"].take())
        })
        .await
    }
}

impl Answer {
    async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let retry_after = response.headers().get("retry-after");
        Ok(Self {
            status: response.status().as_u16(),
            retry_after: retry_after.map(|value| value.to_str().unwrap().to_owned()),
            body: response.json().await?,
        })
    }
}

/// A time as answers write it.
pub fn time(text: &Value) -> Timestamp {
    let time = chrono::DateTime::parse_from_rfc3339(text.as_str().unwrap()).unwrap();
    Timestamp(time.timestamp_micros())
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}
