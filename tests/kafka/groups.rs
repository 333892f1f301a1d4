//! Partitions go from one consumer to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::instance::until;
use crate::kafka::Broker;
use crate::plant::{self, detail, reaches, start, stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_in_the_group_takes_partitions_and_gives_them_back_and_nothing_is_read_twice() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("guest", 4).await;
    let instance = start(broker, &topic, "").await;
    topic.produce_records(plant::messages(0, 4_000, 8, 4));
    reaches(&instance.place, 4_000).await;

    let mut config = broker.config();
    config
        .set("group.id", plant::group(&topic))
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "1500")
        .set("heartbeat.interval.ms", "300")
        .set("partition.assignment.strategy", "cooperative-sticky");
    let guest: BaseConsumer = config.create().unwrap();
    guest.subscribe(&[&topic.name]).unwrap();
    let guest = Arc::new(guest);
    let stays = Arc::new(AtomicBool::new(true));
    // It reads and stores nothing: what it had is ours to read when it has gone.
    let visit = std::thread::spawn({
        let (guest, stays) = (guest.clone(), stays.clone());
        move || {
            while stays.load(Ordering::Relaxed) {
                let _ = guest.poll(Duration::from_millis(50));
            }
            guest.unsubscribe();
            let _ = guest.poll(Duration::from_millis(500));
        }
    });
    until("the guest to have his share", async || {
        let his = guest.assignment().unwrap().count();
        (his == 2 && detail(&instance.api).await["assigned"] == 2).then_some(())
    })
    .await;
    topic.produce_records(plant::messages(4_000, 8_000, 8, 4));
    until("our half", async || {
        (stored(&instance.place).await.sum() == 6_000).then_some(())
    })
    .await;
    stays.store(false, Ordering::Relaxed);
    visit.join().unwrap();
    let stored = reaches(&instance.place, 8_000).await;
    assert_eq!((stored.rows, stored.duplicate), (8_000, 0));
    let detail = detail(&instance.api).await;
    assert_eq!(detail["assigned"], 4);
    assert!(detail["rebalances"].as_u64().unwrap() >= 3, "{detail}");
}

/// More consumers than partitions: one is idle, and leaves as well as the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_of_a_group_hand_over_to_each_other() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("two", 2).await;
    let options = "consumers = 3\noptions = { 'session.timeout.ms' = 30000, 'heartbeat.interval.ms' = 300 }";
    let mut first = start(broker, &topic, options).await;
    topic.produce_records(plant::messages(0, 1_000, 4, 2));
    reaches(&first.place, 1_000).await;
    first.sigterm();
    assert!(first.ended().await.success(), "{}", first.place.log());
    // On a database of its own, so that only the group knows where the first one was.
    let second = start(broker, &topic, options).await;
    topic.produce_records(plant::messages(1_000, 1_500, 4, 2));
    let stored = reaches(&second.place, 1_500).await;
    assert_eq!((stored.rows, stored.letters), (500, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let mut topic = broker.topic("added", 1).await;
    let more = "options = { 'topic.metadata.refresh.interval.ms' = 200 }";
    let instance = start(broker, &topic, more).await;
    topic.produce_records(plant::messages(0, 100, 2, 1));
    reaches(&instance.place, 100).await;
    topic.add_partitions(2).await;
    topic.produce_records(plant::messages(100, 200, 2, 2));
    let stored = reaches(&instance.place, 200).await;
    assert_eq!((stored.rows, stored.positions.len()), (200, 2));
}

/// The protocol in which the brokers assign partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_the_newer_protocol_are_joined_as_well() {
    let Some(broker) = Broker::shared().await else {
        return;
    };
    let topic = broker.topic("newer", 3).await;
    let more = "consumers = 2\noptions = { 'group.protocol' = 'consumer' }";
    let instance = start(broker, &topic, more).await;
    topic.produce_records(plant::messages(0, 3_000, 6, 3));
    reaches(&instance.place, 3_000).await;
    until("all partitions to be shared", async || {
        (detail(&instance.api).await["assigned"] == 3).then_some(())
    })
    .await;
    topic.produce_records(plant::messages(3_000, 6_000, 6, 3));
    let stored = reaches(&instance.place, 6_000).await;
    assert_eq!((stored.rows, stored.duplicate), (6_000, 0));
}
