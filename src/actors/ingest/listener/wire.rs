//! What devices send: packets of MQTT 3.1.1 and 5, read out of the bytes of a connection. Pure.
//!
//! Invariants: nothing is allocated for a packet that is larger than allowed; what a packet must not hold (wildcards or NUL in
//! the name of a topic, packet id 0, reserved flags) is found here, so that nobody checks again. How it fails: a
//! [`Violation`], after which the connection cannot go on.

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::{Property, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};
use secrecy::SecretSlice;

/// The longest packet before a device has said who it is, in bytes.
pub const MAX_CONNECT: u32 = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V3,
    V5,
}

#[derive(Debug)]
pub enum Packet {
    Connect(Box<Connect>),
    Publish(Publish),
    /// PUBREL
    Release(u16),
    Subscribe(u16, usize),
    Unsubscribe(u16, usize),
    Ping,
    /// `will`: its last will is to be published all the same.
    Disconnect {
        will: bool,
    },
}

#[derive(Debug)]
pub struct Connect {
    pub version: Version,
    /// Empty where the device has none.
    pub client: String,
    pub clean: bool,
    /// Seconds; 0 where there is none.
    pub keep_alive: u16,
    pub user: Option<String>,
    pub password: Option<SecretSlice<u8>>,
    pub will: Option<Message>,
    /// How long the session is to be kept after the connection, in seconds.
    pub session_expiry: u32,
    /// The longest packet that the device takes, in bytes.
    pub max_packet: u32,
    /// It wants another way to log in than by password.
    pub enhanced: bool,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub topic: String,
    pub payload: ArcPayload,
}

#[derive(Debug)]
pub struct Publish {
    pub message: Message,
    pub delivery: Delivery,
}

/// How a message is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "that is what MQTT calls them")]
pub enum Delivery {
    AtMostOnce,
    AtLeastOnce { id: u16, again: bool },
    ExactlyOnce { id: u16, again: bool },
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("the packet is malformed")]
    Malformed,
    #[error("the packet is not allowed here")]
    Protocol,
    #[error("the packet is larger than allowed")]
    TooLarge,
    #[error("the version of the protocol is not known")]
    Version,
    #[error("the client identifier is not valid")]
    ClientId,
    #[error("the name of the topic is not valid")]
    Topic,
    #[error("topic aliases are not supported")]
    TopicAlias,
    #[error("more messages are under way than allowed")]
    TooMany,
}

/// Takes the bytes of a connection and gives its packets.
pub struct Reader {
    builder: PacketBuilder,
    version: Option<Version>,
}

impl Reader {
    /// The first packet must be CONNECT.
    pub fn new() -> Self {
        Self {
            builder: PacketBuilder::with_maximum_packet_size(MAX_CONNECT),
            version: None,
        }
    }

    /// Takes bytes off the front, as far as the end of the next packet; `None` if they end before it.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Packet>, Violation> {
        let mut cursor = Cursor::new(*bytes);
        let built = self.builder.feed(&mut cursor);
        *bytes = bytes.get(cursor.position() as usize..).unwrap_or_default();
        match built {
            PacketBuildResult::Complete(raw) => self.read(raw).map(Some),
            PacketBuildResult::Incomplete => Ok(None),
            PacketBuildResult::Error(error) => Err(error.into()),
        }
    }

    /// From now on packets may be as large as this, in bytes.
    pub fn set_max_packet(&mut self, bytes: u32) {
        self.builder.set_maximum_packet_size(bytes);
    }

    fn read(&mut self, raw: RawPacket) -> Result<Packet, Violation> {
        let Some(version) = self.version else {
            let connect = connect(&raw)?;
            self.version = Some(connect.version);
            return Ok(Packet::Connect(Box::new(connect)));
        };
        let flags = match raw.packet_type() {
            3 => raw.flags(),
            6 | 8 | 10 => 2,
            _ => 0,
        };
        if raw.flags() != flags {
            return Err(Violation::Malformed);
        }
        match version {
            Version::V3 => v3(&raw),
            Version::V5 => v5(&raw),
        }
    }
}

impl Violation {
    /// What MQTT 5 calls it.
    pub fn code(self) -> DisconnectReasonCode {
        match self {
            Violation::Malformed => DisconnectReasonCode::MalformedPacket,
            Violation::Protocol | Violation::Version | Violation::ClientId => {
                DisconnectReasonCode::ProtocolError
            }
            Violation::TooLarge => DisconnectReasonCode::PacketTooLarge,
            Violation::Topic => DisconnectReasonCode::TopicNameInvalid,
            Violation::TopicAlias => DisconnectReasonCode::TopicAliasInvalid,
            Violation::TooMany => DisconnectReasonCode::ReceiveMaximumExceeded,
        }
    }
}

