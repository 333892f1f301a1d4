//! `[alerting.receivers.NAME]`: who is told. `kind` says how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::{EmailReceiverSettings, WebhookReceiverSettings};
use crate::domain::SourceName;

pub type Receivers = BTreeMap<SourceName, ReceiverSettings>;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiverSettings {
    Email(Box<EmailReceiverSettings>),
    Webhook(Box<WebhookReceiverSettings>),
}

impl ReceiverSettings {
    /// What does not fit, each with the key below the receiver's own; empty where all does.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        match self {
            ReceiverSettings::Email(email) => email.problems(),
            ReceiverSettings::Webhook(webhook) => webhook.problems(),
        }
    }
}

/// Written as it is read: one table with `kind`.
impl Serialize for ReceiverSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Tagged<'a> {
            Email(&'a EmailReceiverSettings),
            Webhook(&'a WebhookReceiverSettings),
        }

        match self {
            ReceiverSettings::Email(email) => Tagged::Email(email).serialize(serializer),
            ReceiverSettings::Webhook(webhook) => Tagged::Webhook(webhook).serialize(serializer),
        }
    }
}
