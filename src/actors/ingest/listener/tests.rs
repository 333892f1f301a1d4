//! The language, against whatever comes; and a connection, whose batches have the fate that a test wants.

use mqtt_protocol_core::mqtt::packet::{Qos, v3_1_1, v5_0};
use proptest::prelude::*;

use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::tests::Quay;
use super::answers::{self, Acknowledge, Verdict};
use super::wire::{Delivery, Packet, Reader, Version, Violation};
use super::*;
use crate::actors::batch::Receipt;
use crate::domain::SourceName;
use crate::storage::{NullStore, SliceOutcome, StoreError};

fn connect(version: Version) -> Vec<u8> {
    match version {
        Version::V3 => {
            let connect = v3_1_1::Connect::builder().client_id("d").unwrap();
            connect.build().unwrap().to_continuous_buffer()
        }
        Version::V5 => {
            let connect = v5_0::Connect::builder().client_id("d").unwrap();
            connect.build().unwrap().to_continuous_buffer()
        }
    }
}

fn publish(version: Version, id: u16, payload: &[u8]) -> Vec<u8> {
    match version {
        Version::V3 => {
            let publish = v3_1_1::Publish::builder().topic_name("a/b").unwrap();
            let publish = publish
                .qos(Qos::AtLeastOnce)
                .packet_id(id)
                .payload(payload.to_vec());
            publish.build().unwrap().to_continuous_buffer()
        }
        Version::V5 => {
            let publish = v5_0::Publish::builder().topic_name("a/b").unwrap();
            let publish = publish
                .qos(Qos::AtLeastOnce)
                .packet_id(id)
                .payload(payload.to_vec());
            publish.build().unwrap().to_continuous_buffer()
        }
    }
}

/// What a reader makes of bytes that come in pieces: ids and payloads of messages, and how it ended.
fn read<'b>(
    pieces: impl Iterator<Item = &'b [u8]>,
    max_packet: u32,
) -> (Vec<(u16, Vec<u8>)>, Option<Violation>) {
    let mut reader = Reader::new();
    let mut messages = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            match reader.next(&mut piece) {
                Ok(Some(Packet::Publish(publish))) => {
                    let id = publish.delivery.id().unwrap_or(0);
                    messages.push((id, publish.message.payload.as_slice().to_vec()));
                }
                Ok(Some(Packet::Connect(_))) => reader.set_max_packet(max_packet),
                Ok(_) => {}
                Err(violation) => return (messages, Some(violation)),
            }
        }
    }
    (messages, None)
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V3), Just(Version::V5)]
}

proptest! {
    #[test]
    fn however_the_bytes_come_in_pieces_the_messages_are_the_same(
        version in version(),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
        piece in 1_usize..400,
    ) {
        let mut bytes = connect(version);
        for (id, payload) in (1..).zip(&payloads) {
            bytes.extend(publish(version, id, payload));
        }
        let sent: Vec<(u16, Vec<u8>)> = (1..).zip(payloads).collect();
        prop_assert_eq!(read(bytes.chunks(piece), 4096), (sent, None));
    }

    #[test]
    fn whatever_comes_nothing_panics(
        version in version(),
        logged_in in any::<bool>(),
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        first in prop::sample::select(vec![0x10_u8, 0x30, 0x32, 0x34, 0x62, 0x82, 0xa2, 0xc0, 0xe0, 0xf0]),
    ) {
        // Often a packet whose length is right, so that its inside is looked at.
        if bytes.len() > 2 && bytes.len() < 130 {
            bytes[0] = first;
            bytes[1] = (bytes.len() - 2) as u8;
        }
        let mut stream = if logged_in { connect(version) } else { Vec::new() };
        stream.extend(bytes);
        let _ = read(stream.chunks(64), 256);
    }
}

