//! `[storage]`: the database, what is kept there for how long, and how often sensors are snapshot.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ArchiveSettings;
use super::units;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    pub url: StorageUrl,
    pub synchronous: Synchronous,
    /// Connections for reading; writing has one of its own.
    #[serde(deserialize_with = "units::between::<1, 64, _, _>")]
    pub readers: u32,
    /// The oldest a sensor's snapshot gets while the sensor changes.
    #[serde(with = "units::interval")]
    pub snapshot_interval: Duration,
    /// The most readings stored after a snapshot before the next is taken.
    #[serde(deserialize_with = "units::between::<1, 1_000_000, _, _>")]
    pub snapshot_tail: u32,
    /// Snapshots that can wait are spread so that they take no more than this a second.
    #[serde(with = "units::size")]
    pub snapshot_bytes_per_second: u64,
    /// How long readings are kept; `None` is for ever.
    #[serde(with = "units::retention")]
    pub retention: Option<Duration>,
    #[serde(with = "units::retention")]
    pub dead_letter_retention: Option<Duration>,
    /// How long the history of restarts is kept.
    #[serde(with = "units::retention")]
    pub restart_retention: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveSettings>,
}

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// At every commit: what is acknowledged survives a loss of power.
    Full,
    /// At checkpoints: what is acknowledged survives a crash of the process, but perhaps not a loss of power.
    Normal,
}

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageUrl {
    /// The path of a SQLite file.
    Sqlite(PathBuf),
}

impl StorageUrl {
    pub fn path(&self) -> &Path {
        match self {
            StorageUrl::Sqlite(path) => path,
        }
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

impl Serialize for StorageUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StorageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        // The text is never repeated in an error: it may hold a password.
        let text = String::deserialize(deserializer)?;
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            return Err(D::Error::custom(
                "names PostgreSQL, which is not available in this version; use \"sqlite:PATH\"",
            ));
        }
        let Some(path) = text.strip_prefix("sqlite:") else {
            return Err(D::Error::custom(
                "must be \"sqlite:PATH\", such as \"sqlite:data/sensorhive.db\"",
            ));
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        match path {
            "" => Err(D::Error::custom("needs a path after \"sqlite:\"")),
            ":memory:" => Err(D::Error::custom(
                "must be a file: what is kept in memory cannot be acknowledged as stored",
            )),
            _ if path.contains('?') => Err(D::Error::custom("takes no parameters after the path")),
            _ => Ok(StorageUrl::Sqlite(PathBuf::from(path))),
        }
    }
}
