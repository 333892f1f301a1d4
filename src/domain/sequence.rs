//! The identity of "since": batch numbers and ingest sequences.
//!
//! Invariants: batch numbers come from the database in blocks and only grow. A sequence is a batch number and an index
//! within the batch, so sequences of one sensor grow wherever it runs. Both fit a signed 64-bit column.

use serde::{Deserialize, Serialize};

const INDEX_BITS: u32 = 20;

/// The number of a batch; at most 2⁴³ − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct BatchNumber(pub u64);

/// The ingest sequence of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl BatchNumber {
    pub const MAX: BatchNumber = BatchNumber((1 << (63 - INDEX_BITS)) - 1);

    /// The sequence after every reading of this batch: what a snapshot taken at the end of it is "as of".
    pub fn end(self) -> Seq {
        Seq::new(self, Seq::MAX_INDEX)
    }
}

impl Seq {
    /// The largest index within a batch; also the most readings a batch can hold.
    pub const MAX_INDEX: u32 = (1 << INDEX_BITS) - 1;

    pub fn new(batch: BatchNumber, index: u32) -> Self {
        debug_assert!(index <= Self::MAX_INDEX && batch <= BatchNumber::MAX);
        Seq((batch.0 << INDEX_BITS) | u64::from(index))
    }

    pub fn batch(self) -> BatchNumber {
        BatchNumber(self.0 >> INDEX_BITS)
    }

    pub fn index(self) -> u32 {
        (self.0 & u64::from(Self::MAX_INDEX)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_keeps_its_parts_and_their_order() {
        let seq = Seq::new(BatchNumber(7), 3);
        assert_eq!((seq.batch(), seq.index()), (BatchNumber(7), 3));
        assert!(seq < BatchNumber(7).end());
        assert!(BatchNumber(7).end() < Seq::new(BatchNumber(8), 0));
        assert!(i64::try_from(BatchNumber::MAX.end().0).is_ok());
    }
}
