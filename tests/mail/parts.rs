//! What a mail has in it, read back part by part.

use mail_parser::{Address, HeaderValue, Message, MessageParser, MimeHeaders};
use sensorhive::actors::alerting::mail::chart;

use crate::support::*;

pub fn parse(bytes: &[u8]) -> Message<'_> {
    MessageParser::default().parse(bytes).unwrap()
}

/// A header as it is written, unfolded.
pub fn header_of(bytes: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let unfolded = head.replace("\r\n ", " ");
    let prefix = format!("{name}: ");
    unfolded
        .lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
}

fn addresses(address: Option<&Address<'_>>) -> Vec<String> {
    let all = address.unwrap().iter();
    all.map(|one| one.address().unwrap().to_owned()).collect()
}

#[test]
fn headers_say_who_when_and_that_nobody_should_answer_by_machine() {
    let mail = mail(&alarm());
    let message = parse(&mail.bytes);
    assert_eq!(
        message.subject(),
        Some("[CRITICAL] boiler-7 temperature 93.1 °C (limit 80)")
    );
    assert_eq!(addresses(message.from()), ["hive@example.org"]);
    assert_eq!(addresses(message.to()), ["ops@example.org", "night@example.org"]);
    assert_eq!(addresses(message.reply_to()), ["team@example.org"]);
    assert_eq!(message.date().unwrap().to_rfc3339(), "2026-11-20T14:05:12Z");
    for (name, value) in [
        ("Auto-Submitted", "auto-generated"),
        ("List-Id", "<ops.alerts.example.org>"),
        ("X-Sensorhive-Receiver", "ops"),
        ("X-Sensorhive-Status", "critical"),
        ("X-Sensorhive-Notification", "n-1"),
        ("Importance", "high"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(header_of(&mail.bytes, name).as_deref(), Some(value), "{name}");
    }
    assert!(mail.bytes.is_ascii(), "not every server takes other bytes");
    let longest = mail.bytes.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    assert!(longest < Some(998), "{longest:?}");
}

#[test]
fn one_alert_makes_one_thread() {
    let [first, second, third] = [alarm(), escalation(), resolve()].map(|one| mail(&one));
    let read = |bytes: &[u8]| {
        let message = parse(bytes);
        let text = |value: &HeaderValue<'_>| value.as_text().map(str::to_owned);
        (
            message.message_id().unwrap().to_owned(),
            text(message.in_reply_to()),
            text(message.references()),
        )
    };
    let (root, none, nothing) = read(&first.bytes);
    assert_eq!((none, nothing), (None, None));
    assert_eq!(root, first.id);
    assert!(root.ends_with("@example.org"));
    let mut ids = vec![root.clone()];
    for mail in [&second, &third] {
        let (id, reply, references) = read(&mail.bytes);
        assert_eq!((reply.as_ref(), references.as_ref()), (Some(&root), Some(&root)));
        assert!(!ids.contains(&id));
        ids.push(id);
    }
    // What is sent again is the same, and what is another is not.
    assert_eq!(mail(&alarm()), first);
    assert_ne!(mail(&many()).id, first.id);
}

#[test]
fn text_html_and_picture_are_where_clients_look_for_them() {
    let mail = mail(&alarm());
    let message = parse(&mail.bytes);
    let kind = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type().unwrap();
        format!("{}/{}", kind.ctype(), kind.subtype().unwrap())
    };
    let kinds: Vec<String> = message.parts.iter().map(kind).collect();
    let expected = [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ];
    assert_eq!(kinds, expected);
    let picture = &message.parts[4];
    assert_eq!(picture.content_id(), Some("chart@sensorhive"));
    assert_eq!(picture.content_disposition().unwrap().ctype(), "inline");
    assert_eq!(picture.attachment_name(), Some("chart.png"));
    let decoder = png::Decoder::new(std::io::Cursor::new(picture.contents()));
    let reader = decoder.read_info().unwrap();
    assert_eq!(
        (reader.info().width, reader.info().height),
        (chart::WIDTH, chart::HEIGHT)
    );
    let html = message.body_html(0).unwrap();
    assert!(html.contains("src=\"cid:chart@sensorhive\""));
    assert!(!html.contains("http-equiv") && !html.contains("<script"));
    // A client that clips mails at 102 kB shows all of it.
    assert!(html.len() < 30_000, "{}", html.len());
}

