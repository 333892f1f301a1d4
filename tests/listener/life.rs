//! Connections: how they begin, go on and end.

use sqlx::Connection;

use crate::device::*;
use crate::instance::until;

#[tokio::test]
async fn nothing_can_be_subscribed_to() {
    let instance = start(&[]).await;
    for version in VERSIONS {
        let mut device = Device::login(&instance, version, "d").await;
        let mut body = vec![0, 9];
        if version == V5 {
            body.push(0);
        }
        for filter in ["a/#", "b"] {
            body.extend(string(filter.as_bytes()));
            body.push(1);
        }
        device.send(&packet(0x82, &body)).await;
        let answer = device.next().await.unwrap();
        let refused = if version == V5 { 0x83 } else { 0x80 };
        assert_eq!(answer.first, 0x90);
        assert!(
            answer.body.starts_with(&[0, 9]) && answer.body.ends_with(&[refused, refused]),
            "{answer:?}"
        );
        let mut body = vec![0, 10];
        if version == V5 {
            body.push(0);
        }
        body.extend(string(b"b"));
        device.send(&packet(0xa2, &body)).await;
        assert_eq!(device.next().await.unwrap().first, 0xb0);
        device.ping().await;
    }
}

#[tokio::test]
async fn a_newer_connection_of_the_same_device_ends_the_older() {
    let instance = start(&[]).await;
    for version in VERSIONS {
        let mut older = Device::login(&instance, version, "twin").await;
        let mut newer = Device::login(&instance, version, "twin").await;
        older.ended_with(0x8e).await;
        newer.ping().await;
        let _other = Device::login(&instance, version, "another").await;
        newer.ping().await;
    }
    until("both to be counted", async || {
        (figures(&instance).await["taken_over"] == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_last_will_is_published_if_the_device_goes_without_a_word() {
    let instance = start(&[]).await;
    for version in VERSIONS {
        let (gone, polite) = (format!("gone-{version}"), format!("polite-{version}"));
        for name in [&gone, &polite] {
            let will = undated(name, 0);
            let login = Login {
                will: Some(("wills", &will)),
                ..Login::default()
            };
            let (mut device, _) = Device::log_in(&instance, version, name, &login).await;
            if *name == polite {
                device.send(&[0xe0, 0]).await;
                assert_eq!(device.next().await, None);
            }
        }
        until("the will of the one that is gone", async || {
            let sensor = instance
                .api
                .try_get(&format!("/api/sensors/{gone}"))
                .await
                .unwrap();
            (sensor.status == 200).then_some(())
        })
        .await;
        let polite = instance
            .api
            .try_get(&format!("/api/sensors/{polite}"))
            .await
            .unwrap();
        assert_eq!(polite.status, 404);
    }
}

#[tokio::test]
async fn a_device_that_is_silent_for_too_long_is_disconnected() {
    let instance = start(&[]).await;
    let login = Login {
        keep_alive: 1,
        ..Login::default()
    };
    for version in VERSIONS {
        let (mut device, _) = Device::log_in(&instance, version, "silent", &login).await;
        // Half a packet is no sign of life.
        device.send(&[0x30, 100, 0]).await;
        device.ended_with(0x8d).await;
    }
}

async fn command(instance: &crate::instance::Instance, command: &str) {
    let path = format!("/api/admin/sources/mqtt_listener/{command}");
    let answer = instance.api.post(&path, &serde_json::json!({})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}

#[tokio::test]
async fn while_paused_nothing_is_read_and_after_a_restart_devices_come_again() {
    let instance = start(&[]).await;
    let mut device = Device::login(&instance, V5, "d").await;
    command(&instance, "pause").await;
    device.publish("t", &dated("s", 1), 1, 1).await;
    let sources = instance.api.get("/api/sources").await;
    assert!(sources.to_string().contains("\"paused\""), "{sources}");
    assert_eq!(figures(&instance).await["received_qos1"], 0);
    command(&instance, "resume").await;
    assert_eq!(device.answer(PUBACK).await, (1, 0));
    command(&instance, "restart").await;
    assert_eq!(device.next().await, None);
    let mut device = Device::login(&instance, V5, "d").await;
    device.publish("t", &dated("s", 2), 1, 1).await;
    assert_eq!(device.answer(PUBACK).await, (1, 0));
    assert_eq!(figures(&instance).await["connections"], 1);
}

#[tokio::test]
async fn told_to_stop_it_answers_what_is_under_way_and_says_goodbye() {
    let mut instance = start(&[]).await;
    let mut devices = Vec::new();
    for version in VERSIONS {
        devices.push(Device::login(&instance, version, &format!("d{version}")).await);
    }
    let mut other = instance.place.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    for device in &mut devices {
        for id in 1..=5 {
            let sensor = format!("s{}", device.version);
            device.publish("t", &dated(&sensor, u32::from(id)), 1, id).await;
        }
        device.ping().await;
    }
    instance.sigterm();
    until("it to stop taking connections", async || {
        instance
            .place
            .log()
            .contains("told to stop by SIGTERM")
            .then_some(())
    })
    .await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    for device in &mut devices {
        for id in 1..=5 {
            assert_eq!(device.answer(PUBACK).await, (id, 0));
        }
        device.ended_with(0x8b).await;
    }
    assert_eq!(instance.ended().await.code(), Some(0), "{}", instance.place.log());
    let instance = instance.again(&[]).await;
    for version in VERSIONS {
        assert_eq!(instance.api.readings(&format!("s{version}")).await.len(), 5);
    }
}
