//! `kind = "simulated"`: sensors that are made up.

use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::settings::units;
use crate::simulate::{Fault, SimulatorSettings};

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
    /// How likely each reading of each sensor is far off, 0 to 1.
    #[serde(deserialize_with = "probability")]
    pub spike_probability: f64,
    /// Each is given to one sensor in twenty.
    #[serde(with = "faults")]
    pub faults: Vec<Fault>,
}

impl SimulatedSettings {
    /// As the simulator takes them.
    pub fn simulator(&self) -> SimulatorSettings {
        SimulatorSettings {
            sensors: self.sensors,
            rate: self.rate,
            seed: self.seed,
            spike_probability: self.spike_probability,
            faults: self.faults.iter().copied().collect(),
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
            spike_probability: 0.02,
            faults: Vec::new(),
        }
    }
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    within(
        deserializer,
        0.001..=10_000_000.0,
        "a number from 0.001 to 10000000",
    )
}

fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    within(deserializer, 0.0..=1.0, "a number from 0 to 1")
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<f64>,
    expected: &'static str,
) -> Result<f64, D::Error> {
    use serde::de::{Error, Unexpected};

    let value = units::finite(deserializer)?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(D::Error::invalid_value(Unexpected::Float(value), &expected))
    }
}

/// A list of names.
mod faults {
    use super::*;

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Name(#[serde(deserialize_with = "name")] Fault);

    fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fault, D::Error> {
        let expected = "one of `spike`, `drift`, `stuck`, `silence`, `duplicates`, `disorder`, `late`, `nan`, `far-future`";
        units::parsed(deserializer, expected, |text| text.parse().ok())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Fault>, D::Error> {
        let names = Vec::<Name>::deserialize(deserializer)?;
        Ok(names.into_iter().map(|Name(fault)| fault).collect())
    }

    pub fn serialize<S: Serializer>(faults: &[Fault], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(faults.iter().map(|fault| fault.as_str()))
    }
}
