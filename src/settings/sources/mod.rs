//! `[sources.NAME]`: where readings come from. `kind` says which keys a source has.

mod csv;
mod file;
mod host;
mod http_poll;
mod kafka;
pub(super) mod kafka_client;
mod mqtt;
mod redis;
mod simulated;

use serde::{Deserialize, Serialize, Serializer};

pub use csv::CsvSettings;
pub use file::{FileBegin, FileFormat, FileSettings};
pub use host::HostSettings;
pub use http_poll::{HttpPollSettings, Urls};
pub use kafka::{KafkaReset, KafkaSasl, KafkaSettings, KafkaTls, SaslMechanism};
pub use mqtt::{BrokerUrl, MqttSettings, MqttVersion, Retained, StatusSettings, TlsSettings};
pub(super) use mqtt::{client_problems, keep_alive as mqtt_keep_alive};
pub(super) use redis::server_problems as redis_server_problems;
pub use redis::{Oldest, RedisSettings};
pub use simulated::SimulatedSettings;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSettings {
    File(Box<FileSettings>),
    Host(HostSettings),
    HttpPoll(Box<HttpPollSettings>),
    Kafka(Box<KafkaSettings>),
    Mqtt(Box<MqttSettings>),
    Redis(Box<RedisSettings>),
    Simulated(SimulatedSettings),
}

impl SourceSettings {
    pub fn enabled(&self) -> bool {
        match self {
            SourceSettings::File(file) => file.enabled,
            SourceSettings::Host(host) => host.enabled,
            SourceSettings::HttpPoll(poll) => poll.enabled,
            SourceSettings::Kafka(kafka) => kafka.enabled,
            SourceSettings::Mqtt(mqtt) => mqtt.enabled,
            SourceSettings::Redis(redis) => redis.enabled,
            SourceSettings::Simulated(simulated) => simulated.enabled,
        }
    }

    /// Whether what it brings would be everybody's if several instances had it.
    pub fn needs_one_instance(&self) -> bool {
        match self {
            SourceSettings::Host(_) | SourceSettings::Kafka(_) => false,
            SourceSettings::File(_)
            | SourceSettings::HttpPoll(_)
            | SourceSettings::Mqtt(_)
            | SourceSettings::Redis(_)
            | SourceSettings::Simulated(_) => true,
        }
    }
}

/// Written as it is read: one table with `kind`.
impl Serialize for SourceSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Tagged<'a> {
            File(&'a FileSettings),
            Host(&'a HostSettings),
            HttpPoll(&'a HttpPollSettings),
            Kafka(&'a KafkaSettings),
            Mqtt(&'a MqttSettings),
            Redis(&'a RedisSettings),
            Simulated(&'a SimulatedSettings),
        }

        match self {
            SourceSettings::File(file) => Tagged::File(file).serialize(serializer),
            SourceSettings::Host(host) => Tagged::Host(host).serialize(serializer),
            SourceSettings::HttpPoll(poll) => Tagged::HttpPoll(poll).serialize(serializer),
            SourceSettings::Kafka(kafka) => Tagged::Kafka(kafka).serialize(serializer),
            SourceSettings::Mqtt(mqtt) => Tagged::Mqtt(mqtt).serialize(serializer),
            SourceSettings::Redis(redis) => Tagged::Redis(redis).serialize(serializer),
            SourceSettings::Simulated(simulated) => Tagged::Simulated(simulated).serialize(serializer),
        }
    }
}
