//! What publishes and what subscribes, with QoS 1: as little as the protocol asks for, so that what is measured is the other side.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lanes::Devices;
use crate::load::{Load, payload};
use crate::{table, world};

pub const TOPIC: &str = "bench/readings";
/// Of all devices together.
const SENSORS: u32 = 1_000;
const PUBACK: u8 = 0x40;
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// Connections that publish, all on one thread.
pub struct Fleet {
    devices: Vec<Device>,
    window: usize,
}

struct Device {
    stream: Blocking,
    load: Load,
    sent: u16,
    packets: Vec<Vec<u8>>,
}

impl Fleet {
    pub fn connect(address: SocketAddr, how: Devices) -> Self {
        let sensors = SENSORS / how.connections;
        let devices = (0..how.connections).map(|n| Device {
            stream: connected(address, &format!("device-{n}")),
            load: Load::new(n * sensors, sensors, world::past()),
            sent: 0,
            packets: Vec::new(),
        });
        Self {
            devices: devices.collect(),
            window: how.window,
        }
    }

    /// Writes down what is to be sent: about so many messages, and exactly how many.
    pub fn prepare(&mut self, messages: usize) -> usize {
        let each = messages.div_ceil(self.devices.len());
        for device in &mut self.devices {
            device.packets = (0..each).map(|_| device.packet()).collect();
        }
        each * self.devices.len()
    }

    /// Sends it all, and waits until all is acknowledged. Returns what this thread has had of the cores for that.
    pub fn publish(&mut self) -> Duration {
        let before = table::on_cores("thread-self");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let window = self.window;
        let all = self.devices.iter_mut().map(|device| device.publish(window));
        runtime.unwrap().block_on(futures_util::future::join_all(all));
        table::on_cores("thread-self").saturating_sub(before)
    }
}

impl Device {
    fn packet(&mut self) -> Vec<u8> {
        self.sent = self.sent.checked_add(1).unwrap_or(1);
        let array = payload(&[self.load.next()]);
        let object = &array.as_bytes()[1..array.len() - 1];
        let mut body = string(TOPIC);
        body.extend(self.sent.to_be_bytes());
        body.extend(object);
        packet(0x32, &body)
    }

    async fn publish(&mut self, window: usize) {
        self.stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(self.stream.try_clone().unwrap()).unwrap();
        let packets = std::mem::take(&mut self.packets);
        let (mut sent, mut bytes) = (0, 0);
        let mut buffer = vec![0; 64 << 10];
        // Answers are 4 bytes each; the beginning of one may be there already.
        while bytes / 4 < packets.len() {
            let upto = packets.len().min(bytes / 4 + window);
            if sent < upto {
                stream.write_all(&packets[sent..upto].concat()).await.unwrap();
                sent = upto;
            }
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection was ended");
            for (at, byte) in buffer[..read].iter().enumerate() {
                assert!((bytes + at) % 4 != 0 || *byte == PUBACK, "no PUBACK: {byte:#x}");
            }
            bytes += read;
        }
    }
}

/// Takes what is published, and acknowledges it at once.
pub struct Subscriber {
    taken: Arc<AtomicUsize>,
    stream: Blocking,
}

impl Subscriber {
    pub fn connect(address: SocketAddr) -> Self {
        let mut stream = connected(address, "subscriber");
        let mut body = vec![0, 1];
        body.extend(string(TOPIC));
        body.push(1);
        stream.write_all(&packet(0x82, &body)).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x90, 3, 0, 1, 1]);
        let taken = Arc::new(AtomicUsize::new(0));
        let (reader, count) = (stream.try_clone().unwrap(), taken.clone());
        std::thread::spawn(move || acknowledge(reader, &count));
        Self { taken, stream }
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // Its thread reads the end, and ends.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn acknowledge(mut stream: Blocking, taken: &AtomicUsize) {
    let (mut buffer, mut held) = (vec![0; 256 << 10], 0);
    loop {
        let Ok(read @ 1..) = stream.read(&mut buffer[held..]) else {
            return;
        };
        held += read;
        let (mut at, mut answers) = (0, Vec::new());
        while let Some((start, end)) = frame(&buffer[at..held]) {
            let message = &buffer[at..at + end];
            assert_eq!(message[0] & 0xf6, 0x32, "a message with QoS 1");
            let topic = usize::from(u16::from_be_bytes([message[start], message[start + 1]]));
            let id = &message[start + 2 + topic..][..2];
            answers.extend([PUBACK, 2, id[0], id[1]]);
            at += end;
        }
        buffer.copy_within(at..held, 0);
        held -= at;
        if stream.write_all(&answers).is_err() {
            return;
        }
        taken.fetch_add(answers.len() / 4, Ordering::Relaxed);
    }
}

/// Where the body of the first packet begins and ends, if all of it is there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for at in 1..5 {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let end = at + 1 + length;
            return (end <= bytes.len()).then_some((at + 1, end));
        }
    }
    panic!("no packet of MQTT");
}

fn connected(address: SocketAddr, name: &str) -> Blocking {
    let mut stream = Blocking::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&hello(name)).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, CONNACK);
    stream
}

/// A clean session without a keep-alive.
fn hello(name: &str) -> Vec<u8> {
    let mut body = string("MQTT");
    body.extend([4, 2, 0, 0]);
    body.extend(string(name));
    packet(0x10, &body)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length > 127 {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(body);
    packet
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}
