//! `kind = "host"`: the machine that the service runs on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::units;

/// The machine that the service runs on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostSettings {
    pub enabled: bool,
    /// How often it is looked at.
    #[serde(with = "units::interval")]
    pub interval: Duration,
}

impl Default for HostSettings {
    fn default() -> Self {
        HostSettings {
            enabled: true,
            interval: Duration::from_secs(1),
        }
    }
}
