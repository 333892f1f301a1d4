//! Batches that are given up: what was on its way with them is asked for again.

use rumqttc::QoS;
use sqlx::Executor;

use crate::api::number;
use crate::instance::until;
use crate::mosquitto::{Broker, Options};
use crate::publisher::{Message, publish};
use crate::support::{
    acknowledged, connected, entry, has_all, report, source, start, status, timeless, total,
};

/// What the database does not take.
const CURSED: usize = 66_600;
const ROUND: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_undelivered_comes_again_and_what_is_refused_is_put_aside() {
    let Some(broker) = Broker::start(&Options::default().line("max_inflight_messages 0")).await else {
        return;
    };
    let more = "qos = 2\ntopics = ['plant/+sensor_id/+metric']";
    let (place, instance) = start(&source("plant", &broker, more)).await;
    let api = &instance.api;
    connected(api, "plant").await;
    // One that is not stored cannot have a ledger of its own.
    publish(
        broker.address(),
        &timeless("plant", "bad", 0..1, QoS::AtLeastOnce),
    )
    .await;
    has_all(api, "bad", 1).await;
    let trigger = format!(
        "CREATE TRIGGER curse BEFORE INSERT ON readings WHEN NEW.value >= {CURSED}
         BEGIN SELECT RAISE(ABORT, 'a curse'); END"
    );
    let mut database = place.connect().await;
    database.execute(sqlx::AssertSqlSafe(trigger)).await.unwrap();
    let (mut published, mut cursed) = (0, 0);
    let undelivered = until("something to be undelivered", async || {
        let mut messages: Vec<Message> = Vec::new();
        for value in published..published + ROUND {
            messages.extend(timeless("plant", "good", value..value + 1, QoS::ExactlyOnce));
            if value % (ROUND / 3) == 0 {
                let value = CURSED + cursed;
                messages.extend(timeless("plant", "bad", value..value + 1, QoS::AtLeastOnce));
                cursed += 1;
            }
        }
        publish(broker.address(), &messages).await;
        published += ROUND;
        has_all(api, "good", published).await;
        let undelivered = number(&entry(api, "plant").await["status"]["retries"]);
        (undelivered > 0).then_some(undelivered)
    })
    .await;
    acknowledged(api, "plant").await;
    let sum = total(api).await;
    // What is refused leaves no row, so that it is refused again where its acknowledgement did not get through.
    assert!(
        sum.stored == published + 1 && sum.rejected >= cursed,
        "{cursed} were refused: {sum:?}"
    );
    let shown = status(api, "plant").await;
    assert_eq!(shown["sessions_lost"], 0, "{shown}");
    assert!(number(&shown["reconnects"]) >= undelivered, "{shown}");
    report(&format!(
        "{undelivered} batches undelivered among {published} messages: all stored once, {} came again, {cursed} refused by the database",
        sum.duplicate
    ));
}
