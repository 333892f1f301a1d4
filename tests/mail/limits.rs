//! How long a mail and its lines may be, whatever is in them.

use sensorhive::actors::alerting::Notification;
use sensorhive::actors::alerting::mail::{Mail, Renderer};
use sensorhive::actors::alerting::webhook::{Bodies, Format};
use sensorhive::domain::{AlertChange, MetricName, SensorId, Tags};

use crate::hostile::all;
use crate::parts::parse;
use crate::support::*;

fn named(sensor: &str, metric: &str) -> Notification {
    let mut alarm = alarm();
    alarm.alerts[0].sensor = SensorId::parse(sensor).unwrap();
    alarm.alerts[0].metric = Some(MetricName::parse(metric).unwrap());
    alarm.alerts[0].unit = Some("\u{2103}".repeat(20));
    alarm
}

/// With subjects of every kind.
fn long_names() -> Vec<Notification> {
    [
        ("a".repeat(250), "b".repeat(120)),
        ("a b ".repeat(60).trim_end().to_owned(), "c".to_owned()),
        ("\u{6e29}".repeat(80), "\u{5ea6}".repeat(40)),
        ("\u{1f525}a".repeat(40), "=?utf-8?b?Zm9v?=".to_owned()),
        ("x".to_owned(), "\u{e4}".to_owned()),
    ]
    .into_iter()
    .map(|(sensor, metric)| named(&sensor, &metric))
    .collect()
}

pub fn check_lines(mail: &Mail) {
    let text = std::str::from_utf8(&mail.bytes).unwrap();
    assert!(text.is_ascii());
    for line in text.split("\r\n") {
        assert!(
            !line.contains(['\r', '\n']),
            "an end of a line by halves: {line:?}"
        );
        assert!(line.len() <= 998, "{}: {line}", line.len());
    }
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    for line in head.split("\r\n") {
        assert!(!line.trim().is_empty(), "{head}");
        let words = line.split_whitespace().filter(|word| word.starts_with("=?"));
        words.for_each(|word| assert!(word.len() <= 75, "{}: {word}", word.len()));
    }
    let longest = body.lines().map(str::len).max();
    assert!(longest <= Some(78), "{longest:?}");
}

#[test]
fn no_line_is_longer_than_mail_allows() {
    for notification in all().iter().chain(&long_names()) {
        check_lines(&mail(notification));
    }
}

#[test]
fn a_long_subject_is_read_as_it_was_written() {
    let renderer = Renderer::new(None).unwrap();
    for notification in long_names() {
        let subject = renderer.render(&notification, None).unwrap().subject;
        let mail = mail(&notification);
        let shown = subject.replace("=?", "= ?");
        assert_eq!(parse(&mail.bytes).subject(), Some(shown.as_str()));
    }
}

fn alarm_tags(count: usize) -> Tags {
    (0..count).map(|n| (format!("{n}"), "<".repeat(1_000))).collect()
}

#[test]
fn huge_texts_make_no_huge_mail() {
    let huge = "<b>\r\n\u{202e}".repeat(1_250_000);
    let mut notification = alarm();
    notification.receiver.clone_from(&huge);
    notification.thread.clone_from(&huge);
    notification.id.0.clone_from(&huge);
    notification.group = [(huge.clone(), huge.clone())].into();
    let alert = &mut notification.alerts[0];
    alert.change = AlertChange::Unacknowledged;
    alert.rule.clone_from(&huge);
    alert.unit = Some(huge.clone());
    alert.tags = alarm_tags(300);
    alert.tags.insert(huge.clone(), huge.clone());
    alert.reasons = vec![huge.clone(); 2];
    alert.runbook = Some(huge.clone());
    alert.acknowledged = Some((huge.clone(), AT));
    alert.recent = (0..100_000).map(|n| (AT.saturating_add(n), n as f64)).collect();
    let made = mail(&notification);
    check_lines(&made);
    assert!(made.bytes.len() < 150_000, "{}", made.bytes.len());
    let bodies = Bodies::new(None).unwrap();
    for format in [Format::Json, Format::Slack, Format::DingTalk] {
        let body = bodies.render(format, &notification, Some(&links())).unwrap();
        assert!(body.len() < 150_000, "{format:?}: {}", body.len());
    }

    let mut many = many().alerts.remove(0);
    many.reasons = vec!["x".repeat(1_000); 15];
    many.tags = alarm_tags(30);
    notification.alerts.resize(1_000, many);
    let made = mail(&notification);
    check_lines(&made);
    assert!(made.bytes.len() < 1_500_000, "{}", made.bytes.len());
    let text = parse(&made.bytes).body_text(0).unwrap().into_owned();
    assert!(text.contains("and 900 more"), "{text}");
}
