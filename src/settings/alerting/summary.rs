//! `[alerting.summary]`: a mail about each day, or whatever time the schedule says.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ReceiverSettings, Receivers};
use crate::domain::{Schedule, SourceName};
use crate::settings::units;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SummarySettings {
    /// When it is sent, in UTC.
    #[serde(
        deserialize_with = "schedule",
        serialize_with = "text",
        skip_serializing_if = "Option::is_none"
    )]
    pub schedule: Option<Schedule>,
    /// Who gets it: a receiver of the kind email.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<SourceName>,
}

impl SummarySettings {
    /// What does not fit, each with the key below the section.
    pub(super) fn problems(&self, receivers: &Receivers) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.schedule.is_none() {
            found.push(("schedule", "is needed, such as \"0 7 * * *\"".to_owned()));
        }
        let receiver = self.receiver.as_ref();
        let trouble = match (receiver, receiver.and_then(|name| receivers.get(name))) {
            (_, Some(ReceiverSettings::Email(_))) => return found,
            (_, Some(ReceiverSettings::Webhook(_))) => "must be of the kind email",
            (Some(_), None) => "is not in [alerting.receivers]",
            (None, _) => "is needed: the name of one in [alerting.receivers]",
        };
        found.push(("receiver", trouble.to_owned()));
        found
    }
}

fn schedule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Schedule>, D::Error> {
    let expected = "five fields, as in a crontab, that come around, such as \"0 7 * * *\"";
    units::parsed(deserializer, expected, |text| text.parse().ok()).map(Some)
}

fn text<S: Serializer>(schedule: &Option<Schedule>, serializer: S) -> Result<S::Ok, S::Error> {
    match schedule {
        Some(schedule) => serializer.collect_str(schedule),
        None => serializer.serialize_none(),
    }
}
