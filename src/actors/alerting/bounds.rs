//! How much of a notification is shown, whatever is in it.
//!
//! Invariants: pure; what this returns has a limit in every direction, so that what is made of it has one, too. What is
//! cut off is shown by an ellipsis or, of alerts, counted.

use std::collections::BTreeMap;

use super::{Notification, NotificationId, Notified};

/// Alerts that are listed. A manager lists fewer.
const ALERTS: usize = 100;
/// Of one text, in characters; a name of the largest size is whole.
const TEXT: usize = 500;
/// Reasons of an alert, labels of a group.
const ITEMS: usize = 20;
/// Points of a chart.
const POINTS: usize = 2_000;

/// As much of `notification` as can be shown.
pub(super) fn bounded(notification: &Notification) -> Notification {
    let left_out = notification.alerts.len().saturating_sub(ALERTS) as u64;
    Notification {
        id: NotificationId(cut(&notification.id.0)),
        thread: cut(&notification.thread),
        receiver: cut(&notification.receiver),
        group: pairs(&notification.group),
        alerts: notification.alerts.iter().take(ALERTS).map(alert).collect(),
        more: notification.more.saturating_add(left_out),
        ..*notification
    }
}

fn alert(alert: &Notified) -> Notified {
    Notified {
        sensor: alert.sensor.clone(),
        metric: alert.metric.clone(),
        tags: pairs(&alert.tags),
        rule: cut(&alert.rule),
        runbook: alert.runbook.as_deref().map(cut),
        unit: alert.unit.as_deref().map(cut),
        reasons: alert
            .reasons
            .iter()
            .take(ITEMS)
            .map(|reason| cut(reason))
            .collect(),
        acknowledged: alert.acknowledged.as_ref().map(|(by, at)| (cut(by), *at)),
        recent: alert.recent.iter().take(POINTS).copied().collect(),
        ..*alert
    }
}

fn pairs(map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let pairs = map.iter().take(ITEMS);
    pairs.map(|(name, value)| (cut(name), cut(value))).collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::alerting::sample::sample;
    use crate::domain::Timestamp;

    fn ordinary() -> Notification {
        sample("ops", Timestamp::from_seconds(1_800_000_000))
    }

    #[test]
    fn what_is_ordinary_stays_as_it_is() {
        assert_eq!(bounded(&ordinary()), ordinary());
    }

    #[test]
    fn everything_has_an_end() {
        let huge = "ä".repeat(500_000);
        let many: BTreeMap<String, String> = (0..1_000)
            .map(|n| (format!("{n}{huge:.3000}"), "x".into()))
            .collect();
        let mut notification = ordinary();
        notification.id.0.clone_from(&huge);
        notification.thread.clone_from(&huge);
        notification.receiver.clone_from(&huge);
        notification.group = many.clone();
        notification.more = u64::MAX - 1;
        let alert = &mut notification.alerts[0];
        alert.rule.clone_from(&huge);
        alert.runbook = Some(huge.clone());
        alert.unit = Some(huge.clone());
        alert.reasons = vec!["x".repeat(2_000); 100];
        alert.acknowledged = Some((huge, notification.at));
        alert.recent = vec![(notification.at, 1.0); 10_000];
        alert.tags = many;
        let one = bounded(&notification);
        let size = serde_json::to_vec(&one).unwrap().len();
        assert!(size < 150_000, "{size}");
        notification.alerts.resize(200, one.alerts[0].clone());
        let all = bounded(&notification);
        assert_eq!((all.alerts.len(), all.more), (ALERTS, u64::MAX));
    }
}
