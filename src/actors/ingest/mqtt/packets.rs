//! MQTT 3.1.1 and 5, as much of them as a client needs that listens, or publishes with QoS 1, in one form.
//!
//! The packets are rumqttc's. Its event loop is not used: it takes the `PUBREL` of a message that was acknowledged by an
//! earlier connection for an error, so that a session with QoS 2 never comes back after a crash; it drops the connection at a
//! packet that is too large, which the broker then sends again, for ever; and it cannot stop reading without ceasing to
//! ping. Invariant: bytes in, packets out, no I/O. How it fails: what is no packet is an error, after which the stream is of
//! no use.

use std::fmt;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

/// What the protocol allows at most; what is taken is limited before.
const ANY_SIZE: usize = 1 << 28;
/// Of the one request that is made on a connection.
const SUBSCRIBE_ID: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V3,
    V5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

/// How a connection begins.
pub struct Hello {
    pub client_id: String,
    /// Whether the broker keeps what comes while we are away.
    pub keep_session: bool,
    /// Seconds.
    pub keep_alive: u16,
    pub login: Option<(String, String)>,
    /// Seconds; version 5 only.
    pub session_expiry: u32,
    /// Messages that the broker may have under way to us; version 5 only.
    pub receive_maximum: u16,
}

/// What the broker says.
#[derive(Debug)]
pub enum Packet {
    Accepted {
        session_present: bool,
        /// Seconds, where the broker wants another than ours.
        keep_alive: Option<u16>,
        /// Messages that we may have under way to the broker, where it says so.
        receive_maximum: Option<u16>,
    },
    Refused(String),
    /// For each filter, the QoS it was granted with, or why it was not.
    Subscribed(Vec<Result<Qos, String>>),
    Message(Published),
    /// What became of a message of ours with QoS 1: the words say why it was not taken.
    Acknowledged(u16, Result<(), Refused>),
    /// The second half of a delivery with QoS 2.
    Release(u16),
    Pong,
    Goodbye(String),
}

/// A message of ours that the broker did not take.
#[derive(Debug)]
pub struct Refused {
    pub why: String,
    /// Whether it never will.
    pub for_good: bool,
}

/// A message of ours, to be sent with QoS 1.
pub struct Outgoing<'m> {
    /// Not 0.
    pub number: u16,
    pub topic: &'m str,
    pub payload: &'m [u8],
    pub retain: bool,
    /// Name and value for whoever receives it; version 5 only.
    pub property: (&'m str, &'m str),
}

#[derive(Debug)]
pub struct Published {
    pub topic: String,
    pub payload: Bytes,
    pub qos: Qos,
    /// 0 with QoS 0.
    pub id: u16,
    /// It was sent before.
    pub again: bool,
    /// It was there before we subscribed.
    pub retained: bool,
}

/// What the broker sent is not MQTT.
#[derive(Debug, thiserror::Error)]
#[error("the broker sent what is not MQTT: {0}")]
pub struct Malformed(pub String);

impl Version {
    pub fn hello(self, hello: Hello, out: &mut BytesMut) -> Result<(), Malformed> {
        match self {
            Version::V3 => {
                let mut connect = v4::Connect::new(hello.client_id);
                connect.clean_session = !hello.keep_session;
                connect.keep_alive = hello.keep_alive;
                connect.login = hello.login.map(|(name, password)| v4::Login::new(name, password));
                write(v4::Packet::Connect(connect).write(out, ANY_SIZE))
            }
            Version::V5 => {
                let mut properties = v5::ConnectProperties::new();
                properties.session_expiry_interval = Some(if hello.keep_session {
                    hello.session_expiry
                } else {
                    0
                });
                properties.receive_maximum = Some(hello.receive_maximum);
                let connect = v5::Connect {
                    keep_alive: hello.keep_alive,
                    client_id: hello.client_id,
                    clean_start: !hello.keep_session,
                    properties: Some(properties),
                };
                let login = hello.login.map(|(name, password)| v5::Login::new(name, password));
                write(v5::Packet::Connect(connect, None, login).write(out, None))
            }
        }
    }

