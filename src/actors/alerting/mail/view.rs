//! What a mail says, as plain text in fields: what templates are given.
//!
//! Invariants: every text is one line that hides nothing ([`words::line`]); it is not escaped yet, which the templates
//! do by what they make. An address is one of ours, or one at `http://` or `https://`. The same notification makes the
//! same view.

use std::cmp::Ordering;

use serde::Serialize;

use super::addresses::{LinkBase, Links, address, links};
use super::chart::{self, drawable};
use super::spark::Spark;
use crate::actors::alerting::links::LinkTarget;
use crate::actors::alerting::words::{self, line};
use crate::actors::alerting::{Notification, Notified};
use crate::domain::{AlertChange, AlertState, Level};

/// A name in a subject or heading, in characters.
const NAME: usize = 80;
/// Anything else; a name of the largest size is whole.
const TEXT: usize = 300;
const SENTENCES: usize = 12;
const TAGS: usize = 20;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    pub subject: String,
    /// `CRITICAL`, `RESOLVED`, `NO DATA`, `DIGEST`.
    pub status: String,
    /// `#b91c1c`
    pub color: String,
    pub headline: String,
    pub summary: String,
    /// Whether nothing is wrong any more.
    pub resolved: bool,
    pub digest: bool,
    pub group: Vec<Field>,
    /// How many of those listed are of which status, the gravest first.
    pub counts: Vec<Count>,
    /// At least one; where it is one alone, the mail is about it.
    pub alerts: Vec<AlertView>,
    /// Alerts that are not listed.
    pub more: u64,
    pub chart: Option<ChartView>,
    pub links: Links,
    pub sent: String,
    pub receiver: String,
    /// The notification's.
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Count {
    pub status: String,
    pub color: String,
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertView {
    /// Sensor and metric.
    pub name: String,
    pub sensor: String,
    pub metric: String,
    pub rule: String,
    pub status: String,
    pub color: String,
    /// What happened, as a sentence without its full stop.
    pub change: String,
    pub value: String,
    pub limit: String,
    pub expected: String,
    pub since: String,
    /// For how long the condition has held, or held.
    pub lasted: String,
    pub ended: String,
    pub reasons: Vec<String>,
    pub tags: Vec<Field>,
    /// An address that may be opened.
    pub runbook: String,
    /// What was configured as a runbook and is no such address.
    pub note: String,
    pub acknowledged: String,
    /// Minimum, maximum and last value of the last hour, and a line of blocks.
    pub spark: Option<Spark>,
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChartView {
    pub cid: String,
    /// What it shows, for those who do not see it.
    pub alt: String,
}

/// How an alert stands, in the words of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Resolved,
    NoData,
    Firing(Level),
}

impl Status {
    pub fn of(alert: &Notified) -> Self {
        match (alert.change, alert.state) {
            (AlertChange::Resolved, _) | (_, AlertState::Resolved) => Status::Resolved,
            (AlertChange::NoData, _) | (_, AlertState::NoData) => Status::NoData,
            _ => Status::Firing(alert.level),
        }
    }

    fn label(self) -> String {
        match self {
            Status::Resolved => "RESOLVED".to_owned(),
            Status::NoData => "NO DATA".to_owned(),
            Status::Firing(level) => level.as_str().to_uppercase(),
        }
    }

    fn color(self) -> String {
        hex(match self {
            Status::Resolved => [21, 128, 61],
            Status::NoData => [75, 85, 99],
            Status::Firing(level) => chart::color(level),
        })
    }
}

/// `#b91c1c`
pub(super) fn hex([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// What a mail about `notification` says. `chart` is the Content-ID of its picture, if there is one.
pub fn view(notification: &Notification, base: Option<&LinkBase>, chart: Option<&str>) -> View {
    let worst = notification
        .alerts
        .iter()
        .map(Status::of)
        .max()
        .unwrap_or(Status::Resolved);
    let alerts: Vec<AlertView> = notification
        .alerts
        .iter()
        .map(|alert| alert_view(alert, notification, base))
        .collect();
    let single = match notification.alerts.as_slice() {
        [alone] if notification.more == 0 && !notification.digest => Some(alone),
        _ => None,
    };
    let (headline, summary) = match single {
        Some(alert) => (name(alert, NAME), sentence(alert)),
        None => several(notification),
    };
    let status = match notification.digest {
        true => "DIGEST".to_owned(),
        false => worst.label(),
    };
    let subject = match single {
        Some(alert) => format!("[{status}] {headline}{}", in_short(alert)),
        None => format!("[{status}] {headline}"),
    };
    View {
        subject,
        status,
        color: worst.color(),
        headline,
        summary,
        resolved: worst == Status::Resolved,
        digest: notification.digest,
        group: notification
            .group
            .iter()
            .take(TAGS)
            .map(|(name, value)| field(name, value))
            .collect(),
        counts: counts(notification),
        chart: chart.map(|cid| ChartView {
            cid: cid.to_owned(),
            alt: notification.alerts.first().map(alt).unwrap_or_default(),
        }),
        links: match single {
            Some(alert) => links(LinkTarget::Alert(alert.episode), Some(alert), notification, base),
            None => links(
                LinkTarget::Notification(notification.id.clone()),
                None,
                notification,
                base,
            ),
        },
        alerts,
        more: notification.more,
        sent: words::time(notification.at),
        receiver: line(&notification.receiver, NAME),
        id: line(&notification.id.0, TEXT),
    }
}

/// Whether a mail about it should stand out.
pub(super) fn is_urgent(notification: &Notification) -> bool {
    let worst = notification.alerts.iter().map(Status::of).max();
    worst == Some(Status::Firing(Level::Critical))
}

fn alert_view(alert: &Notified, notification: &Notification, base: Option<&LinkBase>) -> AlertView {
    let status = Status::of(alert);
    let runbook = alert.runbook.as_deref().unwrap_or_default();
    let address = address(runbook);
    let until = alert.ended.unwrap_or(notification.at);
    AlertView {
        name: name(alert, NAME),
        sensor: line(alert.sensor.as_str(), TEXT),
        metric: alert
            .metric
            .as_ref()
            .map(|metric| line(metric.as_str(), TEXT))
            .unwrap_or_default(),
        rule: line(&alert.rule, TEXT),
        status: status.label(),
        color: status.color(),
        change: change(alert),
        value: value(alert),
        limit: alert
            .threshold
            .map(|limit| measure(&words::figure(limit), alert))
            .unwrap_or_default(),
        expected: alert
            .expected
            .map(|(low, high)| measure(&band(low, high), alert))
            .unwrap_or_default(),
        since: words::time(alert.since),
        lasted: words::span(until.since(alert.since)),
        ended: alert.ended.map(words::time).unwrap_or_default(),
        reasons: alert
            .reasons
            .iter()
            .take(SENTENCES)
            .map(|reason| line(reason, TEXT))
            .collect(),
        tags: alert
            .tags
            .iter()
            .take(TAGS)
            .map(|(name, value)| field(name, value))
            .collect(),
        note: match &address {
            Some(_) => String::new(),
            None => line(runbook, TEXT),
        },
        runbook: address.unwrap_or_default(),
        acknowledged: match &alert.acknowledged {
            Some((by, at)) => format!("by {} at {}", line(by, NAME), words::time(*at)),
            None => String::new(),
        },
        spark: Spark::of(&drawable(&alert.recent), alert.unit.as_deref()),
        links: links(LinkTarget::Alert(alert.episode), Some(alert), notification, base),
    }
}

fn name(alert: &Notified, most: usize) -> String {
    let sensor = line(alert.sensor.as_str(), most);
    match &alert.metric {
        Some(metric) => format!("{sensor} {}", line(metric.as_str(), most)),
        None => sensor,
    }
}

fn value(alert: &Notified) -> String {
    match (alert.value, alert.threshold) {
        (Some(value), Some(limit)) => measure(&words::figure_beside(value, limit), alert),
        (Some(value), None) => measure(&words::figure(value), alert),
        (None, _) => String::new(),
    }
}

fn measure(figure: &str, alert: &Notified) -> String {
    words::measure(figure, alert.unit.as_deref())
}

fn band(low: f64, high: f64) -> String {
    match (low.is_finite(), high.is_finite()) {
        (true, true) => format!("{} to {}", words::figure(low), words::figure(high)),
        (true, false) => format!("at least {}", words::figure(low)),
        (false, true) => format!("at most {}", words::figure(high)),
        (false, false) => "anything".to_owned(),
    }
}

/// What follows the name in a subject: ` 93.1 °C (limit 80)`.
fn in_short(alert: &Notified) -> String {
    let value = match value(alert) {
        value if value.is_empty() => value,
        value => format!(" {value}"),
    };
    let judged = match (alert.threshold, alert.expected) {
        (Some(limit), _) => format!(" (limit {})", words::figure(limit)),
        (None, Some((low, high))) => format!(" (expected {})", band(low, high)),
        (None, None) => String::new(),
    };
    let lasted = |until: crate::domain::Timestamp| words::span(until.since(alert.since));
    match Status::of(alert) {
        Status::Resolved => format!("{value} after {}", lasted(alert.ended.unwrap_or(alert.changed))),
        Status::NoData => format!(" since {} UTC", words::clock(alert.since)),
        Status::Firing(_) => match alert.change {
            AlertChange::Repeated => format!("{value}{judged} for {}", lasted(alert.changed)),
            AlertChange::Unacknowledged => format!("{value}{judged}, not acknowledged"),
            _ => format!("{value}{judged}"),
        },
    }
}

fn change(alert: &Notified) -> String {
    match (Status::of(alert), alert.change) {
        (Status::Resolved, _) => "It is over".to_owned(),
        (Status::NoData, _) => "Nothing was heard any more".to_owned(),
        (Status::Firing(level), change) => match change {
            AlertChange::Escalated => format!("It has become worse: {}", level.as_str()),
            AlertChange::Lowered => format!("It has become less grave: {}", level.as_str()),
            AlertChange::Recovering => "It may be over".to_owned(),
            AlertChange::Returned => "It has come back".to_owned(),
            AlertChange::Repeated => "It still stands".to_owned(),
            AlertChange::Unacknowledged => "Nobody has acknowledged it yet".to_owned(),
            AlertChange::Raised | AlertChange::Resolved | AlertChange::NoData => "It has begun".to_owned(),
        },
    }
}

/// What a mail about one alert says below its name.
fn sentence(alert: &Notified) -> String {
    let limit = alert.threshold.map(|limit| measure(&words::figure(limit), alert));
    let judged = match (limit, alert.expected) {
        (Some(limit), _) => match alert.value.partial_cmp(&alert.threshold) {
            Some(Ordering::Less) if alert.value.is_some() => format!("below the limit of {limit}"),
            Some(Ordering::Greater) => format!("above the limit of {limit}"),
            _ => format!("limit {limit}"),
        },
        (None, Some((low, high))) => format!("where {} was expected", measure(&band(low, high), alert)),
        (None, None) => String::new(),
    };
    let value = value(alert);
    let judged = match value.as_str() {
        // Of what was not measured there is nothing to say.
        "" => String::new(),
        value if judged.is_empty() => value.to_owned(),
        value => format!("{value}, {judged}"),
    };
    match (judged.as_str(), alert.change) {
        ("", _) => change(alert),
        (judged, AlertChange::Raised) => judged.to_owned(),
        (judged, _) => format!("{}: {judged}", change(alert)),
    }
}

/// Headline and summary of a mail about several.
fn several(notification: &Notification) -> (String, String) {
    let total = notification.more.saturating_add(notification.alerts.len() as u64);
    let resolved = notification
        .alerts
        .iter()
        .filter(|alert| Status::of(alert) == Status::Resolved)
        .count() as u64;
    let listed = notification.alerts.len() as u64;
    let what = match resolved {
        0 => words::count(total, "alert"),
        some if some == listed => words::count(total, "alert"),
        some => format!("{}, {some} resolved", words::count(total - some, "alert")),
    };
    let labels: Vec<String> = notification
        .group
        .iter()
        .take(4)
        .map(|(name, value)| format!("{}={}", line(name, 30), line(value, 40)))
        .collect();
    let headline = match labels.as_slice() {
        [] => what,
        labels => format!("{what} in {}", labels.join(", ")),
    };
    let summary = match (notification.digest, resolved == listed) {
        (true, _) => "Too much happened to tell each by itself. These are the gravest".to_owned(),
        (false, true) => "All of them are over".to_owned(),
        (false, false) => "They happened together".to_owned(),
    };
    (headline, summary)
}

fn counts(notification: &Notification) -> Vec<Count> {
    let mut all: Vec<Status> = notification.alerts.iter().map(Status::of).collect();
    all.sort_by(|one, other| other.cmp(one));
    all.chunk_by(|one, other| one == other)
        .map(|same| Count {
            status: same[0].label(),
            color: same[0].color(),
            count: same.len() as u64,
        })
        .collect()
}

fn alt(alert: &Notified) -> String {
    match Spark::of(&drawable(&alert.recent), alert.unit.as_deref()) {
        Some(spark) => format!("The last hour of {}: {}", name(alert, NAME), spark.words),
        None => format!("The last hour of {}", name(alert, NAME)),
    }
}

fn field(name: &str, value: &str) -> Field {
    Field {
        name: line(name, NAME),
        value: line(value, TEXT),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
