//! Hostile devices: what they send ends their own connection, with the right code, and nothing else.

use std::time::Duration;

use rand::{RngExt, SeedableRng};

use crate::api::number;
use crate::device::*;
use crate::instance::{Instance, until};

const MEMORY: u64 = 64 << 20;

/// The service does its work as if nothing had been.
async fn is_well(instance: &Instance) {
    let mut device = Device::login(instance, V5, "good").await;
    device.publish("t", &undated("good", 1), 1, 1).await;
    assert_eq!(device.answer(PUBACK).await, (1, 0));
    let figures = figures(instance).await;
    assert_eq!(figures["panics"], 0, "{figures}");
    instance.api.total().await;
}

#[tokio::test]
async fn who_does_not_begin_with_connect_is_cut_off() {
    let instance = start(&["mqtt_listener.connect_timeout=1s"]).await;
    let mut wrong_name = connect(V3, "d", &Login::default());
    wrong_name[4] = b'X';
    let mut old = string(b"MQIsdp");
    old.extend([3, 2, 0, 0]);
    old.extend(string(b"d"));
    let unknown_version = connect(9, "d", &Login::default());
    let mut reserved = connect(V3, "d", &Login::default());
    reserved[9] |= 1;
    let mut will_qos = connect(V3, "d", &Login::default());
    will_qos[9] |= 0x18;
    let nul = connect(V5, "d\0", &Login::default());
    let cases: [(&str, Vec<u8>, Option<u8>); 12] = [
        ("nothing", Vec::new(), None),
        (
            "half of it",
            connect(V5, "d", &Login::default())[..9].to_vec(),
            None,
        ),
        (
            "a web browser",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            None,
        ),
        ("PUBLISH", publish(V3, "t", &undated("s", 1), 1, 1, false), None),
        ("PINGREQ", vec![0xc0, 0], None),
        ("a huge length", vec![0x10, 0xff, 0xff, 0xff, 0x7f], None),
        ("an endless length", vec![0x10, 0xff, 0xff, 0xff, 0xff], None),
        ("another protocol", wrong_name, None),
        ("MQTT 3.1", packet(0x10, &old), Some(1)),
        ("MQTT 9", unknown_version, Some(1)),
        ("a reserved flag", reserved, None),
        ("NUL in the name", nul, None),
    ];
    for (what, bytes, code) in cases.into_iter().chain([("a will without one", will_qos, None)]) {
        let mut device = Device::open(instance.mqtt.unwrap(), V3).await;
        device.send(&bytes).await;
        if let Some(code) = code {
            let answer = device
                .next()
                .await
                .unwrap_or_else(|| panic!("{what} is not answered"));
            assert_eq!((answer.first, answer.body), (0x20, vec![0, code]), "{what}");
        }
        assert_eq!(device.next().await, None, "{what}");
    }
    is_well(&instance).await;
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    let instance = start(&[]).await;
    let long = "x".repeat(257);
    let keep = Login {
        keep: true,
        ..Login::default()
    };
    for (version, name, login, code) in [
        (V3, long.as_str(), &Login::default(), 2),
        (V5, long.as_str(), &Login::default(), 0x85),
        (V3, "", &keep, 2),
    ] {
        let mut device = Device::open(instance.mqtt.unwrap(), version).await;
        device.send(&connect(version, name, login)).await;
        let answer = device.next().await.unwrap();
        assert_eq!((answer.first, answer.body[1]), (0x20, code));
        assert_eq!(device.next().await, None);
    }
    let (mut nameless, _) = Device::log_in(&instance, V5, "", &Login::default()).await;
    nameless.ping().await;
    assert_eq!(figures(&instance).await["refused_logins"], 3);
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_how_and_cut_off() {
    let instance = start(&["mqtt_listener.max_packet=4KiB"]).await;
    let payload = undated("s", 1);
    let mut aliased = string(b"t");
    aliased.extend([0, 1, 3, 0x23, 0, 1]);
    aliased.extend(&payload);
    let mut not_utf8 = string(b"a/\xff");
    not_utf8.extend([0, 1, 0]);
    let with_flags = |flags: u8| {
        let mut bytes = publish(V5, "t", &payload, 1, 1, false);
        bytes[0] |= flags;
        bytes
    };
    let of = |topic: &str, id: u16| publish(V5, topic, &payload, 1, id, false);
    for (what, bytes, code) in [
        ("CONNECT again", connect(V5, "d", &Login::default()), 0x82),
        ("CONNACK", vec![0x20, 3, 0, 0, 0], 0x82),
        ("PUBACK of nothing", vec![0x40, 2, 0, 1], 0x82),
        ("AUTH", vec![0xf0, 0], 0x82),
        ("type 0", vec![0, 0], 0x82),
        ("QoS 3", with_flags(6), 0x81),
        ("a wildcard", of("a/+", 1), 0x90),
        ("no topic", of("", 1), 0x90),
        ("NUL in the topic", of("a\0b", 1), 0x81),
        ("a topic that is not UTF-8", packet(0x32, &not_utf8), 0x81),
        ("packet id 0", of("t", 0), 0x81),
        ("a topic alias", packet(0x32, &aliased), 0x94),
        (
            "a topic longer than the packet",
            vec![0x30, 4, 0, 9, b't', 0],
            0x81,
        ),
        ("reserved flags", vec![0x60, 2, 0, 1], 0x81),
        ("no filter", vec![0x82, 3, 0, 1, 0], 0x82),
        ("half a filter", vec![0x82, 6, 0, 1, 0, 0, 9, b'a'], 0x81),
        ("a huge length", vec![0x32, 0xff, 0xff, 0xff, 0x7f], 0x95),
        (
            "a message too large",
            publish(V5, "t", &[b' '; 5000], 1, 1, false),
            0x95,
        ),
    ] {
        let mut device = Device::login(&instance, V5, "d").await;
        device.send(&bytes).await;
        println!("{what}");
        device.ended_with(code).await;
    }
    until("the last to be counted", async || {
        (figures(&instance).await["oversized"] == 2).then_some(())
    })
    .await;
    let figures = figures(&instance).await;
    assert_eq!(figures["malformed"], 16, "{figures}");
    let mut device = Device::login(&instance, V3, "d").await;
    device.send(&publish(V3, "a/#", &payload, 1, 1, false)).await;
    device.ended_with(0).await;
    is_well(&instance).await;
}

#[tokio::test]
async fn more_qos_2_messages_than_may_be_left_unreleased_end_the_connection() {
    let instance = start(&[]).await;
    let mut device = Device::login(&instance, V5, "d").await;
    for id in 1..=1024 {
        device.publish("t", &undated("s", u32::from(id)), 2, id).await;
        assert_eq!(device.answer(PUBREC).await, (id, 0));
    }
    device.publish("t", &undated("s", 0), 2, 2000).await;
    device.ended_with(0x93).await;
}

#[tokio::test]
async fn slow_and_half_devices_hold_nobody_up_and_little_memory() {
    let instance = start(&[
        "mqtt_listener.connect_timeout=2s",
        "mqtt_listener.max_packet=1MiB",
    ])
    .await;
    is_well(&instance).await;
    let before = instance.resident();
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut device = Device::open(instance.mqtt.unwrap(), V5).await;
        device.send(&connect(V5, "half", &Login::default())[..3]).await;
        slow.push(device);
        // These are welcome, announce a large message and send none of it.
        let mut device = Device::login(&instance, V5, &format!("large {number}")).await;
        device.send(&[0x32, 0xf0, 0xff, 0x3f, 0, 1, b't']).await;
        slow.push(device);
    }
    is_well(&instance).await;
    let grown = instance.resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more are held");
    for device in slow.iter_mut().step_by(2) {
        assert_eq!(device.next().await, None, "it took too long to log in");
    }
    assert_eq!(number(&figures(&instance).await["connections"]), 200);
}

