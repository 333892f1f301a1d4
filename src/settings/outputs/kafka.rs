//! `kind = "kafka"`: topics of a Kafka cluster to write to.
//!
//! Invariant: no option that is passed through to the client can take a promise back (what is sent is confirmed by every replica, in
//! order, and never given up), and none holds a secret.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KEEP, MAX_SIZE, OutputTopics};
use crate::settings::SeriesMatch;
use crate::settings::sources::{KafkaSasl, KafkaTls, kafka_client};
use crate::settings::units;

/// Topics of a Kafka cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaOutputSettings {
    pub enabled: bool,
    /// `host:port` of some brokers; they tell of the others.
    #[serde(deserialize_with = "kafka_client::names")]
    pub brokers: Vec<String>,
    /// How long what cannot be sent is kept.
    #[serde(with = "units::retention")]
    pub keep: Option<Duration>,
    /// How much of it.
    #[serde(with = "units::size")]
    pub max_size: u64,
    pub topics: OutputTopics,
    /// Which series are sent.
    #[serde(rename = "match")]
    pub matches: SeriesMatch,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<KafkaSasl>,
    /// Further settings of librdkafka.
    #[serde(deserialize_with = "kafka_client::options")]
    pub options: BTreeMap<String, String>,
}

impl Default for KafkaOutputSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            brokers: Vec::new(),
            keep: Some(KEEP),
            max_size: MAX_SIZE,
            topics: OutputTopics::default(),
            matches: SeriesMatch::default(),
            tls: None,
            sasl: None,
            options: BTreeMap::new(),
        }
    }
}

impl KafkaOutputSettings {
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if self.brokers.is_empty() {
            found.push((
                "brokers".to_owned(),
                "is needed, such as [\"localhost:9092\"]".to_owned(),
            ));
        }
        if self.topics.are_none() {
            found.push((
                "topics".to_owned(),
                "has none: name one at least, such as { readings = \"sensor-readings-clean\" }".to_owned(),
            ));
        }
        for (key, topic) in self.topics.by_key() {
            if !topic.is_empty() && !kafka_client::is_topic(topic) {
                found.push((key.to_owned(), kafka_client::no_topic(topic)));
            }
        }
        found.extend(kafka_client::tls_problem(self.tls.as_ref()));
        found.extend(kafka_client::option_problems(&self.options, refused_option));
        found
    }
}

/// Why an option of librdkafka may not be set here, beside those that no client may set.
fn refused_option(option: &str) -> Option<&'static str> {
    Some(match option {
        "acks"
        | "request.required.acks"
        | "enable.idempotence"
        | "max.in.flight"
        | "max.in.flight.requests.per.connection"
        | "retries"
        | "message.send.max.retries" => {
            "is not allowed: what is sent is confirmed by every replica, once and in order"
        }
        "message.timeout.ms" | "delivery.timeout.ms" => {
            "is not allowed: what cannot be sent is not given up, but after `keep`"
        }
        "transactional.id" | "delivery.report.only.error" => "is not allowed here",
        _ => return None,
    })
}
