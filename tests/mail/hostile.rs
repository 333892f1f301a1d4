//! Names that are meant to do harm.

use sensorhive::actors::alerting::Notification;
use sensorhive::domain::{MetricName, SensorId};

use crate::parts::parse;
use crate::support::*;

const SCRIPT: &str = "<img src=x onerror=alert(1)>";
const INJECTION: &str = "x\r\nBcc: a@b\r\n\r\n<script>alert(2)</script>";
const BIDI: &str = "safe\u{202e}dangerous\u{2066}\u{200f}";

fn hostile(sensor: &str) -> Notification {
    let mut notification = alarm();
    notification.receiver = INJECTION.to_owned();
    notification.group = [(INJECTION.to_owned(), SCRIPT.to_owned())].into();
    let alert = &mut notification.alerts[0];
    alert.sensor = SensorId::parse(sensor).unwrap();
    alert.metric = Some(MetricName::parse("{{ 1234 * 1000 }}{% raw %}").unwrap());
    alert.rule = INJECTION.to_owned();
    alert.unit = Some(INJECTION.to_owned());
    alert.tags = [
        (INJECTION.to_owned(), INJECTION.to_owned()),
        (BIDI.to_owned(), SCRIPT.to_owned()),
    ]
    .into();
    alert.reasons = vec![INJECTION.to_owned(), SCRIPT.to_owned(), BIDI.to_owned()];
    alert.runbook = Some(format!("javascript:alert(3){INJECTION}"));
    alert.acknowledged = Some((INJECTION.to_owned(), AT));
    alert.value = Some(f64::NAN);
    alert.expected = Some((f64::NEG_INFINITY, f64::INFINITY));
    alert.threshold = None;
    notification
}

pub fn all() -> Vec<Notification> {
    let long = "ä".repeat(128);
    let mut all: Vec<Notification> = [
        SCRIPT,
        BIDI,
        &long,
        "a\"b'c&d",
        "=?utf-8?q?=0D=0ABcc:_a@b?=",
        "\u{2028}.",
    ]
    .into_iter()
    .map(hostile)
    .collect();
    let mut several = hostile(SCRIPT);
    several.alerts = vec![several.alerts[0].clone(); 3];
    several.more = 2;
    all.push(several);
    all
}

#[test]
fn a_name_is_nothing_but_a_name() {
    let known = {
        let mail = mail(&alarm());
        names(&mail.bytes)
    };
    for notification in all() {
        let mail = mail(&notification);
        let message = parse(&mail.bytes);
        // No header that was not ours, and none twice.
        let found = names(&mail.bytes);
        assert!(found.iter().all(|name| known.contains(name)), "{found:?}");
        assert!(!found.iter().any(|name| name.eq_ignore_ascii_case("bcc")));
        let subject = message.subject().unwrap();
        assert!(
            !subject.contains(['\r', '\n', '\u{202e}', '\u{2066}', '\u{2028}']),
            "{subject:?}"
        );
        assert!(subject.chars().count() <= 250);

        let html = message.body_html(0).unwrap();
        for bad in [
            "<img src=x",
            "<script",
            "href=\"javascript",
            "\u{202e}",
            "\u{200f}",
            "\nBcc:",
        ] {
            assert!(!html.contains(bad), "{bad:?} is in\n{html}");
        }
        let text = message.body_text(0).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
        assert!(
            !text.contains(['\u{202e}', '\u{2066}', '\u{200f}', '\u{2028}']),
            "{text}"
        );
        assert!(
            !text.contains("1234000") && text.contains("{{ 1234 * 1000 }}"),
            "a name was taken for a template:\n{text}"
        );
        // It can still be seen what was there.
        assert!(text.contains("x\\r\\nBcc: a@b"), "{text}");
    }
}

#[test]
fn html_has_only_the_elements_of_the_template() {
    let count = |notification: &Notification| {
        let mail = mail(notification);
        let html = parse(&mail.bytes).body_html(0).unwrap().into_owned();
        let opened = html.matches('<').count();
        assert_eq!(opened, html.matches('>').count());
        (
            html.matches("<a ").count(),
            html.matches("<img ").count(),
            html.matches("<script").count(),
        )
    };
    // Acknowledged, and without a runbook that could be opened: two links fewer.
    let (links, pictures, _) = count(&alarm());
    assert_eq!(count(&hostile(SCRIPT)), (links - 2, pictures, 0));
}

#[test]
fn webhooks_are_json_whatever_names_are() {
    use sensorhive::actors::alerting::webhook::{Bodies, Format};

    let bodies = Bodies::new(None).unwrap();
    for notification in all() {
        for format in [Format::Json, Format::Slack, Format::DingTalk] {
            let text = bodies.render(format, &notification, Some(&links())).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(!text.contains(['\r', '\n']), "{text}");
            if format == Format::Slack {
                assert!(!text.contains("<img"), "{json}");
            }
        }
    }
}

/// Of headers, in order.
fn names(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let lines = head.lines().filter(|line| !line.starts_with([' ', '\t']));
    lines
        .map(|line| line.split_once(':').unwrap().0.to_owned())
        .collect()
}
