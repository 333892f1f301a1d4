//! A device that says exactly what it is told to, byte by byte, and a service for it to talk to.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::instance::{Instance, PATIENCE, Place};

pub const V3: u8 = 4;
pub const V5: u8 = 5;
pub const VERSIONS: [u8; 2] = [V3, V5];

pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBCOMP: u8 = 0x70;

/// A place whose service listens for MQTT on a port that the system chooses.
pub fn place(settings: &str, flags: &[&str]) -> Arc<Place> {
    let ours = ["mqtt_listener.enabled=true", "mqtt_listener.listen=127.0.0.1:0"];
    let flags: Vec<&str> = ours.iter().chain(flags).copied().collect();
    Place::new(settings, &flags)
}

pub async fn start(flags: &[&str]) -> Instance {
    Instance::start(&place("", flags)).await
}

/// What one source has to tell beside.
pub async fn figures(instance: &Instance) -> serde_json::Value {
    let sources = instance.api.get("/api/sources").await;
    let found = sources["data"].as_array().unwrap().iter();
    let mut found = found.filter(|source| source["name"] == "mqtt_listener");
    found.next().unwrap()["status"]["mqtt_listener"].clone()
}

pub struct Device<S = TcpStream> {
    stream: S,
    pub version: u8,
}

/// What CONNECT says beside the version and the name.
#[derive(Default)]
pub struct Login<'a> {
    pub keep: bool,
    pub keep_alive: u16,
    pub user: Option<(&'a str, &'a str)>,
    pub will: Option<(&'a str, &'a [u8])>,
}

/// A packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub first: u8,
    pub body: Vec<u8>,
}

impl Device {
    pub async fn open(address: SocketAddr, version: u8) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream, version }
    }

    /// Logs in with a session that ends with the connection.
    pub async fn login(instance: &Instance, version: u8, name: &str) -> Self {
        let (device, present) = Self::log_in(instance, version, name, &Login::default()).await;
        assert!(!present);
        device
    }

    /// Logs in, and whether there was a session.
    pub async fn log_in(instance: &Instance, version: u8, name: &str, login: &Login<'_>) -> (Self, bool) {
        let mut device = Self::open(instance.mqtt.unwrap(), version).await;
        device.send(&connect(version, name, login)).await;
        let answer = device.next().await.expect("it is welcome");
        assert_eq!((answer.first, answer.body[1]), (0x20, 0), "{answer:?}");
        (device, answer.body[0] == 1)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Device<S> {
    pub fn on(stream: S, version: u8) -> Self {
        Self { stream, version }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Whether it could be sent.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next packet; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Packet> {
        let read = timeout(PATIENCE, self.read());
        read.await.expect("it neither answers nor ends the connection")
    }

    async fn read(&mut self) -> Option<Packet> {
        let first = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(Packet { first, body })
    }

    pub async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, id: u16) {
        self.send(&publish(self.version, topic, payload, qos, id, false))
            .await;
    }

    /// Publishes what may have come before.
    pub async fn again(&mut self, topic: &str, payload: &[u8], qos: u8, id: u16) {
        self.send(&publish(self.version, topic, payload, qos, id, true))
            .await;
    }

    pub async fn release(&mut self, id: u16) {
        self.send(&packet(0x62, &id.to_be_bytes())).await;
    }

    /// The id and the reason code of the next packet, which is of this kind.
    pub async fn answer(&mut self, kind: u8) -> (u16, u8) {
        let answer = self.next().await.expect("an answer");
        assert_eq!(answer.first, kind, "{answer:?}");
        let id = u16::from_be_bytes([answer.body[0], answer.body[1]]);
        (id, answer.body.get(2).copied().unwrap_or(0))
    }

    /// Asks whether somebody is there, and that nothing else is answered before.
    pub async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await;
        assert_eq!(self.next().await.expect("an answer").first, 0xd0);
    }

    /// The connection ends, with this code where the version has one.
    pub async fn ended_with(&mut self, code: u8) {
        let last = self.next().await;
        if self.version == V5 {
            let goodbye = Packet {
                first: 0xe0,
                body: vec![code],
            };
            assert_eq!(last, Some(goodbye));
            assert_eq!(self.next().await, None);
        } else {
            assert_eq!(last, None);
        }
    }
}

pub fn connect(version: u8, name: &str, login: &Login<'_>) -> Vec<u8> {
    let mut flags = if login.keep && version == V3 { 0 } else { 2 };
    if login.keep && version == V5 {
        flags = 0;
    }
    let mut rest = Vec::new();
    if version == V5 {
        match login.keep {
            // Session Expiry Interval
            true => rest.extend([5, 17, 0, 0, 0x0e, 0x10]),
            false => rest.push(0),
        }
    }
    rest.extend(string(name.as_bytes()));
    if let Some((topic, payload)) = login.will {
        flags |= 4;
        if version == V5 {
            rest.push(0);
        }
        rest.extend(string(topic.as_bytes()));
        rest.extend(string(payload));
    }
    if let Some((user, password)) = login.user {
        flags |= 0xc0;
        rest.extend(string(user.as_bytes()));
        rest.extend(string(password.as_bytes()));
    }
    let mut body = string(b"MQTT");
    body.extend([version, flags]);
    body.extend(login.keep_alive.to_be_bytes());
    body.extend(rest);
    packet(0x10, &body)
}

pub fn publish(version: u8, topic: &str, payload: &[u8], qos: u8, id: u16, again: bool) -> Vec<u8> {
    let mut body = string(topic.as_bytes());
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == V5 {
        body.push(0);
    }
    body.extend(payload);
    packet(0x30 | qos << 1 | u8::from(again) << 3, &body)
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let more = length > 127;
        bytes.push((length & 0x7f) as u8 | u8::from(more) << 7);
        length >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

pub fn string(text: &[u8]) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text);
    bytes
}

/// A reading with a time of its own.
pub fn dated(sensor: &str, value: u32) -> Vec<u8> {
    let time = 1_700_000_000_000_u64 + u64::from(value);
    let reading = serde_json::json!({"sensor_id": sensor, "metric": "m", "value": value, "timestamp": time});
    reading.to_string().into_bytes()
}

/// A reading without.
pub fn undated(sensor: &str, value: u32) -> Vec<u8> {
    let reading = serde_json::json!({"sensor_id": sensor, "metric": "m", "value": value});
    reading.to_string().into_bytes()
}
