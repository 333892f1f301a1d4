//! `[alerting]`: how people are told of alerts.

mod email;
mod receivers;
mod routing;
mod summary;
mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use email::{EmailReceiverSettings, MailEncryption, MailboxSetting, SmtpUrl};
pub use receivers::{ReceiverSettings, Receivers};
pub use routing::{
    InhibitSettings, LabelMatch, MaintenanceSettings, RouteSettings, TimeOfDay, UtcOffset, Weekday,
};
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
    /// What is alike in these labels is told together.
    pub group_by: Vec<String>,
    /// How long the first alert of a group waits for others.
    #[serde(with = "units::duration")]
    pub group_wait: Duration,
    /// The least time between two notifications of a group, unless it gets worse or is all over.
    #[serde(with = "units::duration")]
    pub group_interval: Duration,
    /// After which what still stands is told again.
    #[serde(with = "units::interval")]
    pub repeat_interval: Duration,
    /// So many notifications a receiver gets at once,
    #[serde(deserialize_with = "units::between::<1, 100_000, _, _>")]
    pub burst: u32,
    /// and one more each time this has passed; the rest in digests. `0s` is without a limit.
    #[serde(with = "units::duration")]
    pub every: Duration,
    /// How long it is tried to send one.
    #[serde(with = "units::interval")]
    pub give_up_after: Duration,
    #[serde(default, skip_serializing_if = "Receivers::is_empty")]
    pub receivers: Receivers,
    /// Without one nobody is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSettings>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inhibit: Vec<InhibitSettings>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance: Vec<MaintenanceSettings>,
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
        for (at, route) in self.routes.iter().enumerate() {
            let problems = route.problems(&self.receivers).into_iter();
            found.extend(problems.map(|(key, message)| (format!("routes[{at}].{key}"), message)));
        }
        for (at, window) in self.maintenance.iter().enumerate() {
            let problems = window.problems().into_iter();
            found.extend(problems.map(|(key, message)| (format!("maintenance[{at}].{key}"), message)));
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
