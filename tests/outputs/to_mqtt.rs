//! Topics of MQTT.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::instance::{Instance, Place, Starting, report, until};
use crate::mosquitto::{Broker, Options};
use crate::plant::{self, Came, NAMES, OUTPUT, SERIES, reaches, readings, stored};
use crate::subscriber::Subscriber;

fn place(broker: &Broker, version: &str) -> Arc<Place> {
    let settings = format!(
        "[outputs.{OUTPUT}]\nkind = 'mqtt'\nbrokers = ['{}']\nmatch = {{ sensor = 'o*' }}\nversion = '{version}'
         keep_alive = '2s'\nmax_in_flight = 20\n
         topics = {{ readings = 'hive/{{sensor_id}}/{{metric}}', windows = 'hive/{{sensor_id}}/{{metric}}/windows' }}
         {SERIES}",
        broker.url(),
    );
    Place::new(&settings, &[])
}

/// What came at topics of readings.
fn clean(subscriber: &Subscriber) -> Came {
    let mut came = Came::default();
    for (topic, payload) in subscriber.heard() {
        if topic.ends_with("/temperature") {
            came.take(&payload);
        }
    }
    came
}

async fn everything(version: &str) {
    let unlimited = Options::default().line("max_queued_messages 0");
    let Some(broker) = Broker::start(&unlimited).await else {
        return;
    };
    let subscriber = Subscriber::new(broker.address(), "hive/#").await;
    let instance = Instance::start(&place(&broker, version)).await;
    for step in 0..10 {
        stored(&instance.api, &readings(step * 20, step * 20 + 20)).await;
        stored(&instance.api, &readings(step * 20, step * 20 + 20)).await;
    }
    let mut late = plant::reading("o1", 1);
    late["timestamp"] = json!(plant::START + 1_500_000);
    stored(&instance.api, &json!([late])).await;
    let count = NAMES.len() * 200 + 1;
    let came = until("everything to have come", async || {
        let came = clean(&subscriber);
        (came.all >= count).then_some(came)
    })
    .await;
    assert_eq!((came.all, came.ids.len()), (count, count));
    came.is_all(&instance.api).await;
    let revised = until("the revised window", async || {
        let heard = subscriber.heard();
        let windows = heard
            .iter()
            .filter(|(topic, _)| topic == "hive/o1/temperature/windows");
        let mut windows = windows.map(|(_, payload)| serde_json::from_slice::<Value>(payload).unwrap());
        windows.find(|window| window["revision"] == 1)
    })
    .await;
    assert_eq!(revised["count"], 61);
    let topics: std::collections::BTreeSet<_> = subscriber
        .heard()
        .into_iter()
        .map(|(topic, _)| topic)
        .filter(|topic| topic.ends_with("/temperature"))
        .collect();
    assert_eq!(
        topics.into_iter().collect::<Vec<_>>(),
        [
            "hive/o\"'; drop table outbox; --<b>/temperature",
            "hive/o%2Fü%2B%23%25$/temperature",
            "hive/o1/temperature",
            "hive/o{metric}/temperature",
        ]
    );
    // Longer than the broker believes in a client that is silent.
    let before = plant::output(&instance.api).await["status"]["errors"].clone();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    stored(&instance.api, &readings(200, 201)).await;
    until("the rest to have come", async || {
        (clean(&subscriber).ids.len() == count + NAMES.len()).then_some(())
    })
    .await;
    let output = plant::output(&instance.api).await;
    assert_eq!(
        (&output["crashes"], &output["status"]["errors"]),
        (&json!(0), &before),
        "{output}"
    );
    assert!(!broker.log().contains("exceeded timeout"), "{}", broker.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_stored_is_published_once_with_version_3() {
    everything("3.1.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_stored_is_published_once_with_version_5() {
    everything("5").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_5_has_the_id_in_a_property() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let address = broker.address();
    let options = MqttOptions::new("listener", address.ip().to_string(), address.port());
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("hive/o1/+", QoS::AtLeastOnce).await.unwrap();
    let instance = Instance::start(&place(&broker, "5")).await;
    loop {
        if let Event::Incoming(Packet::SubAck(_)) = events.poll().await.unwrap() {
            break;
        }
    }
    stored(&instance.api, &readings(0, 1)).await;
    let message = loop {
        if let Event::Incoming(Packet::Publish(message)) = events.poll().await.unwrap() {
            break message;
        }
    };
    let body: Value = serde_json::from_slice(&message.payload).unwrap();
    let id = body["id"].as_str().unwrap().to_owned();
    let properties = message.properties.unwrap();
    assert_eq!(properties.user_properties, [("sensorhive-id".to_owned(), id)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_without_the_broker_it_publishes_everything_at_least_once() {
    let kept = Options::persistent().line("max_queued_messages 0");
    let Some(mut broker) = Broker::start(&kept).await else {
        return;
    };
    let subscriber = Subscriber::new(broker.address(), "hive/#").await;
    let place = place(&broker, "3.1.1");
    let mut instance = Instance::start(&place).await;
    let mut next = 0;
    for round in 0..6 {
        if round % 2 == 1 {
            // Sessions are on disk when it ends.
            broker.stop().await;
        }
        for _ in 0..5 {
            stored(&instance.api, &readings(next, next + 50)).await;
            next += 50;
        }
        if round % 2 == 1 {
            reaches(&instance, "it to be noticed", |status| {
                status["last_error"].is_string() && status["waiting"]["records"].as_u64() >= Some(1_000)
            })
            .await;
            broker.again().await;
        } else {
            instance.kill9();
            instance = Starting::new(&place, &[])
                .ready(Some(instance.token.clone()))
                .await;
        }
    }
    let count = next as usize * NAMES.len();
    let came = until("everything to have come", async || {
        let came = clean(&subscriber);
        (came.ids.len() >= count).then_some(came)
    })
    .await;
    assert_eq!(came.ids.len(), count);
    came.is_all(&instance.api).await;
    report(&format!(
        "outputs: mqtt: 3 x kill -9, 3 x broker away: {count} stored, {} messages, {} ids, in order",
        came.all,
        came.ids.len()
    ));
}
