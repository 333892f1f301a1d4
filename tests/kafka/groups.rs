//! Partitions go from one consumer to another.

use rdkafka::consumer::{BaseConsumer, Consumer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
        .set("partition.assignment.strategy", "cooperative-sticky");
    let guest: BaseConsumer = config.create().unwrap();
    guest.subscribe(&[&topic.name]).unwrap();
    let stays = Arc::new(AtomicBool::new(true));
    let staying = stays.clone();
    // It reads and stores nothing: what it had is ours to read when it has gone.
    let visit = std::thread::spawn(move || {
        while staying.load(Ordering::Relaxed) {
            let _ = guest.poll(Duration::from_millis(50));
        }
    });
    until("the guest to have his share", async || {
        (detail(&instance.api).await["assigned"] == 2).then_some(())
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
