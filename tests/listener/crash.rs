//! Killed with SIGKILL while devices publish: what was acknowledged is stored, and all that was published in the end, once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::api::number;
use crate::device::*;
use crate::instance::{Instance, until};

const DEVICES: u16 = 6;
const MESSAGES: u16 = 1_500;
const WINDOW: usize = 20;
const KILLS: u64 = 4;

/// Rows of arrivals that a device may have: its window of 100 messages, on pages of 32, and one more.
const ROWS: i64 = 5;

/// Publishes all its messages, over as many connections as it takes. Odd ones are sent with QoS 2 where `exactly` says so.
async fn device(
    name: String,
    exactly: bool,
    mut address: watch::Receiver<Option<std::net::SocketAddr>>,
    acknowledged: Arc<AtomicU64>,
) {
    // What is not acknowledged, and whether it may have been sent before. Packet ids are those of the messages.
    let mut open: BTreeMap<u16, bool> = (1..=MESSAGES).map(|id| (id, false)).collect();
    while !open.is_empty() {
        let Some(at) = *address.wait_for(Option::is_some).await.unwrap() else {
            continue;
        };
        let _ = connection(&name, exactly, at, &mut open, &acknowledged).await;
        tokio::task::yield_now().await;
    }
}

/// `None` if it broke off.
async fn connection(
    name: &str,
    exactly: bool,
    at: std::net::SocketAddr,
    open: &mut BTreeMap<u16, bool>,
    acknowledged: &AtomicU64,
) -> Option<()> {
    let stream = tokio::net::TcpStream::connect(at).await.ok()?;
    let mut device = Device::on(stream, V3);
    let keep = Login {
        keep: true,
        ..Login::default()
    };
    device.try_send(&connect(V3, name, &keep)).await.then_some(())?;
    device.next().await?;
    let mut window: Vec<u16> = Vec::new();
    while !open.is_empty() {
        let last = window.last().copied().unwrap_or(0);
        let room = WINDOW - window.len();
        let next: Vec<u16> = open.range(last + 1..).take(room).map(|(id, _)| *id).collect();
        for id in next {
            let qos = if exactly && id % 2 == 1 { 2 } else { 1 };
            let again = open.insert(id, true).unwrap_or_default();
            // A value without a time: a message that is counted twice would be another reading.
            let message = publish(V3, "t", &undated(name, u32::from(id)), qos, id, again);
            device.try_send(&message).await.then_some(())?;
            window.push(id);
        }
        let answer = device.next().await?;
        let id = u16::from_be_bytes([answer.body[0], answer.body[1]]);
        match answer.first {
            PUBREC => device
                .try_send(&packet(0x62, &id.to_be_bytes()))
                .await
                .then_some(())?,
            PUBACK | PUBCOMP => {
                window.retain(|open| *open != id);
                open.remove(&id);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("{other:#x}"),
        }
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_has_everything_that_was_acknowledged() {
    let mut instance = start(&[]).await;
    let (place, acknowledged) = (watch::Sender::new(instance.mqtt), Arc::new(AtomicU64::new(0)));
    let mut devices = tokio::task::JoinSet::new();
    for number in 0..DEVICES {
        let name = format!("crash-{number}");
        devices.spawn(device(
            name,
            number % 2 == 1,
            place.subscribe(),
            acknowledged.clone(),
        ));
    }
    let total = u64::from(DEVICES) * u64::from(MESSAGES);
    for kill in 1..=KILLS {
        let enough = kill * total / (KILLS + 1);
        until("messages", async || {
            (acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
        place.send_replace(None);
        let before = acknowledged.load(Ordering::Relaxed);
        instance.kill9();
        instance = instance.again(&[]).await;
        let mut stored = 0;
        for number in 0..DEVICES {
            stored += instance.api.readings(&format!("crash-{number}")).await.len() as u64;
        }
        assert!(
            stored >= before,
            "{before} were acknowledged and {stored} are stored"
        );
        place.send_replace(instance.mqtt);
    }
    while let Some(device) = devices.join_next().await {
        device.unwrap();
    }
    let mut duplicates = 0;
    for number in 0..DEVICES {
        let name = format!("crash-{number}");
        instance.api.caught_up(&name).await;
        let values: Vec<f64> = instance
            .api
            .readings(&name)
            .await
            .iter()
            .map(|(_, value)| *value)
            .collect();
        let sent: Vec<f64> = (1..=MESSAGES).map(f64::from).collect();
        assert!(values == sent, "the readings of {name} differ from what was sent");
        duplicates += number_of(&instance, &name).await;
    }
    let sum = instance.api.total().await;
    let mut database = instance.place.connect().await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM arrivals")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!((1..=ROWS * i64::from(DEVICES)).contains(&rows), "{rows} rows");
    crate::instance::report(&format!(
        "MQTT listener, SIGKILL {KILLS} times: {total} messages without times of {DEVICES} devices acknowledged, all stored \
         once, {duplicates} redelivered and known again, {rows} rows of arrivals, ledger {sum}"
    ));
}

async fn number_of(instance: &Instance, sensor: &str) -> u64 {
    number(&instance.api.ledger(sensor).await["duplicate"])
}
