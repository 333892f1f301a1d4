//! `[sources.NAME]`: where readings come from. `kind` says which keys a source has.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::units;

/// Kinds that are known but not part of this version.
pub(super) const UNAVAILABLE_KINDS: [&str; 5] = ["kafka", "mqtt", "file", "http_poll", "redis"];

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSettings {
    Host(HostSettings),
    Simulated(SimulatedSettings),
}

/// The machine that the service runs on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostSettings {
    pub enabled: bool,
    /// How often it is looked at.
    #[serde(with = "units::interval")]
    pub interval: Duration,
}

/// Sensors that are made up, with labelled faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatedSettings {
    pub enabled: bool,
    #[serde(deserialize_with = "units::between::<1, 10_000_000, _, _>")]
    pub sensors: u32,
    /// Readings a second, of all sensors together.
    #[serde(deserialize_with = "rate")]
    pub rate: f64,
    /// The same seed gives the same readings.
    pub seed: u64,
    pub faults: Vec<Fault>,
}

/// What simulated sensors can do wrong.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Jumps by 15 for one reading.
    Spike,
    /// Moves away slowly.
    Drift,
    /// Says the same value for a while.
    Stuck,
    /// Says nothing for a while.
    Silence,
    /// Says the same reading again.
    Duplicates,
    /// Says readings in another order than they happened.
    Disorder,
    /// Says a reading long after it happened.
    Late,
    /// Says what is not a number.
    Nan,
    /// Says a time that is far in the future.
    FarFuture,
}

impl Fault {
    pub const ALL: [Fault; 9] = [
        Fault::Spike,
        Fault::Drift,
        Fault::Stuck,
        Fault::Silence,
        Fault::Duplicates,
        Fault::Disorder,
        Fault::Late,
        Fault::Nan,
        Fault::FarFuture,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Spike => "spike",
            Fault::Drift => "drift",
            Fault::Stuck => "stuck",
            Fault::Silence => "silence",
            Fault::Duplicates => "duplicates",
            Fault::Disorder => "disorder",
            Fault::Late => "late",
            Fault::Nan => "nan",
            Fault::FarFuture => "far-future",
        }
    }
}

impl FromStr for Fault {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.as_str() == text)
            .ok_or(())
    }
}

impl SourceSettings {
    pub fn enabled(&self) -> bool {
        match self {
            SourceSettings::Host(host) => host.enabled,
            SourceSettings::Simulated(simulated) => simulated.enabled,
        }
    }
}

impl Default for HostSettings {
    fn default() -> Self {
        HostSettings {
            enabled: true,
            interval: Duration::from_secs(1),
        }
    }
}

impl Default for SimulatedSettings {
    fn default() -> Self {
        SimulatedSettings {
            enabled: true,
            sensors: 10,
            rate: 10.0,
            seed: 1,
            faults: vec![Fault::Spike],
        }
    }
}

/// Written as it is read: one table with `kind`.
impl Serialize for SourceSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Tagged<'a> {
            Host(&'a HostSettings),
            Simulated(&'a SimulatedSettings),
        }

        match self {
            SourceSettings::Host(host) => Tagged::Host(host).serialize(serializer),
            SourceSettings::Simulated(simulated) => Tagged::Simulated(simulated).serialize(serializer),
        }
    }
}

fn rate<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let rate = units::finite(deserializer)?;
    if (0.001..=10_000_000.0).contains(&rate) {
        return Ok(rate);
    }
    let found = serde::de::Unexpected::Float(rate);
    Err(serde::de::Error::invalid_value(
        found,
        &"a number from 0.001 to 10000000",
    ))
}
