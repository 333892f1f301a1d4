//! While the brokers are away nobody is silent.

use std::time::Duration;

use sensorhive::actors::ingest::SourceCommand;
use sensorhive::actors::ingest::kafka::{KafkaParts, KafkaSource, Reset};
use sensorhive::startup::kafka;

use crate::ear::{Ear, MINUTE};
use crate::kafka::Broker;

#[test]
fn brokers_that_are_away_make_nobody_silent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(broker) = runtime.block_on(Broker::private()) else {
        return;
    };
    let topic = runtime.block_on(broker.topic("silence", 1));
    actix::System::new().block_on(async {
        let mut ear = Ear::new().await;
        let mut client = kafka::defaults();
        client
            .set("bootstrap.servers", broker.address())
            .set("group.id", &topic.name)
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "300");
        let parts = KafkaParts {
            intake: ear.intake(),
            store: ear.pipeline.store.clone(),
            metrics: ear.pipeline.metrics.clone(),
            ownership: ear.pipeline.ownership(),
            client,
            topics: vec![topic.name.clone()],
            reset: Reset::Earliest,
            consumers: 1,
            key_as_sensor: false,
            dead_letters: None,
            drain_timeout: Duration::from_secs(10),
            max_payload: 1 << 20,
        };
        let arbiter = ear.pipeline.arbiter();
        let (source, _handle) = ear
            .pipeline
            .supervise(&arbiter, "ingest/plant", "Source", move || {
                KafkaSource::new(parts)
            });
        topic.produce([(0, ear.reading(1).as_str())]);
        ear.stored(1).await;
        ear.deaf(false).await;
        assert_eq!(ear.pass(MINUTE / 2), MINUTE / 2);

        broker.kill();
        ear.deaf(true).await;
        assert_eq!(ear.pass(10 * MINUTE), 0);
        assert_eq!(ear.silences().await, []);

        // The broker wants another runtime than actors do.
        std::thread::scope(|scope| scope.spawn(|| runtime.block_on(broker.start())).join().unwrap());
        ear.deaf(false).await;
        topic.produce([(0, ear.reading(2).as_str())]);
        ear.stored(2).await;
        assert_eq!(ear.silences().await, []);
        source.send(SourceCommand::Pause).await.unwrap();
        ear.deaf(true).await;
        assert_eq!(ear.pass(10 * MINUTE), 0);
        source.send(SourceCommand::Resume).await.unwrap();
        ear.deaf(false).await;
        assert_eq!(ear.silences().await, []);
        ear.pass(2 * MINUTE);
        ear.missed(1).await;
        ear.end().await;
    });
}
