//! `[storage]`: the database, what is kept there for how long, and how often sensors are snapshot.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ArchiveSettings;
use super::units;
use crate::storage::PostgresSettings;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    pub url: StorageUrl,
    /// Holds the password for PostgreSQL, so that `url` need not.
    pub password_file: Option<PathBuf>,
    /// Whether several instances run on the database. PostgreSQL only.
    pub shared: bool,
    /// What this one is called among them; empty: as the machine.
    #[serde(deserialize_with = "instance")]
    pub instance: String,
    pub timescaledb: TimescaleDb,
    /// How much time a new chunk or partition of readings spans. PostgreSQL only.
    #[serde(with = "units::interval")]
    pub chunk_interval: Duration,
    /// The age at which chunks are compressed; `None` is never. TimescaleDB only.
    #[serde(with = "units::age")]
    pub compress_after: Option<Duration>,
    /// How long a transaction that writes may take. PostgreSQL only.
    #[serde(with = "units::interval")]
    pub write_timeout: Duration,
    /// How long a question for history may take.
    #[serde(with = "units::interval")]
    pub query_timeout: Duration,
    /// What answers to questions for history may take that are kept to be given again, in bytes; 0 keeps none.
    #[serde(with = "units::size_or_none")]
    pub query_cache: u64,
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

/// It is a part of sensors' names.
fn instance<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.len() <= 64 && name.chars().all(fits) {
        return Ok(name);
    }
    let why = "must be at most 64 letters, digits, `-`, `_` and `.`, or empty for the name of the machine";
    Err(serde::de::Error::custom(why))
}

/// Whether TimescaleDB is made use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimescaleDb {
    /// Where the server has it and lets us.
    Auto,
    Off,
    /// Not to start without it.
    Required,
}

/// When a commit waits for the disk.
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
    Postgres(PostgresUrl),
}

/// The address of a PostgreSQL database. It may hold a password, so it is shown without.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// With the password, if there is one.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", ""));
        // What follows a question mark may hold a password, too.
        let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
        match rest.rsplit_once('@') {
            Some((user, place)) => {
                let user = user.split_once(':').map_or(user, |(name, _)| name);
                write!(f, "{scheme}://{user}@{place}")
            }
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            StorageUrl::Postgres(url) => fmt::Display::fmt(url, f),
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
            PostgresSettings::from_url(&text).map_err(D::Error::custom)?;
            return Ok(StorageUrl::Postgres(PostgresUrl(text)));
        }
        let Some(path) = text.strip_prefix("sqlite:") else {
            return Err(D::Error::custom(
                "must be \"sqlite:PATH\", such as \"sqlite:data/sensorhive.db\", or \"postgres://USER@HOST/DATABASE\"",
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
