//! `kind = "redis"`: a list, a stream or channels of a Redis server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::IntoConnectionInfo;
use serde::{Deserialize, Serialize};

use super::{FileBegin, TlsSettings};
use crate::domain::{MetricName, SensorId};
use crate::settings::{MappingSettings, units};

/// One of `list`, `stream` and `channels`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    pub enabled: bool,
    /// `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS.
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    pub tls: TlsSettings,
    /// A queue, from which entries are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// At which end of it the oldest entry is.
    pub oldest: Oldest,
    /// A stream that a group reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    pub group: String,
    /// Where a group begins that is new.
    pub begin: FileBegin,
    /// The field of an entry that holds a payload; without it the entry is one itself.
    pub field: String,
    /// How long another consumer may be silent before what it has taken is taken from it.
    #[serde(with = "units::interval")]
    pub claim_after: Duration,
    /// Names, or patterns; at most once.
    pub channels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_sensor: Option<SensorId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_metric: Option<MetricName>,
    /// Where the fields of payloads in another form are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingSettings>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oldest {
    Left,
    Right,
}

impl RedisSettings {
    /// What does not fit, each with the key below the source's own; empty where all does.
    pub(in crate::settings) fn problems(&self) -> Vec<(String, String)> {
        let mut found = server_problems(
            &self.url,
            self.username.as_deref(),
            self.password_file.as_deref(),
            &self.tls,
        );
        let mut must = |holds: bool, key: &str, message: &str| {
            if !holds {
                found.push((key.to_owned(), message.to_owned()));
            }
        };
        let inputs = usize::from(self.list.is_some())
            + usize::from(self.stream.is_some())
            + usize::from(!self.channels.is_empty());
        must(
            inputs == 1,
            "list",
            "or `stream` or `channels` is needed, and only one of them: make a source for each",
        );
        must(!self.group.is_empty(), "group", "must not be empty");
        found
    }
}

/// What does not fit in the keys that say how a server of Redis is reached.
pub(in crate::settings) fn server_problems(
    url: &str,
    username: Option<&str>,
    password_file: Option<&Path>,
    tls: &TlsSettings,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut must = |holds: bool, key: &str, message: &str| {
        if !holds {
            found.push((key.to_owned(), message.to_owned()));
        }
    };
    must(
        url.into_connection_info().is_ok_and(|url| {
            url.redis_settings().password().is_none() && url.redis_settings().username().is_none()
        }),
        "url",
        "must be such as \"redis://127.0.0.1:6379/0\", without a password: set `username` and `password_file`",
    );
    must(
        username.is_none() || password_file.is_some(),
        "username",
        "needs a `password_file`",
    );
    must(
        *tls == TlsSettings::default() || url.starts_with("rediss://"),
        "tls",
        "is only for a `url` with \"rediss://\"",
    );
    must(
        tls.cert_file.is_some() == tls.key_file.is_some(),
        "tls.cert_file",
        "and `tls.key_file` need each other",
    );
    found
}

impl Default for RedisSettings {
    fn default() -> Self {
        RedisSettings {
            enabled: true,
            url: String::new(),
            username: None,
            password_file: None,
            tls: TlsSettings::default(),
            list: None,
            oldest: Oldest::Left,
            stream: None,
            group: "sensorhive".to_owned(),
            begin: FileBegin::Beginning,
            field: "payload".to_owned(),
            claim_after: Duration::from_secs(60),
            channels: Vec::new(),
            default_sensor: None,
            default_metric: None,
            mapping: None,
        }
    }
}
