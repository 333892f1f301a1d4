//! kill -9 of the service in mid-flight: what the broker took is stored, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rumqttc::QoS;

use crate::instance::{Instance, Place, until};
use crate::mosquitto::{Broker, Options};
use crate::postgres::{Flavor, Server};
use crate::publisher::publish;
use crate::support::{acknowledged, has_all, report, source, timeless, total};

const KILLS: usize = 12;
/// Published at once by each publisher.
const ROUND: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_mid_flight_every_message_is_stored_once() {
    killed("SQLite", &[], KILLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_a_server_every_message_is_stored_once() {
    let Some(server) = Server::shared().await else {
        return;
    };
    let Some(database) = server.database(Flavor::Plain).await else {
        return;
    };
    let url = format!("storage.url={}", database.url());
    killed("PostgreSQL", &[&url, "storage.timescaledb=off"], KILLS / 2).await;
}

async fn killed(store: &str, flags: &[&str], kills: usize) {
    let Some(broker) = Broker::start(&Options::default()).await else {
        return;
    };
    let kinds = [
        ("q1v3", "3.1.1", 1),
        ("q2v3", "3.1.1", 2),
        ("q1v5", "5", 1),
        ("q2v5", "5", 2),
    ];
    let settings: String = kinds
        .iter()
        .map(|(name, version, qos)| {
            let more = format!("version = '{version}'\nqos = {qos}\ntopics = ['{name}/+sensor_id/+metric']");
            source(name, &broker, &more)
        })
        .collect();
    let place = Place::new(&settings, flags);
    let mut instance = Instance::start(&place).await;
    // Before anything is published, the broker must know us.
    for (name, _, _) in kinds {
        crate::support::connected(&instance.api, name).await;
    }
    let goal = Arc::new(AtomicUsize::new(usize::MAX));
    let publishers = kinds.map(|(name, _, qos)| {
        let (address, goal) = (broker.address(), goal.clone());
        let qos = if qos == 1 {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        tokio::spawn(async move {
            let mut published = 0;
            while published < goal.load(Ordering::Relaxed) {
                // Values without times: a message that is counted twice would be another reading.
                publish(address, &timeless(name, name, published..published + ROUND, qos)).await;
                published += ROUND;
            }
            published
        })
    });
    for kill in 0..kills {
        let before = total(&instance.api).await.stored;
        until("something to be stored", async || {
            (total(&instance.api).await.stored > before).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(17 * kill as u64)).await;
        instance.kill9();
        instance = instance.again(&[]).await;
    }
    goal.store(0, Ordering::Relaxed);
    let mut all = 0;
    for (publisher, (name, _, _)) in publishers.into_iter().zip(kinds) {
        let published = publisher.await.unwrap();
        has_all(&instance.api, name, published).await;
        acknowledged(&instance.api, name).await;
        all += published;
    }
    let sum = total(&instance.api).await;
    assert_eq!(sum.stored, all, "{sum:?}");
    assert_eq!(sum.rejected, 0, "{sum:?}");
    report(&format!(
        "killed {kills} times before {store}: {all} messages without times stored once each, {} came again",
        sum.duplicate
    ));
}
