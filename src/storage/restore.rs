//! What a sensor is brought back from.

use crate::domain::{AlertEvent, BatchNumber, BatchTime, Reading, SensorKey, Seq};

/// The answer to [`super::Store::load_sensors`].
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Every batch up to this one was visible to the read, none after it.
    pub as_of: Option<BatchNumber>,
    /// In the order asked for; a sensor that has neither snapshot nor readings is there too.
    pub sensors: Vec<StoredSensor>,
}

#[derive(Debug, Clone)]
pub struct StoredSensor {
    pub sensor: SensorKey,
    pub snapshot: Option<(Seq, Vec<u8>)>,
    /// Stored readings after the snapshot, in order of their sequence.
    pub tail: Vec<StoredReading>,
    /// Whether there are more readings after `tail`.
    pub more: bool,
    /// The last event of each of its alerts that is not resolved, or changed after the snapshot.
    pub alerts: Vec<AlertEvent>,
}

/// A stored reading with what its sensor saw when it came; if its batch has expired, its own time and an active
/// clock at 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredReading {
    pub seq: Seq,
    pub at: BatchTime,
    pub reading: Reading,
}
