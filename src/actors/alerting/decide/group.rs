//! Alerts that one receiver is told of together, and what he knows of each.
//!
//! Invariant: what is to be told of an alert is the difference between what its receiver was told last and where it is now. So nothing is
//! told twice, whatever is looked at again, and whoever was told of an alert is told of its end.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use super::policy::{Labels, Timing};
use crate::domain::{AlertChange, AlertEvent, AlertState, Episode, Level, Timestamp};

pub(super) type Key = Arc<str>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    pub receiver: String,
    pub labels: Labels,
    /// In which turn; tells it from those of the same receiver and labels before it.
    pub born: i64,
    /// How many notifications there were that were its own.
    pub sent: u32,
    /// When it was told of last.
    pub last: Option<Timestamp>,
    /// The gravest level that was told.
    pub worst: Option<Level>,
    /// When what has changed is to be told.
    pub due: Option<Timestamp>,
    #[serde(skip)]
    pub members: BTreeMap<Episode, Member>,
    /// Members that are not resolved.
    #[serde(skip)]
    pub open: usize,
    /// When it is to be looked at.
    #[serde(skip)]
    pub wake: Option<Timestamp>,
}

/// What a receiver knows of an alert.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Member {
    pub told: Option<Told>,
    /// Why he is not told at the moment.
    pub held: Option<String>,
    /// He is told because nobody has acknowledged it.
    pub unacknowledged: bool,
    /// Somebody else was told because nobody has acknowledged it.
    pub escalated: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    /// The last event that was told of.
    pub ordinal: u32,
    pub level: Level,
    pub state: AlertState,
    /// When it was told first.
    pub since: Timestamp,
}

/// The key of the group of these labels.
pub(super) fn key(receiver: &str, labels: &Labels) -> Key {
    let mut hash = XxHash64::with_seed(1);
    let mut text = |text: &str| {
        hash.write(&(text.len() as u64).to_le_bytes());
        hash.write(text.as_bytes());
    };
    text(receiver);
    for (label, value) in labels {
        text(label);
        text(value);
    }
    format!("{:016x}", hash.finish()).into()
}

impl Group {
    pub fn new(receiver: &str, labels: Labels, born: i64) -> Self {
        Self {
            receiver: receiver.to_owned(),
            labels,
            born,
            sent: 0,
            last: None,
            worst: None,
            due: None,
            members: BTreeMap::new(),
            open: 0,
            wake: None,
        }
    }

    pub fn thread(&self, key: &Key) -> String {
        format!("{key}-{:x}", self.born)
    }

    /// Something has changed that is to be told. What is worse than anything told before, and the end of everything, wait for others
    /// but not for the interval.
    pub fn hasten(&mut self, now: Timestamp, timing: &Timing, level: Level) {
        let soon = now.saturating_add(timing.wait);
        let pressing = self.open == 0 || self.worst.is_none_or(|worst| level > worst);
        let due = match self.last {
            Some(last) if !pressing => soon.max(last.saturating_add(timing.interval)),
            _ => soon,
        };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }
}

impl Member {
    /// What is to be told of an alert that is at `event` now.
    pub fn change(&self, event: &AlertEvent) -> Option<AlertChange> {
        let Some(told) = &self.told else {
            return Some(match event.state {
                AlertState::Resolved => AlertChange::Resolved,
                AlertState::NoData => AlertChange::NoData,
                _ if self.unacknowledged => AlertChange::Unacknowledged,
                _ => AlertChange::Raised,
            });
        };
        match (told.state, event.state) {
            (_, AlertState::Resolved) => Some(AlertChange::Resolved),
            (AlertState::NoData, AlertState::NoData) => None,
            (_, AlertState::NoData) => Some(AlertChange::NoData),
            (AlertState::NoData, _) => Some(AlertChange::Raised),
            _ if event.level > told.level => Some(AlertChange::Escalated),
            _ if event.level < told.level => Some(AlertChange::Lowered),
            _ => None,
        }
    }

    /// Whether he was told that it stands.
    pub fn knows(&self) -> bool {
        self.told.is_some()
    }

    pub fn tell(&mut self, event: &AlertEvent, now: Timestamp) {
        self.told = Some(Told {
            ordinal: event.ordinal,
            level: event.level,
            state: event.state,
            since: self.told.as_ref().map_or(now, |told| told.since),
        });
        self.held = None;
    }
}
