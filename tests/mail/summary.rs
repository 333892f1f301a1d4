//! The mail about a day.

use sensorhive::actors::alerting::mail::{Rendered, Renderer};
use sensorhive::actors::alerting::{Deliver, NotificationId, Summary};
use sensorhive::domain::{Ledger, Level, SensorId, Timestamp};

use crate::limits::check_lines;
use crate::parts::{header_of, parse};
use crate::smtp::{Options, Server};
use crate::support::*;

const HOUR: i64 = 3_600_000_000;

/// Of a day with some trouble.
pub fn busy() -> Summary {
    let sensor = |name: &str| SensorId::parse(name).unwrap();
    let hours_ago = |hours: i64| AT.saturating_sub(hours * HOUR);
    let mut open = many().alerts;
    open.truncate(3);
    open[1].acknowledged = Some(("Ann".to_owned(), hours_ago(1)));
    Summary {
        id: NotificationId("s-1".to_owned()),
        receiver: "ops".to_owned(),
        from: hours_ago(24),
        at: AT,
        open,
        more: 0,
        raised: [(Level::Critical, 2), (Level::Error, 4), (Level::Warning, 1_211)].into(),
        resolved: 1_214,
        rules: vec![
            ("jump".to_owned(), 1_180),
            ("too hot".to_owned(), 31),
            ("silence".to_owned(), 6),
        ],
        noisiest: vec![(sensor("hall-3/vibration-12"), 904), (sensor("boiler-7"), 31)],
        silent: vec![
            (sensor("cellar/humidity-1"), hours_ago(75)),
            (sensor("gate-4"), hours_ago(9)),
        ],
        more_silent: 0,
        sensors: 1_204,
        ledger: Ledger {
            received: 103_680_412,
            stored: 103_679_900,
            duplicate: 500,
            rejected: 12,
            late: 7,
            ..Ledger::default()
        },
    }
}

/// Of one without any.
pub fn quiet() -> Summary {
    Summary {
        open: Vec::new(),
        raised: Default::default(),
        resolved: 0,
        rules: Vec::new(),
        noisiest: Vec::new(),
        silent: Vec::new(),
        ..busy()
    }
}

pub fn rendered(summary: &Summary) -> Rendered {
    Renderer::new(None)
        .unwrap()
        .summary(summary, Some(&links()))
        .unwrap()
}

#[test]
fn a_day_is_told_in_one_mail() {
    let rendered = rendered(&busy());
    assert_eq!(
        rendered.subject,
        "[SUMMARY] 2026-11-20: 3 open, 1,217 new, 2 silent"
    );
    for part in [
        "[SUMMARY] 3 alerts stand\n\nSince 2026-11-19 14:05:12 UTC 1,217 alerts began, and 1,214 ended.\n",
        "New alerts:    2 critical, 4 error, 1,211 warning\nSensors heard: 1,204\n",
        "\n[CRITICAL] boiler-1 temperature\n  93.1 °C (limit 80 °C), too hot, since ",
        "acknowledged by Ann at 2026-11-20 13:05:12 UTC\n",
        "acknowledge: https://hive.example.org/links/acknowledge/",
        "NEW BY RULE\njump                     1,180\n",
        "NEW BY SENSOR\nhall-3/vibration-12      904\n",
        "SILENT FOR\ncellar/humidity-1        3 d 3 h\n",
        "READINGS\nReceived                 103,680,412\nStored                   103,679,900\nDuplicates               500\nRejected                 12\nLate                     7\n",
        "Dashboard:\nhttps://hive.example.org/alerts\n",
    ] {
        assert!(
            rendered.text.contains(part),
            "{part:?} is missing in\n{}",
            rendered.text
        );
    }
    assert!(
        !rendered.text.contains("\n\n\n") && !rendered.text.contains("add up"),
        "{}",
        rendered.text
    );
    for part in [
        "1,211 warning",
        "hall-3&#x2f;vibration-12",
        "3 d 3 h",
        "103,680,412",
        "Acknowledged <bdi>by Ann",
    ] {
        assert!(
            rendered.html.contains(part),
            "{part:?} is missing in\n{}",
            rendered.html
        );
    }
}

#[test]
fn a_quiet_day_is_told_in_few_words() {
    let rendered = rendered(&quiet());
    assert_eq!(rendered.subject, "[SUMMARY] 2026-11-20: all is quiet");
    assert!(
        rendered.text.starts_with("[SUMMARY] No alert stands\n\n"),
        "{}",
        rendered.text
    );
    for word in ["OPEN", "NEW BY", "SILENT", "New alerts", "Acknowledge"] {
        assert!(
            !rendered.text.contains(word) && !rendered.html.contains(word),
            "{}",
            rendered.text
        );
    }
}

#[test]
fn figures_that_do_not_add_up_are_told() {
    let mut summary = quiet();
    summary.ledger.stored -= 1;
    let rendered = rendered(&summary);
    assert!(rendered.text.contains("do not add up") && rendered.html.contains("do not add up"));
}

#[test]
fn names_are_names_and_lists_end() {
    const SCRIPT: &str = "<img src=x onerror=alert(1)>";

    let mut summary = busy();
    summary.open = vec![summary.open[0].clone(); 500];
    summary.open[0].sensor = SensorId::parse(SCRIPT).unwrap();
    summary.rules = vec![(format!("{SCRIPT}\r\nBcc: a@b{}", "x".repeat(1_000_000)), u64::MAX); 30];
    summary.noisiest = vec![(SensorId::parse(SCRIPT).unwrap(), 1); 5_000];
    summary.silent = vec![(SensorId::parse(SCRIPT).unwrap(), Timestamp::MIN); 5_000];
    summary.raised = [(Level::Info, u64::MAX), (Level::Error, u64::MAX)].into();
    summary.receiver = format!("{SCRIPT}\r\nBcc: a@b");
    summary.more = u64::MAX;
    let made = deliverer(options(1)).summary(&summary).unwrap();
    check_lines(&made);
    assert!(made.bytes.len() < 1_500_000, "{}", made.bytes.len());
    assert_eq!(header_of(&made.bytes, "Bcc"), None);
    let message = parse(&made.bytes);
    let html = message.body_html(0).unwrap();
    assert!(!html.contains("<img") && html.contains("&lt;img src=x"), "{html}");
    let text = message.body_text(0).unwrap();
    assert!(!text.lines().any(|line| line.starts_with("Bcc:")));
    assert_eq!(
        text.matches("and 4980 more").count(),
        1,
        "of those that are silent"
    );
}

#[tokio::test]
async fn it_is_sent_as_any_mail_and_refused_by_what_is_none() {
    let Some(server) = Server::start(&Options::default()) else {
        return;
    };
    let accepted = deliverer(options(server.port))
        .summarize(&busy(), &[])
        .await
        .unwrap();
    assert_eq!(accepted.taken, ["ops@example.org", "night@example.org"]);
    let received = server.received(1).await;
    let made = deliverer(options(1)).summary(&busy()).unwrap();
    assert_eq!(received[0].bytes.trim_ascii_end(), made.bytes.trim_ascii_end());
    assert_eq!(
        header_of(&made.bytes, "X-Sensorhive-Status").as_deref(),
        Some("summary")
    );
    let hook = crate::hooks::hook(crate::hooks::hook_options(1));
    let error = hook.summarize(&busy(), &[]).await.unwrap_err();
    assert!(error.to_string().starts_with("refused: "), "{error}");
}
