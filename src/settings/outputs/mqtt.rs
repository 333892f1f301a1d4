//! `kind = "mqtt"`: a broker of the user's to publish to.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KEEP, MAX_SIZE};
use crate::settings::sources::mqtt_keep_alive;
use crate::settings::{BrokerUrl, MqttVersion, SeriesMatch, TlsSettings, units};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttOutputSettings {
    pub enabled: bool,
    /// Tried in turn.
    pub brokers: Vec<BrokerUrl>,
    pub version: MqttVersion,
    /// Without it one is made of the names of output and instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    #[serde(
        deserialize_with = "mqtt_keep_alive",
        serialize_with = "units::duration::serialize"
    )]
    pub keep_alive: Duration,
    /// The most messages that wait for their acknowledgement.
    #[serde(deserialize_with = "units::between::<1, 65_535, _, _>")]
    pub max_in_flight: u16,
    /// Whether the broker keeps the last message of each topic for whoever subscribes later.
    pub retain: bool,
    /// How long what cannot be sent is kept.
    #[serde(with = "units::retention")]
    pub keep: Option<Duration>,
    /// How much of it.
    #[serde(with = "units::size")]
    pub max_size: u64,
    pub topics: MqttTopics,
    /// Which series are sent.
    #[serde(rename = "match")]
    pub matches: SeriesMatch,
    pub tls: TlsSettings,
}

/// Where each kind goes, with `{sensor_id}` and `{metric}`; what is empty is not sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttTopics {
    pub readings: String,
    pub windows: String,
    pub anomalies: String,
}

impl Default for MqttOutputSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            brokers: Vec::new(),
            version: MqttVersion::V3,
            client_id: None,
            username: None,
            password_file: None,
            keep_alive: Duration::from_secs(30),
            max_in_flight: 100,
            retain: false,
            keep: Some(KEEP),
            max_size: MAX_SIZE,
            topics: MqttTopics::default(),
            matches: SeriesMatch::default(),
            tls: TlsSettings::default(),
        }
    }
}

impl MqttOutputSettings {
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut must = |holds: bool, key: &str, message: &str| {
            if !holds {
                found.push((key.to_owned(), message.to_owned()));
            }
        };
        must(
            !self.brokers.is_empty(),
            "brokers",
            "needs at least one broker, such as \"mqtt://127.0.0.1:1883\"",
        );
        let MqttTopics {
            readings,
            windows,
            anomalies,
        } = &self.topics;
        let topics = [
            ("topics.readings", readings),
            ("topics.windows", windows),
            ("topics.anomalies", anomalies),
        ];
        must(
            topics.iter().any(|(_, topic)| !topic.is_empty()),
            "topics",
            "has none: name one at least, such as { readings = \"sensorhive/{sensor_id}/{metric}\" }",
        );
        for (key, topic) in topics {
            let bare = topic.replace("{sensor_id}", "").replace("{metric}", "");
            must(
                !bare.contains(['{', '}']),
                key,
                "has a placeholder other than {sensor_id} and {metric}",
            );
            must(
                !bare.contains(['+', '#', '\0']) && topic.len() <= 1024,
                key,
                "is no topic: it must not have `+` or `#`, nor more than 1,024 bytes",
            );
        }
        must(
            self.client_id
                .as_ref()
                .is_none_or(|id| (1..=256).contains(&id.len())),
            "client_id",
            "must have 1 to 256 bytes",
        );
        must(
            self.password_file.is_none() || self.username.is_some(),
            "password_file",
            "needs a `username`",
        );
        must(
            self.tls.cert_file.is_some() == self.tls.key_file.is_some(),
            "tls.cert_file",
            "and `tls.key_file` need each other",
        );
        found
    }
}
