//! From the settings of a Kafka source to what its actor is given: the client's configuration, secrets and all.

use std::path::PathBuf;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::actors::ingest::Intake;
use crate::actors::ingest::kafka::{KafkaParts, Reset};
use crate::actors::ownership::Ownership;
use crate::metrics::Metrics;
use crate::settings::{KafkaReset, KafkaSasl, KafkaSettings, KafkaTls, Settings};

/// What the client is told, unless the operator says otherwise.
const DEFAULTS: [(&str, &str); 9] = [
    // What a queue that was full waits before it is filled again: at its default, a second, a fast reader starves.
    ("fetch.queue.backoff.ms", "1"),
    // The most that is fetched ahead, and at once; it is held outside of the permits.
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "16777216"),
    // How soon new topics and partitions are found.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("fetch.wait.max.ms", "100"),
    ("client.id", "sensorhive"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
    ("log.connection.close", "false"),
];

/// The same for a group whose members agree among themselves. In one of the newer protocol the brokers decide.
const CLASSIC_DEFAULTS: [(&str, &str); 3] = [
    // One member after the other moves, and the others go on reading.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // How long partitions wait for a member that was killed. Heartbeats have a thread of their own, so this is long enough.
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
];

/// What the source relies on; no option may change it.
const FIXED: [(&str, &str); 5] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A position that is not there any more: what is there is read, from its beginning.
    ("auto.offset.reset", "earliest"),
    ("enable.partition.eof", "false"),
    ("statistics.interval.ms", "1000"),
];

/// Why the client cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("sasl.password_file {} cannot be read: {error}", file.display())]
pub struct KafkaSetupError {
    file: PathBuf,
    error: std::io::Error,
}

/// What the client of every source is told, whatever its settings.
pub fn defaults() -> ClientConfig {
    let all = DEFAULTS.into_iter().chain(FIXED);
    all.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The configuration of a consumer.
pub(super) fn consumer(settings: &KafkaSettings) -> Result<ClientConfig, KafkaSetupError> {
    let mut config = ClientConfig::new();
    let classic = settings
        .options
        .get("group.protocol")
        .is_none_or(|protocol| protocol == "classic");
    let more = CLASSIC_DEFAULTS.iter().filter(|_| classic);
    for (key, value) in DEFAULTS.iter().chain(more) {
        config.set(*key, *value);
    }
    connection(
        &settings.brokers,
        settings.tls.as_ref(),
        settings.sasl.as_ref(),
        &mut config,
    )?;
    for (key, value) in &settings.options {
        config.set(key, value);
    }
    for (key, value) in FIXED {
        config.set(key, value);
    }
    config.set("group.id", &settings.group);
    config.set_log_level(match settings.options.contains_key("debug") {
        true => RDKafkaLogLevel::Debug,
        false => RDKafkaLogLevel::Info,
    });
    Ok(config)
}

/// All that the actor needs, once its way in is made.
pub(super) fn parts(
    kafka: &KafkaSettings,
    client: ClientConfig,
    settings: &Settings,
) -> impl FnOnce(Intake, Ownership, Arc<Metrics>) -> KafkaParts + Send + 'static {
    let kafka = kafka.clone();
    let max_payload = usize::try_from(settings.limits.payload).unwrap_or(usize::MAX);
    move |intake, ownership, metrics| KafkaParts {
        intake,
        store: ownership.store.clone(),
        metrics,
        ownership,
        topics: kafka.topics,
        reset: match kafka.reset {
            KafkaReset::Earliest => Reset::Earliest,
            KafkaReset::Latest => Reset::Latest,
        },
        consumers: kafka.consumers,
        key_as_sensor: kafka.key_as_sensor,
        dead_letters: kafka.dead_letter_topic.map(|topic| (topic, producer(&client))),
        drain_timeout: kafka.drain_timeout,
        max_payload,
        client,
    }
}

/// The configuration of a producer that reaches the same cluster.
fn producer(consumer: &ClientConfig) -> ClientConfig {
    let connects = |key: &str| {
        let parts = [
            "bootstrap.",
            "client.",
            "security.",
            "ssl.",
            "sasl.",
            "socket.",
            "broker.",
            "reconnect.",
        ];
        parts.iter().any(|part| key.starts_with(part))
    };
    let all = consumer.config_map();
    let common = all.iter().filter(|(key, _)| connects(key));
    let mut config: ClientConfig = common
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5");
    config
}

/// How the cluster is reached, for whatever kind of client.
pub(super) fn connection(
    brokers: &[String],
    tls: Option<&KafkaTls>,
    sasl: Option<&KafkaSasl>,
    config: &mut ClientConfig,
) -> Result<(), KafkaSetupError> {
    config.set("bootstrap.servers", brokers.join(","));
    let protocol = match (tls, sasl) {
        (None, None) => None,
        (Some(_), None) => Some("ssl"),
        (None, Some(_)) => Some("sasl_plaintext"),
        (Some(_), Some(_)) => Some("sasl_ssl"),
    };
    if let Some(protocol) = protocol {
        config.set("security.protocol", protocol);
    }
    if let Some(tls) = tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.certificate_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (key, file) in files {
            if let Some(file) = file {
                config.set(key, file.display().to_string());
            }
        }
    }
    if let Some(sasl) = sasl {
        let password = std::fs::read_to_string(&sasl.password_file).map_err(|error| KafkaSetupError {
            file: sasl.password_file.clone(),
            error,
        })?;
        config
            .set("sasl.mechanism", sasl.mechanism.as_str())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", password.trim_end_matches(['\r', '\n']));
    }
    Ok(())
}
