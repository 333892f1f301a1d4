//! Brokers that die, forget, or are not there.

use rumqttc::QoS;
use sqlx::Executor;

use crate::api::number;
use crate::instance::until;
use crate::mosquitto::{Broker, Options, free_port};
use crate::publisher::publish;
use crate::support::{
    acknowledged, connected, has_all, metrics, readings, report, source, start, status, stored, tell,
    timeless, total, values,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_keeps_its_sessions_is_killed_and_nothing_is_lost() {
    let Some(mut broker) = Broker::start(&Options::persistent()).await else {
        return;
    };
    let settings = ["3.1.1", "5"].map(|version| {
        let name = if version == "5" { "v5" } else { "v3" };
        source(
            name,
            &broker,
            &format!("version = '{version}'\nqos = 2\ntopics = ['{name}/+sensor_id/+metric']"),
        )
    });
    let (place, instance) = start(&settings.concat()).await;
    let api = &instance.api;
    for name in ["v3", "v5"] {
        connected(api, name).await;
        publish(broker.address(), &timeless(name, name, 0..100, QoS::AtLeastOnce)).await;
    }
    stored(api, 200).await;
    for round in 1..=3 {
        // Nothing can be acknowledged, so that there is something in flight as it dies.
        let mut other = place.connect().await;
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        for (name, qos) in [("v3", QoS::AtLeastOnce), ("v5", QoS::ExactlyOnce)] {
            let values = round * 100..(round + 1) * 100;
            publish(broker.address(), &timeless(name, name, values, qos)).await;
        }
        until("messages to be in flight", async || {
            let v3 = number(&status(api, "v3").await["waiting_for_ack"]);
            let v5 = number(&status(api, "v5").await["waiting_for_ack"]);
            (v3 > 0 && v5 > 0).then_some(())
        })
        .await;
        broker.save().await;
        broker.kill();
        if round == 2 {
            other.execute("ROLLBACK").await.unwrap();
            broker.again().await;
        } else {
            broker.again().await;
            other.execute("ROLLBACK").await.unwrap();
        }
        stored(api, (round + 1) * 200).await;
        for name in ["v3", "v5"] {
            acknowledged(api, name).await;
        }
    }
    for name in ["v3", "v5"] {
        has_all(api, name, 400).await;
        let status = status(api, name).await;
        assert_eq!(
            (&status["reconnects"], &status["sessions_lost"]),
            (&3.into(), &0.into()),
            "{status}"
        );
    }
    let sum = total(api).await;
    assert_eq!(sum.stored, 800, "{sum:?}");
    report(&format!(
        "broker with sessions on disk killed 3 times: nothing lost, {} messages came again",
        sum.duplicate
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_forgets_is_told_of_and_listened_to_again() {
    let Some(mut broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let (place, instance) = start(&source("plant", &broker, "topics = ['plant/#']")).await;
    connected(&instance.api, "plant").await;
    let messages = readings("plant", &["s1"], 300, QoS::AtLeastOnce);
    publish(broker.address(), &messages[..100]).await;
    stored(&instance.api, 100).await;
    acknowledged(&instance.api, "plant").await;
    tell(&instance.api, "plant", "pause").await;
    until("the source to let go", async || {
        (status(&instance.api, "plant").await["connected"] == false).then_some(())
    })
    .await;
    publish(broker.address(), &messages[100..200]).await;
    broker.kill();
    broker.again().await;
    tell(&instance.api, "plant", "resume").await;
    connected(&instance.api, "plant").await;
    // Its subscription is there again.
    publish(broker.address(), &messages[200..]).await;
    stored(&instance.api, 200).await;
    let shown = status(&instance.api, "plant").await;
    assert_eq!(shown["sessions_lost"], 1, "{shown}");
    assert!(
        place.log().contains("the broker has forgotten the session"),
        "{}",
        place.log()
    );
    let metrics = metrics(&instance.api).await;
    for line in [
        "sessions_lost_total{source=\"plant\"} 1",
        "connected{source=\"plant\"} 1",
    ] {
        assert!(metrics.contains(&format!("sensorhive_mqtt_{line}")), "{metrics}");
    }
    let lost = 300 - values(&instance.api, "s1").await.len();
    assert_eq!(lost, 100);
    // Also when it forgets while we are not there at all.
    acknowledged(&instance.api, "plant").await;
    let mut instance = instance;
    instance.kill9();
    broker.kill();
    broker.again().await;
    let instance = instance.again(&[]).await;
    connected(&instance.api, "plant").await;
    assert_eq!(status(&instance.api, "plant").await["sessions_lost"], 1);
    report(&format!(
        "broker without a store killed: {lost} messages that it had taken were lost with it, 2 sessions lost were counted"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_tried_in_turn() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let settings = format!(
        "\n[sources.plant]\nkind = 'mqtt'\nbrokers = ['mqtt://127.0.0.1:{}', '{}']\ntopics = ['plant/#']\n",
        free_port(),
        broker.url()
    );
    let (_place, instance) = start(&settings).await;
    connected(&instance.api, "plant").await;
    let shown = status(&instance.api, "plant").await;
    assert_eq!(shown["broker"], broker.url());
    assert_eq!(shown["last_error"], serde_json::Value::Null);
    publish(
        broker.address(),
        &readings("plant", &["s1"], 10, QoS::AtLeastOnce),
    )
    .await;
    stored(&instance.api, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_is_left() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let (_place, instance) = start(&source(
        "plant",
        &broker,
        "keep_alive = '1s'\ntopics = ['plant/#']",
    ))
    .await;
    let api = &instance.api;
    connected(api, "plant").await;
    broker.freeze();
    let error = until("the silence to be noticed", async || {
        let status = status(api, "plant").await;
        (status["connected"] == false).then(|| status["last_error"].as_str().unwrap_or_default().to_owned())
    })
    .await;
    assert!(error.contains("silent"), "{error}");
    broker.thaw();
    connected(api, "plant").await;
    publish(
        broker.address(),
        &readings("plant", &["s1"], 10, QoS::AtLeastOnce),
    )
    .await;
    stored(api, 10).await;
}