impl From<MqttError> for Violation {
    fn from(error: MqttError) -> Self {
        match error {
            MqttError::PacketTooLarge => Violation::TooLarge,
            MqttError::ProtocolError => Violation::Protocol,
            MqttError::UnsupportedProtocolVersion => Violation::Version,
            MqttError::ClientIdentifierNotValid => Violation::ClientId,
            _ => Violation::Malformed,
        }
    }
}

/// Where the version stands, and the flags after it.
const VERSION_AT: usize = 6;

fn connect(raw: &RawPacket) -> Result<Connect, Violation> {
    if raw.packet_type() != 1 || raw.flags() != 0 {
        return Err(Violation::Protocol);
    }
    let bytes = raw.data_as_slice();
    // MQTT 3.1, which calls itself otherwise.
    if bytes.starts_with(b"\0\x06MQIsdp") {
        return Err(Violation::Version);
    }
    if !bytes.starts_with(b"\0\x04MQTT") {
        return Err(Violation::Malformed);
    }
    let (Some(version), Some(flags)) = (bytes.get(VERSION_AT), bytes.get(VERSION_AT + 1)) else {
        return Err(Violation::Malformed);
    };
    let (will, will_qos, retain) = (flags & 4 != 0, flags >> 3 & 3, flags & 32 != 0);
    if flags & 1 != 0 || will_qos == 3 || !will && (will_qos != 0 || retain) {
        return Err(Violation::Malformed);
    }
    match version {
        4 => connect_v3(raw.parse_exact(v3_1_1::Connect::parse)?),
        5 => connect_v5(raw.parse_exact(v5_0::Connect::parse)?),
        _ => Err(Violation::Version),
    }
}

fn connect_v3(packet: v3_1_1::Connect) -> Result<Connect, Violation> {
    Ok(Connect {
        version: Version::V3,
        client: text(packet.client_id(), Violation::ClientId)?,
        clean: packet.clean_session(),
        keep_alive: packet.keep_alive(),
        user: packet.user_name().map(str::to_owned),
        password: packet.password().map(|password| password.to_vec().into()),
        will: will(packet.will_topic(), packet.will_payload())?,
        // Kept until it is begun anew.
        session_expiry: if packet.clean_session() { 0 } else { u32::MAX },
        max_packet: u32::MAX,
        enhanced: false,
    })
}

fn connect_v5(packet: v5_0::Connect) -> Result<Connect, Violation> {
    let mut connect = Connect {
        version: Version::V5,
        client: text(packet.client_id(), Violation::ClientId)?,
        clean: packet.clean_start(),
        keep_alive: packet.keep_alive(),
        user: packet.user_name().map(str::to_owned),
        password: packet.password().map(|password| password.to_vec().into()),
        will: will(packet.will_topic(), packet.will_payload())?,
        session_expiry: 0,
        max_packet: u32::MAX,
        enhanced: false,
    };
    for property in packet.props() {
        match property {
            Property::SessionExpiryInterval(seconds) => connect.session_expiry = seconds.val(),
            Property::MaximumPacketSize(bytes) => connect.max_packet = bytes.val(),
            Property::AuthenticationMethod(_) => connect.enhanced = true,
            _ => {}
        }
    }
    Ok(connect)
}

fn will(topic: Option<&str>, payload: Option<&[u8]>) -> Result<Option<Message>, Violation> {
    let Some(topic) = topic else { return Ok(None) };
    let payload: std::sync::Arc<[u8]> = payload.unwrap_or_default().into();
    let length = payload.len();
    Ok(Some(Message {
        topic: topic_name(topic)?,
        payload: ArcPayload::new(payload, 0, length),
    }))
}

