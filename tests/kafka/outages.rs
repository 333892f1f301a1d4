//! What the source stands on goes away for a while: the broker, or the database.

use std::time::Duration;

use sqlx::Connection;

use crate::instance::{Instance, report, until};
use crate::kafka::Broker;
use crate::plant::{self, detail, place, reaches, source, start, stored};
use crate::postgres::{Flavor, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_and_comes_back_loses_nothing() {
    let Some(broker) = Broker::private().await else {
        return;
    };
    let topic = broker.topic("dies", 3).await;
    let instance = start(&broker, &topic, "").await;
    let mut produced = 0;
    for round in 0..3 {
        topic.produce_records(plant::messages(produced, produced + 3_000, 6, 3));
        produced += 3_000;
        let enough = 3_000 * round + 300;
        until("some progress", async || {
            (stored(&instance.place).await.sum() > enough).then_some(())
        })
        .await;
        broker.kill();
        until("it to be noticed", async || {
            let detail = detail(&instance.api).await;
            (detail["errors"].as_u64()? > 0 && detail["last_error"].is_object()).then_some(())
        })
        .await;
        assert_eq!(
            instance
                .api
                .try_get("/healthz")
                .await
                .map(|answer| answer.status)
                .unwrap_or(200),
            200
        );
        broker.start().await;
    }
    let stored = reaches(&instance.place, produced as i64).await;
    assert_eq!((stored.rows, stored.letters), (produced as i64, 0));
    assert_eq!(source(&instance.api).await["crashes"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_it_starts_and_reads_when_there_is_one() {
    let Some(broker) = Broker::private().await else {
        return;
    };
    let topic = broker.topic("absent", 1).await;
    topic.produce_records(plant::messages(0, 500, 2, 1));
    broker.kill();
    let mut instance = start(&broker, &topic, "").await;
    until("it to be noticed", async || {
        (detail(&instance.api).await["errors"].as_u64()? > 0).then_some(())
    })
    .await;
    // It can be stopped, too.
    instance.sigterm();
    assert!(instance.ended().await.success(), "{}", instance.place.log());
    let instance = instance.again(&[]).await;
    broker.start().await;
    reaches(&instance.place, 500).await;
}

/// Small, so that it is used up; what it takes in memory at most is far below the growth allowed.
const FLAGS: [&str; 2] = ["limits.readings_in_flight=20000", "limits.batch_readings=1000"];
const GROWTH: u64 = 160 << 20;
const MESSAGES: u64 = 200_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_partitions_are_paused_memory_is_bounded_and_it_goes_on() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("locked", 4).await;
    // So short that a client which is not polled would be thrown out of the group.
    let more = "options = { 'max.poll.interval.ms' = 6000, 'session.timeout.ms' = 6000 }";
    let place = place(broker, &topic, more, &FLAGS);
    let instance = Instance::start(&place).await;
    topic.produce_records(plant::messages(0, 1_000, 8, 4));
    reaches(&place, 1_000).await;
    let rebalances = detail(&instance.api).await["rebalances"].clone();
    let before = instance.resident();

    let mut lock = place.connect().await;
    let mut transaction = lock.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlx::query("UPDATE positions SET updated_at = updated_at")
        .execute(&mut *transaction)
        .await
        .unwrap();
    topic.produce_records(plant::messages(1_000, MESSAGES, 8, 4));
    let mut peak = before;
    until("all partitions to be paused", async || {
        peak = peak.max(instance.resident());
        let source = source(&instance.api).await;
        let partitions = source["status"]["kafka"]["partitions"].as_array()?;
        let paused = partitions.iter().all(|partition| partition["paused"] == true);
        (source["status"]["state"] == "waiting" && paused).then_some(())
    })
    .await;
    // Longer than the client may go without being polled.
    let held = std::time::Instant::now();
    until("a while to pass", async || {
        peak = peak.max(instance.resident());
        (held.elapsed() > Duration::from_secs(15)).then_some(())
    })
    .await;
    assert_eq!(stored(&place).await.sum(), 1_000);
    transaction.rollback().await.unwrap();
    let stored = reaches(&place, MESSAGES as i64).await;
    assert_eq!((stored.rows, stored.duplicate), (MESSAGES as i64, 0));
    assert!(
        peak < before + GROWTH,
        "memory grew from {before} to {peak} bytes"
    );
    let detail = detail(&instance.api).await;
    assert_eq!(detail["rebalances"], rebalances, "it was thrown out of its group");
    report(&format!(
        "kafka: database locked: all partitions paused, memory {} MiB before and {} MiB at most, then {MESSAGES} messages = {} \
         rows, 0 duplicates, no rebalance",
        before >> 20,
        peak >> 20,
        stored.rows
    ));
}

/// As when another process claims partitions that the group has not taken from us yet: of two owners the later one commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_has_claimed_is_not_stored_and_is_claimed_anew_after_a_restart() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("claimed", 2).await;
    let instance = start(broker, &topic, "").await;
    topic.produce_records(plant::messages(0, 1_000, 4, 2));
    reaches(&instance.place, 1_000).await;
    let mut connection = instance.place.connect().await;
    sqlx::query("UPDATE positions SET epoch = epoch + 1 WHERE source = 'plant'")
        .execute(&mut connection)
        .await
        .unwrap();
    topic.produce_records(plant::messages(1_000, 4_000, 4, 2));
    let stored = reaches(&instance.place, 4_000).await;
    assert_eq!((stored.rows, stored.duplicate, stored.letters), (4_000, 0, 0));
    let source = source(&instance.api).await;
    assert!(source["status"]["retries"].as_u64().unwrap() > 0, "{source}");
    assert_eq!(source["crashes"], 1, "{source}");
    until("the figures for Prometheus", async || {
        let metrics = instance.api.text("/metrics").await;
        let told = |line: &str| metrics.contains(line).then_some(());
        told("sensorhive_kafka_lag{source=\"plant\",partition=\"")?;
        told("sensorhive_kafka_partitions{source=\"plant\"} 2")
    })
    .await;
}

/// How many messages the source says are stored.
async fn told(instance: &Instance) -> i64 {
    let detail = detail(&instance.api).await;
    let partitions = detail["partitions"].as_array().unwrap();
    partitions
        .iter()
        .filter_map(|partition| partition["position"].as_i64())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_server_that_is_killed_and_stopped_gets_every_message_once() {
    let (Some(broker), Some(server)) = (Broker::shared().await, Server::private().await) else {
        return;
    };
    let database = server.database(Flavor::Plain).await.unwrap();
    let topic = broker.topic("postgres", 3).await;
    let url = format!("storage.url={}", database.url());
    let place = place(broker, &topic, "", &[&url, FLAGS[0], FLAGS[1]]);
    let instance = Instance::start(&place).await;
    let mut produced = 0;
    for round in 0..4 {
        topic.produce_records(plant::messages(produced, produced + 30_000, 6, 3));
        produced += 30_000;
        let enough = 30_000 * round + 1_000;
        until("some progress", async || {
            (told(&instance).await > enough).then_some(())
        })
        .await;
        if round % 2 == 0 {
            server.kill();
        } else {
            server.stop().await;
        }
        until("it to be noticed", async || {
            let ready = instance.api.try_get("/readyz").await.unwrap();
            (ready.status == 503).then_some(())
        })
        .await;
        server.start().await;
    }
    until("everything to be stored", async || {
        (told(&instance).await == produced as i64).then_some(())
    })
    .await;
    let mut connection = database.connect().await;
    let rows: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM readings r JOIN series s ON s.id = r.series_id
         JOIN sensors e ON e.id = s.sensor_id WHERE e.sensor_id LIKE 'k%'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(rows, produced as i64);
    for number in 0..6 {
        let ledger = instance.api.ledger(&plant::sensor(number)).await;
        assert_eq!(
            (&ledger["stored"], &ledger["duplicate"]),
            (&(produced / 6).into(), &0.into()),
            "{ledger}"
        );
    }
    assert_eq!(source(&instance.api).await["crashes"], 0);
}
