//! Alerts: episodes of a rule on a series, and how they change.
//!
//! Invariants: an [`Episode`] says which series, rule and begin it is of and nothing else, so whoever computes it again finds the
//! same number. The events of an episode are numbered from 0 without a gap; (episode, ordinal) is an event's identity.

use std::hash::Hasher;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use super::{Band, Level, SeriesId, Timestamp};

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition holds, but not for long enough yet. Never stored: nobody needs to act.
    Pending,
    Firing,
    /// The condition holds no more, but not for long enough yet.
    Recovering,
    Resolved,
    /// There is nothing to judge by.
    NoData,
}

impl AlertState {
    pub const ALL: [AlertState; 5] = [
        AlertState::Pending,
        AlertState::Firing,
        AlertState::Recovering,
        AlertState::Resolved,
        AlertState::NoData,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
            AlertState::Recovering => "recovering",
            AlertState::Resolved => "resolved",
            AlertState::NoData => "no_data",
        }
    }

    pub fn parse(text: &str) -> Option<AlertState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertChange {
    /// It fires: for the first time, or again after there was no data.
    Raised,
    /// Its level rose.
    Escalated,
    /// Its level fell.
    Lowered,
    /// The condition holds no more; it may come back within `keep_firing_for`.
    Recovering,
    /// The condition came back before it was resolved.
    Returned,
    Resolved,
    NoData,
    /// It still stands, and its receivers are told again. No event of the sensor's.
    Repeated,
    /// Nobody has acknowledged it in time. No event of the sensor's.
    Unacknowledged,
}

impl AlertChange {
    pub const ALL: [AlertChange; 9] = [
        AlertChange::Raised,
        AlertChange::Escalated,
        AlertChange::Lowered,
        AlertChange::Recovering,
        AlertChange::Returned,
        AlertChange::Resolved,
        AlertChange::NoData,
        AlertChange::Repeated,
        AlertChange::Unacknowledged,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            AlertChange::Raised => "raised",
            AlertChange::Escalated => "escalated",
            AlertChange::Lowered => "lowered",
            AlertChange::Recovering => "recovering",
            AlertChange::Returned => "returned",
            AlertChange::Resolved => "resolved",
            AlertChange::NoData => "no_data",
            AlertChange::Repeated => "repeated",
            AlertChange::Unacknowledged => "unacknowledged",
        }
    }

    pub fn parse(text: &str) -> Option<AlertChange> {
        Self::ALL.into_iter().find(|change| change.as_str() == text)
    }
}

/// The number of an alert's row: positive, and the same whenever it is computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Episode(pub i64);

impl Episode {
    /// `watched` is since when the rule has looked at the series without being forgotten: a rule that is removed and comes back,
    /// or a sensor that is reset, begins episodes of its own.
    pub fn of(series: SeriesId, rule: &str, watched: Timestamp, began: Timestamp) -> Self {
        let mut hash = XxHash64::with_seed(0);
        hash.write(&series.0.to_le_bytes());
        hash.write(&watched.0.to_le_bytes());
        hash.write(&began.0.to_le_bytes());
        hash.write(rule.as_bytes());
        Self((hash.finish() >> 1) as i64)
    }
}

/// An alert as its sensor sees it, right after a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertEvent {
    pub episode: Episode,
    /// Grows with every event of the episode, from 0.
    pub ordinal: u32,
    pub change: AlertChange,
    /// When it changed: event time, or where it was found by a timer, where event time would have been.
    pub time: Timestamp,
    pub series: SeriesId,
    pub rule: Arc<str>,
    pub state: AlertState,
    pub level: Level,
    /// When the condition began to hold.
    pub began: Timestamp,
    /// What was judged; `None` where there was nothing.
    pub value: Option<f64>,
    /// The limit that the level stands for, where the rule has one.
    pub threshold: Option<f64>,
    /// Where a detector expected the value.
    pub expected: Band,
    /// Whether it comes and goes too often to be told each time.
    pub flapping: bool,
    /// A sentence for people.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_a_positive_number_that_never_changes() {
        let of = |series, rule, watched, began| {
            Episode::of(SeriesId(series), rule, Timestamp(watched), Timestamp(began))
        };
        let first = of(1, "too hot", 0, 5);
        assert_eq!(first, of(1, "too hot", 0, 5));
        let others = [
            of(2, "too hot", 0, 5),
            of(1, "too cold", 0, 5),
            of(1, "too hot", 1, 5),
            of(1, "too hot", 0, 6),
        ];
        assert!(others.iter().all(|other| *other != first && other.0 > 0));
        // Stored rows are found by it.
        assert_eq!(first, Episode(4_099_519_438_639_107_690));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for state in AlertState::ALL {
            assert_eq!(AlertState::parse(state.as_str()), Some(state));
            assert_eq!(
                serde_json::to_string(&state).unwrap(),
                format!("\"{}\"", state.as_str())
            );
        }
        for change in AlertChange::ALL {
            assert_eq!(AlertChange::parse(change.as_str()), Some(change));
            assert_eq!(
                serde_json::to_string(&change).unwrap(),
                format!("\"{}\"", change.as_str())
            );
        }
        assert_eq!(AlertState::parse("Firing"), None);
    }
}
