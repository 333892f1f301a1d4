//! Who publishes: a client that knows which of its messages the broker has taken.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, ConnectionError, Event, MqttOptions, Outgoing, Packet, QoS};

use crate::instance::PATIENCE;

#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
}

impl Message {
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>, qos: QoS) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain: false,
        }
    }

    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }
}

async fn try_publish(broker: SocketAddr, messages: &[Message]) -> Result<(), ConnectionError> {
    let id = format!("publisher-{}", getrandom::u64().unwrap());
    let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(60));
    options.set_max_packet_size(64 << 20, 64 << 20);
    // As many as Mosquitto takes of QoS 2.
    options.set_inflight(20);
    let (client, mut events) = AsyncClient::new(options, messages.len() + 2);
    for message in messages {
        let Message {
            topic,
            payload,
            qos,
            retain,
        } = message.clone();
        client.publish(topic, qos, retain, payload).await.unwrap();
    }
    let expected = messages
        .iter()
        .filter(|message| message.qos != QoS::AtMostOnce)
        .count();
    let (mut sent, mut taken) = (0, 0);
    while sent < messages.len() || taken < expected {
        match events.poll().await? {
            Event::Outgoing(Outgoing::Publish(_)) => sent += 1,
            Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => taken += 1,
            _ => {}
        }
    }
    client.disconnect().await.unwrap();
    while !matches!(events.poll().await?, Event::Outgoing(Outgoing::Disconnect)) {}
    Ok(())
}

/// Publishes everything, over one connection. When it returns the broker has taken all of it.
pub async fn publish(broker: SocketAddr, messages: &[Message]) {
    let published = tokio::time::timeout(PATIENCE, try_publish(broker, messages)).await;
    published.expect("the broker does not take it").unwrap();
}
