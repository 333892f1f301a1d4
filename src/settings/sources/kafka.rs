//! `kind = "kafka"`: topics of a Kafka cluster, read as a member of a consumer group.
//!
//! Invariants: no option that is passed through to the client can take a promise back (a position is acknowledged after its
//! commit, and only then), and none holds a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kafka_client;
use crate::domain::{MetricName, SensorId};
use crate::settings::mapping::{MappingSettings, PayloadSettings};
use crate::settings::units;

/// Topics of a Kafka cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSettings {
    pub enabled: bool,
    /// `host:port` of some brokers; they tell of the others.
    #[serde(deserialize_with = "kafka_client::names")]
    pub brokers: Vec<String>,
    /// Names, or patterns that begin with `^`.
    #[serde(deserialize_with = "kafka_client::names")]
    pub topics: Vec<String>,
    /// Consumers that say the same group share the partitions.
    pub group: String,
    /// Where a partition begins of which neither the database nor the group knows a position.
    pub reset: KafkaReset,
    /// Members of the group in this process, each with a thread of its own.
    #[serde(deserialize_with = "units::between::<1, 64, _, _>")]
    pub consumers: u16,
    /// Whether a message's key is the sensor of readings that name none.
    pub key_as_sensor: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_sensor: Option<SensorId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_metric: Option<MetricName>,
    /// Where the fields are in payloads that have another form than ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingSettings>,
    /// Where refused messages are written, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// How long what is under way may take to be stored when partitions go to another consumer.
    #[serde(with = "units::interval")]
    pub drain_timeout: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<KafkaSasl>,
    /// Further settings of librdkafka.
    #[serde(deserialize_with = "kafka_client::options")]
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KafkaReset {
    Earliest,
    Latest,
}

/// Encryption. Without files, the system's roots of trust.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaTls {
    /// Certificates to trust instead of the system's, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, and its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSasl {
    pub mechanism: SaslMechanism,
    pub username: String,
    pub password_file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl KafkaSettings {
    /// What is said of payloads.
    pub fn payload(&self) -> PayloadSettings<'_> {
        PayloadSettings {
            default_sensor: self.default_sensor.as_ref(),
            default_metric: self.default_metric.as_ref(),
            mapping: self.mapping.as_ref(),
            topics: &[],
        }
    }

    /// What does not fit, each with the key below the source's own; empty where all does.
    pub(in crate::settings) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (key, list, example) in [
            ("brokers", &self.brokers, "[\"localhost:9092\"]"),
            ("topics", &self.topics, "[\"sensor-readings\"]"),
        ] {
            if list.is_empty() {
                found.push((key.to_owned(), format!("is needed, such as {example}")));
            }
        }
        let named = self.topics.iter().chain(&self.dead_letter_topic);
        for topic in named.filter(|topic| !topic.starts_with('^')) {
            if !kafka_client::is_topic(topic) {
                found.push(("topics".to_owned(), kafka_client::no_topic(topic)));
            }
        }
        if let Some(topic) = self.dead_letter_topic.as_ref()
            && self.topics.contains(topic)
        {
            found.push((
                "dead_letter_topic".to_owned(),
                "is one of `topics`: what is refused would come again and again".to_owned(),
            ));
        }
        if self.group.is_empty() {
            found.push(("group".to_owned(), "must not be empty".to_owned()));
        }
        found.extend(kafka_client::tls_problem(self.tls.as_ref()));
        found.extend(kafka_client::option_problems(&self.options, refused_option));
        found
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        KafkaSettings {
            enabled: true,
            brokers: Vec::new(),
            topics: Vec::new(),
            group: "sensorhive".to_owned(),
            reset: KafkaReset::Earliest,
            consumers: 1,
            key_as_sensor: false,
            default_sensor: None,
            default_metric: None,
            mapping: None,
            dead_letter_topic: None,
            drain_timeout: Duration::from_secs(10),
            tls: None,
            sasl: None,
            options: BTreeMap::new(),
        }
    }
}

impl SaslMechanism {
    pub fn as_str(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Why an option of librdkafka may not be set here, beside those that no client may set.
fn refused_option(option: &str) -> Option<&'static str> {
    Some(match option {
        "enable.auto.commit" | "enable.auto.offset.store" | "auto.commit.enable" | "offset.store.method" => {
            "is not allowed: a position is committed after its readings are stored, and never before"
        }
        "auto.offset.reset" => {
            "is not allowed: `reset` says where a new partition begins, and nothing that is there is skipped"
        }
        "enable.partition.eof" | "allow.auto.create.topics" => "is not allowed here",
        "group.id" => "is not allowed here: set `group`",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> KafkaSettings {
        KafkaSettings {
            brokers: vec!["localhost:9092".to_owned()],
            topics: vec!["a".to_owned(), "^b.*".to_owned()],
            ..KafkaSettings::default()
        }
    }

    fn keys(settings: &KafkaSettings) -> Vec<String> {
        settings.problems().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn what_would_break_a_promise_is_refused_and_what_is_unknown_too() {
        assert!(keys(&settings()).is_empty());
        for (option, value) in [
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "true"),
            ("auto.offset.reset", "latest"),
            ("sasl.password", "hunter2"),
            ("no.such.option", "1"),
            ("fetch.min.bytes", "many"),
        ] {
            let mut settings = settings();
            settings.options.insert(option.to_owned(), value.to_owned());
            let problems = settings.problems();
            assert_eq!(problems.len(), 1, "{option}");
            assert_eq!(problems[0].0, format!("options.{option}"));
            assert!(!problems[0].1.contains("hunter2"));
        }
        let mut settings = settings();
        settings
            .options
            .insert("fetch.min.bytes".to_owned(), "1000".to_owned());
        assert!(keys(&settings).is_empty());
    }

    #[test]
    fn names_that_no_topic_can_have_are_refused() {
        for topic in ["", "a b", "a/b", "ä", ".."] {
            let topics = vec![topic.to_owned()];
            assert_eq!(
                keys(&KafkaSettings { topics, ..settings() }),
                ["topics"],
                "{topic}"
            );
        }
        let own = KafkaSettings {
            dead_letter_topic: Some("a".to_owned()),
            ..settings()
        };
        assert_eq!(keys(&own), ["dead_letter_topic"]);
        assert_eq!(keys(&KafkaSettings::default()), ["brokers", "topics"]);
    }
}
