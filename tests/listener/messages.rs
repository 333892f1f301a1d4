//! Messages: stored before they are answered, answered in order, and known again.

use sqlx::Connection;

use crate::api::number;
use crate::device::*;
use crate::instance::{Instance, until};

#[tokio::test]
async fn messages_are_answered_in_the_order_in_which_they_came_once_they_are_stored() {
    let instance = start(&[]).await;
    for version in VERSIONS {
        let sensor = format!("ordered-{version}");
        let mut device = Device::login(&instance, version, "d").await;
        for id in 1..=60_u16 {
            let qos = 1 + (id % 2) as u8;
            device.publish("t", &dated(&sensor, u32::from(id)), qos, id).await;
        }
        for id in 1..=60_u16 {
            let kind = if id % 2 == 1 { PUBREC } else { PUBACK };
            assert_eq!(device.answer(kind).await, (id, 0));
        }
        assert_eq!(instance.api.readings(&sensor).await.len(), 60);
        for id in (1..=60).step_by(2) {
            device.release(id).await;
            assert_eq!(device.answer(PUBCOMP).await, (id, 0));
        }
    }
    let figures = figures(&instance).await;
    assert_eq!(
        (&figures["received_qos1"], &figures["received_qos2"]),
        (&60.into(), &60.into())
    );
    assert_eq!(figures["waiting"], 0);
    instance.api.total().await;
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_acknowledged_and_afterwards_all_is() {
    let instance = start(&[]).await;
    let mut device = Device::login(&instance, V3, "d").await;
    device.publish("t", &dated("s", 1), 1, 1).await;
    assert_eq!(device.answer(PUBACK).await, (1, 0));
    let mut other = instance.place.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    for id in 2..=20 {
        device
            .publish("t", &dated("s", u32::from(id)), 1 + (id % 2) as u8, id)
            .await;
    }
    // It is there and listens, and has said nothing of the messages before.
    device.ping().await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    for id in 2..=20 {
        let kind = if id % 2 == 1 { PUBREC } else { PUBACK };
        assert_eq!(device.answer(kind).await, (id, 0));
    }
    assert_eq!(instance.api.readings("s").await.len(), 20);
    other.close().await.unwrap();
}

#[tokio::test]
async fn qos_0_is_stored_without_a_word() {
    let instance = start(&[]).await;
    let mut device = Device::login(&instance, V5, "d").await;
    for value in 0..10 {
        device.publish("t", &dated("s", value), 0, 0).await;
    }
    device.ping().await;
    until("all to be stored", async || {
        let sensor = instance.api.try_get("/api/sensors/s/ledger").await.unwrap();
        (sensor.body["stored"] == 10).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_qos_2_message_is_stored_once_however_often_it_comes_before_its_release() {
    let instance = start(&[]).await;
    for version in VERSIONS {
        let sensor = format!("once-{version}");
        let keep = Login {
            keep: true,
            ..Login::default()
        };
        let name = format!("keeper-{version}");
        let (mut device, present) = Device::log_in(&instance, version, &name, &keep).await;
        assert!(!present);
        device.publish("t", &undated(&sensor, 1), 2, 7).await;
        assert_eq!(device.answer(PUBREC).await, (7, 0));
        device.again("t", &undated(&sensor, 1), 2, 7).await;
        assert_eq!(device.answer(PUBREC).await, (7, 0));
        drop(device);
        let (mut device, present) = Device::log_in(&instance, version, &name, &keep).await;
        assert!(present, "its session was kept");
        device.again("t", &undated(&sensor, 1), 2, 7).await;
        assert_eq!(device.answer(PUBREC).await, (7, 0));
        let unknown = if version == V5 { 0x92 } else { 0 };
        for code in [0, unknown] {
            device.release(7).await;
            assert_eq!(device.answer(PUBCOMP).await, (7, code));
        }
        let ledger = instance.api.ledger(&sensor).await;
        assert_eq!((&ledger["received"], &ledger["stored"]), (&1.into(), &1.into()));
        device.publish("t", &undated(&sensor, 1), 2, 7).await;
        assert_eq!(device.answer(PUBREC).await, (7, 0));
        assert_eq!(instance.api.ledger(&sensor).await["stored"], 2, "another message");
    }
}

/// What a device sends again was given a time when it came first.
async fn redelivered(instance: &Instance, sensor: &str, qos: u8) {
    let kind = if qos == 1 { PUBACK } else { PUBREC };
    let mut device = Device::login(instance, V3, "d").await;
    device.again("t", &undated(sensor, 1), qos, 5).await;
    assert_eq!(device.answer(kind).await, (5, 0));
    let ledger = instance.api.ledger(sensor).await;
    assert_eq!(
        (number(&ledger["stored"]), number(&ledger["duplicate"])),
        (1, 1),
        "{ledger}"
    );
    if qos == 2 {
        device.release(5).await;
        assert_eq!(device.answer(PUBCOMP).await, (5, 0));
    }
    device.publish("t", &undated(sensor, 1), qos, 5).await;
    assert_eq!(device.answer(kind).await, (5, 0));
    assert_eq!(
        instance.api.ledger(sensor).await["stored"],
        2,
        "it is not sent again"
    );
}

#[tokio::test]
async fn a_redelivery_without_a_time_is_a_duplicate_even_after_a_crash() {
    let mut instance = start(&[]).await;
    for (qos, sensor) in [(1, "one"), (2, "two")] {
        let kind = if qos == 1 { PUBACK } else { PUBREC };
        let mut device = Device::login(&instance, V3, "d").await;
        device.publish("t", &undated(sensor, 1), qos, 5).await;
        assert_eq!(device.answer(kind).await, (5, 0));
        drop(device);
        redelivered(&instance, sensor, qos).await;
    }
    for (qos, sensor) in [(1, "three"), (2, "four")] {
        let kind = if qos == 1 { PUBACK } else { PUBREC };
        let mut device = Device::login(&instance, V3, "d").await;
        device.publish("t", &undated(sensor, 1), qos, 5).await;
        assert_eq!(device.answer(kind).await, (5, 0));
        instance = instance.again(&[]).await;
        redelivered(&instance, sensor, qos).await;
    }
}

#[tokio::test]
async fn a_session_outlives_the_service() {
    let instance = start(&[]).await;
    let keep = Login {
        keep: true,
        ..Login::default()
    };
    for version in VERSIONS {
        let (mut device, present) = Device::log_in(&instance, version, &format!("d{version}"), &keep).await;
        assert!(!present);
        device.publish("t", &undated("s", 1), 2, 9).await;
        assert_eq!(device.answer(PUBREC).await, (9, 0));
        let (_, present) = Device::log_in(&instance, version, &format!("idle{version}"), &keep).await;
        assert!(!present);
    }
    let instance = instance.again(&[]).await;
    for version in VERSIONS {
        let (mut device, present) = Device::log_in(&instance, version, &format!("d{version}"), &keep).await;
        assert!(present);
        device.again("t", &undated("s", 1), 2, 9).await;
        assert_eq!(device.answer(PUBREC).await, (9, 0));
        device.release(9).await;
        assert_eq!(device.answer(PUBCOMP).await, (9, 0));
        let (_, present) = Device::log_in(&instance, version, &format!("idle{version}"), &keep).await;
        assert!(!present, "nothing of it was ever stored");
        drop(Device::login(&instance, version, &format!("d{version}")).await);
        let (_, present) = Device::log_in(&instance, version, &format!("d{version}"), &keep).await;
        assert!(!present, "it was begun anew");
    }
    assert_eq!(instance.api.ledger("s").await["stored"], 2);
}

#[tokio::test]
async fn what_is_refused_is_told_by_its_code_and_kept_as_a_dead_letter() {
    let instance = start(&["limits.series_per_sensor=2"]).await;
    for version in VERSIONS {
        let sensor = format!("s{version}");
        let of = |metric: &str, value: u32| {
            let text = format!(
                r#"{{"sensor_id":"{sensor}","metric":"{metric}","value":{value},"timestamp":1700000000}}"#
            );
            text.into_bytes()
        };
        let both = [&b"["[..], &of("b", 1), b",{}]"].concat();
        let mut device = Device::login(&instance, version, "d").await;
        let told = [
            (of("a", 1), 0),
            (b"nonsense".to_vec(), 0x99),
            (b"\xff\xfe".to_vec(), 0x99),
            (of("a", 2), 0x83),
            // Of this one there is a reading that is stored.
            (both, 0),
            (of("one too many", 1), 0x97),
            (b"[]".to_vec(), 0),
        ];
        for (id, (payload, code)) in (1..).zip(told) {
            device.publish("the/topic", &payload, 1, id).await;
            let code = if version == V5 { code } else { 0 };
            assert_eq!(device.answer(PUBACK).await, (id, code), "version {version}");
        }
    }
    let mut letters = instance.api.all("/api/admin/dead-letters").await;
    letters.retain(|letter| letter["source"] == "mqtt_listener");
    // A conflict is found by the database, which does not know where the reading was.
    let at_topic = letters.iter().filter(|letter| letter["position"] == "the/topic");
    assert_eq!(at_topic.count(), 8, "{letters:?}");
    assert_eq!(letters.len(), 10);
    instance.api.total().await;
}

#[tokio::test]
async fn topics_say_whose_reading_a_bare_number_is() {
    let instance = start(&["mqtt_listener.topics=['plant/+sensor_id/+metric']"]).await;
    for version in VERSIONS {
        let mut device = Device::login(&instance, version, "d").await;
        device
            .publish(&format!("plant/boiler-{version}/t"), b"71.5", 1, 1)
            .await;
        assert_eq!(device.answer(PUBACK).await, (1, 0));
        let unknown = if version == V5 { 0x90 } else { 0 };
        device.publish("elsewhere", &dated("s", 1), 1, 2).await;
        assert_eq!(device.answer(PUBACK).await, (2, unknown));
        // As fast as they can be sent; no two of them came at the same time.
        let topic = format!("plant/boiler-{version}/t");
        let many: Vec<u8> = (3..=90)
            .flat_map(|id| {
                let value = id.to_string();
                crate::device::publish(version, &topic, value.as_bytes(), 1, id, false)
            })
            .collect();
        device.send(&many).await;
        for id in 3..=90 {
            assert_eq!(device.answer(PUBACK).await, (id, 0));
        }
        let stored = instance.api.readings(&format!("boiler-{version}")).await;
        let values: Vec<f64> = stored.iter().map(|(_, value)| *value).collect();
        let sent: Vec<f64> = [71.5].into_iter().chain((3..=90).map(f64::from)).collect();
        assert_eq!(values, sent);
    }
    assert_eq!(instance.api.try_get("/api/sensors/s").await.unwrap().status, 404);
    instance.api.total().await;
}
