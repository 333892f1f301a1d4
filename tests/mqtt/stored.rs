//! What is published is stored: each QoS with each version, pauses, shared subscriptions, too much at once.

use rumqttc::QoS;
use sqlx::Executor;

use crate::api::number;
use crate::instance::until;
use crate::mosquitto::{Broker, Options};
use crate::publisher::publish;
use crate::support::{
    acknowledged, connected, entry, has_all, readings, report, source, start, status, stored, tell, timeless,
    total, values,
};

const MESSAGES: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_qos_of_both_versions_is_stored_once() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let kinds = [
        ("q0v3", "3.1.1", QoS::AtMostOnce),
        ("q1v3", "3.1.1", QoS::AtLeastOnce),
        ("q2v3", "3.1.1", QoS::ExactlyOnce),
        ("q0v5", "5", QoS::AtMostOnce),
        ("q1v5", "5", QoS::AtLeastOnce),
        ("q2v5", "5", QoS::ExactlyOnce),
    ];
    let settings: String = kinds
        .iter()
        .map(|(name, version, qos)| {
            let more = format!(
                "version = '{version}'\nqos = {}\ntopics = ['{name}/+sensor_id/+metric']",
                *qos as u8
            );
            source(name, &broker, &more)
        })
        .collect();
    let (_place, instance) = start(&settings).await;
    for (name, _, _) in kinds {
        connected(&instance.api, name).await;
    }
    let publishing = kinds.map(async |(name, _, qos)| {
        publish(broker.address(), &timeless(name, name, 0..MESSAGES, qos)).await;
    });
    futures_util::future::join_all(publishing).await;
    stored(&instance.api, kinds.len() * MESSAGES).await;
    for (name, _, qos) in kinds {
        has_all(&instance.api, name, MESSAGES).await;
        acknowledged(&instance.api, name).await;
        let status = status(&instance.api, name).await;
        assert_eq!(status[format!("received_qos{}", qos as u8)], MESSAGES, "{status}");
        assert_eq!(
            (&status["reconnects"], &status["lost_qos0"]),
            (&0.into(), &0.into()),
            "{status}"
        );
    }
    let sum = total(&instance.api).await;
    assert_eq!(sum.duplicate, 0, "{sum:?}");
    // Nothing is in flight any more, as the broker sees it: it sends nothing again.
    let instance = instance.again(&[]).await;
    for (name, _, _) in kinds {
        connected(&instance.api, name).await;
        let status = status(&instance.api, name).await;
        assert_eq!(status["sessions_lost"], 0, "{status}");
    }
    assert_eq!(total(&instance.api).await.received, kinds.len() * MESSAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_the_broker_keeps_what_comes() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let (_place, instance) = start(&source("plant", &broker, "topics = ['plant/#']")).await;
    let api = &instance.api;
    connected(api, "plant").await;
    let messages = readings("plant", &["s1"], 300, QoS::AtLeastOnce);
    publish(broker.address(), &messages[..100]).await;
    stored(api, 100).await;
    tell(api, "plant", "pause").await;
    until("the source to let go", async || {
        (status(api, "plant").await["connected"] == false).then_some(())
    })
    .await;
    assert_eq!(entry(api, "plant").await["status"]["state"], "paused");
    publish(broker.address(), &messages[100..200]).await;
    assert_eq!(total(api).await.stored, 100);
    tell(api, "plant", "resume").await;
    stored(api, 200).await;
    tell(api, "plant", "restart").await;
    publish(broker.address(), &messages[200..]).await;
    stored(api, 300).await;
    has_all(api, "s1", 300).await;
    assert_eq!(status(api, "plant").await["sessions_lost"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_subscription_is_shared() {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let settings = source(
        "plant",
        &broker,
        "version = '5'\ntopics = ['$share/hive/plant/+sensor_id/+metric']",
    );
    let (_first_place, first) = start(&settings).await;
    let (_second_place, second) = start(&settings).await;
    connected(&first.api, "plant").await;
    connected(&second.api, "plant").await;
    publish(
        broker.address(),
        &timeless("plant", "s1", 0..400, QoS::AtLeastOnce),
    )
    .await;
    let shares = until("both to have stored everything together", async || {
        let shares = [&first, &second].map(async |one| total(&one.api).await.stored);
        let shares = futures_util::future::join_all(shares).await;
        (shares.iter().sum::<usize>() >= 400).then_some(shares)
    })
    .await;
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    let mut all = values(&first.api, "s1").await;
    all.extend(values(&second.api, "s1").await);
    all.sort_by(f64::total_cmp);
    let expected: Vec<f64> = (0..400).map(f64::from).collect();
    assert!(all == expected, "{} values, of which some are wrong", all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_it_waits_and_stays_connected() {
    let Some(broker) = Broker::start(&Options::default().line("max_inflight_messages 0")).await else {
        return;
    };
    let settings = format!(
        "[limits]\nreadings_in_flight = 400\nbatch_readings = 100\n{}{}",
        source(
            "sure",
            &broker,
            "keep_alive = '2s'\nreceive_maximum = 200\ntopics = ['sure/#']"
        ),
        source(
            "unsure",
            &broker,
            "qos = 0\nkeep_alive = '2s'\nreceive_maximum = 200\ntopics = ['unsure/#']"
        ),
    );
    let (place, instance) = start(&settings).await;
    let api = &instance.api;
    for name in ["sure", "unsure"] {
        connected(api, name).await;
    }
    // Sensors are there before: one that is not cannot have a ledger while nothing can be stored.
    publish(broker.address(), &readings("sure", &["a"], 1, QoS::AtLeastOnce)).await;
    publish(broker.address(), &readings("unsure", &["b"], 1, QoS::AtMostOnce)).await;
    stored(api, 2).await;
    let mut other = place.connect().await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    publish(
        broker.address(),
        &readings("sure", &["a"], 3000, QoS::AtLeastOnce),
    )
    .await;
    publish(
        broker.address(),
        &readings("unsure", &["b"], 3000, QoS::AtMostOnce),
    )
    .await;
    until("something to be lost", async || {
        let status = status(api, "unsure").await;
        (number(&status["lost_qos0"]) > 0 && status["received_qos0"] == 3001).then_some(())
    })
    .await;
    // For longer than the broker would wait for a sign of life: two pings are a `keep_alive`.
    for name in ["sure", "unsure"] {
        let pings = || {
            broker
                .log()
                .matches(&format!("Received PINGREQ from sensorhive-{name}"))
                .count()
        };
        let before = pings();
        until("pings", async || (pings() >= before + 4).then_some(())).await;
    }
    for name in ["sure", "unsure"] {
        let status = status(api, name).await;
        assert_eq!(
            (&status["connected"], &status["reconnects"]),
            (&true.into(), &0.into()),
            "{status}"
        );
    }
    assert_eq!(entry(api, "sure").await["status"]["state"], "waiting");
    let waiting = number(&status(api, "sure").await["waiting_for_ack"]);
    assert!(waiting >= 200, "{waiting}");
    other.execute("ROLLBACK").await.unwrap();
    until("everything to be stored or lost", async || {
        let sum = total(api).await;
        let lost = number(&status(api, "unsure").await["lost_qos0"]) as usize;
        let known = sum.stored + sum.duplicate + lost;
        (known == 3000 + 1 + 3000 + 1).then_some(())
    })
    .await;
    has_all(api, "a", 3000).await;
    acknowledged(api, "sure").await;
    let lost = number(&status(api, "unsure").await["lost_qos0"]);
    report(&format!(
        "without a database: {waiting} messages with QoS 1 held, none lost; {lost} of 3000 with QoS 0 lost and counted"
    ));
}

/// What is remembered of messages without times is bounded by the window, not by how many come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_messages_without_times_come_few_rows_remember_them() {
    const MANY: usize = 10_000;
    const WINDOW: i64 = 100;
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let more = format!("receive_maximum = {WINDOW}\ntopics = ['many/+sensor_id/+metric']");
    let (place, instance) = start(&source("many", &broker, &more)).await;
    connected(&instance.api, "many").await;
    let began = std::time::Instant::now();
    publish(
        broker.address(),
        &timeless("many", "many", 0..MANY, QoS::AtLeastOnce),
    )
    .await;
    has_all(&instance.api, "many", MANY).await;
    let took = began.elapsed().as_secs_f64();
    acknowledged(&instance.api, "many").await;
    let mut database = place.connect().await;
    let count = async |sql: &'static str, database: &mut sqlx::SqliteConnection| -> i64 {
        sqlx::query_scalar(sql).fetch_one(database).await.unwrap()
    };
    let rows = count("SELECT count(*) FROM arrivals", &mut database).await;
    let positions = count(
        "SELECT count(*) FROM positions WHERE source = 'many'",
        &mut database,
    )
    .await;
    // Twice the window, on pages of 32, and one more.
    assert!((1..=2 * WINDOW / 32 + 2).contains(&rows), "{rows} rows");
    assert!(positions <= 2, "{positions} positions");
    report(&format!(
        "{MANY} messages without times: {rows} rows of arrivals, {positions} positions, {:.0} messages/s",
        MANY as f64 / took
    ));
}
