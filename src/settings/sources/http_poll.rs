//! `kind = "http_poll"`: URLs that are asked again and again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TlsSettings;
use crate::domain::{MetricName, SensorId};
use crate::settings::{MappingSettings, units};

/// URLs whose answers are payloads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpPollSettings {
    pub enabled: bool,
    pub urls: Urls,
    /// How often each is asked.
    #[serde(with = "units::interval")]
    pub interval: Duration,
    /// How long to wait after an error.
    #[serde(with = "units::interval")]
    pub error_interval: Duration,
    /// How long an answer may take.
    #[serde(with = "units::interval")]
    pub timeout: Duration,
    /// The longest answer.
    #[serde(with = "units::size")]
    pub max_body: u64,
    /// Headers of every request; secrets are better kept in files.
    pub headers: BTreeMap<String, String>,
    /// A file with what comes after `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// For URLs with `https://`.
    pub tls: TlsSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_sensor: Option<SensorId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_metric: Option<MetricName>,
    /// Where the fields of answers in another form are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingSettings>,
}

/// URLs, or the URL of each sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Urls {
    Plain(Vec<String>),
    Sensors(BTreeMap<SensorId, String>),
}

impl Urls {
    /// Each with the sensor of what names none.
    pub fn all(&self) -> Vec<(&str, Option<&SensorId>)> {
        match self {
            Urls::Plain(urls) => urls.iter().map(|url| (url.as_str(), None)).collect(),
            Urls::Sensors(urls) => urls
                .iter()
                .map(|(sensor, url)| (url.as_str(), Some(sensor)))
                .collect(),
        }
    }
}

impl HttpPollSettings {
    /// What does not fit, each with the key below the source's own; empty where all does.
    pub(in crate::settings) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut must = |holds: bool, key: &str, message: &str| {
            if !holds {
                found.push((key.to_owned(), message.to_owned()));
            }
        };
        let urls = self.urls.all();
        must(
            !urls.is_empty(),
            "urls",
            "needs at least one, such as \"http://192.168.1.20/status\"",
        );
        let is_http = |text: &str| {
            reqwest::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.password().is_none()
                    && url.username().is_empty()
            })
        };
        must(
            urls.iter().all(|(url, _)| is_http(url)),
            "urls",
            "has one that is no `http://` or `https://` URL, or has a password in it: set `username` and `password_file`",
        );
        must(
            self.headers.iter().all(|(name, value)| {
                reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                    && reqwest::header::HeaderValue::from_str(value).is_ok()
            }),
            "headers",
            "has a name or a value that no header can have",
        );
        must(
            !self
                .headers
                .keys()
                .any(|name| name.eq_ignore_ascii_case("authorization")),
            "headers",
            "must not have `Authorization`: set `bearer_token_file`, or `username` and `password_file`",
        );
        must(
            self.username.is_some() == self.password_file.is_some(),
            "username",
            "and `password_file` need each other",
        );
        must(
            self.bearer_token_file.is_none() || self.username.is_none(),
            "bearer_token_file",
            "and `username` exclude each other",
        );
        must(
            self.tls.cert_file.is_some() == self.tls.key_file.is_some(),
            "tls.cert_file",
            "and `tls.key_file` need each other",
        );
        found
    }
}

impl Default for HttpPollSettings {
    fn default() -> Self {
        HttpPollSettings {
            enabled: true,
            urls: Urls::Plain(Vec::new()),
            interval: Duration::from_secs(1),
            error_interval: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            max_body: 1 << 20,
            headers: BTreeMap::new(),
            bearer_token_file: None,
            username: None,
            password_file: None,
            tls: TlsSettings::default(),
            default_sensor: None,
            default_metric: None,
            mapping: None,
        }
    }
}
