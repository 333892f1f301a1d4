//! Retained messages, topics that say who is there, and topics that are no longer listened to.

use rumqttc::QoS;

use crate::api::number;
use crate::instance::{Place, Starting, until};
use crate::mosquitto::{Broker, Options};
use crate::publisher::{Message, publish};
use crate::support::{
    acknowledged, connected, has_all, source, start, status, stored, tell, timeless, total, values,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_value_is_one_reading_however_often_it_comes() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let settings = [
        source("old", &broker, "topics = ['plant/+sensor_id/+metric']"),
        source(
            "new",
            &broker,
            "version = '5'\ndefault_sensor = 'five'\ntopics = ['plant/+/+metric']",
        ),
        source(
            "unsure",
            &broker,
            "qos = 0\ndefault_sensor = 'zero'\ntopics = ['plant/+/+metric']",
        ),
        source(
            "blind",
            &broker,
            "retained = 'ignore'\ndefault_sensor = 'none'\ntopics = ['plant/+/+metric']",
        ),
    ];
    let retained = timeless("plant", "s1", 0..1, QoS::AtLeastOnce)
        .remove(0)
        .retained();
    publish(broker.address(), &[retained]).await;
    let (_place, mut instance) = start(&settings.concat()).await;
    stored(&instance.api, 3).await;
    for _ in 0..2 {
        instance = instance.again(&[]).await;
        for name in ["old", "new", "unsure", "blind"] {
            connected(&instance.api, name).await;
        }
        until("it to have come", async || {
            let unsure = status(&instance.api, "unsure").await;
            (unsure["received_qos0"] == 1).then_some(())
        })
        .await;
        tell(&instance.api, "unsure", "restart").await;
        until("it to have come again", async || {
            let old = status(&instance.api, "old").await;
            let unsure = status(&instance.api, "unsure").await;
            (old["received_qos1"] == 1 && number(&unsure["received_qos0"]) == 2).then_some(())
        })
        .await;
        acknowledged(&instance.api, "old").await;
    }
    // One that is not retained, with the same value, is another reading.
    publish(broker.address(), &timeless("plant", "s1", 0..1, QoS::AtLeastOnce)).await;
    until("the live one to be stored", async || {
        (values(&instance.api, "none").await == [0.0]).then_some(())
    })
    .await;
    for sensor in ["s1", "five", "zero"] {
        until("the live one to be stored", async || {
            (values(&instance.api, sensor).await == [0.0, 0.0]).then_some(())
        })
        .await;
    }
    assert!(total(&instance.api).await.duplicate >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_will_says_that_a_sensor_is_away() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let more = "topics = ['plant/+sensor_id/+metric']\nstatus = { topics = ['state/+sensor_id'], offline = ['offline', 'gone'] }";
    let (_place, instance) = start(&source("plant", &broker, more)).await;
    connected(&instance.api, "plant").await;
    let say = |payload: &str| Message::new("state/pump", payload, QoS::AtLeastOnce);
    publish(broker.address(), &[say("online"), say("gone"), say("online")]).await;
    stored(&instance.api, 3).await;
    assert_eq!(values(&instance.api, "pump").await, [1.0, 0.0, 1.0]);
    let pump = instance.api.get("/api/sensors/pump").await;
    assert!(pump.to_string().contains("online"), "{pump}");
    publish(broker.address(), &[say("perhaps")]).await;
    until("it to be put aside", async || {
        (total(&instance.api).await.rejected == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_taken_out_of_the_settings_is_ignored() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let both = source(
        "plant",
        &broker,
        "client_id = 'hive'\ntopics = ['a/+sensor_id/+metric', 'b/+sensor_id/+metric']",
    );
    let (_place, mut instance) = start(&both).await;
    connected(&instance.api, "plant").await;
    instance.kill9();
    let one = Place::new(
        &source(
            "plant",
            &broker,
            "client_id = 'hive'\ntopics = ['a/+sensor_id/+metric']",
        ),
        &[],
    );
    let instance = Starting::new(&one, &[]).ready(None).await;
    connected(&instance.api, "plant").await;
    publish(broker.address(), &timeless("b", "s1", 0..5, QoS::AtLeastOnce)).await;
    publish(broker.address(), &timeless("a", "s1", 0..5, QoS::AtLeastOnce)).await;
    stored(&instance.api, 5).await;
    acknowledged(&instance.api, "plant").await;
    has_all(&instance.api, "s1", 5).await;
    assert_eq!(status(&instance.api, "plant").await["ignored"], 5);
}
