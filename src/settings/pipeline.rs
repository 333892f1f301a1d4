//! `[pipeline]`: how the work is spread and ended; `[limits]`: what bounds it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;
use crate::domain::{Seq, Timestamp};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSettings {
    /// Threads that sensors are spread over; 0 means one per core.
    #[serde(deserialize_with = "units::between::<0, 1024, _, _>")]
    pub shards: u16,
    /// How long a stop may take before what is not stored is given up, unacknowledged.
    #[serde(with = "units::interval")]
    pub drain_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSettings {
    /// Readings that may be on their way to the database, of all sources together.
    #[serde(deserialize_with = "units::between::<1, 100_000_000, _, _>")]
    pub readings_in_flight: u32,
    /// Bytes that these may take.
    #[serde(with = "units::size")]
    pub bytes_in_flight: u64,
    /// The most readings of one batch.
    #[serde(deserialize_with = "units::between::<1, { Seq::MAX_INDEX as u64 }, _, _>")]
    pub batch_readings: u32,
    /// The longest message of a source, in bytes.
    #[serde(with = "units::size")]
    pub payload: u64,
    #[serde(deserialize_with = "units::between::<1, { u32::MAX as u64 }, _, _>")]
    pub sensors: u32,
    #[serde(deserialize_with = "units::between::<1, 1_000_000, _, _>")]
    pub series_per_sensor: u32,
    /// How far ahead of the clock an event time may be.
    #[serde(with = "units::duration")]
    pub max_future: Duration,
    /// The earliest event time accepted.
    #[serde(with = "units::time")]
    pub min_time: Timestamp,
}