    /// Retained messages come with the first subscription of a session, in version 3.1.1 with each.
    pub fn subscribe(self, filters: &[String], qos: Qos, out: &mut BytesMut) -> Result<(), Malformed> {
        match self {
            Version::V3 => {
                let filters = filters
                    .iter()
                    .map(|path| v4::SubscribeFilter::new(path.clone(), qos.v3()));
                let mut subscribe = v4::Subscribe::new_many(filters);
                subscribe.pkid = SUBSCRIBE_ID;
                write(v4::Packet::Subscribe(subscribe).write(out, ANY_SIZE))
            }
            Version::V5 => {
                let filters = filters.iter().map(|path| v5::Filter {
                    retain_forward_rule: v5::RetainForwardRule::OnNewSubscribe,
                    ..v5::Filter::new(path.clone(), qos.v5())
                });
                let mut subscribe = v5::Subscribe::new_many(filters, None);
                subscribe.pkid = SUBSCRIBE_ID;
                write(v5::Packet::Subscribe(subscribe).write(out, None))
            }
        }
    }

    pub fn publish(self, message: &Outgoing<'_>, out: &mut BytesMut) -> Result<(), Malformed> {
        match self {
            Version::V3 => {
                let mut publish = v4::Publish::new(message.topic, Qos::AtLeastOnce.v3(), message.payload);
                publish.pkid = message.number;
                publish.retain = message.retain;
                write(v4::Packet::Publish(publish).write(out, ANY_SIZE))
            }
            Version::V5 => {
                let (name, value) = message.property;
                let properties = v5::PublishProperties {
                    user_properties: vec![(name.to_owned(), value.to_owned())],
                    content_type: Some("application/json".to_owned()),
                    ..v5::PublishProperties::default()
                };
                let payload = Bytes::copy_from_slice(message.payload);
                let mut publish =
                    v5::Publish::new(message.topic, Qos::AtLeastOnce.v5(), payload, Some(properties));
                publish.pkid = message.number;
                publish.retain = message.retain;
                write(v5::Packet::Publish(publish).write(out, None))
            }
        }
    }

    /// Says of a message that it is stored.
    pub fn acknowledge(self, qos: Qos, id: u16, out: &mut BytesMut) {
        let kind = match qos {
            Qos::AtMostOnce => return,
            Qos::AtLeastOnce => PUBACK,
            Qos::ExactlyOnce => PUBREC,
        };
        short(kind, id, out);
    }

    /// Answers [`Packet::Release`]. Always as success: what is not known here was acknowledged by an earlier connection.
    pub fn complete(self, id: u16, out: &mut BytesMut) {
        short(PUBCOMP, id, out);
    }

    pub fn ping(self, out: &mut BytesMut) {
        out.extend_from_slice(&[0xC0, 0]);
    }

    pub fn goodbye(self, out: &mut BytesMut) {
        out.extend_from_slice(&[0xE0, 0]);
    }

    /// `frame` is one whole packet.
    pub fn read(self, mut frame: BytesMut) -> Result<Packet, Malformed> {
        match self {
            Version::V3 => v4::Packet::read(&mut frame, ANY_SIZE)
                .map_err(|error| Malformed(error.to_string()))
                .and_then(packet_v3),
            // Two bytes are allowed where there is no reason, and not known to the library.
            Version::V5 if frame[..] == [0xE0, 0] => Ok(Packet::Goodbye("it gives no reason".to_owned())),
            Version::V5 => v5::Packet::read(&mut frame, None)
                .map_err(|error| Malformed(error.to_string()))
                .and_then(packet_v5),
        }
    }
}

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBCOMP: u8 = 0x70;

/// Without a reason, which means success, both versions look the same.
fn short(kind: u8, id: u16, out: &mut BytesMut) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[kind, 2, high, low]);
}

