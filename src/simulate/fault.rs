//! What can be wrong with a simulated device, and the labels that say where it was.

use std::fmt;
use std::str::FromStr;

/// A fault of a simulated device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A single value 15 °C too high or too low. Every device has it, with the probability of the settings.
    Spike,
    /// For a while the value moves away by 0.1 °C a second.
    Drift,
    /// For a while the value is the last one before.
    Stuck,
    /// For a while nothing is sent; the first reading after it carries the label.
    Silence,
    /// A reading is sent a second time; the copy carries the label.
    Duplicates,
    /// A reading is overtaken by the device's next one.
    Disorder,
    /// A reading arrives two to ten minutes after it was taken.
    Late,
    /// The value is not a number.
    Nan,
    /// The time is one to ten years ahead.
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

    /// Whether it lasts for a while, rather than hit single readings.
    pub(super) fn is_episode(self) -> bool {
        matches!(self, Fault::Drift | Fault::Stuck | Fault::Silence)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no fault: choose from spike, drift, stuck, silence, duplicates, disorder, late, nan, far-future"
)]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let found = Fault::ALL.into_iter().find(|fault| fault.as_str() == name);
        found.ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

/// A set of faults: those a device can have, or those a reading suffers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Faults(u16);

impl Faults {
    pub const NONE: Faults = Faults(0);

    #[must_use]
    pub const fn with(self, fault: Fault) -> Faults {
        Faults(self.0 | 1 << fault as u16)
    }

    pub const fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u16 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        faults.into_iter().fold(Faults::NONE, Faults::with)
    }
}

impl fmt::Display for Faults {
    /// The names with commas between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in self.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name_and_listed_in_the_error() {
        let error = "smoke".parse::<Fault>().unwrap_err().to_string();
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
            assert!(error.contains(fault.as_str()));
        }
    }

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let faults: Faults = [Fault::FarFuture, Fault::Spike].into_iter().collect();
        assert_eq!(faults.to_string(), "spike,far-future");
        assert!(faults.has(Fault::Spike) && !faults.has(Fault::Nan) && Faults::NONE.is_empty());
    }
}