fn v3(raw: &RawPacket) -> Result<Packet, Violation> {
    match raw.packet_type() {
        3 => {
            let packet = v3_1_1::Publish::parse(raw.flags(), publish_data(raw)?)?.0;
            publish(
                packet.topic_name(),
                packet.payload(),
                packet.qos(),
                packet.packet_id(),
                packet.dup(),
            )
        }
        6 => release(raw.parse_exact(v3_1_1::Pubrel::parse)?.packet_id()),
        8 => {
            let packet = raw.parse_exact(v3_1_1::Subscribe::parse)?;
            Ok(Packet::Subscribe(
                named(packet.packet_id())?,
                packet.entries().len(),
            ))
        }
        10 => {
            let packet = raw.parse_exact(v3_1_1::Unsubscribe::parse)?;
            Ok(Packet::Unsubscribe(
                named(packet.packet_id())?,
                packet.entries().len(),
            ))
        }
        12 => {
            raw.parse_exact(v3_1_1::Pingreq::parse)?;
            Ok(Packet::Ping)
        }
        14 => {
            raw.parse_exact(v3_1_1::Disconnect::parse)?;
            Ok(Packet::Disconnect { will: false })
        }
        _ => Err(Violation::Protocol),
    }
}

fn v5(raw: &RawPacket) -> Result<Packet, Violation> {
    match raw.packet_type() {
        3 => {
            let packet = v5_0::Publish::parse(raw.flags(), publish_data(raw)?)?.0;
            let alias = |property: &Property| matches!(property, Property::TopicAlias(_));
            if packet.props().iter().any(alias) {
                return Err(Violation::TopicAlias);
            }
            publish(
                packet.topic_name(),
                packet.payload(),
                packet.qos(),
                packet.packet_id(),
                packet.dup(),
            )
        }
        6 => release(raw.parse_exact(v5_0::Pubrel::parse)?.packet_id()),
        8 => {
            let packet = raw.parse_exact(v5_0::Subscribe::parse)?;
            Ok(Packet::Subscribe(
                named(packet.packet_id())?,
                packet.entries().len(),
            ))
        }
        10 => {
            let packet = raw.parse_exact(v5_0::Unsubscribe::parse)?;
            Ok(Packet::Unsubscribe(
                named(packet.packet_id())?,
                packet.entries().len(),
            ))
        }
        12 => {
            raw.parse_exact(v5_0::Pingreq::parse)?;
            Ok(Packet::Ping)
        }
        14 => {
            let packet = raw.parse_exact(v5_0::Disconnect::parse)?;
            let will = packet.reason_code() == Some(DisconnectReasonCode::DisconnectWithWillMessage);
            Ok(Packet::Disconnect { will })
        }
        _ => Err(Violation::Protocol),
    }
}

fn publish_data(raw: &RawPacket) -> Result<std::sync::Arc<[u8]>, Violation> {
    match &raw.data {
        PacketData::Publish(data) => Ok(data.clone()),
        PacketData::Normal(_) => Err(Violation::Malformed),
    }
}

fn publish(
    topic: &str,
    payload: &ArcPayload,
    qos: Qos,
    id: Option<u16>,
    again: bool,
) -> Result<Packet, Violation> {
    let delivery = match (qos, id) {
        (Qos::AtMostOnce, _) if again => return Err(Violation::Malformed),
        (Qos::AtMostOnce, _) => Delivery::AtMostOnce,
        (Qos::AtLeastOnce, Some(id)) => Delivery::AtLeastOnce {
            id: named(id)?,
            again,
        },
        (Qos::ExactlyOnce, Some(id)) => Delivery::ExactlyOnce {
            id: named(id)?,
            again,
        },
        (_, None) => return Err(Violation::Malformed),
    };
    let message = Message {
        topic: topic_name(topic)?,
        payload: payload.clone(),
    };
    Ok(Packet::Publish(Publish { message, delivery }))
}

fn release(id: u16) -> Result<Packet, Violation> {
    named(id).map(Packet::Release)
}

/// A packet that needs an id has one.
fn named(id: u16) -> Result<u16, Violation> {
    if id == 0 {
        Err(Violation::Malformed)
    } else {
        Ok(id)
    }
}

fn topic_name(topic: &str) -> Result<String, Violation> {
    if topic.is_empty() || topic.contains(['#', '+']) {
        return Err(Violation::Topic);
    }
    text(topic, Violation::Malformed)
}

fn text(text: &str, otherwise: Violation) -> Result<String, Violation> {
    if text.contains('\0') {
        return Err(otherwise);
    }
    Ok(text.to_owned())
}

impl Delivery {
    pub fn id(self) -> Option<u16> {
        match self {
            Delivery::AtMostOnce => None,
            Delivery::AtLeastOnce { id, .. } | Delivery::ExactlyOnce { id, .. } => Some(id),
        }
    }

    /// Whether the device says that it may have sent the message before.
    pub fn is_again(self) -> bool {
        match self {
            Delivery::AtMostOnce => false,
            Delivery::AtLeastOnce { again, .. } | Delivery::ExactlyOnce { again, .. } => again,
        }
    }
}
