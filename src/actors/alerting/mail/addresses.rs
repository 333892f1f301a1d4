//! The links of a mail: to the dashboard, to acknowledge, to silence; and which ones of others may be in it.
//!
//! Invariants: an address is one of ours, or one at `http://` or `https://`, and has nothing in it that does not belong
//! into one. There is no link to act by where there is nothing to act on.

use serde::Serialize;

use super::view::Status;
use crate::actors::alerting::links::{LinkAction, LinkClaim, LinkKey, LinkTarget};
use crate::actors::alerting::words::{self, line};
use crate::actors::alerting::{Notification, Notified};
use crate::domain::Micros;

/// Where links lead, and with what they are signed.
#[derive(Debug)]
pub struct LinkBase {
    /// Of the dashboard, without a slash at its end.
    pub url: String,
    /// Without it nobody can act by a link.
    pub key: Option<LinkKey>,
    pub valid: Micros,
}

/// Empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Links {
    pub dashboard: String,
    pub acknowledge: String,
    pub silence: String,
    /// How long the last two can be used.
    pub valid: String,
}

/// Those of `alert`, or where there is none of the whole notification.
pub(super) fn links(
    target: LinkTarget,
    alert: Option<&Notified>,
    notification: &Notification,
    base: Option<&LinkBase>,
) -> Links {
    let Some(LinkBase { url, key, valid }) = base else {
        return Links::default();
    };
    let dashboard = match alert {
        Some(alert) => format!("{url}/sensors/{}", segment(alert.sensor.as_str())),
        None => format!("{url}/alerts"),
    };
    let is_over = |alert: &Notified| Status::of(alert) == Status::Resolved;
    let Some(key) = key.as_ref().filter(|_| match alert {
        Some(alert) => !is_over(alert),
        None => !notification.alerts.iter().all(is_over),
    }) else {
        return Links {
            dashboard,
            ..Links::default()
        };
    };
    let expires = notification.at.saturating_add(*valid);
    let signed = |action: LinkAction| {
        let token = key.sign(&LinkClaim {
            action,
            target: target.clone(),
            receiver: notification.receiver.clone(),
            expires,
        });
        format!("{url}/links/{}/{token}", action.as_str())
    };
    let acknowledged = alert.is_some_and(|alert| alert.acknowledged.is_some());
    Links {
        acknowledge: match acknowledged {
            true => String::new(),
            false => signed(LinkAction::Acknowledge),
        },
        silence: signed(LinkAction::Silence),
        valid: words::time(expires),
        dashboard,
    }
}

/// What a mail may have a link to, with everything escaped that does not belong into an address.
pub(super) fn address(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let plain = line(text, 2_000) == text && !text.contains(char::is_whitespace);
    (is_web && plain).then(|| url.to_string())
}

/// A name as part of a path.
fn segment(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte))
            }
            _ => path += &format!("%{byte:02X}"),
        }
    }
    path
}
