//! A notification that says nothing of this plant: for trying out whether a receiver is reached, and how it looks
//! there.

use crate::domain::{AlertChange, AlertState, Episode, Level, MetricName, SensorId, Timestamp};

use super::{Notification, NotificationId, Notified};

const MINUTE: i64 = 60_000_000;

/// An alarm of a boiler that is too hot, for `receiver`. Its id depends on `at`, so that no two are taken for the same.
pub fn sample(receiver: &str, at: Timestamp) -> Notification {
    let id = format!("test-{}", at.0);
    Notification {
        thread: id.clone(),
        id: NotificationId(id),
        first: true,
        receiver: receiver.to_owned(),
        at,
        group: Default::default(),
        alerts: alert(at).into_iter().collect(),
        more: 0,
        digest: false,
    }
}

/// `None` never: the names are good ones.
fn alert(at: Timestamp) -> Option<Notified> {
    let since = at.saturating_sub(6 * MINUTE);
    let recent = curve(at);
    Some(Notified {
        episode: Episode(0),
        sensor: SensorId::parse("boiler-7").ok()?,
        metric: Some(MetricName::parse("temperature").ok()?),
        tags: [("site", "a"), ("gateway", "gw-3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        rule: "too hot".to_owned(),
        runbook: None,
        change: AlertChange::Raised,
        level: Level::Critical,
        state: AlertState::Firing,
        since,
        changed: at,
        ended: None,
        value: recent.last().map(|(_, value)| *value),
        unit: Some("°C".to_owned()),
        threshold: Some(80.0),
        expected: None,
        reasons: vec![
            "This is a test. No sensor is in trouble.".to_owned(),
            "The value has been above 80 for 6 min.".to_owned(),
        ],
        acknowledged: None,
        recent,
    })
}

/// An hour, every ten seconds: level at first, then rising to 93.1.
fn curve(at: Timestamp) -> Vec<(Timestamp, f64)> {
    const POINTS: i64 = 360;
    (0..=POINTS)
        .map(|n| {
            let part = n as f64 / POINTS as f64;
            let swing = (part * 21.0).sin() + 0.6 * (part * 57.0).sin() + 0.3 * (part * 173.0).sin();
            let rise = ((part - 0.72) / 0.28).max(0.0).powf(1.4);
            let value = 66.0 + swing * (1.0 - part) + rise * 27.1;
            let time = at.saturating_sub((POINTS - n) * 10_000_000);
            (time, (value * 10.0).round() / 10.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_alarm_with_an_hour_of_readings() {
        let at = Timestamp::from_seconds(1_800_000_000);
        let sample = sample("ops", at);
        let alert = &sample.alerts[0];
        assert_eq!((alert.value, alert.recent.len()), (Some(93.1), 361));
        assert_eq!(alert.recent[360].0, at);
        assert_ne!(sample.id, super::sample("ops", at.saturating_add(1)).id);
    }
}
