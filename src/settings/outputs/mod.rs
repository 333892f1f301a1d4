//! `[outputs.NAME]`: where what was stored is sent on to. `kind` says which keys an output has.

mod kafka;
mod mqtt;

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

pub use kafka::{KafkaOutputSettings, KafkaTopics};
pub use mqtt::{MqttOutputSettings, MqttTopics};

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
