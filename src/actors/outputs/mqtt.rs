//! Topics of an MQTT broker to publish to.
//!
//! Invariants: every message has QoS 1, and is confirmed by its PUBACK. At most `in_flight` wait for theirs, as many as the broker
//! allows. Names are escaped, so that each makes exactly one level of a topic, and no wildcard. The session is clean: what is not
//! confirmed is sent again by us, not by the protocol.
//!
//! How it fails: whatever is wrong ends the connection, and what was under way is sent again on the next, to the next broker. A
//! message is refused for good where a broker of version 5 says that it never takes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::{Kind, Message, Refusal, Sink, SinkError};
use crate::actors::ingest::mqtt::MqttOptions;
use crate::actors::ingest::mqtt::frames::Frame;
use crate::actors::ingest::mqtt::packets::{Malformed, Outgoing, Packet};
use crate::actors::ingest::mqtt::session::{self, LinkError, Session};

/// The user property that tells records apart.
const ID: &str = "sensorhive-id";

/// How and where to publish.
#[derive(Debug, Clone)]
pub struct MqttPublisher {
    pub options: MqttOptions,
    pub client_id: String,
    pub readings: TopicTemplate,
    pub windows: TopicTemplate,
    pub anomalies: TopicTemplate,
    pub alerts: TopicTemplate,
    pub in_flight: u16,
    pub retain: bool,
}

/// A topic with `{sensor_id}` and `{metric}`.
#[derive(Debug, Clone)]
pub struct TopicTemplate(pub String);

impl TopicTemplate {
    pub fn topic(&self, sensor: &str, metric: &str) -> String {
        let mut topic = String::with_capacity(self.0.len() + sensor.len() + metric.len());
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('{') {
            topic.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{sensor_id}") {
                escape(sensor, &mut topic);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{metric}") {
                escape(metric, &mut topic);
                rest = after;
            } else {
                topic.push('{');
                rest = &rest[1..];
            }
        }
        topic.push_str(rest);
        topic
    }
}

/// Percent-encodes what means something in a topic, and in this encoding; `$` only where it would begin the topic.
fn escape(name: &str, topic: &mut String) {
    for letter in name.chars() {
        let special = matches!(letter, '/' | '+' | '#' | '%' | '\0') || letter == '$' && topic.is_empty();
        if special {
            // Writing to memory does not fail.
            let _ = write!(topic, "%{:02X}", u32::from(letter));
        } else {
            topic.push(letter);
        }
    }
}

pub struct MqttSink {
    publisher: MqttPublisher,
    link: Option<Link>,
    /// Which broker is tried next.
    turn: usize,
}

struct Link {
    session: Session,
    out: BytesMut,
    /// When something was sent last.
    spoke: Instant,
}

impl MqttSink {
    pub fn new(publisher: MqttPublisher) -> Self {
        Self {
            publisher,
            link: None,
            turn: 0,
        }
    }

    async fn connect(&mut self) -> Result<Link, LinkError> {
        let options = &self.publisher.options;
        let broker = &options.brokers[self.turn % options.brokers.len()];
        let session = session::open(broker, options, &self.publisher.client_id).await?;
        tracing::info!(%broker, client_id = self.publisher.client_id, "an output is connected");
        Ok(Link {
            session,
            out: BytesMut::new(),
            spoke: Instant::now(),
        })
    }

    async fn publish(&mut self, messages: &[Message]) -> Result<Vec<Refusal>, LinkError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect().await?,
        };
        let refusals = link.publish(&self.publisher, messages).await?;
        // Put back only if all went well.
        self.link = Some(link);
        Ok(refusals)
    }
}

#[async_trait(?Send)]
impl Sink for MqttSink {
    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Refusal>, SinkError> {
        match self.publish(messages).await {
            Ok(refusals) => Ok(refusals),
            Err(error) => {
                self.turn = self.turn.wrapping_add(1);
                Err(SinkError(error.to_string()))
            }
        }
    }

    async fn idle(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        match link.keep_alive(&self.publisher).await {
            Ok(()) => self.link = Some(link),
            Err(error) => tracing::info!(%error, "the connection of an output has ended while it was idle"),
        }
    }

    fn reset(&mut self) {
        self.link = None;
    }
}

