//! `[supervision]`: crash budgets, back-off, and when a quiet sensor's actor is put away.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisionSettings {
    /// The crash budget: more crashes than this `within` the span, and the actor is quarantined.
    #[serde(deserialize_with = "units::between::<0, 10_000, _, _>")]
    pub crashes: u32,
    #[serde(with = "units::interval")]
    pub within: Duration,
    /// The first back-off; each further one doubles, with full jitter.
    #[serde(with = "units::interval")]
    pub backoff_base: Duration,
    #[serde(with = "units::interval")]
    pub backoff_max: Duration,
    /// After this long without a crash, back-off starts again at its base.
    #[serde(with = "units::interval")]
    pub stable_after: Duration,
    /// A sensor that has been quiet this long keeps no actor until its next reading.
    #[serde(with = "units::interval")]
    pub passivate_after: Duration,
}
