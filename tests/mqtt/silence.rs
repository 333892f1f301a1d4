//! While the broker is away nobody is silent.

use std::time::Duration;

use rumqttc::QoS;
use sensorhive::actors::ingest::mqtt::{self, MqttOptions, MqttSource, Qos, TlsFiles, Version};
use sensorhive::actors::ingest::{Intake, IntakeSettings};
use sensorhive::decode::{JsonMapping, TopicPattern};

use crate::ear::{Ear, MINUTE};
use crate::instance::until;
use crate::mosquitto::{Broker, Options};
use crate::publisher::{Message, publish};

const TOPIC: &str = "plant/readings";

fn options(broker: &Broker) -> MqttOptions {
    MqttOptions {
        brokers: vec![mqtt::Broker {
            host: broker.address().ip().to_string(),
            port: broker.address().port(),
            tls: false,
        }],
        version: Version::V3,
        client_id: Some("ear".to_owned()),
        status: None,
        qos: Qos::AtLeastOnce,
        username: None,
        password_file: None,
        tls: TlsFiles::default(),
        session_expiry: Duration::from_secs(3_600),
        receive_maximum: 100,
        keep_alive: Duration::from_secs(30),
        max_packet: 1 << 20,
        retained: true,
    }
}

#[test]
fn a_broker_that_is_away_makes_nobody_silent_and_not_for_ever() {
    actix::System::new().block_on(async {
        let Some(mut broker) = Broker::start(&Options::persistent()).await else {
            return;
        };
        let mut ear = Ear::new().await;
        let mapping = JsonMapping {
            topics: vec![TopicPattern::try_from(TOPIC.to_owned()).unwrap()],
            ..JsonMapping::default()
        };
        let settings = IntakeSettings {
            mapping,
            ..ear.intake().settings().clone()
        };
        let intake = Intake::new(ear.source.clone(), ear.pipeline.rails.clone(), settings);
        let figures = ear.pipeline.metrics.mqtt.of(&ear.source);
        let (options, store) = (options(&broker), ear.pipeline.store.clone());
        let arbiter = ear.pipeline.arbiter();
        let _source = ear
            .pipeline
            .supervise(&arbiter, "ingest/plant", "Source", move || {
                MqttSource::new(options, intake, store, figures)
            });
        until("the subscription", async || {
            broker.log().contains("Sending SUBACK").then_some(())
        })
        .await;
        ear.deaf(false).await;
        let say = async |broker: &Broker, value| {
            let message = Message::new(TOPIC, ear.reading(value), QoS::AtLeastOnce);
            publish(broker.address(), &[message]).await;
        };
        say(&broker, 1).await;
        ear.stored(1).await;
        assert_eq!(ear.pass(MINUTE / 2), MINUTE / 2);

        broker.save().await;
        broker.kill();
        ear.deaf(true).await;
        assert_eq!(ear.pass(10 * MINUTE), 0);
        assert_eq!(ear.silences().await, []);

        broker.again().await;
        ear.deaf(false).await;
        assert_eq!(ear.pass(MINUTE / 4), MINUTE / 4);
        assert_eq!(ear.silences().await, []);
        assert_eq!(ear.pass(MINUTE / 4), MINUTE / 4);
        ear.missed(1).await;

        // Nor is anybody missed for ever whom other sources hear.
        say(&broker, 2).await;
        ear.stored(2).await;
        broker.kill();
        ear.deaf(true).await;
        assert_eq!(ear.pass(59 * MINUTE), 0);
        assert_eq!(ear.silences().await.len(), 1);
        ear.pass(3 * MINUTE);
        ear.missed(2).await;
        ear.end().await;
    });
}