fn write<E: fmt::Display>(written: Result<usize, E>) -> Result<(), Malformed> {
    written.map(|_| ()).map_err(|error| Malformed(error.to_string()))
}

fn packet_v3(packet: v4::Packet) -> Result<Packet, Malformed> {
    Ok(match packet {
        v4::Packet::ConnAck(answer) if answer.code == v4::ConnectReturnCode::Success => Packet::Accepted {
            session_present: answer.session_present,
            keep_alive: None,
            receive_maximum: None,
        },
        v4::Packet::ConnAck(answer) => Packet::Refused(words(&answer.code)),
        v4::Packet::SubAck(answer) => Packet::Subscribed(
            answer
                .return_codes
                .iter()
                .map(|code| match code {
                    v4::SubscribeReasonCode::Success(qos) => Ok(Qos::of(*qos as u8)),
                    v4::SubscribeReasonCode::Failure => Err("it does not say why".to_owned()),
                })
                .collect(),
        ),
        v4::Packet::Publish(publish) => Packet::Message(Published {
            topic: publish.topic,
            payload: publish.payload,
            qos: Qos::of(publish.qos as u8),
            id: publish.pkid,
            again: publish.dup,
            retained: publish.retain,
        }),
        v4::Packet::PubAck(answer) => Packet::Acknowledged(answer.pkid, Ok(())),
        v4::Packet::PubRel(release) => Packet::Release(release.pkid),
        v4::Packet::PingResp => Packet::Pong,
        other => return Err(unexpected(&other)),
    })
}

fn packet_v5(packet: v5::Packet) -> Result<Packet, Malformed> {
    Ok(match packet {
        v5::Packet::ConnAck(answer) => {
            let said = answer.properties.unwrap_or_else(no_properties);
            match answer.code {
                v5::ConnectReturnCode::Success => Packet::Accepted {
                    session_present: answer.session_present,
                    keep_alive: said.server_keep_alive,
                    receive_maximum: said.receive_max,
                },
                code => Packet::Refused(with_words(&code, said.reason_string)),
            }
        }
        v5::Packet::SubAck(answer) => {
            let said = answer.properties.and_then(|properties| properties.reason_string);
            Packet::Subscribed(
                answer
                    .return_codes
                    .iter()
                    .map(|code| match code {
                        v5::SubscribeReasonCode::Success(qos) => Ok(Qos::of(*qos as u8)),
                        code => Err(with_words(code, said.clone())),
                    })
                    .collect(),
            )
        }
        v5::Packet::Publish(publish) => Packet::Message(Published {
            topic: String::from_utf8(publish.topic.to_vec())
                .map_err(|_| Malformed("a topic is not UTF-8".to_owned()))?,
            payload: publish.payload,
            qos: Qos::of(publish.qos as u8),
            id: publish.pkid,
            again: publish.dup,
            retained: publish.retain,
        }),
        v5::Packet::PubAck(answer) => {
            let said = answer.properties.and_then(|properties| properties.reason_string);
            let refused = |for_good| Refused {
                why: with_words(&answer.reason, said),
                for_good,
            };
            let taken = match answer.reason {
                v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers => Ok(()),
                v5::PubAckReason::TopicNameInvalid | v5::PubAckReason::PayloadFormatInvalid => {
                    Err(refused(true))
                }
                _ => Err(refused(false)),
            };
            Packet::Acknowledged(answer.pkid, taken)
        }
        v5::Packet::PubRel(release) => Packet::Release(release.pkid),
        v5::Packet::PingResp(_) => Packet::Pong,
        v5::Packet::Disconnect(farewell) => {
            let said = farewell
                .properties
                .and_then(|properties| properties.reason_string);
            Packet::Goodbye(with_words(&farewell.reason_code, said))
        }
        other => return Err(unexpected(&other)),
    })
}

