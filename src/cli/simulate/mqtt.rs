//! `simulate --mqtt`: readings published to a broker, one a message, with QoS 1.
//!
//! Invariant: a batch is done when the broker has taken all of it; after a lost connection all of it is published again. How
//! it fails: it goes on trying, and says why on standard error.

use std::time::Duration;

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS};

use crate::cli::exit::{CommandError, ExitCode};
use crate::settings::BrokerUrl;
use crate::simulate::SimulatedReading;

/// What stands for the sensor's id in a topic.
const SENSOR: &str = "{sensor_id}";
/// As many as Mosquitto sends on at once.
const IN_FLIGHT: u16 = 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Publisher {
    broker: BrokerUrl,
    topic: String,
    login: Option<(String, String)>,
    connection: Option<(AsyncClient, EventLoop)>,
}

impl Publisher {
    pub fn new(broker: BrokerUrl, topic: String, login: Option<(String, String)>) -> Self {
        Self {
            broker,
            topic,
            login,
            connection: None,
        }
    }

    /// Publishes until the broker has taken everything.
    pub async fn publish(&mut self, batch: &[SimulatedReading]) -> Result<(), CommandError> {
        let mut wait = Duration::from_millis(100);
        loop {
            let (client, mut events) = match self.connection.take() {
                Some(connection) => connection,
                None => self.connect(batch.len())?,
            };
            match publish(&client, &mut events, &self.topic, batch).await {
                Ok(()) => {
                    self.connection = Some((client, events));
                    return Ok(());
                }
                Err(error) => {
                    eprintln!("the broker has not taken it ({error}), publishing it again in {wait:?}")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits, and keeps the connection alive meanwhile.
    pub async fn idle(&mut self, time: Duration) {
        let sleep = tokio::time::sleep(time);
        tokio::pin!(sleep);
        let alive = async {
            match &mut self.connection {
                // What is wrong with it is told when there is something to publish.
                Some((_, events)) => while events.poll().await.is_ok() {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut sleep => return,
            () = alive => self.connection = None,
        }
        sleep.await;
    }

    fn connect(&self, messages: usize) -> Result<(AsyncClient, EventLoop), CommandError> {
        let number = getrandom::u64().map_err(|error| CommandError::new(ExitCode::Failed, error))?;
        let id = format!("sensorhive-simulate-{number:016x}");
        let mut options = MqttOptions::new(id, self.broker.host.clone(), self.broker.port);
        options.set_inflight(IN_FLIGHT);
        if let Some((name, password)) = &self.login {
            options.set_credentials(name, password);
        }
        Ok(AsyncClient::new(options, messages.max(super::REQUEST_READINGS)))
    }
}

async fn publish(
    client: &AsyncClient,
    events: &mut EventLoop,
    topic: &str,
    batch: &[SimulatedReading],
) -> Result<(), ConnectionError> {
    for reading in batch {
        let mut payload = Vec::new();
        reading.encode(false, &mut payload);
        let topic = topic.replace(SENSOR, &reading.sensor_id());
        // There is room for a whole batch, and the other end is ours.
        let published = client.try_publish(topic, QoS::AtLeastOnce, false, payload);
        published.map_err(|_| ConnectionError::RequestsDone)?;
    }
    let mut taken = 0;
    while taken < batch.len() {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await? {
            taken += 1;
        }
    }
    Ok(())
}
