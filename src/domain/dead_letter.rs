//! Input that was not processed, kept with the reason so that it can be looked at and replayed.

use serde::{Deserialize, Serialize};

use super::{SensorKey, SourceName};

/// Why an input was not processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The bytes are not what the source's mapping expects.
    Undecodable,
    /// A field is missing, of the wrong type, or not finite.
    Invalid,
    /// The event time is out of range.
    TimeOutOfRange,
    /// A cardinality limit would be passed.
    LimitReached,
    /// Same series and time as a stored reading, but another value.
    Conflict,
    /// Its sensor panicked on it.
    Panic,
    /// The database refuses what its sensor made of the batch.
    Refused,
}

impl RejectReason {
    pub const ALL: [RejectReason; 7] = [
        RejectReason::Undecodable,
        RejectReason::Invalid,
        RejectReason::TimeOutOfRange,
        RejectReason::LimitReached,
        RejectReason::Conflict,
        RejectReason::Panic,
        RejectReason::Refused,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::Undecodable => "undecodable",
            RejectReason::Invalid => "invalid",
            RejectReason::TimeOutOfRange => "time_out_of_range",
            RejectReason::LimitReached => "limit_reached",
            RejectReason::Conflict => "conflict",
            RejectReason::Panic => "panic",
            RejectReason::Refused => "refused",
        }
    }

    pub fn parse(text: &str) -> Option<RejectReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub source: SourceName,
    /// Where in the source it was, such as `orders/3@1734`; empty where the source has no positions.
    pub position: String,
    /// The key of its message, where that is the sensor of readings that name none.
    pub key: Option<String>,
    /// Known when the sensor was.
    pub sensor: Option<SensorKey>,
    /// The input, or the reading as canonical JSON; cut at 64 KiB.
    pub payload: Vec<u8>,
    pub reason: RejectReason,
    /// One sentence that names the field and what is wrong with it; for a panic, its message and place.
    pub detail: String,
}

impl DeadLetter {
    /// The most bytes of a payload that are kept.
    pub const MAX_PAYLOAD: usize = 64 * 1024;
}
