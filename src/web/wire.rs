//! How plain words are written in answers: readings with exactly their five names.

use serde::Serialize;

use crate::domain::{Flags, Ledger};
pub use crate::shown::Time;
use crate::storage::history::StoredPoint;

/// A reading in an answer.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ReadingBody {
    pub time: Time,
    pub value: f64,
    /// Grows with every stored reading of a sensor.
    pub seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// `late`, `unprocessed`, `poison`, `spread`, `retained`, `uncertain`, `bad`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<&'static str>,
}

impl ReadingBody {
    pub fn new(point: &StoredPoint, unit: Option<&str>) -> Self {
        Self {
            time: Time(point.time),
            value: point.value,
            seq: point.seq.0,
            unit: unit.map(str::to_owned),
            flags: Flags::names(point.flags),
        }
    }
}

/// A page of a list, and where it goes on.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Listed<T> {
    pub data: Vec<T>,
    /// To be given as `cursor` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What became of every reading received: `received = stored + duplicate + rejected + filtered`.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct LedgerBody {
    pub received: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub filtered: u64,
    /// Of the stored: older than the watermark when they came.
    pub late: u64,
    /// Of the stored: not seen by windows and detectors, yet or ever.
    pub unprocessed: u64,
    /// Whether the equation holds.
    pub balances: bool,
}

impl From<Ledger> for LedgerBody {
    fn from(ledger: Ledger) -> Self {
        Self {
            received: ledger.received,
            stored: ledger.stored,
            duplicate: ledger.duplicate,
            rejected: ledger.rejected,
            filtered: ledger.filtered,
            late: ledger.late,
            unprocessed: ledger.unprocessed,
            balances: ledger.balances(),
        }
    }
}
