//! A notification: what one receiver is told at once.
//!
//! Invariants: it is a value that can be stored and read again. Its id tells which notification it is and nothing else,
//! so one that is delivered twice can be recognized. Everything that is said of the same episode or group has the same
//! thread.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{AlertChange, AlertState, Episode, Level, MetricName, SensorId, Tags, Timestamp};

/// Stable text of letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotificationId(pub String);

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    pub id: NotificationId,
    /// The same for everything about an episode or a group.
    pub thread: String,
    /// Whether it begins the thread.
    pub first: bool,
    /// The name of a configured receiver.
    pub receiver: String,
    pub at: Timestamp,
    /// Labels that the alerts have in common.
    pub group: BTreeMap<String, String>,
    /// At least one. The gravest first.
    pub alerts: Vec<Notified>,
    /// How many more there are that are not listed.
    pub more: u64,
    /// Too much happened to tell each: `alerts` are the worst ones.
    pub digest: bool,
}

/// An alert in a notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notified {
    pub episode: Episode,
    pub sensor: SensorId,
    pub metric: Option<MetricName>,
    pub tags: Tags,
    pub rule: String,
    /// A link, as it was configured.
    pub runbook: Option<String>,
    pub change: AlertChange,
    pub level: Level,
    pub state: AlertState,
    /// When the condition began to hold.
    pub since: Timestamp,
    pub changed: Timestamp,
    pub ended: Option<Timestamp>,
    pub value: Option<f64>,
    pub unit: Option<String>,
    pub threshold: Option<f64>,
    pub expected: Option<(f64, f64)>,
    /// Sentences.
    pub reasons: Vec<String>,
    /// By whom and when.
    pub acknowledged: Option<(String, Timestamp)>,
    /// The last hour, oldest first, at most 500; may be empty.
    pub recent: Vec<(Timestamp, f64)>,
}
