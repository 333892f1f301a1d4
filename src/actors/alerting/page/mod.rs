//! The pages behind the links of a mail: one that asks before anything is done, and those that say what came of it.
//!
//! Invariants: pure. Nothing is done by opening a page; its form, posted to the page's own address, acts. A page runs
//! nothing and loads nothing, which [`policy`] tells the browser; every name in it is escaped and one line.

use std::sync::LazyLock;

use data_encoding::BASE64;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::links::{LinkAction, LinkError};
use super::templates::{BuiltIn, TemplateError, Templates};
use super::words::{self, line};
use crate::domain::{Level, Timestamp};

const TEMPLATE: BuiltIn = &[("page.html", include_str!("page.html"))];
const STYLE: &str = include_str!("page.css");
/// Alerts that are listed.
const LISTED: usize = 20;
const TEXT: usize = 300;

/// Hours that can be chosen for a silence, in the field `hours`.
pub const HOURS: [u32; 5] = [1, 4, 12, 24, 168];
const USUAL_HOURS: u32 = 4;

/// What a page says.
#[derive(Debug, Clone, Copy)]
pub enum Page<'a> {
    /// Whether to do it. Its form has the fields `by` and `comment`, and for a silence `hours`.
    Ask {
        action: LinkAction,
        /// At least one, the gravest first.
        alerts: &'a [Concerned<'a>],
        /// Of a notification: how many more there are.
        more: u64,
    },
    /// It is done.
    Done {
        action: LinkAction,
        alerts: u64,
        by: &'a str,
        /// When a silence ends.
        until: Option<Timestamp>,
    },
    /// There is nothing left to do it to.
    Over,
    /// Somebody was faster.
    Already {
        by: &'a str,
        at: Timestamp,
    },
    Refused(LinkError),
}

/// An alert that something is done to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concerned<'a> {
    pub sensor: &'a str,
    pub metric: Option<&'a str>,
    pub rule: &'a str,
    pub level: Level,
    pub since: Timestamp,
    pub value: Option<f64>,
    pub unit: Option<&'a str>,
}

#[derive(Debug)]
pub struct Pages {
    template: Templates,
    dashboard: String,
}

#[derive(Serialize)]
struct View {
    title: String,
    /// A class.
    tone: &'static str,
    sentences: Vec<String>,
    alerts: Vec<AlertView>,
    more: u64,
    button: &'static str,
    spans: Vec<Span>,
    dashboard: String,
    style: &'static str,
}

#[derive(Serialize)]
struct AlertView {
    name: String,
    status: &'static str,
    value: String,
    rule: String,
    since: String,
}

#[derive(Serialize)]
struct Span {
    hours: u32,
    words: String,
    chosen: bool,
}

impl Pages {
    /// With a link to `dashboard`, an address of ours.
    pub fn new(dashboard: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            template: Templates::load(TEMPLATE, None)?,
            dashboard: dashboard.to_owned(),
        })
    }

    /// HTML.
    pub fn render(&self, page: Page<'_>) -> Result<String, minijinja::Error> {
        let mut view = view(page);
        view.dashboard.clone_from(&self.dashboard);
        self.template.render("page.html", &view)
    }
}

/// The `Content-Security-Policy` of every page: no script, no picture, its own style, its own form.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = BASE64.encode(&Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

fn view(page: Page<'_>) -> View {
    let said = |title: &str, tone, sentences: Vec<String>| View {
        title: title.to_owned(),
        tone,
        sentences,
        alerts: Vec::new(),
        more: 0,
        button: "",
        spans: Vec::new(),
        dashboard: String::new(),
        style: STYLE,
    };
    match page {
        Page::Ask { action, alerts, more } => ask(action, alerts, more),
        Page::Done {
            action,
            alerts,
            by,
            until,
        } => {
            let what = words::count(alerts, "alert");
            let by = match line(by.trim(), 80) {
                by if by.is_empty() => by,
                by => format!(" by {by}"),
            };
            let sentence = match (action, until) {
                (LinkAction::Acknowledge, _) => {
                    format!("Acknowledged{by}: {what}. Nobody is reminded of it any more until it changes.")
                }
                (LinkAction::Silence, Some(until)) => {
                    format!("Silenced{by} until {}: {what}.", words::time(until))
                }
                (LinkAction::Silence, None) => format!("Silenced{by}: {what}."),
            };
            said("Done", "done", vec![sentence])
        }
        Page::Over => said(
            "Nothing to do",
            "done",
            vec!["It is over already: no alert of this mail stands any more.".to_owned()],
        ),
        Page::Already { by, at } => said(
            "Already acknowledged",
            "done",
            vec![format!("By {} at {}.", line(by, 80), words::time(at))],
        ),
        Page::Refused(error) => {
            let (title, sentence) = match error {
                LinkError::Expired => (
                    "This link has expired",
                    "Links in mails end after a while. Log in to the dashboard instead, or use a newer mail.",
                ),
                LinkError::Forged => (
                    "This link does not work",
                    "It is not one of ours, or not whole: mail programs break long links sometimes. Copy all of it, or \
                     log in to the dashboard.",
                ),
            };
            said(title, "", vec![sentence.to_owned()])
        }
    }
}

