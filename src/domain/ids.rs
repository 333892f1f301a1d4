//! Names and numbers of sensors, metrics, series and sources.
//!
//! Invariants: a name is 1 to 256 bytes of UTF-8 (a metric 1 to 128) without control characters, kept verbatim.
//! Names are for people and the edges; inside, a sensor is a [`SensorKey`] and a series a [`SeriesId`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("is empty")]
    Empty,
    #[error("is {length} bytes long, at most {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("has a control character at byte {at}")]
    ControlCharacter { at: usize },
}

fn check(name: &str, limit: usize) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::Empty);
    }
    if name.len() > limit {
        return Err(IdError::TooLong {
            length: name.len(),
            limit,
        });
    }
    match name.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(IdError::ControlCharacter { at }),
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $limit:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest allowed name, in bytes.
            pub const MAX_BYTES: usize = $limit;

            /// Checks without allocating: what [`Self::parse`] would refuse is refused here.
            pub fn check(name: &str) -> Result<(), IdError> {
                check(name, $limit)
            }

            pub fn parse(name: &str) -> Result<Self, IdError> {
                check(name, $limit)?;
                Ok(Self(Arc::from(name)))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(name: String) -> Result<Self, IdError> {
                Self::parse(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// A device or channel, as it calls itself.
    SensorId,
    256
);
name_type!(
    /// What a sensor measures, such as `temperature`.
    MetricName,
    128
);
name_type!(
    /// Where input comes from: a name from the configuration, or a built-in one such as `http`.
    SourceName,
    128
);

/// A sensor's number in this deployment: the primary key of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SensorKey(pub u32);

/// The number of a (sensor, metric) pair: the primary key of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub u32);

/// Labels of a sensor, sorted by name.
pub type Tags = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_verbatim() {
        for name in ["s1", "boiler 7/α", "<img src=x>", "'; drop table sensors; --"] {
            assert_eq!(SensorId::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn the_length_limit_counts_bytes() {
        assert!(SensorId::parse(&"x".repeat(256)).is_ok());
        assert_eq!(
            SensorId::parse(&"ä".repeat(129)),
            Err(IdError::TooLong {
                length: 258,
                limit: 256
            })
        );
        assert!(MetricName::parse(&"x".repeat(129)).is_err());
    }

    #[test]
    fn empty_names_and_control_characters_are_refused() {
        assert_eq!(SensorId::parse(""), Err(IdError::Empty));
        assert_eq!(
            SensorId::parse("a\r\nb"),
            Err(IdError::ControlCharacter { at: 1 })
        );
        assert_eq!(
            SensorId::parse("a\u{85}"),
            Err(IdError::ControlCharacter { at: 1 })
        );
    }
}
