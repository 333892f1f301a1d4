//! Somebody who subscribes, and whose session the broker keeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

/// Topic and payload.
type Heard = Vec<(String, Vec<u8>)>;

/// What came, in order.
#[derive(Clone, Default)]
pub struct Subscriber(Arc<Mutex<Heard>>);

impl Subscriber {
    /// Returns when it is subscribed. It ends with the test's runtime.
    pub async fn new(broker: SocketAddr, filter: &str) -> Self {
        let heard = Self::default();
        let id = format!("subscriber-{:08x}", getrandom::u32().unwrap());
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_clean_session(false);
        options.set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 10);
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let (told, subscribed) = tokio::sync::oneshot::channel();
        let mut told = Some(told);
        let list = heard.0.clone();
        tokio::spawn(async move {
            // The session outlives what it was asked for.
            let _client = client;
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(told.take().map(|told| told.send(()))),
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        list.lock().push((message.topic, message.payload.to_vec()));
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        subscribed.await.unwrap();
        heard
    }

    pub fn heard(&self) -> Heard {
        self.0.lock().clone()
    }
}
