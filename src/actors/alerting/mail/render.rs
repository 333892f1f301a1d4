//! What a mail is made of: its subject, its text, its HTML, its picture.
//!
//! Invariants: pure. The subject is one line. The text says everything without the HTML. The picture is that of the
//! first alert.

use std::path::Path;

use serde::Serialize;

use super::addresses::LinkBase;
use super::chart::Chart;
use super::summary::summary_view;
use super::view::view;
use crate::actors::alerting::bounds::bounded;
use crate::actors::alerting::summary::Summary;
use crate::actors::alerting::templates::{BuiltIn, TemplateError, Templates};
use crate::actors::alerting::{Notification, words};

const TEMPLATES: BuiltIn = &[
    ("subject.txt", include_str!("templates/subject.txt")),
    ("mail.txt", include_str!("templates/mail.txt")),
    ("mail.html", include_str!("templates/mail.html")),
    ("head.html", include_str!("templates/head.html")),
    (
        "summary-subject.txt",
        include_str!("templates/summary-subject.txt"),
    ),
    ("summary.txt", include_str!("templates/summary.txt")),
    ("summary.html", include_str!("templates/summary.html")),
];

/// The name that the HTML calls the picture by.
pub const CHART: &str = "chart@sensorhive";
/// In characters. A client shows less.
const SUBJECT: usize = 250;

#[derive(Debug)]
pub struct Renderer(Templates);

#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// `critical`, `resolved`, `no data`, `digest`, `summary`.
    pub status: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    /// A PNG.
    pub chart: Option<Vec<u8>>,
}

impl Renderer {
    /// With templates of the user's where `folder` has files with the names of ours.
    pub fn new(folder: Option<&Path>) -> Result<Self, TemplateError> {
        Templates::load(TEMPLATES, folder).map(Self)
    }

    pub fn render(
        &self,
        notification: &Notification,
        links: Option<&LinkBase>,
    ) -> Result<Rendered, minijinja::Error> {
        let notification = &bounded(notification);
        // One picture says nothing of several alerts.
        let alone = match notification.alerts.as_slice() {
            [alone] if notification.more == 0 && !notification.digest => Some(alone),
            _ => None,
        };
        let chart = alone.and_then(|alert| {
            let chart = Chart {
                points: &alert.recent,
                unit: alert.unit.as_deref(),
                threshold: alert.threshold,
                expected: alert.expected,
                since: alert.since,
                ended: alert.ended,
                level: alert.level,
            };
            chart.to_png()
        });
        let view = view(notification, links, chart.as_ref().map(|_| CHART));
        self.made(
            ["subject.txt", "mail.txt", "mail.html"],
            &view,
            &view.status,
            chart,
        )
    }

    pub fn summary(&self, summary: &Summary, links: Option<&LinkBase>) -> Result<Rendered, minijinja::Error> {
        let view = summary_view(summary, links);
        self.made(
            ["summary-subject.txt", "summary.txt", "summary.html"],
            &view,
            &view.view.status,
            None,
        )
    }

    fn made(
        &self,
        [subject, text, html]: [&str; 3],
        view: &impl Serialize,
        status: &str,
        chart: Option<Vec<u8>>,
    ) -> Result<Rendered, minijinja::Error> {
        Ok(Rendered {
            status: status.to_lowercase(),
            subject: words::line(self.0.render(subject, view)?.trim(), SUBJECT),
            text: self.0.render(text, view)?,
            html: self.0.render(html, view)?,
            chart,
        })
    }
}
