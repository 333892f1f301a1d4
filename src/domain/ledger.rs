//! The ledger: what became of every reading.
//!
//! Invariant, checked after every fault: `received = stored + duplicate + rejected + filtered`. `received` is counted where
//! input is decoded, each other figure where it is decided; none is computed from another.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What changes in a ledger with one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LedgerDelta {
    pub received: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub filtered: u64,
    /// Of the stored: older than the watermark when they came.
    pub late: u64,
    /// Of the stored: not (yet) seen by windows and detectors. A complete snapshot sets the sum back to 0.
    pub unprocessed: u64,
}

/// The sums since the beginning.
pub type Ledger = LedgerDelta;

impl LedgerDelta {
    /// Whether every received reading is accounted for.
    pub fn balances(&self) -> bool {
        self.received == self.stored + self.duplicate + self.rejected + self.filtered
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for LedgerDelta {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.filtered += other.filtered;
        self.late += other.late;
        self.unprocessed += other.unprocessed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_balances_only_when_all_is_accounted_for() {
        let mut sum = LedgerDelta {
            received: 3,
            stored: 1,
            duplicate: 1,
            ..Default::default()
        };
        assert!(!sum.balances());
        sum += LedgerDelta {
            rejected: 1,
            ..Default::default()
        };
        assert!(sum.balances());
    }
}