fn ask(action: LinkAction, alerts: &[Concerned<'_>], more: u64) -> View {
    let left_out = alerts.len().saturating_sub(LISTED) as u64;
    let total = more.saturating_add(alerts.len() as u64);
    let what = match total {
        1 => "this alert".to_owned(),
        total => format!("{total} alerts"),
    };
    let (verb, sentence) = match action {
        LinkAction::Acknowledge => (
            "Acknowledge",
            "Whoever acknowledges looks after it. It goes on being watched, and you hear when it is over.",
        ),
        LinkAction::Silence => (
            "Silence",
            "Nobody is told of it for that time, whatever becomes of it. It goes on being watched.",
        ),
    };
    let worst = alerts.iter().map(|alert| alert.level).max();
    View {
        title: format!("{verb} {what}?"),
        tone: worst.map_or("", Level::as_str),
        sentences: vec![sentence.to_owned()],
        alerts: alerts.iter().take(LISTED).map(alert_view).collect(),
        more: more.saturating_add(left_out),
        button: verb,
        spans: match action {
            LinkAction::Acknowledge => Vec::new(),
            LinkAction::Silence => HOURS.map(span).into(),
        },
        dashboard: String::new(),
        style: STYLE,
    }
}

fn alert_view(alert: &Concerned<'_>) -> AlertView {
    let sensor = line(alert.sensor, TEXT);
    AlertView {
        name: match alert.metric {
            Some(metric) => format!("{sensor} {}", line(metric, TEXT)),
            None => sensor,
        },
        status: alert.level.as_str(),
        value: alert
            .value
            .map(|value| words::measure(&words::figure(value), alert.unit))
            .unwrap_or_default(),
        rule: line(alert.rule, TEXT),
        since: words::time(alert.since),
    }
}

fn span(hours: u32) -> Span {
    Span {
        hours,
        words: match hours / 24 {
            0 => words::count(hours.into(), "hour"),
            days => words::count(days.into(), "day"),
        },
        chosen: hours == USUAL_HOURS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "<img src=x onerror=alert(1)>\r\n\u{202e}'\"&";

    fn pages() -> Pages {
        Pages::new("https://hive.example.org/").unwrap()
    }

    fn alert() -> Concerned<'static> {
        Concerned {
            sensor: "boiler-7",
            metric: Some("temperature"),
            rule: "too hot",
            level: Level::Critical,
            since: Timestamp::from_seconds(1_800_000_000),
            value: Some(93.1),
            unit: Some("°C"),
        }
    }

    fn ask(action: LinkAction, alerts: &[Concerned<'_>], more: u64) -> String {
        pages().render(Page::Ask { action, alerts, more }).unwrap()
    }

    #[test]
    fn it_asks_before_anything_is_done() {
        let page = ask(LinkAction::Acknowledge, &[alert()], 0);
        for part in [
            "<h1>Acknowledge this alert?</h1>",
            "<header class=\"critical\">",
            "<bdi>boiler-7 temperature</bdi>",
            "93.1 °C",
            "since 2027-01-15 08:00:00 UTC",
            "<form method=\"post\">",
            "name=\"by\"",
            "name=\"comment\"",
        ] {
            assert!(page.contains(part), "{part} is missing in\n{page}");
        }
        assert!(!page.contains("name=\"hours\""));
        let page = ask(LinkAction::Silence, &[alert(); 30], 5);
        for part in [
            "Silence 35 alerts?",
            "and 15 more",
            "<option value=\"4\" selected>4 hours</option>",
            ">7 days<",
        ] {
            assert!(page.contains(part), "{part} is missing in\n{page}");
        }
    }

    #[test]
    fn names_are_nothing_but_names_and_nothing_is_loaded() {
        let hostile = Concerned {
            sensor: SCRIPT,
            metric: Some(SCRIPT),
            rule: SCRIPT,
            unit: Some(SCRIPT),
            value: Some(f64::NAN),
            since: Timestamp::MAX,
            ..alert()
        };
        let done = Page::Done {
            action: LinkAction::Silence,
            alerts: 2,
            by: SCRIPT,
            until: Some(Timestamp::from_seconds(0)),
        };
        let already = Page::Already {
            by: SCRIPT,
            at: Timestamp::MIN,
        };
        for page in [
            ask(LinkAction::Silence, &[hostile], u64::MAX),
            pages().render(done).unwrap(),
            pages().render(already).unwrap(),
        ] {
            assert!(!page.contains("<img") && page.contains("&lt;img"), "{page}");
            assert!(!page.contains(['\r', '\u{202e}']), "{page}");
        }
        let page = ask(LinkAction::Acknowledge, &[alert()], 0);
        for bad in ["<script", "src=", "<link", "url(", "@import", "style=\""] {
            assert!(!page.contains(bad), "{bad} is in\n{page}");
        }
    }

    #[test]
    fn the_policy_allows_its_own_style_and_no_other() {
        let page = ask(LinkAction::Acknowledge, &[alert()], 0);
        let (_, rest) = page.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let hash = BASE64.encode(&Sha256::digest(style));
        assert!(
            policy().contains(&format!("style-src 'sha256-{hash}';")),
            "{}",
            policy()
        );
        assert!(policy().starts_with("default-src 'none';") && !policy().contains("unsafe"));
    }

    #[test]
    fn what_came_of_it_is_said() {
        let until = Some(Timestamp::from_seconds(1_800_000_000));
        for (page, words) in [
            (Page::Over, "It is over already"),
            (Page::Refused(LinkError::Expired), "This link has expired"),
            (Page::Refused(LinkError::Forged), "not one of ours"),
            (
                Page::Done {
                    action: LinkAction::Acknowledge,
                    alerts: 1,
                    by: " Ann ",
                    until: None,
                },
                "Acknowledged by Ann: 1 alert.",
            ),
            (
                Page::Done {
                    action: LinkAction::Silence,
                    alerts: 3,
                    by: "",
                    until,
                },
                "Silenced until 2027-01-15 08:00:00 UTC: 3 alerts.",
            ),
        ] {
            let page = pages().render(page).unwrap();
            assert!(page.contains(words) && !page.contains("<form"), "{page}");
            assert!(
                page.contains("href=\"https:&#x2f;&#x2f;hive.example.org&#x2f;\""),
                "{page}"
            );
        }
    }
}
