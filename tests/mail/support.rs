//! Notifications, and deliverers for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sensorhive::actors::alerting::deliver::Trouble;
use sensorhive::actors::alerting::links::LinkKey;
use sensorhive::actors::alerting::mail::{
    Encryption, Header, LinkBase, Mail, MailDeliverer, Mailbox, Renderer, Smtp, SmtpOptions,
};
use sensorhive::actors::alerting::sample::sample;
use sensorhive::actors::alerting::{DeliveryError, Notification, NotificationId, Notified};
use sensorhive::domain::{AlertChange, AlertState, Episode, Level, SensorId, Timestamp};

/// 2026-11-20 14:05:12.25 UTC
pub const AT: Timestamp = Timestamp(1_795_183_512_250_000);
const MINUTE: i64 = 60_000_000;

pub fn alarm() -> Notification {
    let mut alarm = sample("ops", AT);
    alarm.id = NotificationId("n-1".to_owned());
    alarm.thread = "boiler-7/too hot/1".to_owned();
    alarm.alerts[0].runbook = Some("https://wiki.example.org/boilers#too-hot".to_owned());
    alarm.alerts[0].reasons = vec![
        "The temperature has been above 80 °C for 6 min.".to_owned(),
        "It rose by 4.1 °C within a minute; 0.8 °C is usual.".to_owned(),
    ];
    alarm
}

/// Of the same alert.
pub fn escalation() -> Notification {
    let mut later = alarm();
    (later.id, later.first) = (NotificationId("n-2".to_owned()), false);
    later.alerts[0].change = AlertChange::Unacknowledged;
    later
}

/// Of the same alert, 20 minutes later.
pub fn resolve() -> Notification {
    const LATER: i64 = 20 * MINUTE;

    let mut resolve = alarm();
    (resolve.id, resolve.first) = (NotificationId("n-3".to_owned()), false);
    resolve.at = AT.saturating_add(LATER);
    let alert = &mut resolve.alerts[0];
    (alert.change, alert.state) = (AlertChange::Resolved, AlertState::Resolved);
    alert.ended = Some(AT.saturating_add(15 * MINUTE));
    alert.changed = resolve.at;
    alert.reasons = vec!["The temperature has been below 75 °C for 5 min.".to_owned()];
    alert
        .recent
        .retain(|(time, _)| *time >= AT.saturating_add(LATER - 60 * MINUTE));
    let fall = (1..=120).map(|n| {
        let value = 74.2 + 18.9 * (-f64::from(n) / 25.0).exp();
        (
            AT.saturating_add(i64::from(n) * 10_000_000),
            (value * 10.0).round() / 10.0,
        )
    });
    alert.recent.extend(fall);
    alert.value = alert.recent.last().map(|(_, value)| *value);
    resolve
}

/// Of a gateway with 1,000 sensors.
pub fn many() -> Notification {
    let mut many = alarm();
    many.id = NotificationId("n-4".to_owned());
    many.thread = "group".to_owned();
    many.group = [("gateway", "gw-3"), ("site", "a")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let first = many.alerts[0].clone();
    many.alerts = (0..6).map(|n| sibling(&first, n)).collect();
    many.more = 994;
    many
}

fn sibling(alert: &Notified, n: i64) -> Notified {
    Notified {
        episode: Episode(n),
        sensor: SensorId::parse(&format!("boiler-{}", n + 1)).unwrap(),
        level: [Level::Critical, Level::Critical, Level::Error, Level::Warning][(n as usize).min(3)],
        value: Some(93.1 - n as f64 * 1.7),
        ..alert.clone()
    }
}

pub fn links() -> LinkBase {
    LinkBase {
        url: "https://hive.example.org".to_owned(),
        key: Some(LinkKey::new([7; 32])),
        valid: 7 * 24 * 60 * MINUTE,
    }
}

pub fn header() -> Header {
    Header {
        from: mailbox("Sensorhive <hive@example.org>"),
        to: vec![
            mailbox("ops@example.org"),
            mailbox("\"Night, Shift\" <night@example.org>"),
        ],
        reply_to: Some(mailbox("team@example.org")),
    }
}

pub fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

pub fn options(port: u16) -> SmtpOptions {
    SmtpOptions {
        host: "localhost".to_owned(),
        port,
        hello: "hive.test".to_owned(),
        encryption: Encryption::None,
        ca_file: None,
        login: None,
        timeout: Duration::from_secs(30),
        idle: 2,
    }
}

pub fn deliverer(options: SmtpOptions) -> MailDeliverer {
    let renderer = Renderer::new(None).unwrap();
    MailDeliverer::new(renderer, Some(Arc::new(links())), header(), Smtp::new(options))
}

/// What would be sent.
pub fn mail(notification: &Notification) -> Mail {
    deliverer(options(1)).mail(notification).unwrap()
}

pub fn secret(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, text).unwrap();
    (directory, file)
}

#[track_caller]
pub fn retry<T: std::fmt::Debug>(result: Result<T, DeliveryError>) -> (Trouble, String) {
    match result.unwrap_err() {
        DeliveryError::Retry { trouble, answer, .. } => (trouble, answer),
        refused => panic!("{refused}"),
    }
}
