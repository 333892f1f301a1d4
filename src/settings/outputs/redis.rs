//! `kind = "redis"`: a server of Redis to write to.
//!
//! Invariant: no name of a sensor can make a key that this output uses for something else.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KEEP, MAX_SIZE, OutputTopics};
use crate::settings::sources::redis_server_problems;
use crate::settings::{SeriesMatch, TlsSettings, units};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisOutputSettings {
    pub enabled: bool,
    /// `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS.
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    pub tls: TlsSettings,
    /// What the keys of newest readings begin with, before the name of the sensor; empty for none.
    pub latest: String,
    /// How long they are kept after the last reading of their sensor.
    #[serde(with = "units::retention")]
    pub ttl: Option<Duration>,
    /// The stream that each kind is added to.
    pub streams: OutputTopics,
    /// About how many entries a stream keeps.
    #[serde(deserialize_with = "units::between::<1, 1_000_000_000, _, _>")]
    pub max_entries: u64,
    /// The channel that each kind is published to.
    pub channels: OutputTopics,
    /// How long what cannot be sent is kept.
    #[serde(with = "units::retention")]
    pub keep: Option<Duration>,
    /// How much of it.
    #[serde(with = "units::size")]
    pub max_size: u64,
    /// Which series are sent.
    #[serde(rename = "match")]
    pub matches: SeriesMatch,
}

impl Default for RedisOutputSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            url: String::new(),
            username: None,
            password_file: None,
            tls: TlsSettings::default(),
            latest: String::new(),
            ttl: None,
            streams: OutputTopics::default(),
            max_entries: 100_000,
            channels: OutputTopics::default(),
            keep: Some(KEEP),
            max_size: MAX_SIZE,
            matches: SeriesMatch::default(),
        }
    }
}

impl RedisOutputSettings {
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut found = redis_server_problems(
            &self.url,
            self.username.as_deref(),
            self.password_file.as_deref(),
            &self.tls,
        );
        if self.latest.is_empty() && self.streams.are_none() && self.channels.are_none() {
            found.push((
                "latest".to_owned(),
                "or `streams` or `channels` is needed, such as \"sensorhive:latest:\"".to_owned(),
            ));
        }
        for (kind, stream) in [
            ("readings", &self.streams.readings),
            ("windows", &self.streams.windows),
            ("anomalies", &self.streams.anomalies),
            ("alerts", &self.streams.alerts),
        ] {
            if !self.latest.is_empty() && stream.starts_with(&self.latest) {
                found.push((
                    format!("streams.{kind}"),
                    "begins as `latest` does, so that a sensor's name could make the same key".to_owned(),
                ));
            }
        }
        found
    }
}
