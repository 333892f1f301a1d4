//! A reading: what a sensor said, in plain numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SeriesId, Timestamp};

/// One value of one series. `value` is finite; booleans are 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub series: SeriesId,
    /// Event time.
    pub time: Timestamp,
    pub value: f64,
    /// Place within its batch.
    pub index: u32,
    pub flags: Flags,
}

/// What is known of a stored reading beside its value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flags(pub u8);

impl Flags {
    pub const NONE: Flags = Flags(0);
    /// Older than the watermark when it came.
    pub const LATE: Flags = Flags(1);
    /// Stored while its sensor was not running.
    pub const UNPROCESSED: Flags = Flags(2);
    /// Made its sensor panic during a replay; skipped for ever.
    pub const POISON: Flags = Flags(4);
    /// Moved by microseconds because its device's clock is coarse.
    pub const SPREAD: Flags = Flags(8);
    /// An MQTT retained message.
    pub const RETAINED: Flags = Flags(16);
    pub const UNCERTAIN: Flags = Flags(32);
    pub const BAD: Flags = Flags(64);

    const NAMES: [(Flags, &'static str); 7] = [
        (Flags::LATE, "late"),
        (Flags::UNPROCESSED, "unprocessed"),
        (Flags::POISON, "poison"),
        (Flags::SPREAD, "spread"),
        (Flags::RETAINED, "retained"),
        (Flags::UNCERTAIN, "uncertain"),
        (Flags::BAD, "bad"),
    ];

    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// What the device said of the value.
    pub fn quality(self) -> Quality {
        if self.has(Flags::BAD) {
            Quality::Bad
        } else if self.has(Flags::UNCERTAIN) {
            Quality::Uncertain
        } else {
            Quality::Good
        }
    }

    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES
            .iter()
            .filter(|(flag, _)| self.has(*flag))
            .map(|(_, name)| *name)
            .collect()
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// What the device itself says of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quality {
    #[default]
    Good,
    Uncertain,
    Bad,
}

impl Quality {
    pub fn flags(self) -> Flags {
        match self {
            Quality::Good => Flags::NONE,
            Quality::Uncertain => Flags::UNCERTAIN,
            Quality::Bad => Flags::BAD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_add_up_and_have_names() {
        let flags = Flags::LATE.with(Quality::Bad.flags());
        assert_eq!(flags.names(), ["late", "bad"]);
        assert!(flags.has(Flags::LATE) && !flags.has(Flags::POISON));
        assert_eq!(flags.without(Flags::LATE), Flags::BAD);
    }
}
