//! The bytes of a mail: headers and parts.
//!
//! Invariants: the same notification makes the same bytes, so that one that is sent again can be told by its
//! Message-ID. Everything after the first mail of a thread refers to that one, in every mailbox that shows threads.
//! Nothing of a notification can end a header: names are one line, ids are made of letters, digits and few signs.

use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Message, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

pub use lettre::message::Mailbox;

use super::render::{CHART, Rendered};
use crate::actors::alerting::words;
use crate::domain::Timestamp;

/// Who writes to whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub from: Mailbox,
    /// Everybody sees them all.
    pub to: Vec<Mailbox>,
    pub reply_to: Option<Mailbox>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Without its angle brackets.
    pub id: String,
    pub subject: String,
    pub bytes: Vec<u8>,
}

/// The last second of the year 9999: no later one can be written.
const LAST: u64 = 253_402_300_799;

/// What is sent, apart from its words.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    pub id: &'a str,
    /// The same for all that belongs together.
    pub thread: &'a str,
    /// Whether it begins the thread.
    pub first: bool,
    pub receiver: &'a str,
    pub at: Timestamp,
    pub urgent: bool,
}

pub fn mail(item: &Item<'_>, rendered: &Rendered, header: &Header) -> Result<Mail, lettre::error::Error> {
    let domain = header.from.email.domain();
    let thread = id(&["thread", item.thread], domain);
    let id = match item.first {
        true => thread.clone(),
        false => id(&["notification", item.id], domain),
    };
    let mut message = Message::builder()
        .from(header.from.clone())
        .subject(plain(&rendered.subject))
        .date(date(item.at))
        .message_id(Some(format!("<{id}>")));
    for to in &header.to {
        message = message.to(to.clone());
    }
    if let Some(reply_to) = &header.reply_to {
        message = message.reply_to(reply_to.clone());
    }
    if !item.first {
        message = message
            .in_reply_to(format!("<{thread}>"))
            .references(format!("<{thread}>"));
    }
    let receiver = token(item.receiver);
    for (name, value) in [
        // No vacation answers.
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("List-Id", format!("<{receiver}.alerts.{domain}>")),
        ("X-Sensorhive-Receiver", receiver),
        ("X-Sensorhive-Status", rendered.status.clone()),
        ("X-Sensorhive-Notification", token(item.id)),
    ] {
        message = message.raw_header(raw(name, value));
    }
    if item.urgent {
        message = message.raw_header(raw("Importance", "high".to_owned()));
    }
    let seed = hash(&["boundary", item.id]);
    let html = SinglePart::html(rendered.html.clone());
    let text = SinglePart::plain(rendered.text.clone());
    let parts = MultiPart::alternative()
        .boundary(format!("a-{seed}"))
        .singlepart(text);
    let parts = match &rendered.chart {
        None => parts.singlepart(html),
        Some(chart) => parts.multipart(
            MultiPart::related()
                .boundary(format!("r-{seed}"))
                .singlepart(html)
                .singlepart(picture(chart)?),
        ),
    };
    Ok(Mail {
        subject: rendered.subject.clone(),
        bytes: message.multipart(parts)?.formatted(),
        id,
    })
}

/// A name that looks like an encoded word would be decoded by who reads the header, with whatever is hidden in it.
fn plain(subject: &str) -> String {
    subject.replace("=?", "= ?")
}

fn picture(png: &[u8]) -> Result<SinglePart, lettre::error::Error> {
    let kind = ContentType::parse("image/png").map_err(|_| lettre::error::Error::CannotParseFilename)?;
    Ok(Attachment::new_inline_with_name(CHART.to_owned(), "chart.png".to_owned()).body(png.to_vec(), kind))
}

fn date(at: Timestamp) -> SystemTime {
    let seconds = u64::try_from(at.0 / 1_000_000).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST))
}

fn id(parts: &[&str], domain: &str) -> String {
    format!("{}@{domain}", hash(parts))
}

/// 160 bits, which is as good as all of them for telling messages apart.
fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    HEXLOWER.encode(&hash.finalize()[..20])
}

/// What may stand anywhere in a header.
fn token(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            c
        } else {
            '-'
        }
    };
    words::line(text, 64)
        .trim_end_matches('…')
        .chars()
        .map(plain)
        .collect()
}

fn raw(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}