impl Link {
    /// Numbers are given anew on every connection, and only once all before are confirmed.
    async fn publish(
        &mut self,
        publisher: &MqttPublisher,
        messages: &[Message],
    ) -> Result<Vec<Refusal>, LinkError> {
        let window = usize::from(publisher.in_flight.min(self.session.receive_maximum));
        let mut under_way: BTreeMap<u16, usize> = BTreeMap::new();
        let (mut next, mut number, mut refusals) = (0, 0_u16, Vec::new());
        while next < messages.len() || !under_way.is_empty() {
            while next < messages.len() && under_way.len() < window {
                number = number.checked_add(1).unwrap_or(1);
                if under_way.contains_key(&number) {
                    break;
                }
                let message = &messages[next];
                let template = match message.kind {
                    Kind::Reading => &publisher.readings,
                    Kind::Window => &publisher.windows,
                    Kind::Anomaly => &publisher.anomalies,
                    Kind::Alert => &publisher.alerts,
                };
                let topic = template.topic(message.sensor.as_str(), message.metric.as_str());
                let outgoing = Outgoing {
                    number,
                    topic: &topic,
                    payload: &message.json,
                    retain: publisher.retain,
                    property: (ID, &message.id),
                };
                publisher.options.version.publish(&outgoing, &mut self.out)?;
                under_way.insert(number, next);
                next += 1;
            }
            self.flush().await?;
            for (number, taken) in self.hear(publisher).await? {
                let Some(place) = under_way.remove(&number) else {
                    continue;
                };
                match taken {
                    Ok(()) => {}
                    Err(refused) if refused.for_good => refusals.push(Refusal {
                        place,
                        why: refused.why,
                    }),
                    Err(refused) => return Err(LinkError::NotTaken(refused.why)),
                }
            }
        }
        Ok(refusals)
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let write = async {
            self.session.stream.write_all(&self.out).await?;
            self.session.stream.flush().await
        };
        let patience = self.session.keep_alive;
        timeout(patience, write).await.map_err(|_| LinkError::Silent)??;
        self.out.clear();
        self.spoke = Instant::now();
        Ok(())
    }

    /// The next acknowledgements, one at least.
    async fn hear(
        &mut self,
        publisher: &MqttPublisher,
    ) -> Result<Vec<(u16, Result<(), crate::actors::ingest::mqtt::packets::Refused>)>, LinkError> {
        let mut heard = Vec::new();
        loop {
            while let Some(frame) = self.session.frames.next()? {
                let Frame::Whole(frame) = frame else {
                    return Err(Malformed("a message that was not asked for".to_owned()).into());
                };
                match publisher.options.version.read(frame)? {
                    Packet::Acknowledged(number, taken) => heard.push((number, taken)),
                    Packet::Pong => {}
                    Packet::Goodbye(why) => return Err(LinkError::Goodbye(why)),
                    _ => return Err(Malformed("a packet that was not asked for".to_owned()).into()),
                }
            }
            if !heard.is_empty() {
                return Ok(heard);
            }
            let read = self.session.stream.read_buf(self.session.frames.buffer());
            let read = timeout(self.session.keep_alive, read)
                .await
                .map_err(|_| LinkError::Silent)??;
            if read == 0 {
                return Err(LinkError::Closed);
            }
        }
    }

    /// Says that we are there, before the broker believes that we are not, and hears what it says by itself.
    async fn keep_alive(&mut self, publisher: &MqttPublisher) -> Result<(), LinkError> {
        if self.spoke.elapsed() >= self.session.keep_alive / 2 {
            publisher.options.version.ping(&mut self.out);
            self.flush().await?;
        }
        let read = self.session.stream.read_buf(self.session.frames.buffer());
        // Nothing is what is expected.
        match timeout(Duration::from_millis(1), read).await {
            Err(_) => {}
            Ok(Ok(0)) => return Err(LinkError::Closed),
            Ok(read) => drop(read?),
        }
        while let Some(frame) = self.session.frames.next()? {
            if let Frame::Whole(frame) = frame
                && let Packet::Goodbye(why) = publisher.options.version.read(frame)?
            {
                return Err(LinkError::Goodbye(why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_level_and_no_wildcard() {
        let template = TopicTemplate("hive/{sensor_id}/{metric}/{x}".to_owned());
        assert_eq!(template.topic("s1", "t"), "hive/s1/t/{x}");
        assert_eq!(
            template.topic("a/b+#%\u{e9}{metric}", "$t"),
            "hive/a%2Fb%2B%23%25\u{e9}{metric}/$t/{x}"
        );
        assert_eq!(
            TopicTemplate("{sensor_id}".to_owned()).topic("$SYS", ""),
            "%24SYS"
        );
    }
}
