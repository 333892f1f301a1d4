//! Templates of the user's; and the pictures of the manual, which are made from what a mail really is.

use std::path::Path;

use sensorhive::actors::alerting::links::{LinkAction, LinkError};
use sensorhive::actors::alerting::mail::Renderer;
use sensorhive::actors::alerting::page::{Concerned, Page, Pages};
use sensorhive::domain::Level;

use crate::summary;
use crate::support::*;

#[test]
fn a_template_of_the_users_takes_the_place_of_ours_until_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("mail.html", "<b>{{ headline }}</b> {{ alerts[0].rule }}");
    write("subject.txt", "{{ status }}: {{ headline }}\r\nBcc: a@b");
    write("mail.txt", "{{ no_such_thing }}");
    let renderer = Renderer::new(Some(folder.path())).unwrap();
    let mut alarm = alarm();
    alarm.alerts[0].rule = "<i>".to_owned();
    let rendered = renderer.render(&alarm, None).unwrap();
    assert_eq!(rendered.html, "<b>boiler-7 temperature</b> &lt;i&gt;");
    assert_eq!(rendered.subject, "CRITICAL: boiler-7 temperature\\r\\nBcc: a@b");
    assert!(
        rendered.text.contains("Sent by Sensorhive"),
        "ours takes its place: {}",
        rendered.text
    );

    write(
        "mail.txt",
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
    );
    let renderer = Renderer::new(Some(folder.path())).unwrap();
    let rendered = renderer.render(&alarm, None).unwrap();
    assert!(
        rendered.text.contains("Sent by Sensorhive"),
        "one without an end is left"
    );
}

/// Writes each mail as a page and its picture into the folder that `SENSORHIVE_TEST_PAGES` names; see docs/testing.md.
#[test]
fn pages_for_a_browser() {
    let Some(folder) = std::env::var_os("SENSORHIVE_TEST_PAGES") else {
        return;
    };
    let folder = Path::new(&folder);
    let renderer = Renderer::new(None).unwrap();
    let mut digest = many();
    digest.digest = true;
    let mails = [
        ("alarm", alarm()),
        ("resolved", resolve()),
        ("group", many()),
        ("digest", digest),
    ];
    let mails = mails.map(|(name, one)| (name, renderer.render(&one, Some(&links())).unwrap()));
    let summaries = [("summary", summary::busy()), ("quiet", summary::quiet())];
    let summaries = summaries.map(|(name, one)| (name, summary::rendered(&one)));
    for (name, rendered) in mails.into_iter().chain(summaries) {
        let picture = format!("mail-{name}-chart.png");
        let html = rendered.html.replace("cid:chart@sensorhive", &picture);
        std::fs::write(folder.join(format!("mail-{name}.html")), html).unwrap();
        std::fs::write(folder.join(format!("mail-{name}.txt")), &rendered.text).unwrap();
        if let Some(chart) = &rendered.chart {
            std::fs::write(folder.join(picture), chart).unwrap();
        }
    }
    let pages = Pages::new("https://hive.example.org/").unwrap();
    let alert = Concerned {
        sensor: "boiler-7",
        metric: Some("temperature"),
        rule: "too hot",
        level: Level::Critical,
        since: AT,
        value: Some(93.1),
        unit: Some("°C"),
    };
    for (name, page) in [
        (
            "acknowledge",
            Page::Ask {
                action: LinkAction::Acknowledge,
                alerts: &[alert],
                more: 0,
            },
        ),
        (
            "silence",
            Page::Ask {
                action: LinkAction::Silence,
                alerts: &[alert; 3],
                more: 12,
            },
        ),
        ("expired", Page::Refused(LinkError::Expired)),
    ] {
        std::fs::write(
            folder.join(format!("mail-{name}.html")),
            pages.render(page).unwrap(),
        )
        .unwrap();
    }
}