fn no_properties() -> v5::ConnAckProperties {
    v5::ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

/// The name of a reason, such as `BadUserNamePassword`, as `bad user name password`.
fn words(reason: &impl fmt::Debug) -> String {
    let mut words = String::new();
    for letter in format!("{reason:?}").chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn with_words(reason: &impl fmt::Debug, said: Option<String>) -> String {
    match said {
        Some(said) => format!("{} ({})", words(reason), said.escape_debug()),
        None => words(reason),
    }
}

fn unexpected(packet: &impl fmt::Debug) -> Malformed {
    // Only what kind it is: the rest may be long.
    let text = format!("{packet:?}");
    let kind: String = text
        .chars()
        .take_while(|letter| letter.is_alphanumeric())
        .collect();
    Malformed(format!("a packet {kind} that is not for a client"))
}

impl Qos {
    fn of(number: u8) -> Self {
        match number {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }

    fn v3(self) -> rumqttc::mqttbytes::QoS {
        match self {
            Qos::AtMostOnce => rumqttc::mqttbytes::QoS::AtMostOnce,
            Qos::AtLeastOnce => rumqttc::mqttbytes::QoS::AtLeastOnce,
            Qos::ExactlyOnce => rumqttc::mqttbytes::QoS::ExactlyOnce,
        }
    }

    fn v5(self) -> rumqttc::v5::mqttbytes::QoS {
        match self {
            Qos::AtMostOnce => rumqttc::v5::mqttbytes::QoS::AtMostOnce,
            Qos::AtLeastOnce => rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
            Qos::ExactlyOnce => rumqttc::v5::mqttbytes::QoS::ExactlyOnce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_put_in_words() {
        assert_eq!(
            words(&v4::ConnectReturnCode::BadUserNamePassword),
            "bad user name password"
        );
        let code = v5::ConnectReturnCode::NotAuthorized;
        assert_eq!(
            with_words(&code, Some("go\naway".to_owned())),
            "not authorized (go\\naway)"
        );
    }

    #[test]
    fn answers_are_packets_of_both_versions() {
        for version in [Version::V3, Version::V5] {
            let mut out = BytesMut::new();
            version.acknowledge(Qos::AtMostOnce, 7, &mut out);
            assert!(out.is_empty());
            version.acknowledge(Qos::AtLeastOnce, 0x1234, &mut out);
            version.acknowledge(Qos::ExactlyOnce, 2, &mut out);
            version.complete(3, &mut out);
            version.ping(&mut out);
            version.goodbye(&mut out);
            let mut kinds = Vec::new();
            match version {
                Version::V3 => {
                    while !out.is_empty() {
                        kinds.push(format!("{:?}", v4::Packet::read(&mut out, ANY_SIZE).unwrap()));
                    }
                }
                Version::V5 => {
                    out.truncate(out.len() - 2);
                    while !out.is_empty() {
                        kinds.push(format!("{:?}", v5::Packet::read(&mut out, None).unwrap()));
                    }
                }
            }
            for (kind, id) in [
                ("PubAck", "pkid: 4660"),
                ("PubRec", "pkid: 2"),
                ("PubComp", "pkid: 3"),
            ] {
                assert!(
                    kinds.iter().any(|text| text.contains(kind) && text.contains(id)),
                    "{kinds:?}"
                );
            }
            assert!(kinds[3].contains("PingReq"), "{kinds:?}");
        }
    }

    #[test]
    fn a_packet_that_only_a_server_takes_is_malformed() {
        for version in [Version::V3, Version::V5] {
            let error = version.read(BytesMut::from(&[0xC0, 0][..])).unwrap_err();
            assert!(error.to_string().contains("PingReq"), "{error}");
            assert!(version.read(BytesMut::from(&[0x90, 2, 0, 1][..])).is_err());
        }
        let goodbye = Version::V5.read(BytesMut::from(&[0xE0, 0][..])).unwrap();
        assert!(matches!(goodbye, Packet::Goodbye(_)));
    }
}
