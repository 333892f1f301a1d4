//! The service dies while it reads.

use crate::instance::{Starting, report};
use crate::kafka::Broker;
use crate::plant::{self, place, reaches, stored};

const KILLS: u64 = 8;
const SENSORS: u64 = 12;
const EACH: u64 = 4_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_stores_every_message_once() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("crashes", 4).await;
    let place = place(broker, &topic, "consumers = 2", &["limits.batch_readings=200"]);
    let mut token = None;
    let mut killed_in_flight = 0;
    for kill in 0..KILLS {
        topic.produce_records(plant::messages(kill * EACH, (kill + 1) * EACH, SENSORS, 4));
        let mut instance = Starting::new(&place, &[]).ready(token.take()).await;
        // At another moment each time, which is one in the middle most times.
        crate::instance::until("some progress", async || {
            let sum = stored(&place).await.sum() as u64;
            (sum > kill * EACH + kill * 97).then_some(())
        })
        .await;
        instance.kill9();
        killed_in_flight += u64::from((stored(&place).await.sum() as u64) < (kill + 1) * EACH);
        token = Some(instance.token.clone());
    }
    let instance = Starting::new(&place, &[]).ready(token).await;
    let total = KILLS * EACH;
    let stored = reaches(&place, total as i64).await;
    assert_eq!((stored.rows, stored.letters), (total as i64, 0));
    // Positions and readings are stored together: nothing ever came twice.
    assert_eq!(stored.duplicate, 0, "{stored:?}");
    for sensor in 0..SENSORS {
        let expected: Vec<f64> = (0..total)
            .filter(|index| index % SENSORS == sensor)
            .map(|index| index as f64)
            .collect();
        let readings = instance.api.readings(&plant::sensor(sensor)).await;
        let values: Vec<f64> = readings.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, expected, "readings of sensor {sensor}");
    }
    assert!(
        killed_in_flight > 0,
        "it was never killed while messages were left"
    );
    report(&format!(
        "kafka: {KILLS} x kill -9, {killed_in_flight} of them in the middle: {total} messages = {} rows, {} duplicates",
        stored.rows, stored.duplicate
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_stores_what_is_under_way_and_leaves_the_group() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("stop", 2).await;
    topic.produce_records(plant::messages(0, 30_000, 6, 2));
    let mut instance = plant::start(broker, &topic, "").await;
    crate::instance::until("some progress", async || {
        (stored(&instance.place).await.sum() > 500).then_some(())
    })
    .await;
    instance.sigterm();
    let status = instance.ended().await;
    assert!(status.success(), "{}", instance.place.log());
    let before = stored(&instance.place).await.balanced();
    assert_eq!(before.sum(), before.rows);
    // The group knows as much as the database, at the end.
    let group = plant::group(&topic);
    for (partition, offset) in &before.positions {
        let number = partition.rsplit('/').next().unwrap().parse().unwrap();
        let told = tokio::task::block_in_place(|| broker.committed(&group, &topic.name, number));
        assert_eq!(told, Some(*offset), "{partition}");
    }
    let instance = instance.again(&[]).await;
    let stored = reaches(&instance.place, 30_000).await;
    assert_eq!((stored.rows, stored.duplicate), (30_000, 0));
}

/// A member that was killed is waited for, here for longer than any test; one with a name takes its own place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_name_of_its_own_a_killed_process_has_its_partitions_back_at_once() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("named", 3).await;
    let more = "consumers = 2\noptions = { 'group.instance.id' = 'hive', 'session.timeout.ms' = 300000 }";
    let mut instance = plant::start(broker, &topic, more).await;
    for round in 0..3 {
        topic.produce_records(plant::messages(round * 300, (round + 1) * 300, 6, 3));
        reaches(&instance.place, (round as i64 + 1) * 300).await;
        instance.kill9();
        instance = instance.again(&[]).await;
    }
    topic.produce_records(plant::messages(900, 1_000, 6, 3));
    let stored = reaches(&instance.place, 1_000).await;
    assert_eq!((stored.rows, stored.duplicate), (1_000, 0));
}
