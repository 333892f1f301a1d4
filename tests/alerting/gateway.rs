//! A gateway with a thousand sensors goes silent, and comes back: a mail each.

use serde_json::{Value, json};

use crate::instance::Instance;
use crate::smtp::{Options, Server};
use crate::support::*;

const SENSORS: usize = 1_000;

fn all(second: i64) -> Value {
    let one = |sensor: usize| {
        let mut said = reading(&format!("sensor-{sensor}"), second, 1.0);
        said["tags"] = json!({"gateway": "gw-3"});
        said
    };
    (0..SENSORS).map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sensors_that_go_silent_are_one_mail() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let place = place(
        &server,
        "group_wait = '4s'",
        "[[rules]]\nname = 'silent'\nmatch = { sensor = 'sensor-*' }\ncondition = { silence = '15s' }\nlevel = 'error'",
    );
    let instance = Instance::start(&place).await;
    assert_eq!(instance.api.ingest(&all(0)).await.status, 200);
    let silent = server.received(1).await;
    assert_eq!(
        number(&place, "SELECT count(*) FROM alerts WHERE state = 'firing'").await,
        SENSORS as i64
    );
    assert_eq!(
        number(&place, "SELECT count(*) FROM notified_alerts").await,
        SENSORS as i64
    );
    assert_eq!(instance.api.ingest(&all(60)).await.status, 200);
    let back = server.received(2).await;
    assert_eq!(back.len(), 2, "one mail each");
    report(&format!(
        "a gateway with {SENSORS} sensors: {:?}, then {:?}",
        subject(&silent[0]),
        subject(&back[1])
    ));
    assert!(subject(&back[1]).contains("RESOLVED"), "{}", subject(&back[1]));
    let references = message(&back[1]).in_reply_to().as_text().map(str::to_owned);
    assert_eq!(
        references.as_deref(),
        message(&silent[0]).message_id(),
        "one thread"
    );
    assert_eq!(number(&place, "SELECT count(*) FROM notifications").await, 2);
}