#[tokio::test]
async fn noise_does_no_harm() {
    let instance = start(&["mqtt_listener.max_packet=4KiB"]).await;
    let mut random = rand::rngs::SmallRng::seed_from_u64(7);
    let before = instance.resident();
    for round in 0..300 {
        let version = VERSIONS[round % 2];
        let mut device = if round % 3 == 0 {
            Device::open(instance.mqtt.unwrap(), version).await
        } else {
            Device::login(&instance, version, "noisy").await
        };
        let mut noise = publish(
            version,
            "t",
            &undated("noise", 1),
            1 + (round % 2) as u8,
            1,
            false,
        );
        noise.resize(random.random_range(1..2000), 0);
        for _ in 0..random.random_range(1..40) {
            let at = random.random_range(0..noise.len());
            noise[at] = random.random();
        }
        // It may be cut off while it still speaks.
        device.try_send(&noise).await;
    }
    until("all of them to be gone", async || {
        (figures(&instance).await["connections"] == 0).then_some(())
    })
    .await;
    is_well(&instance).await;
    assert!(instance.resident().saturating_sub(before) < MEMORY);
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed() {
    let instance = start(&["mqtt_listener.max_connections=3"]).await;
    let mut devices = Vec::new();
    for name in ["a", "b", "c"] {
        devices.push(Device::login(&instance, V3, name).await);
    }
    let mut fourth = Device::open(instance.mqtt.unwrap(), V3).await;
    assert_eq!(fourth.next().await, None);
    drop(devices.pop());
    until("room for another", async || {
        let mut another = Device::open(instance.mqtt.unwrap(), V3).await;
        another.try_send(&connect(V3, "d", &Login::default())).await;
        another.next().await
    })
    .await;
    assert!(number(&figures(&instance).await["turned_away"]) >= 1);
}

/// One that sends without ever reading what it is told: it is held back by TCP, and costs no more than a connection may.
#[tokio::test]
async fn a_flood_without_a_database_is_held_back() {
    let flags = [
        "limits.bytes_in_flight=8MiB",
        "http.max_body=1MiB",
        "limits.payload=1MiB",
    ];
    let instance = start(&flags).await;
    is_well(&instance).await;
    let mut other = instance.place.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let before = instance.resident();
    let mut floods = tokio::task::JoinSet::new();
    for number in 0..20 {
        let mut device = Device::login(&instance, V3, &format!("flood {number}")).await;
        floods.spawn(async move {
            let mut sent = 0_u64;
            let payload = vec![b' '; 10_000];
            loop {
                let message = publish(V3, "t", &payload, 1, 1 + (sent % 60_000) as u16, false);
                let sending = device.send(&message);
                if tokio::time::timeout(Duration::from_secs(3), sending)
                    .await
                    .is_err()
                {
                    return (device, sent);
                }
                sent += 1;
            }
        });
    }
    let mut devices = Vec::new();
    while let Some(flood) = floods.join_next().await {
        devices.push(flood.unwrap().0);
    }
    let grown = instance.resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more are held");
    let mut late = Device::login(&instance, V3, "late").await;
    late.publish("t", &undated("lost", 1), 0, 0).await;
    late.ping().await;
    assert_eq!(
        figures(&instance).await["lost_qos0"],
        1,
        "there is no room for it"
    );
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    for device in &mut devices {
        assert_eq!(device.answer(PUBACK).await, (1, 0));
    }
    drop(devices);
    is_well(&instance).await;
}
