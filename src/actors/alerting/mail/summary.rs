//! What a mail about a day says.
//!
//! Invariants: as those of `view`: one line each, not escaped yet, the same for the same summary.

use serde::Serialize;

use super::addresses::LinkBase;
use super::chart;
use super::view::{Field, View, hex, view};
use crate::actors::alerting::bounds::bounded;
use crate::actors::alerting::summary::Summary;
use crate::actors::alerting::words::{self, line};
use crate::actors::alerting::{Notification, NotificationId};
use crate::domain::Level;

const NAME: usize = 80;
/// Lines of each list.
const LISTED: usize = 20;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SummaryView {
    /// With the alerts that stand. There is nothing to do to all of them.
    #[serde(flatten)]
    pub view: View,
    /// Alerts that began, the gravest level first.
    pub raised: Vec<Raised>,
    pub rules: Vec<Field>,
    pub noisiest: Vec<Field>,
    /// For how long each is silent.
    pub silent: Vec<Field>,
    pub more_silent: u64,
    pub ledger: Vec<Field>,
    /// What does not add up; empty as a rule.
    pub missing: String,
    pub sensors: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Raised {
    pub level: String,
    pub color: String,
    pub count: String,
}

pub(super) fn summary_view(summary: &Summary, base: Option<&LinkBase>) -> SummaryView {
    let standing = bounded(&Notification {
        id: NotificationId(String::new()),
        thread: String::new(),
        first: true,
        receiver: summary.receiver.clone(),
        at: summary.at,
        group: Default::default(),
        alerts: summary.open.clone(),
        more: summary.more,
        digest: true,
    });
    let mut view = view(&standing, base, None);
    let open = (summary.open.len() as u64).saturating_add(summary.more);
    let raised = summary
        .raised
        .values()
        .fold(0u64, |sum, count| sum.saturating_add(*count));
    let silent = (summary.silent.len() as u64).saturating_add(summary.more_silent);
    let counted = |count: u64, what: &str| (count > 0).then(|| format!("{} {what}", words::grouped(count)));
    let parts: Vec<String> = [
        counted(open, "open"),
        counted(raised, "new"),
        counted(silent, "silent"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let headline = match parts.as_slice() {
        [] => "all is quiet".to_owned(),
        parts => parts.join(", "),
    };
    view.status = "SUMMARY".to_owned();
    view.subject = format!("[SUMMARY] {}: {headline}", words::day(summary.at));
    view.headline = match open {
        0 => "No alert stands".to_owned(),
        open => format!(
            "{} {}",
            words::grouped(open),
            if open == 1 { "alert stands" } else { "alerts stand" }
        ),
    };
    view.summary = format!(
        "Since {} {} began, and {} ended",
        words::time(summary.from),
        words::count(raised, "alert"),
        words::grouped(summary.resolved),
    );
    view.links.acknowledge.clear();
    view.links.silence.clear();
    view.id = line(&summary.id.0, NAME);
    SummaryView {
        raised: summary
            .raised
            .iter()
            .rev()
            .map(|(level, count)| raised_view(*level, *count))
            .collect(),
        rules: counts(summary.rules.iter().map(|(rule, count)| (rule.as_str(), *count))),
        noisiest: counts(
            summary
                .noisiest
                .iter()
                .map(|(sensor, count)| (sensor.as_str(), *count)),
        ),
        silent: summary
            .silent
            .iter()
            .take(LISTED)
            .map(|(sensor, heard)| Field {
                name: line(sensor.as_str(), NAME),
                value: words::span(summary.at.since(*heard)),
            })
            .collect(),
        more_silent: summary
            .more_silent
            .saturating_add(summary.silent.len().saturating_sub(LISTED) as u64),
        ledger: ledger(summary),
        missing: missing(summary),
        sensors: words::grouped(summary.sensors),
        view,
    }
}

fn raised_view(level: Level, count: u64) -> Raised {
    Raised {
        level: level.as_str().to_owned(),
        color: hex(chart::color(level)),
        count: words::grouped(count),
    }
}

fn counts<'a>(all: impl Iterator<Item = (&'a str, u64)>) -> Vec<Field> {
    all.take(LISTED)
        .map(|(name, count)| Field {
            name: line(name, NAME),
            value: words::grouped(count),
        })
        .collect()
}

/// What happened, of what can.
fn ledger(summary: &Summary) -> Vec<Field> {
    let ledger = &summary.ledger;
    [
        ("Received", ledger.received, true),
        ("Stored", ledger.stored, true),
        ("Duplicates", ledger.duplicate, false),
        ("Rejected", ledger.rejected, false),
        ("Filtered", ledger.filtered, false),
        ("Late", ledger.late, false),
    ]
    .into_iter()
    .filter(|(_, count, always)| *always || *count > 0)
    .map(|(name, count, _)| Field {
        name: name.to_owned(),
        value: words::grouped(count),
    })
    .collect()
}

/// Readings of which nobody can say what became of them: none, ever. What is on its way at the moment of counting is no
/// such reading, since both sides are counted in one transaction.
fn missing(summary: &Summary) -> String {
    match summary.ledger.balances() {
        true => String::new(),
        false => "The figures do not add up: please report this as a defect".to_owned(),
    }
}
