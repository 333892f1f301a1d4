//! `[alerting]`: how people are told of alerts.

mod email;
mod receivers;
mod summary;
mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use email::{EmailReceiverSettings, MailEncryption, MailboxSetting, SmtpUrl};
pub use receivers::{ReceiverSettings, Receivers};
pub use summary::SummarySettings;
pub use webhook::{WebUrl, WebhookFormat, WebhookReceiverSettings};

use super::units;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertingSettings {
    /// Where the dashboard is to be found by whoever gets a notification; without it there are no links in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<WebUrl>,
    /// Its first line is what links that acknowledge and silence are signed with; without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_key_file: Option<PathBuf>,
    /// How long these links can be used.
    #[serde(with = "units::interval")]
    pub link_valid: Duration,
    #[serde(default, skip_serializing_if = "Receivers::is_empty")]
    pub receivers: Receivers,
    /// Without it nobody gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<SummarySettings>,
}

impl AlertingSettings {
    /// What does not fit, each with the key below `alerting`.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if self.link_key_file.is_some() && self.public_url.is_none() {
            found.push((
                "link_key_file".to_owned(),
                "needs `alerting.public_url`, where links lead to".to_owned(),
            ));
        }
        if let Some(summary) = &self.summary {
            let problems = summary.problems(&self.receivers).into_iter();
            found.extend(problems.map(|(key, message)| (format!("summary.{key}"), message)));
        }
        for (name, receiver) in &self.receivers {
            found.extend(
                receiver
                    .problems()
                    .into_iter()
                    .map(|(key, message)| (format!("receivers.{name}.{key}"), message)),
            );
        }
        found
    }
}
