//! Input that is no reading, or too much of one.

use rumqttc::QoS;
use serde_json::{Value, json};

use crate::api::Api;
use crate::instance::until;
use crate::mosquitto::{Broker, Options};
use crate::publisher::{Message, publish};
use crate::support::{
    START, acknowledged, connected, has_all, readings, source, start, status, stored, total,
};

async fn dead_letters(api: &Api, count: usize) -> Vec<Value> {
    until(&format!("{count} dead letters"), async || {
        let letters = api.all("/api/admin/dead-letters").await;
        (letters.len() >= count).then_some(letters)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_put_aside_and_holds_nothing_up() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let (_place, instance) = start(&source("plant", &broker, "topics = ['plant/#']")).await;
    connected(&instance.api, "plant").await;
    let deep = "[".repeat(50_000);
    let poison: [&[u8]; 6] = [
        b"not json",
        b"\xFF\xFE\x00",
        deep.as_bytes(),
        br#"{"sensor_id":"x","value":"NaN"}"#,
        br#"{"sensor_id":"'; DROP TABLE readings; --\r\n","value":1}"#,
        br#"{"sensor_id":"x","value":1,"timestamp":"9999-01-01T00:00:00Z"}"#,
    ];
    let mut messages = readings("plant", &["s1"], poison.len(), QoS::AtLeastOnce);
    for (index, payload) in poison.iter().enumerate() {
        messages.insert(
            2 * index,
            Message::new("plant/<script>", *payload, QoS::AtLeastOnce),
        );
    }
    // There is nothing in it: a retained message is deleted like this.
    messages.push(Message::new("plant/s1", "", QoS::AtLeastOnce));
    publish(broker.address(), &messages).await;
    stored(&instance.api, poison.len()).await;
    let letters = dead_letters(&instance.api, poison.len()).await;
    assert_eq!(letters.len(), poison.len(), "{letters:?}");
    assert!(
        letters
            .iter()
            .all(|letter| letter["position"] == "plant/<script>"),
        "{letters:?}"
    );
    has_all(&instance.api, "s1", poison.len()).await;
    acknowledged(&instance.api, "plant").await;
    let sum = total(&instance.api).await;
    assert_eq!(sum.rejected, poison.len(), "{sum:?}");
    assert_eq!(status(&instance.api, "plant").await["reconnects"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_put_aside_without_losing_the_connection() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let kinds = [
        ("v3", "3.1.1", QoS::AtLeastOnce),
        ("v5", "5", QoS::ExactlyOnce),
        ("v0", "5", QoS::AtMostOnce),
    ];
    let settings: String = kinds
        .iter()
        .map(|(name, version, qos)| {
            let more = format!(
                "version = '{version}'\nqos = {}\nmax_packet = '8KiB'\ntopics = ['{name}/#']",
                *qos as u8
            );
            source(name, &broker, &more)
        })
        .collect();
    let (_place, instance) = start(&settings).await;
    let large = format!(
        "{{\"sensor_id\":\"x\",\"value\":1,\"note\":\"{}\"}}",
        "y".repeat(3 << 20)
    );
    for (name, _, qos) in kinds {
        connected(&instance.api, name).await;
        let mut messages = readings(name, &[name], 20, qos);
        for place in [0, 7, 22] {
            messages.insert(place, Message::new(format!("{name}/large"), large.clone(), qos));
        }
        publish(broker.address(), &messages).await;
    }
    stored(&instance.api, 60).await;
    let letters = dead_letters(&instance.api, 9).await;
    assert_eq!(letters.len(), 9, "{letters:?}");
    for letter in &letters {
        assert_eq!(letter["reason"], "limit_reached", "{letter}");
        let detail = letter["detail"].as_str().unwrap();
        assert!(detail.contains("at most 8192 are allowed"), "{detail}");
    }
    for (name, _, _) in kinds {
        acknowledged(&instance.api, name).await;
        let status = status(&instance.api, name).await;
        assert_eq!(
            (&status["oversized"], &status["reconnects"]),
            (&3.into(), &0.into()),
            "{status}"
        );
        has_all(&instance.api, name, 20).await;
    }
    // The broker is not asked for them again.
    let instance = instance.again(&[]).await;
    for (name, _, _) in kinds {
        connected(&instance.api, name).await;
    }
    assert_eq!(total(&instance.api).await.received, 69);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_more_readings_than_a_batch_may_have_is_put_aside() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let settings = format!(
        "[limits]\nbatch_readings = 10\n{}",
        source("plant", &broker, "topics = ['plant/#']")
    );
    let (_place, instance) = start(&settings).await;
    connected(&instance.api, "plant").await;
    let flat = |metrics: usize| {
        let mut fields = json!({ "sensor_id": "s1", "timestamp": START + metrics as i64 });
        for metric in 0..metrics {
            fields[format!("m{metric}")] = metric.into();
        }
        Message::new("plant/s1", fields.to_string(), QoS::AtLeastOnce)
    };
    publish(broker.address(), &[flat(9), flat(200), flat(10), flat(11)]).await;
    stored(&instance.api, 19).await;
    let letters = dead_letters(&instance.api, 2).await;
    assert_eq!(letters.len(), 2, "{letters:?}");
    acknowledged(&instance.api, "plant").await;
    assert_eq!(status(&instance.api, "plant").await["reconnects"], 0);
}