#[test]
fn the_text_alone_says_everything() {
    let mail = mail(&alarm());
    let message = parse(&mail.bytes);
    let text = message.body_text(0).unwrap();
    for part in [
        "[CRITICAL] boiler-7 temperature\n\n93.1 °C, above the limit of 80 °C.\n",
        "* The temperature has been above 80 °C for 6 min.\n* It rose",
        "Value:        93.1 °C\nLimit:        80 °C\nSince:        2026-11-20 13:59:12 UTC (6 min)\n",
        "Sensor:       boiler-7\nMetric:       temperature\nRule:         too hot\ngateway:      gw-3\nsite:         a\n",
        "Runbook:      https://wiki.example.org/boilers#too-hot\n",
        "Last hour:    min ",
        ", max 93.1, now 93.1 °C\n",
        "▁",
        "Dashboard:\nhttps://hive.example.org/sensors/boiler-7\n",
        "Acknowledge:\nhttps://hive.example.org/links/acknowledge/",
        "Silence:\nhttps://hive.example.org/links/silence/",
        "\n-- \nSent by Sensorhive at 2026-11-20 14:05:12 UTC to the receiver ops.",
    ] {
        let text = text.replace("\r\n", "\n");
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.replace("\r\n", "\n").contains("\n\n\n"), "{text}");
}

#[test]
fn the_html_says_it_too() {
    let mail = mail(&alarm());
    let message = parse(&mail.bytes);
    let html = message.body_html(0).unwrap();
    for part in [
        ">CRITICAL<",
        "boiler-7 temperature",
        "93.1 °C",
        "80 °C",
        "2026-11-20 13:59:12 UTC (6\u{a0}min)",
        "0.8 °C is usual",
        "too hot",
        "gw-3",
        "Runbook",
        "Acknowledge",
        "Silence",
        "Dashboard",
    ] {
        assert!(html.contains(part), "{part:?} is missing in\n{html}");
    }
}

#[test]
fn a_resolve_asks_for_nothing() {
    let mail = mail(&resolve());
    let message = parse(&mail.bytes);
    assert_eq!(
        message.subject(),
        Some("[RESOLVED] boiler-7 temperature 74.4 °C after 21 min")
    );
    assert_eq!(header_of(&mail.bytes, "Importance"), None);
    for body in [message.body_text(0).unwrap(), message.body_html(0).unwrap()] {
        assert!(!body.contains("/links/"), "{body}");
        assert!(body.contains("2026-11-20 14:20:12 UTC"), "{body}");
    }
}

#[test]
fn a_group_lists_its_alerts_and_says_how_many_more() {
    let mail = mail(&many());
    let message = parse(&mail.bytes);
    assert_eq!(
        message.subject(),
        Some("[CRITICAL] 1,000 alerts in gateway=gw-3, site=a")
    );
    for body in [message.body_text(0).unwrap(), message.body_html(0).unwrap()] {
        for part in [
            "boiler-1 temperature",
            "boiler-6 temperature",
            "and 994 more",
            "Acknowledge all",
        ] {
            assert!(body.contains(part), "{part:?} is missing in\n{body}");
        }
    }
    assert_eq!(
        message.parts.len(),
        3,
        "a picture of one of them says nothing of the others"
    );
}

#[test]
fn without_readings_and_links_it_is_still_a_mail() {
    use sensorhive::actors::alerting::mail::Renderer;

    let mut bare = alarm();
    let alert = &mut bare.alerts[0];
    alert.recent.clear();
    alert.reasons.clear();
    (alert.metric, alert.value, alert.unit, alert.threshold) = (None, None, None, None);
    let rendered = Renderer::new(None).unwrap().render(&bare, None).unwrap();
    assert_eq!(rendered.subject, "[CRITICAL] boiler-7");
    assert_eq!(rendered.chart, None);
    assert!(!rendered.html.contains("<img") && !rendered.html.contains("hive.example.org"));
    assert!(!rendered.text.contains("Dashboard"));
}