#[test]
fn a_packet_that_is_too_large_is_refused_by_its_length_alone() {
    let mut bytes = connect(Version::V5);
    bytes.extend([0x32, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(
        read(std::iter::once(&bytes[..]), 1000),
        (Vec::new(), Some(Violation::TooLarge))
    );
    // Before the login too.
    let huge: &[u8] = &[0x10, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(read(std::iter::once(huge), 1000).1, Some(Violation::TooLarge));
}

#[test]
fn deliveries_know_their_id_and_whether_they_came_before() {
    let again = Delivery::ExactlyOnce { id: 7, again: true };
    assert_eq!((again.id(), again.is_again()), (Some(7), true));
    assert_eq!(
        (Delivery::AtMostOnce.id(), Delivery::AtMostOnce.is_again()),
        (None, false)
    );
}

#[test]
fn answers_are_what_the_library_reads() {
    let acknowledged = |version, with, verdict| {
        let mut bytes = Vec::new();
        answers::acknowledge(version, with, 0x102, verdict, &mut bytes);
        bytes
    };
    let refused = acknowledged(Version::V5, Acknowledge::Puback, Verdict::NotUnderstood);
    let puback = v5_0::Puback::parse(&refused[2..]).unwrap().0;
    assert_eq!(
        (puback.packet_id(), puback.reason_code().map(|code| code as u8)),
        (0x102, Some(0x99))
    );
    let stored = acknowledged(Version::V5, Acknowledge::Pubrec, Verdict::Stored);
    assert_eq!(
        (
            stored[0],
            v5_0::Pubrec::parse(&stored[2..]).unwrap().0.packet_id()
        ),
        (0x50, 0x102)
    );
    let old = acknowledged(Version::V3, Acknowledge::Puback, Verdict::NotAllowed);
    assert_eq!(old, [0x40, 2, 1, 2], "3.1.1 knows no other answer than yes");
    for (known, code) in [(true, vec![]), (false, vec![0x92])] {
        let mut bytes = Vec::new();
        answers::complete(Version::V5, 0x102, known, &mut bytes);
        assert_eq!(bytes[4..], code);
        assert_eq!(usize::from(bytes[1]), bytes.len() - 2);
    }
}

/// Ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message with a reading.
fn message(version: Version, id: u16) -> Vec<u8> {
    let time = 1_700_000_000 + u32::from(id);
    let reading = format!(r#"{{"sensor_id":"s","metric":"m","value":{id},"timestamp":{time}}}"#);
    publish(version, id, reading.as_bytes())
}

/// A defect.
struct Defect;

#[async_trait]
impl Tokens for Defect {
    async fn role(&self, _: &str) -> Result<TokenRole, StoreError> {
        panic!("a defect")
    }
}

/// What connections share, with a collector.
fn shared(quay: &Quay, receive_maximum: u16) -> (Arc<Shared>, watch::Sender<Order>) {
    let (offers, offered) = mpsc::unbounded_channel();
    let orders = watch::Sender::new(Order::Run);
    let access = Access {
        anonymous: true,
        users: Default::default(),
        tokens: Arc::new(Defect),
    };
    let source = SourceName::parse("devices").unwrap();
    let shared = Arc::new(Shared {
        intake: quay.intake.clone(),
        arrivals: Arrivals::new(source, Arc::new(NullStore::new())),
        access: Arc::new(access),
        sessions: Sessions::new(9),
        room: Arc::new(Semaphore::new(10_000)),
        offers,
        orders: orders.subscribe(),
        counters: Arc::new(Counters::default()),
        limits: Limits {
            max_connections: 9,
            max_packet: 1_000,
            receive_maximum,
            in_flight_bytes: 10_000,
            room: 10_000,
            keep_alive: 3_600,
            connect_timeout: Duration::from_secs(60),
            session_kept: Duration::from_secs(60),
            redelivery: 0,
        },
    });
    tokio::spawn(collector::collect(
        quay.intake.clone(),
        offered,
        shared.counters.clone(),
    ));
    (shared, orders)
}

/// A device that is connected, and the pipeline that its messages go into.
struct Line {
    quay: Quay,
    device: DuplexStream,
    shared: Arc<Shared>,
    orders: watch::Sender<Order>,
}

impl Line {
    async fn new(version: Version, receive_maximum: u16) -> Self {
        let quay = Quay::new();
        let (shared, orders) = shared(&quay, receive_maximum);
        let (mut device, ours) = tokio::io::duplex(10_000);
        tokio::spawn({
            let shared = shared.clone();
            async move { converse(ours, "127.0.0.1:1".parse().unwrap(), Instant::now(), &shared).await }
        });
        device.write_all(&connect(version)).await.unwrap();
        let mut line = Self {
            quay,
            device,
            shared,
            orders,
        };
        assert_eq!(line.next().await.unwrap()[0], 0x20);
        line
    }

    /// The next packet, all of which are short.
    async fn next(&mut self) -> Option<Vec<u8>> {
        timeout(PATIENCE, self.read())
            .await
            .expect("an answer, or the end")
    }

    async fn read(&mut self) -> Option<Vec<u8>> {
        let first = self.device.read_u8().await.ok()?;
        let length = self.device.read_u8().await.unwrap();
        let mut packet = vec![first];
        packet.resize(1 + usize::from(length), 0);
        self.device.read_exact(&mut packet[1..]).await.unwrap();
        Some(packet)
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.device.write_all(bytes).await.unwrap();
    }

    /// Publishes a reading, and waits until so many batches are under way.
    async fn publish(&mut self, version: Version, id: u16, batches: usize) {
        self.send(&message(version, id)).await;
        self.under_way(batches).await;
    }

    async fn under_way(&self, batches: usize) {
        let all = async {
            while self.quay.waiting.lock().len() < batches {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, all).await.expect("the batches come");
    }

    /// The oldest batch but `after` of those under way is stored.
    fn store(&self, after: usize) {
        let (guard, readings) = self.quay.waiting.lock().remove(after);
        guard.answer(SliceOutcome::default());
        let receipt = Receipt {
            stored: readings.len() as u64,
            ..Receipt::default()
        };
        self.quay
            .station
            .complete()
            .ticket
            .acknowledgement
            .stored(receipt);
    }

    /// The device gets an answer to a ping before any other.
    async fn has_no_other_answer(&mut self) {
        self.send(&[0xc0, 0]).await;
        assert_eq!(self.next().await.unwrap(), [0xd0]);
    }
}

/// Lets everybody else do what he can.
async fn idle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_stored_out_of_order_is_answered_in_order() {
    let mut line = Line::new(Version::V3, 10).await;
    for id in 1..=3 {
        line.publish(Version::V3, id, usize::from(id)).await;
    }
    line.store(1);
    line.has_no_other_answer().await;
    line.store(1);
    line.has_no_other_answer().await;
    line.store(0);
    for id in 1..=3 {
        assert_eq!(line.next().await.unwrap(), [0x40, 0, id]);
    }
    assert_eq!(line.shared.counters.figures().waiting, 0);
}

#[tokio::test]
async fn what_is_undelivered_is_not_answered_and_ends_the_connection() {
    for version in [Version::V3, Version::V5] {
        let mut line = Line::new(version, 10).await;
        line.publish(version, 1, 1).await;
        line.publish(version, 2, 2).await;
        line.publish(version, 3, 3).await;
        // The third is stored, and is not answered for all that: the second comes before it.
        line.store(2);
        line.quay.waiting.lock().remove(1);
        line.store(0);
        assert_eq!(line.next().await.unwrap(), [0x40, 0, 1]);
        if version == Version::V5 {
            assert_eq!(line.next().await.unwrap(), [0xe0, 0x80]);
        }
        assert_eq!(line.next().await, None);
        let figures = line.shared.counters.figures();
        assert_eq!((figures.settled, figures.undelivered), (2, 1));
    }
}

#[tokio::test]
async fn no_more_is_read_than_may_be_under_way() {
    let mut line = Line::new(Version::V3, 2).await;
    for id in 1..=2 {
        line.publish(Version::V3, id, usize::from(id)).await;
    }
    line.send(&message(Version::V3, 3)).await;
    line.send(&[0xc0, 0]).await;
    idle().await;
    assert_eq!(line.shared.counters.figures().received_qos1, 2);
    line.store(0);
    assert_eq!(line.next().await.unwrap(), [0x40, 0, 1]);
    // Now the third is read, and the ping is not.
    line.under_way(2).await;
    line.store(0);
    assert_eq!(line.next().await.unwrap(), [0x40, 0, 2]);
    assert_eq!(line.next().await.unwrap(), [0xd0]);
    line.store(0);
    assert_eq!(line.next().await.unwrap(), [0x40, 0, 3]);
}

#[tokio::test]
async fn a_defect_in_one_connection_ends_that_one_alone() {
    let quay = Quay::new();
    let (shared, _orders) = shared(&quay, 10);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener, None, shared.clone()));
    let mut good = TcpStream::connect(address).await.unwrap();
    good.write_all(&connect(Version::V3)).await.unwrap();
    let mut answer = [0; 4];
    good.read_exact(&mut answer).await.unwrap();
    let login = v3_1_1::Connect::builder().client_id("b").unwrap();
    let login = login
        .user_name("name")
        .unwrap()
        .password("token")
        .unwrap()
        .build()
        .unwrap();
    let mut bad = TcpStream::connect(address).await.unwrap();
    bad.write_all(&login.to_continuous_buffer()).await.unwrap();
    let ended = timeout(PATIENCE, bad.read(&mut answer)).await.expect("it ends");
    assert!(matches!(ended, Ok(0) | Err(_)));
    good.write_all(&[0xc0, 0]).await.unwrap();
    good.read_exact(&mut answer[..2]).await.unwrap();
    assert_eq!(answer[..2], [0xd0, 0]);
    let counted = async {
        while shared.counters.figures().panics != 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.expect("it is counted");
    assert_eq!(shared.counters.figures().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_is_silent_only_while_it_is_listened_to() {
    let mut line = Line::new(Version::V5, 1).await;
    let long = Duration::from_secs(9_000);
    line.orders.send_replace(Order::Pause);
    idle().await;
    tokio::time::advance(long).await;
    line.orders.send_replace(Order::Run);
    line.has_no_other_answer().await;
    // As much is under way as may be.
    line.publish(Version::V5, 1, 1).await;
    idle().await;
    tokio::time::advance(long).await;
    line.store(0);
    assert_eq!(line.next().await.unwrap(), [0x40, 0, 1]);
    line.has_no_other_answer().await;
    tokio::time::advance(Duration::from_secs(5_399)).await;
    line.has_no_other_answer().await;
    // Half a packet is no sign of life.
    line.send(&[0x30, 100]).await;
    idle().await;
    tokio::time::advance(Duration::from_secs(5_400)).await;
    assert_eq!(line.next().await.unwrap(), [0xe0, 0x8d]);
    assert_eq!(line.next().await, None);
    assert_eq!(line.shared.counters.figures().silent, 1);
}
