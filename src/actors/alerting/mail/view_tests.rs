use super::*;
use crate::actors::alerting::links::{LinkAction, LinkError, LinkKey};
use crate::actors::alerting::sample::sample;
use crate::domain::{SensorId, Timestamp};

const AT: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn notification() -> Notification {
    sample("ops", AT)
}

fn with(change: impl FnOnce(&mut Notified)) -> Notification {
    let mut notification = notification();
    change(&mut notification.alerts[0]);
    notification
}

fn subject(notification: &Notification) -> String {
    view(notification, None, None).subject
}

fn resolved(alert: &mut Notified) {
    alert.change = AlertChange::Resolved;
    alert.state = AlertState::Resolved;
    alert.ended = Some(alert.since.saturating_add(12 * 60_000_000));
    alert.value = Some(74.2);
}

#[test]
fn a_subject_says_what_where_and_how_grave() {
    assert_eq!(
        subject(&notification()),
        "[CRITICAL] boiler-7 temperature 93.1 °C (limit 80)"
    );
    for (change, expected) in [
        (
            AlertChange::Unacknowledged,
            "[CRITICAL] boiler-7 temperature 93.1 °C (limit 80), not acknowledged",
        ),
        (
            AlertChange::Repeated,
            "[CRITICAL] boiler-7 temperature 93.1 °C (limit 80) for 6 min",
        ),
        (
            AlertChange::NoData,
            "[NO DATA] boiler-7 temperature since 07:54 UTC",
        ),
    ] {
        assert_eq!(subject(&with(|alert| alert.change = change)), expected);
    }
    assert_eq!(
        subject(&with(resolved)),
        "[RESOLVED] boiler-7 temperature 74.2 °C after 12 min"
    );
    let banded = with(|alert| {
        alert.level = Level::Warning;
        (alert.threshold, alert.expected) = (None, Some((60.0, 75.5)));
    });
    assert_eq!(
        subject(&banded),
        "[WARNING] boiler-7 temperature 93.1 °C (expected 60 to 75.5)"
    );
}

#[test]
fn several_are_counted_and_named_by_what_they_share() {
    let mut many = notification();
    many.alerts = vec![many.alerts[0].clone(); 3];
    many.more = 9;
    many.group = [("site".to_owned(), "a".to_owned())].into();
    assert_eq!(subject(&many), "[CRITICAL] 12 alerts in site=a");
    resolved(&mut many.alerts[0]);
    assert_eq!(subject(&many), "[CRITICAL] 11 alerts, 1 resolved in site=a");
    many.alerts.iter_mut().for_each(resolved);
    assert_eq!(subject(&many), "[RESOLVED] 12 alerts in site=a");
    many.digest = true;
    assert_eq!(subject(&many), "[DIGEST] 12 alerts in site=a");
}

#[test]
fn counts_begin_with_the_gravest() {
    let mut many = notification();
    many.alerts = vec![many.alerts[0].clone(); 4];
    resolved(&mut many.alerts[0]);
    many.alerts[1].level = Level::Warning;
    let counts: Vec<_> = view(&many, None, None)
        .counts
        .into_iter()
        .map(|count| (count.status, count.count))
        .collect();
    let expected = [("CRITICAL", 2), ("WARNING", 1), ("RESOLVED", 1)];
    assert_eq!(counts, expected.map(|(status, count)| (status.to_owned(), count)));
}

#[test]
fn links_are_ours_and_let_act_while_there_is_something_to_act_on() {
    let key = || LinkKey::new([1; 32]);
    let base = LinkBase {
        url: "https://hive.example.org".to_owned(),
        key: Some(key()),
        valid: 60_000_000,
    };
    let hostile = with(|alert| alert.sensor = SensorId::parse("a/../b?c#d <x>").unwrap());
    let links = view(&hostile, Some(&base), None).links;
    assert_eq!(
        links.dashboard,
        "https://hive.example.org/sensors/a%2F..%2Fb%3Fc%23d%20%3Cx%3E"
    );
    let token = links
        .acknowledge
        .strip_prefix("https://hive.example.org/links/acknowledge/")
        .unwrap();
    let claim = key().check(token, LinkAction::Acknowledge, AT).unwrap();
    assert_eq!(claim.target, LinkTarget::Alert(hostile.alerts[0].episode));
    assert_eq!(claim.receiver, "ops");
    assert_eq!(
        key().check(token, LinkAction::Acknowledge, AT.saturating_add(60_000_000)),
        Err(LinkError::Expired)
    );

    let acknowledged = with(|alert| alert.acknowledged = Some(("lee".to_owned(), AT)));
    let links = view(&acknowledged, Some(&base), None).links;
    assert!(links.acknowledge.is_empty() && !links.silence.is_empty());
    let links = view(&with(resolved), Some(&base), None).links;
    assert!(links.acknowledge.is_empty() && links.silence.is_empty() && !links.dashboard.is_empty());

    let mut many = notification();
    many.more = 1;
    let links = view(&many, Some(&base), None).links;
    let token = links.silence.rsplit('/').next().unwrap();
    let claim = key().check(token, LinkAction::Silence, AT).unwrap();
    assert_eq!(claim.target, LinkTarget::Notification(many.id.clone()));
}

#[test]
fn only_addresses_of_the_web_can_be_opened() {
    let runbook = |text: &str| {
        let view = view(&with(|alert| alert.runbook = Some(text.to_owned())), None, None);
        (view.alerts[0].runbook.clone(), view.alerts[0].note.clone())
    };
    assert_eq!(
        runbook("https://wiki.example.org/boilers?x=1#hot"),
        (
            "https://wiki.example.org/boilers?x=1#hot".to_owned(),
            String::new()
        )
    );
    for text in [
        "javascript:alert(1)",
        "data:text/html,x",
        "Call the plant",
        "https://x\r\n.example",
        "//evil.example",
    ] {
        let (link, note) = runbook(text);
        assert_eq!((link.as_str(), note.is_empty()), ("", false), "{text}");
    }
    let (link, _) = runbook("https://wiki.example.org/\"onmouseover=\"x><");
    assert!(!link.contains(['"', '<', '>']), "{link}");
}
