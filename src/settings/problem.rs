//! What is wrong with a configuration: every problem at once, each with its key and where it was written.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Compiled in.
    Default,
    /// Compiled in, for `sensorhive demo`.
    Demo,
    File(PathBuf),
    /// The name of the environment variable.
    Environment(String),
    /// The flag of the command line.
    Flag(String),
}

impl Origin {
    /// Whether all its values come as text, so that a number may be written as text.
    pub(super) fn is_untyped(&self) -> bool {
        matches!(self, Origin::Environment(_) | Origin::Flag(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("built-in defaults"),
            Origin::Demo => f.write_str("built-in demo"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One thing that is wrong. `message` continues the key: "is missing", "must be …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {}{message}", KeyPrefix(key))]
pub struct Problem {
    /// Such as `series[0].detectors[1].threshold`; empty when it concerns the whole file.
    pub key: String,
    pub origin: Origin,
    pub message: String,
}

struct KeyPrefix<'a>(&'a str);

impl fmt::Display for KeyPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            key => write!(f, "`{key}` "),
        }
    }
}

/// Everything that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Lines(problems))]
pub struct SettingsError {
    pub problems: Vec<Problem>,
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the configuration has an error:")?,
            n => write!(f, "the configuration has {n} errors:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
