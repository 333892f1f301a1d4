//! `[sources.NAME]`: where readings come from. `kind` says which keys a source has.

mod host;
mod kafka;
pub(super) mod kafka_client;
mod mqtt;
mod simulated;

use serde::{Deserialize, Serialize, Serializer};

pub use host::HostSettings;
pub use kafka::{KafkaReset, KafkaSasl, KafkaSettings, KafkaTls, SaslMechanism};
pub use mqtt::{BrokerUrl, MqttSettings, MqttVersion, Retained, StatusSettings, TlsSettings};
pub(super) use mqtt::{client_problems, keep_alive as mqtt_keep_alive};
pub use simulated::SimulatedSettings;

/// Kinds that are known but not part of this version.
pub(super) const UNAVAILABLE_KINDS: [&str; 3] = ["file", "http_poll", "redis"];

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSettings {
    Host(HostSettings),
    Kafka(Box<KafkaSettings>),
    Mqtt(Box<MqttSettings>),
    Simulated(SimulatedSettings),
}

impl SourceSettings {
    pub fn enabled(&self) -> bool {
        match self {
            SourceSettings::Host(host) => host.enabled,
            SourceSettings::Kafka(kafka) => kafka.enabled,
            SourceSettings::Mqtt(mqtt) => mqtt.enabled,
            SourceSettings::Simulated(simulated) => simulated.enabled,
        }
    }

    /// Whether what it brings would be everybody's if several instances had it.
    pub fn needs_one_instance(&self) -> bool {
        match self {
            SourceSettings::Host(_) | SourceSettings::Kafka(_) => false,
            SourceSettings::Mqtt(_) | SourceSettings::Simulated(_) => true,
        }
    }
}

/// Written as it is read: one table with `kind`.
impl Serialize for SourceSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Tagged<'a> {
            Host(&'a HostSettings),
            Kafka(&'a KafkaSettings),
            Mqtt(&'a MqttSettings),
            Simulated(&'a SimulatedSettings),
        }

        match self {
            SourceSettings::Host(host) => Tagged::Host(host).serialize(serializer),
            SourceSettings::Kafka(kafka) => Tagged::Kafka(kafka).serialize(serializer),
            SourceSettings::Mqtt(mqtt) => Tagged::Mqtt(mqtt).serialize(serializer),
            SourceSettings::Simulated(simulated) => Tagged::Simulated(simulated).serialize(serializer),
        }
    }
}
