//! `[outputs.NAME]`: where what was stored is sent on to. `kind` says which keys an output has.

mod kafka;
mod mqtt;

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

pub use kafka::KafkaOutputSettings;
pub use mqtt::MqttOutputSettings;

/// How long what cannot be sent is kept, where nothing is said.
const KEEP: Duration = Duration::from_secs(7 * 86_400);
/// How much of it.
const MAX_SIZE: u64 = 1 << 30;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputSettings {
    Kafka(Box<KafkaOutputSettings>),
    Mqtt(Box<MqttOutputSettings>),
}

/// Where each kind goes; what is empty is not sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputTopics {
    pub readings: String,
    pub windows: String,
    pub anomalies: String,
    pub alerts: String,
}

impl OutputTopics {
    /// Each with its key below the output's own.
    fn by_key(&self) -> [(&'static str, &str); 4] {
        [
            ("topics.readings", &self.readings),
            ("topics.windows", &self.windows),
            ("topics.anomalies", &self.anomalies),
            ("topics.alerts", &self.alerts),
        ]
    }

    fn are_none(&self) -> bool {
        self.by_key().iter().all(|(_, topic)| topic.is_empty())
    }
}

impl OutputSettings {
    pub fn enabled(&self) -> bool {
        match self {
            OutputSettings::Kafka(kafka) => kafka.enabled,
            OutputSettings::Mqtt(mqtt) => mqtt.enabled,
        }
    }

    /// What does not fit, each with the key below the output's own; empty where all does.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        match self {
            OutputSettings::Kafka(kafka) => kafka.problems(),
            OutputSettings::Mqtt(mqtt) => mqtt.problems(),
        }
    }
}

/// Written as it is read: one table with `kind`.
impl Serialize for OutputSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Tagged<'a> {
            Kafka(&'a KafkaOutputSettings),
            Mqtt(&'a MqttOutputSettings),
        }

        match self {
            OutputSettings::Kafka(kafka) => Tagged::Kafka(kafka).serialize(serializer),
            OutputSettings::Mqtt(mqtt) => Tagged::Mqtt(mqtt).serialize(serializer),
        }
    }
}
