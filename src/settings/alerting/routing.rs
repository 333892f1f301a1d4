//! `[[alerting.routes]]`, `[[alerting.inhibit]]`, `[[alerting.maintenance]]`: who is told of what, and when not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Receivers;
use crate::domain::{Level, SourceName, Timestamp};
use crate::settings::{Pattern, units};

/// Patterns by label: `sensor`, `metric`, `rule`, `level`, or a tag.
pub type LabelMatch = BTreeMap<String, Pattern>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    pub receiver: SourceName,
    #[serde(rename = "match", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matches: LabelMatch,
    #[serde(default = "warning")]
    pub min_level: Level,
    /// What is not given is as for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<String>>,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<Duration>,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<Duration>,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub repeat_interval: Option<Duration>,
    /// Whether routes after it are looked at, too.
    #[serde(rename = "continue", default = "yes")]
    pub goes_on: bool,
    /// When nobody has acknowledged it so long after it was told, `escalate_to` is told.
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub escalate_after: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<SourceName>,
}

/// While an alert stands that `source` matches, those that `target` matches are hidden if they are alike in the labels `equal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InhibitSettings {
    pub name: String,
    pub source: LabelMatch,
    pub target: LabelMatch,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equal: Vec<String>,
}

/// Once, by `from` and `until`, or every week, by `days`, `start` and `end`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceSettings {
    pub name: String,
    #[serde(rename = "match", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matches: LabelMatch,
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Weekday>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<TimeOfDay>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<TimeOfDay>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc_offset: Option<UtcOffset>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Minutes since midnight, written as `"22:30"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay(pub u32);

/// Minutes east of UTC, written as `"+02:00"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UtcOffset(pub i32);

fn warning() -> Level {
    Level::Warning
}

fn yes() -> bool {
    true
}

impl RouteSettings {
    /// What does not fit, each with the key below the route's own.
    pub(super) fn problems(&self, receivers: &Receivers) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (key, name) in [
            ("receiver", Some(&self.receiver)),
            ("escalate_to", self.escalate_to.as_ref()),
        ] {
            if name.is_some_and(|name| !receivers.contains_key(name)) {
                found.push((key, "is not in [alerting.receivers]".to_owned()));
            }
        }
        if self.escalate_after.is_some() != self.escalate_to.is_some() {
            found.push(("escalate_to", "and `escalate_after` go together".to_owned()));
        }
        if self.repeat_interval == Some(Duration::ZERO) {
            found.push(("repeat_interval", "must be more than 0".to_owned()));
        }
        found
    }
}

impl MaintenanceSettings {
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let once = self.from.is_some() || self.until.is_some();
        let weekly = !self.days.is_empty() || self.start.is_some() || self.end.is_some();
        let mut found = Vec::new();
        match (once, weekly) {
            (true, false) => {
                if self
                    .from
                    .zip(self.until)
                    .is_none_or(|(from, until)| from >= until)
                {
                    found.push(("until", "must be after `from`, and both must be given".to_owned()));
                }
            }
            (false, true) => {
                if self.start.is_none() || self.end.is_none() || self.days.is_empty() {
                    found.push((
                        "days",
                        "`start` and `end` are needed for a window of every week".to_owned(),
                    ));
                }
            }
            _ => found.push((
                "from",
                "and `until`, or `days`, `start` and `end` must be given".to_owned(),
            )),
        }
        found
    }
}

mod optional {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        units::duration::deserialize(deserializer).map(Some)
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => units::duration::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }
}

mod moment {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let expected = "a time such as \"2026-05-01T12:00:00Z\"";
        units::parsed(deserializer, expected, |text| Timestamp::from_text(text).ok()).map(Some)
    }

    pub fn serialize<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }
}

/// Hours up to `most` and minutes.
fn clock(text: &str, most: u32) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= most && minutes < 60).then_some(hours * 60 + minutes)
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        units::parsed(deserializer, "a time of day such as \"22:30\"", |text| {
            clock(text, 23).map(TimeOfDay)
        })
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

impl<'de> Deserialize<'de> for UtcOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        units::parsed(deserializer, "an offset from UTC such as \"+02:00\"", |text| {
            let (sign, rest) = match text.as_bytes().first()? {
                b'+' => (1, &text[1..]),
                b'-' => (-1, &text[1..]),
                _ => return None,
            };
            Some(UtcOffset(sign * i32::try_from(clock(rest, 14)?).ok()?))
        })
    }
}

impl Serialize for UtcOffset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (sign, minutes) = (if self.0 < 0 { '-' } else { '+' }, self.0.unsigned_abs());
        serializer.collect_str(&format_args!("{sign}{:02}:{:02}", minutes / 60, minutes % 60))
    }
}
