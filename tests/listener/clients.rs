//! Devices that others wrote: Mosquitto's program and the crate rumqttc.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};

use crate::device::*;
use crate::instance::PATIENCE;
use crate::mosquitto::publisher;

#[tokio::test]
async fn mosquitto_pub_publishes_with_every_version_and_qos() {
    let Some(_) = publisher() else { return };
    let instance = start(&[]).await;
    let port = instance.mqtt.unwrap().port().to_string();
    for version in ["mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let sensor = format!("{version}-{qos}");
            let payload = String::from_utf8(dated(&sensor, 1)).unwrap();
            let output = publisher()
                .unwrap()
                .args([
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port,
                    "-V",
                    version,
                    "-q",
                    qos,
                    "-t",
                    "a/b",
                    "-m",
                    &payload,
                ])
                .args(["--will-topic", "w", "--will-payload", &payload, "-r"])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            crate::instance::until("it to be stored", async || {
                let ledger = instance
                    .api
                    .try_get(&format!("/api/sensors/{sensor}/ledger"))
                    .await
                    .unwrap();
                (ledger.body["stored"] == 1).then_some(())
            })
            .await;
        }
    }
    let refused = publisher()
        .unwrap()
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-V",
            "mqttv5",
            "-q",
            "1",
            "-t",
            "a/b",
            "-m",
            "nonsense",
        ])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Payload format invalid"));
}

#[tokio::test]
async fn rumqttc_publishes_many_messages_with_a_window() {
    let instance = start(&["mqtt_listener.receive_maximum=20"]).await;
    for (qos, sensor) in [(QoS::AtLeastOnce, "one"), (QoS::ExactlyOnce, "two")] {
        let mut options = MqttOptions::new(sensor, "127.0.0.1", instance.mqtt.unwrap().port());
        options.set_inflight(60).set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 10);
        let publish = async {
            for value in 0..2000 {
                client
                    .publish("t", qos, false, dated(sensor, value))
                    .await
                    .unwrap();
            }
        };
        let answers = async {
            let mut answered = 0;
            while answered < 2000 {
                if let Event::Incoming(Incoming::PubAck(_) | Incoming::PubComp(_)) =
                    events.poll().await.unwrap()
                {
                    answered += 1;
                }
            }
        };
        let both = futures_util::future::join(publish, answers);
        tokio::time::timeout(PATIENCE, both).await.unwrap();
        assert_eq!(instance.api.readings(sensor).await.len(), 2000);
        assert_eq!(instance.api.ledger(sensor).await["duplicate"], 0);
    }
}
