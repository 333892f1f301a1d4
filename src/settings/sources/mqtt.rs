//! `kind = "mqtt"`: a broker of the user's.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decode::TopicPattern;
use crate::domain::{MetricName, SensorId};
use crate::settings::{MappingSettings, units};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttSettings {
    pub enabled: bool,
    /// Tried in turn.
    pub brokers: Vec<BrokerUrl>,
    pub version: MqttVersion,
    /// Without it one is made up, always the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What to listen to, with names for levels that carry ids: `plant/+sensor_id/+metric`.
    #[serde(deserialize_with = "topics")]
    pub topics: Vec<TopicPattern>,
    #[serde(deserialize_with = "units::between::<0, 2, _, _>")]
    pub qos: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    pub tls: TlsSettings,
    /// How long the broker keeps the session while we are away; version 5 only. Without it a week.
    #[serde(with = "session_expiry", skip_serializing_if = "Option::is_none")]
    pub session_expiry: Option<Duration>,
    /// The most messages that wait for their acknowledgement.
    #[serde(deserialize_with = "units::between::<1, 65_535, _, _>")]
    pub receive_maximum: u16,
    #[serde(
        deserialize_with = "keep_alive",
        serialize_with = "units::duration::serialize"
    )]
    pub keep_alive: Duration,
    /// The largest packet of a message, in bytes.
    #[serde(with = "units::size")]
    pub max_packet: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_sensor: Option<SensorId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_metric: Option<MetricName>,
    /// Where the fields of payloads in another form are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingSettings>,
    pub retained: Retained,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusSettings>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MqttVersion {
    #[serde(rename = "3.1.1")]
    V3,
    #[serde(rename = "5")]
    V5,
}

/// What is done with messages that were there before us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retained {
    Store,
    Ignore,
}

/// Files in PEM, for who is reached by TLS.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Whom to trust; without it, whom the machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// Topics that say whether a sensor is there, such as those of last wills: readings of the metric `online`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusSettings {
    #[serde(deserialize_with = "topics")]
    pub topics: Vec<TopicPattern>,
    /// Payloads that mean 1.
    #[serde(default = "online")]
    pub online: Vec<String>,
    /// Payloads that mean 0.
    #[serde(default = "offline")]
    pub offline: Vec<String>,
}

/// `mqtt://HOST:PORT`, or `mqtts://HOST:PORT` for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Default for MqttSettings {
    fn default() -> Self {
        MqttSettings {
            enabled: true,
            brokers: Vec::new(),
            version: MqttVersion::V3,
            client_id: None,
            topics: Vec::new(),
            qos: 1,
            username: None,
            password_file: None,
            tls: TlsSettings::default(),
            session_expiry: None,
            receive_maximum: 1_000,
            keep_alive: Duration::from_secs(30),
            max_packet: 1 << 20,
            default_sensor: None,
            default_metric: None,
            mapping: None,
            retained: Retained::Store,
            status: None,
        }
    }
}

impl BrokerUrl {
    pub fn parse(text: &str) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok()?;
        let (tls, port) = match url.scheme() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return None,
        };
        let bare = url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        let host = url.host_str().filter(|host| bare && !host.is_empty())?;
        Some(BrokerUrl {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port().unwrap_or(port),
            tls,
        })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for BrokerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BrokerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text is never repeated in an error: it may hold a password.
        let text = String::deserialize(deserializer)?;
        BrokerUrl::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "must be \"mqtt://HOST:PORT\" or, for TLS, \"mqtts://HOST:PORT\"; name and password are `username` and `password_file`",
            )
        })
    }
}

fn online() -> Vec<String> {
    ["online", "1", "true"].map(str::to_owned).to_vec()
}

fn offline() -> Vec<String> {
    ["offline", "0", "false"].map(str::to_owned).to_vec()
}

/// Each wrong one is told by itself.
fn topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TopicPattern>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Topic(#[serde(deserialize_with = "topic")] TopicPattern);

    fn topic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TopicPattern, D::Error> {
        let text = String::deserialize(deserializer)?;
        TopicPattern::parse(&text).map_err(serde::de::Error::custom)
    }

    let topics = Vec::<Topic>::deserialize(deserializer)?;
    Ok(topics.into_iter().map(|Topic(topic)| topic).collect())
}

mod session_expiry {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        units::interval::deserialize(deserializer).map(Some)
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => units::interval::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// What does not fit in the keys that every client of a broker has: each with its key, that of another that is to blame as much, and
/// what is wrong.
pub(in crate::settings) fn client_problems(
    client_id: &Option<String>,
    username: &Option<String>,
    password_file: &Option<PathBuf>,
    tls: &TlsSettings,
) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut found = Vec::new();
    if client_id
        .as_ref()
        .is_some_and(|id| !(1..=256).contains(&id.len()))
    {
        found.push(("client_id", "client_id", "must have 1 to 256 bytes"));
    }
    if password_file.is_some() && username.is_none() {
        found.push(("password_file", "username", "needs a `username`"));
    }
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        found.push((
            "tls.cert_file",
            "tls.key_file",
            "and `tls.key_file` need each other",
        ));
    }
    found
}

/// What the protocol can say, in seconds.
pub(in crate::settings) fn keep_alive<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    units::parsed(
        deserializer,
        "a duration from 1s to 18h, such as \"30s\"",
        |text| {
            let range = Duration::from_secs(1)..=Duration::from_secs(18 * 3600);
            units::duration::parse(text).filter(|duration| range.contains(duration))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, shown) in [
            ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
            ("mqtts://broker.example/", "mqtts://broker.example:8883"),
            ("mqtt://[::1]:2000", "mqtt://[::1]:2000"),
        ] {
            assert_eq!(BrokerUrl::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "127.0.0.1:1883",
            "http://broker",
            "mqtt://",
            "mqtt://user:secret@broker",
            "mqtt://broker/path",
            "mqtt://broker?tls=1",
            "mqtt://broker:99999",
        ] {
            assert_eq!(BrokerUrl::parse(text), None, "{text}");
        }
    }
}
