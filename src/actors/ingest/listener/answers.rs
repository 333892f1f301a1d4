//! What devices are answered, as bytes. Pure.

use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumPacketSize, Property, ReceiveMaximum, ServerKeepAlive,
    SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable,
    WildcardSubscriptionAvailable, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, SubackReasonCode,
    SubackReturnCode, UnsubackReasonCode,
};

use super::wire::Version;

pub const PINGRESP: [u8; 2] = [0xd0, 0];

/// How a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// QoS 1
    Puback,
    /// QoS 2, at first
    Pubrec,
}

/// What became of a message, as far as its device is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Stored,
    NotUnderstood,
    NotAllowed,
    UnknownTopic,
    LimitReached,
    /// For another reason.
    Refused,
}

/// What a device that is welcome is told, where its version has words for it.
#[derive(Debug, Clone, Default)]
pub struct Welcome {
    pub session_present: bool,
    /// The name that was given to a device without one.
    pub assigned: Option<String>,
    pub receive_maximum: u16,
    /// In bytes.
    pub max_packet: u32,
    /// Seconds, where it is other than the device asked.
    pub keep_alive: Option<u16>,
    /// Seconds, where it is other than the device asked.
    pub session_expiry: Option<u32>,
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Verdict::Stored => 0,
            Verdict::Refused => 0x83,
            Verdict::NotAllowed => 0x87,
            Verdict::UnknownTopic => 0x90,
            Verdict::LimitReached => 0x97,
            Verdict::NotUnderstood => 0x99,
        }
    }
}

/// MQTT 3.1.1 knows no other answer than yes.
pub fn acknowledge(version: Version, with: Acknowledge, id: u16, verdict: Verdict, out: &mut Vec<u8>) {
    let first = match with {
        Acknowledge::Puback => 0x40,
        Acknowledge::Pubrec => 0x50,
    };
    let code = match version {
        Version::V3 => 0,
        Version::V5 => verdict.code(),
    };
    short(first, id, code, out);
}

/// Whether a QoS 2 message with this verdict ends with its PUBREC, so that its packet id is free.
pub fn frees(version: Version, verdict: Verdict) -> bool {
    version == Version::V5 && verdict != Verdict::Stored
}

/// PUBCOMP. `known`: whether there was something to release.
pub fn complete(version: Version, id: u16, known: bool, out: &mut Vec<u8>) {
    let code = if known || version == Version::V3 { 0 } else { 0x92 };
    short(0x70, id, code, out);
}

/// An acknowledgement without properties; a code of 0 is left out.
fn short(first: u8, id: u16, code: u8, out: &mut Vec<u8>) {
    let [high, low] = id.to_be_bytes();
    if code == 0 {
        out.extend([first, 2, high, low]);
    } else {
        out.extend([first, 3, high, low, code]);
    }
}

pub fn welcome(version: Version, welcome: &Welcome) -> Result<Vec<u8>, MqttError> {
    match version {
        Version::V3 => Ok(v3_1_1::Connack::builder()
            .session_present(welcome.session_present)
            .return_code(ConnectReturnCode::Accepted)
            .build()?
            .to_continuous_buffer()),
        Version::V5 => {
            let mut properties: Vec<Property> = vec![
                ReceiveMaximum::new(welcome.receive_maximum)?.into(),
                MaximumPacketSize::new(welcome.max_packet)?.into(),
                WildcardSubscriptionAvailable::new(0)?.into(),
                SubscriptionIdentifierAvailable::new(0)?.into(),
                SharedSubscriptionAvailable::new(0)?.into(),
            ];
            if let Some(client) = &welcome.assigned {
                properties.push(AssignedClientIdentifier::new(client.as_str())?.into());
            }
            if let Some(seconds) = welcome.keep_alive {
                properties.push(ServerKeepAlive::new(seconds)?.into());
            }
            if let Some(seconds) = welcome.session_expiry {
                properties.push(SessionExpiryInterval::new(seconds)?.into());
            }
            Ok(v5_0::Connack::builder()
                .session_present(welcome.session_present)
                .reason_code(ConnectReasonCode::Success)
                .props(properties)
                .build()?
                .to_continuous_buffer())
        }
    }
}

/// Says no to a CONNECT.
pub fn refuse(version: Version, code: ConnectReasonCode) -> Result<Vec<u8>, MqttError> {
    match version {
        Version::V3 => {
            let code = match code {
                ConnectReasonCode::UnsupportedProtocolVersion => {
                    ConnectReturnCode::UnacceptableProtocolVersion
                }
                ConnectReasonCode::ClientIdentifierNotValid => ConnectReturnCode::IdentifierRejected,
                ConnectReasonCode::BadUserNameOrPassword => ConnectReturnCode::BadUserNameOrPassword,
                ConnectReasonCode::NotAuthorized | ConnectReasonCode::BadAuthenticationMethod => {
                    ConnectReturnCode::NotAuthorized
                }
                _ => ConnectReturnCode::ServerUnavailable,
            };
            let packet = v3_1_1::Connack::builder()
                .session_present(false)
                .return_code(code);
            Ok(packet.build()?.to_continuous_buffer())
        }
        Version::V5 => {
            let packet = v5_0::Connack::builder().session_present(false).reason_code(code);
            Ok(packet.build()?.to_continuous_buffer())
        }
    }
}

/// SUBACK: nothing can be subscribed to.
pub fn no_subscription(version: Version, id: u16, filters: usize) -> Result<Vec<u8>, MqttError> {
    match version {
        Version::V3 => Ok(v3_1_1::Suback::builder()
            .packet_id(id)
            .return_codes(vec![SubackReturnCode::Failure; filters])
            .build()?
            .to_continuous_buffer()),
        Version::V5 => Ok(v5_0::Suback::builder()
            .packet_id(id)
            .reason_codes(vec![SubackReasonCode::ImplementationSpecificError; filters])
            .build()?
            .to_continuous_buffer()),
    }
}

/// UNSUBACK
pub fn no_unsubscription(version: Version, id: u16, filters: usize) -> Result<Vec<u8>, MqttError> {
    match version {
        Version::V3 => Ok(v3_1_1::Unsuback::builder()
            .packet_id(id)
            .build()?
            .to_continuous_buffer()),
        Version::V5 => Ok(v5_0::Unsuback::builder()
            .packet_id(id)
            .reason_codes(vec![UnsubackReasonCode::NoSubscriptionExisted; filters])
            .build()?
            .to_continuous_buffer()),
    }
}

/// The last packet to a device; MQTT 3.1.1 has none.
pub fn goodbye(version: Version, code: DisconnectReasonCode) -> Vec<u8> {
    match version {
        Version::V3 => Vec::new(),
        Version::V5 => vec![0xe0, 1, code as u8],
    }
}
