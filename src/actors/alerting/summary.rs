//! What happened in a day: told to a receiver by a schedule.
//!
//! Invariant: a value that can be stored and read again, and is sent again as the same mail.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{NotificationId, Notified};
use crate::domain::{Ledger, Level, SensorId, Timestamp};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub id: NotificationId,
    /// The name of a configured receiver.
    pub receiver: String,
    /// When the time begins that it is about; it ends `at`.
    pub from: Timestamp,
    pub at: Timestamp,
    /// Alerts that stand, the gravest first.
    pub open: Vec<Notified>,
    /// How many more stand that are not listed.
    pub more: u64,
    /// Alerts that began in this time.
    pub raised: BTreeMap<Level, u64>,
    /// Alerts that ended in this time.
    pub resolved: u64,
    /// How many alerts of each rule began, most first; not all of them.
    pub rules: Vec<(String, u64)>,
    /// Those with most alerts that began, most first; not all of them.
    pub noisiest: Vec<(SensorId, u64)>,
    /// Those that are silent, and when they were heard last, the longest silent first; not all of them.
    pub silent: Vec<(SensorId, Timestamp)>,
    pub more_silent: u64,
    /// How many were heard in this time.
    pub sensors: u64,
    /// What became of what came in this time.
    pub ledger: Ledger,
}
