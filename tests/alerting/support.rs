//! An instance that mails to a server of the test's own.

use std::io::Write;
use std::sync::Arc;

use mail_parser::{Message, MessageParser};
use sensorhive::domain::Timestamp;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::api::Api;
use crate::instance::{Place, until};
use crate::smtp::{Received, Server};

/// Prints a line that `cargo test` does not capture.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "alerting test: {line}");
}

/// Receiver `ops` at the server; `alerting` is TOML of `[alerting]`, `more` of sections after it.
pub fn place(server: &Server, alerting: &str, more: &str) -> Arc<Place> {
    let port = server.port;
    Place::new(
        &format!(
            "[alerting]\n{alerting}\n[alerting.receivers.ops]\nkind = 'email'\nsmtp = 'smtp://127.0.0.1:{port}'
             from = 'hive@example.org'\nto = ['ops@example.org']\n[[alerting.routes]]\nreceiver = 'ops'\n{more}"
        ),
        &[],
    )
}

/// A reading of metric `t`.
pub fn reading(sensor: &str, second: i64, value: f64) -> Value {
    let time = Timestamp::from_seconds(1_730_332_800 + second).to_rfc3339();
    json!({"sensor_id": sensor, "metric": "t", "value": value, "timestamp": time})
}

pub fn message(mail: &Received) -> Message<'_> {
    MessageParser::default().parse(&mail.bytes).unwrap()
}

pub fn subject(mail: &Received) -> String {
    message(mail).subject().unwrap_or_default().to_owned()
}

/// Waits until everything that was stored is decided and sent.
pub async fn all_sent(place: &Place) {
    let waiting = "SELECT (SELECT count(*) FROM alert_events WHERE NOT noticed)
        + (SELECT count(*) FROM notifications WHERE state = 'waiting')
        + (SELECT count(*) FROM alert_groups WHERE body NOT LIKE '%\"due\":null%')";
    until("all to be sent", async || {
        (number(place, waiting).await == 0).then_some(())
    })
    .await;
}

/// A number that the database has.
pub async fn number(place: &Place, sql: &str) -> i64 {
    let mut connection = place.connect().await;
    let asked = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
    asked.fetch_one(&mut connection).await.unwrap()
}

/// Alerts that the API lists.
pub async fn alerts(api: &Api, query: &str) -> Vec<Value> {
    let body = api.get(&format!("/api/alerts?{query}")).await;
    body["data"].as_array().unwrap().clone()
}
