//! `kind = "mqtt"`: a broker of the user's to publish to.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KEEP, MAX_SIZE, OutputTopics};
use crate::settings::sources::{client_problems, mqtt_keep_alive};
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
    /// With `{sensor_id}` and `{metric}`.
    pub topics: OutputTopics,
    /// Which series are sent.
    #[serde(rename = "match")]
    pub matches: SeriesMatch,
    pub tls: TlsSettings,
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
            topics: OutputTopics::default(),
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
        must(
            !self.topics.are_none(),
            "topics",
            "has none: name one at least, such as { readings = \"sensorhive/{sensor_id}/{metric}\" }",
        );
        for (key, topic) in self.topics.by_key() {
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
        let of_client = client_problems(&self.client_id, &self.username, &self.password_file, &self.tls);
        found.extend(
            of_client
                .into_iter()
                .map(|(key, _, message)| (key.to_owned(), message.to_owned())),
        );
        found
    }
}
