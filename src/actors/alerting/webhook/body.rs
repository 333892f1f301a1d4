//! What is posted: our own JSON, or what Slack and DingTalk show as a message.
//!
//! Invariants: pure, and always valid JSON: what templates print is escaped, and a template that makes no JSON is a
//! mistake. Names cannot format a message, mention anybody or make a link in it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::actors::alerting::bounds::bounded;
use crate::actors::alerting::mail::LinkBase;
use crate::actors::alerting::mail::view::{View, view};
use crate::actors::alerting::templates::{BuiltIn, TemplateError, Templates};
use crate::actors::alerting::{Notification, Notified};

const TEMPLATES: BuiltIn = &[
    ("webhook.json", include_str!("templates/webhook.json")),
    ("slack.json", include_str!("templates/slack.json")),
    ("dingtalk.json", include_str!("templates/dingtalk.json")),
];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    Slack,
    DingTalk,
}

/// An answer that is one of success by its status alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Later,
    Never,
}

impl Format {
    fn template(self) -> &'static str {
        match self {
            Format::Json => "webhook.json",
            Format::Slack => "slack.json",
            Format::DingTalk => "dingtalk.json",
        }
    }

    /// DingTalk says 200 to everything, and what it thinks of it inside.
    pub(super) fn refusal(self, answer: &str) -> Option<Refusal> {
        #[derive(Deserialize)]
        struct Answer {
            errcode: i64,
        }

        if self != Format::DingTalk {
            return None;
        }
        match serde_json::from_str(answer) {
            Ok(Answer { errcode: 0 }) => None,
            // Busy, and too many messages.
            Ok(Answer {
                errcode: -1 | 130_101 | 410_100,
            })
            | Err(_) => Some(Refusal::Later),
            Ok(_) => Some(Refusal::Never),
        }
    }
}

#[derive(Debug)]
pub struct Bodies(Templates);

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Template(#[from] minijinja::Error),
    #[error("the template {0} makes no JSON: {1}")]
    NoJson(&'static str, serde_json::Error),
}

/// What templates are given.
#[derive(Serialize)]
struct Given<'a> {
    #[serde(flatten)]
    view: &'a View,
    /// As it is, for programs.
    notification: Plain<'a>,
}

#[derive(Serialize)]
struct Plain<'a> {
    id: &'a str,
    thread: &'a str,
    first: bool,
    at: String,
    receiver: &'a str,
    group: &'a std::collections::BTreeMap<String, String>,
    more: u64,
    digest: bool,
    alerts: Vec<PlainAlert<'a>>,
}

/// Numbers that JSON does not have are `null`. Without the readings of the last hour, which the API has.
#[derive(Serialize)]
struct PlainAlert<'a> {
    /// As text, since it has more bits than the numbers of some languages.
    episode: String,
    sensor_id: &'a str,
    metric: Option<&'a str>,
    tags: &'a crate::domain::Tags,
    rule: &'a str,
    runbook: Option<&'a str>,
    change: &'a str,
    level: &'a str,
    state: &'a str,
    since: String,
    changed: String,
    ended: Option<String>,
    value: Option<f64>,
    unit: Option<&'a str>,
    threshold: Option<f64>,
    expected: Option<(Option<f64>, Option<f64>)>,
    reasons: &'a [String],
    acknowledged_by: Option<&'a str>,
}

impl Bodies {
    /// With templates of the user's where `folder` has any of `webhook.json`, `slack.json`, `dingtalk.json`.
    pub fn new(folder: Option<&Path>) -> Result<Self, TemplateError> {
        Templates::load(TEMPLATES, folder).map(Self)
    }

    pub fn render(
        &self,
        format: Format,
        notification: &Notification,
        links: Option<&LinkBase>,
    ) -> Result<String, BodyError> {
        let notification = &bounded(notification);
        let mut view = view(notification, links, None);
        match format {
            Format::Json => {}
            Format::Slack => for_every_text(&mut view, slack),
            Format::DingTalk => for_every_text(&mut view, markdown),
        }
        let given = Given {
            view: &view,
            notification: plain(notification),
        };
        let name = format.template();
        let text = self.0.render(name, &given)?;
        // Read and written again, so that it is JSON whatever a template does, and short.
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| BodyError::NoJson(name, error))?;
        Ok(value.to_string())
    }
}

fn plain(notification: &Notification) -> Plain<'_> {
    Plain {
        id: &notification.id.0,
        thread: &notification.thread,
        first: notification.first,
        at: notification.at.to_rfc3339(),
        receiver: &notification.receiver,
        group: &notification.group,
        more: notification.more,
        digest: notification.digest,
        alerts: notification.alerts.iter().map(plain_alert).collect(),
    }
}

fn plain_alert(alert: &Notified) -> PlainAlert<'_> {
    let finite = |value: f64| Some(value).filter(|value| value.is_finite());
    PlainAlert {
        episode: alert.episode.0.to_string(),
        sensor_id: alert.sensor.as_str(),
        metric: alert.metric.as_ref().map(|metric| metric.as_str()),
        tags: &alert.tags,
        rule: &alert.rule,
        runbook: alert.runbook.as_deref(),
        change: alert.change.as_str(),
        level: alert.level.as_str(),
        state: alert.state.as_str(),
        since: alert.since.to_rfc3339(),
        changed: alert.changed.to_rfc3339(),
        ended: alert.ended.map(|ended| ended.to_rfc3339()),
        value: alert.value.and_then(finite),
        unit: alert.unit.as_deref(),
        threshold: alert.threshold.and_then(finite),
        expected: alert.expected.map(|(low, high)| (finite(low), finite(high))),
        reasons: &alert.reasons,
        acknowledged_by: alert.acknowledged.as_ref().map(|(by, _)| by.as_str()),
    }
}

/// With what Slack takes for its own escaped, and what would format kept apart from its word.
fn slack(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '&' => shown += "&amp;",
            '<' => shown += "&lt;",
            '>' => shown += "&gt;",
            '*' | '_' | '~' | '`' | '@' => {
                shown.push(c);
                shown.push('\u{200b}');
            }
            c => shown.push(c),
        }
    }
    shown
}

fn markdown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' | '~' | '>'
        ) {
            shown.push('\\');
        }
        match c {
            '<' => shown += "&lt;",
            '&' => shown += "&amp;",
            // Mentions everybody with that number.
            '@' => shown += "@\u{200b}",
            c => shown.push(c),
        }
    }
    shown
}

/// All but addresses, which are ours or were checked.
fn for_every_text(view: &mut View, change: fn(&str) -> String) {
    let mut texts: Vec<&mut String> = vec![
        &mut view.subject,
        &mut view.headline,
        &mut view.summary,
        &mut view.receiver,
    ];
    for field in &mut view.group {
        texts.extend([&mut field.name, &mut field.value]);
    }
    for alert in &mut view.alerts {
        texts.extend([
            &mut alert.name,
            &mut alert.sensor,
            &mut alert.metric,
            &mut alert.rule,
            &mut alert.value,
            &mut alert.limit,
            &mut alert.expected,
            &mut alert.note,
            &mut alert.acknowledged,
        ]);
        texts.extend(&mut alert.reasons);
        for field in &mut alert.tags {
            texts.extend([&mut field.name, &mut field.value]);
        }
        if let Some(spark) = &mut alert.spark {
            texts.push(&mut spark.words);
        }
    }
    for text in texts {
        *text = change(text);
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
