//! Starting the configured outputs.
//!
//! Invariant: what a store puts into the outbox is what some output sends. How it fails: where a password cannot be read the service does
//! not start; a receiver that cannot be reached is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Addr, ArbiterHandle, Handler};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::pipeline::Pipeline;
use super::{StartError, kafka, plan};
use crate::actors::ingest::mqtt::{Broker, MqttOptions, Qos, TlsFiles, Version};
use crate::actors::outputs::{
    Filter, KafkaOut, KafkaSink, KafkaTopics, MqttOut, MqttPublisher, MqttSink, OutputCommand, OutputParts,
    TopicTemplate,
};
use crate::actors::supervision::Supervise;
use crate::domain::SourceName;
use crate::settings::{
    KafkaOutputSettings, MqttOutputSettings, MqttVersion, OutputSettings, SeriesMatch, Settings,
};
use crate::storage::Wanted;
use crate::web::OutputEntry;

/// What is known of the outputs, by name.
pub(super) type Outputs = BTreeMap<SourceName, OutputEntry>;

/// What the producer is told, unless the operator says otherwise.
const DEFAULTS: [(&str, &str); 7] = [
    ("client.id", "sensorhive"),
    ("linger.ms", "5"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
    ("log.connection.close", "false"),
    // Keys go where producers in Java would put them.
    ("partitioner", "murmur2_random"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// What outputs rely on; no option may change it.
const FIXED: [(&str, &str); 3] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // What is under way is never given up: order would be lost.
    ("message.timeout.ms", "0"),
];

/// What is to be put into the outbox.
pub(super) fn wanted(settings: &Settings) -> Wanted {
    let enabled = settings.outputs.values().filter(|output| output.enabled());
    enabled.map(wants).fold(Wanted::default(), Wanted::or)
}

fn wants(output: &OutputSettings) -> Wanted {
    let topics = match output {
        OutputSettings::Kafka(kafka) => &kafka.topics,
        OutputSettings::Mqtt(mqtt) => &mqtt.topics,
    };
    Wanted {
        readings: !topics.readings.is_empty(),
        windows: !topics.windows.is_empty(),
        anomalies: !topics.anomalies.is_empty(),
        alerts: !topics.alerts.is_empty(),
    }
}

/// Starts all outputs on a thread of their own: before the sources, so that of what comes in nothing is left out.
pub(super) async fn start(pipeline: &mut Pipeline, settings: &Settings) -> Result<Outputs, StartError> {
    let mut outputs = Outputs::new();
    let store = pipeline.store.clone();
    let Some(outbox) = store.outbox() else {
        return Ok(outputs);
    };
    let enabled = settings.outputs.iter().filter(|(_, output)| output.enabled());
    let enabled: Vec<_> = enabled.collect();
    let names: Vec<&str> = enabled.iter().map(|(name, _)| name.as_str()).collect();
    let instance = plan::instance(settings);
    let (cursors, forgotten) = outbox.open_outputs(&instance, &names).await?;
    if forgotten != Default::default() {
        tracing::warn!(
            readings = forgotten.readings,
            windows = forgotten.windows,
            anomalies = forgotten.anomalies,
            alerts = forgotten.alerts,
            "what outputs had not sent that are not there any more is given up"
        );
    }
    if enabled.is_empty() {
        return Ok(outputs);
    }
    let arbiter = pipeline.arbiter();
    for ((name, output), cursor) in enabled.into_iter().zip(cursors) {
        let mut parts = OutputParts {
            name: name.clone(),
            instance: instance.clone(),
            store: store.clone(),
            registry: pipeline.rails.registry().clone(),
            clock: pipeline.rails.clock().clone(),
            progress: pipeline.progress(),
            wanted: wants(output),
            filter: None,
            keep: None,
            max_size: u64::MAX,
            cursor,
            figures: pipeline.metrics.outputs.of(name),
        };
        let entry = match output {
            OutputSettings::Kafka(kafka) => {
                (parts.keep, parts.max_size) = (kafka.keep, kafka.max_size);
                parts.filter = filter(&kafka.matches);
                let client = producer(kafka).map_err(|error| StartError::KafkaOutput {
                    name: name.clone(),
                    error,
                })?;
                let topics = KafkaTopics {
                    readings: kafka.topics.readings.clone(),
                    windows: kafka.topics.windows.clone(),
                    anomalies: kafka.topics.anomalies.clone(),
                    alerts: kafka.topics.alerts.clone(),
                };
                let (output, errors) = (name.to_string(), parts.figures.errors.clone());
                let make = move || {
                    KafkaOut::new(parts, move |last_error| {
                        KafkaSink::new(
                            output.clone(),
                            client.clone(),
                            topics.clone(),
                            last_error,
                            errors.clone(),
                        )
                    })
                };
                supervise(pipeline, &arbiter, name, ("kafka", "KafkaOut"), make)
            }
            OutputSettings::Mqtt(mqtt) => {
                (parts.keep, parts.max_size) = (mqtt.keep, mqtt.max_size);
                parts.filter = filter(&mqtt.matches);
                let publisher = publisher(name, mqtt, &instance.0, settings.storage.shared);
                let make = move || MqttOut::new(parts, move |_| MqttSink::new(publisher.clone()));
                supervise(pipeline, &arbiter, name, ("mqtt", "MqttOut"), make)
            }
        };
        outputs.insert(name.clone(), entry);
    }
    Ok(outputs)
}

/// `kind` is what it is called in the settings, and in the tree.
fn supervise<A>(
    pipeline: &mut Pipeline,
    arbiter: &ArbiterHandle,
    name: &SourceName,
    (kind, actor): (&'static str, &'static str),
    make: impl FnOnce() -> A + Send + 'static,
) -> OutputEntry
where
    A: Supervise + Handler<OutputCommand>,
    A::Context: ToEnvelope<A, OutputCommand>,
{
    let (address, handle): (Addr<A>, _) =
        pipeline.supervise(arbiter, &format!("outputs/{name}"), actor, make);
    OutputEntry {
        kind,
        handle,
        control: address.recipient(),
    }
}

/// `None` where everything is sent.
fn filter(matches: &SeriesMatch) -> Option<Filter> {
    let matches = matches.clone();
    (matches != SeriesMatch::default()).then(|| -> Filter {
        Box::new(move |sensor, metric, tags| matches.accepts(sensor.as_str(), metric.as_str(), tags))
    })
}

fn producer(settings: &KafkaOutputSettings) -> Result<ClientConfig, kafka::KafkaSetupError> {
    let mut config = ClientConfig::new();
    for (key, value) in DEFAULTS {
        config.set(key, value);
    }
    kafka::connection(
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
    config.set_log_level(match settings.options.contains_key("debug") {
        true => RDKafkaLogLevel::Debug,
        false => RDKafkaLogLevel::Info,
    });
    Ok(config)
}

fn publisher(
    name: &SourceName,
    settings: &MqttOutputSettings,
    instance: &str,
    shared: bool,
) -> MqttPublisher {
    let brokers = settings.brokers.iter().map(|broker| Broker {
        host: broker.host.clone(),
        port: broker.port,
        tls: broker.tls,
    });
    let tls = &settings.tls;
    let options = MqttOptions {
        brokers: brokers.collect(),
        version: match settings.version {
            MqttVersion::V3 => Version::V3,
            MqttVersion::V5 => Version::V5,
        },
        client_id: None,
        status: None,
        // Nothing is listened to, so there is no session to be kept.
        qos: Qos::AtMostOnce,
        username: settings.username.clone(),
        password_file: settings.password_file.clone(),
        tls: TlsFiles {
            ca: tls.ca_file.clone(),
            identity: tls.cert_file.clone().zip(tls.key_file.clone()),
        },
        session_expiry: Duration::ZERO,
        receive_maximum: 1,
        keep_alive: settings.keep_alive,
        max_packet: 64 << 10,
        retained: false,
    };
    let made_up = || {
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
        let name = format!("sensorhive-{instance}-{name}");
        name.chars().filter(plain).take(100).collect()
    };
    MqttPublisher {
        options,
        client_id: match &settings.client_id {
            None => made_up(),
            // Two with the same would throw each other out.
            Some(id) if shared => format!("{id}-{instance}"),
            Some(id) => id.clone(),
        },
        readings: TopicTemplate(settings.topics.readings.clone()),
        windows: TopicTemplate(settings.topics.windows.clone()),
        anomalies: TopicTemplate(settings.topics.anomalies.clone()),
        alerts: TopicTemplate(settings.topics.alerts.clone()),
        in_flight: settings.max_in_flight,
        retain: settings.retain,
    }
}
