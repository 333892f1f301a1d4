//! What one value cannot tell: whether the settings fit together.

use super::problem::{Origin, Problem};
use super::sources::client_problems;
use super::tree::Node;
use super::{ArchiveUrl, ListenerUser, MqttSettings, MqttVersion, Settings, SourceSettings, StorageUrl};
use crate::decode::TopicPattern;

/// Adds a problem for each pair of settings that do not fit. A key that is wrong by itself is not judged again.
pub(super) fn check(settings: &Settings, tree: &Node, problems: &mut Vec<Problem>) {
    let Settings {
        limits,
        supervision,
        http,
        storage,
        mqtt_listener,
        ..
    } = settings;
    let mut found = Vec::new();
    let mut must = |holds: bool, key: &str, other: &str, message: &str| {
        if !holds {
            found.push((key.to_owned(), other.to_owned(), message.to_owned()));
        }
    };
    must(
        supervision.backoff_base <= supervision.backoff_max,
        "supervision.backoff_base",
        "supervision.backoff_max",
        "must not be longer than `supervision.backoff_max`",
    );
    must(
        limits.batch_readings <= limits.readings_in_flight,
        "limits.batch_readings",
        "limits.readings_in_flight",
        "must not be more than `limits.readings_in_flight`",
    );
    must(
        limits.payload <= limits.bytes_in_flight,
        "limits.payload",
        "limits.bytes_in_flight",
        "must not be more than `limits.bytes_in_flight`",
    );
    must(
        http.max_body <= limits.bytes_in_flight,
        "http.max_body",
        "limits.bytes_in_flight",
        "must not be more than `limits.bytes_in_flight`",
    );
    must(
        !storage.shared || matches!(storage.url, StorageUrl::Postgres(_)),
        "storage.shared",
        "storage.url",
        "needs PostgreSQL: set `storage.url` to \"postgres://…\"",
    );
    must(
        !(storage.shared && mqtt_listener.enabled && mqtt_listener.chosen),
        "mqtt_listener.listen",
        "storage.shared",
        "cannot be had by one of several instances (`storage.shared`): only sources of kind `kafka` and `host` can",
    );
    let shared = |pattern: &TopicPattern| pattern.filter().starts_with("$share/");
    for (at, pattern) in mqtt_listener.topics.iter().enumerate() {
        must(
            !shared(pattern),
            &format!("mqtt_listener.topics[{at}]"),
            "",
            "is a shared subscription, which only a broker has",
        );
    }
    for (at, user) in mqtt_listener.users.iter().enumerate() {
        let same = |other: &ListenerUser| other.name == user.name;
        must(
            !mqtt_listener.users[..at].iter().any(same),
            &format!("mqtt_listener.users[{at}]"),
            "",
            "has the name of a user before it",
        );
        must(
            !user.publish.iter().flatten().any(shared),
            &format!("mqtt_listener.users[{at}].publish"),
            "",
            "has a shared subscription, which only a broker has",
        );
    }
    if let Some(archive) = &storage.archive {
        must(
            storage.retention.is_none_or(|kept| kept >= archive.after),
            "storage.retention",
            "storage.archive.after",
            "must not be shorter than `storage.archive.after`: what is not archived is not dropped",
        );
        must(
            archive.access_key_id.is_some() == archive.secret_access_key_file.is_some(),
            "storage.archive.access_key_id",
            "storage.archive.secret_access_key_file",
            "and `storage.archive.secret_access_key_file` need each other",
        );
        let local = matches!(archive.url, ArchiveUrl::Directory(_));
        for (key, given) in [
            ("region", archive.region.is_some()),
            ("endpoint", archive.endpoint.is_some()),
            ("access_key_id", archive.access_key_id.is_some()),
        ] {
            must(
                !(local && given),
                &format!("storage.archive.{key}"),
                "storage.archive.url",
                "is only for an archive at \"s3://\"",
            );
        }
    }
    for (name, source) in &settings.sources {
        let key = format!("sources.{name}");
        let reserved = ["http", "sensorhive", "mqtt_listener"].contains(&name.as_str());
        must(!reserved, &key, "", "has a name that the service uses itself");
        must(
            !(storage.shared && source.enabled() && source.needs_one_instance()),
            &key,
            "",
            "cannot be shared by several instances (`storage.shared`): only sources of kind `kafka` and `host` can",
        );
        if let SourceSettings::Simulated(simulated) = source {
            must(
                simulated.rate <= 1e6 * f64::from(simulated.sensors),
                &format!("{key}.rate"),
                &format!("{key}.sensors"),
                "must not be more than a million for each sensor",
            );
        }
        if let SourceSettings::Mqtt(mqtt) = source {
            check_mqtt(mqtt, &key, limits.bytes_in_flight, &mut must);
        }
        let problems = match source {
            SourceSettings::File(file) => file.problems(),
            SourceSettings::HttpPoll(poll) => poll.problems(),
            SourceSettings::Kafka(kafka) => kafka.problems(),
            SourceSettings::Redis(redis) => redis.problems(),
            _ => Vec::new(),
        };
        if source.enabled() || matches!(source, SourceSettings::Kafka(_)) {
            for (below, message) in problems {
                must(false, &format!("{key}.{below}"), &key, &message);
            }
        }
        if let SourceSettings::Host(_) = source {
            let first = settings
                .sources
                .iter()
                .find(|(_, other)| matches!(other, SourceSettings::Host(_)));
            let single = first.is_some_and(|(first, _)| first == name);
            must(
                single,
                &key,
                "",
                "is a second source of kind `host`, and there is only one host",
            );
        }
    }
    for (name, output) in &settings.outputs {
        let key = format!("outputs.{name}");
        for (below, message) in output.problems() {
            must(false, &format!("{key}.{below}"), &key, &message);
        }
    }
    for (at, rule) in settings.rules.iter().enumerate() {
        let key = format!("rules[{at}]");
        for (below, message) in rule.problems() {
            must(false, &format!("{key}.{below}"), &key, &message);
        }
    }
    for (below, message) in settings.alerting.problems() {
        let key = format!("alerting.{below}");
        let receiver = key.rsplit_once('.').map_or("alerting", |(receiver, _)| receiver);
        must(false, &key, receiver, &message);
    }
    for (at, rule) in settings.rules.iter().enumerate() {
        let key = format!("rules[{at}]");
        for (below, message) in rule.problems() {
            must(false, &format!("{key}.{below}"), &key, &message);
        }
    }
    for (key, other, message) in found {
        // Or an item of it.
        let is_it = |problem: &str| {
            problem
                .strip_prefix(&*key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        let known = |problem: &Problem| is_it(&problem.key) || problem.key == other;
        if !problems.iter().any(known) {
            let written = |key: &str| tree.find(key).map(|node| node.written().clone());
            // Blame what the user wrote, which may be the other one.
            let origin = [written(&key), written(&other)].into_iter().flatten().max();
            problems.push(Problem {
                origin: origin.unwrap_or(Origin::Default),
                key,
                message,
            });
        }
    }
}

fn check_mqtt(
    mqtt: &MqttSettings,
    key: &str,
    bytes_in_flight: u64,
    must: &mut impl FnMut(bool, &str, &str, &str),
) {
    let of = |name: &str| format!("{key}.{name}");
    must(
        !mqtt.brokers.is_empty(),
        &of("brokers"),
        key,
        "needs at least one broker, such as \"mqtt://127.0.0.1:1883\"",
    );
    must(
        !mqtt.topics.is_empty() || mqtt.status.is_some(),
        &of("topics"),
        key,
        "needs at least one topic, such as \"plant/+sensor_id/+metric\"",
    );
    must(
        mqtt.max_packet <= bytes_in_flight,
        &of("max_packet"),
        "limits.bytes_in_flight",
        "must not be more than `limits.bytes_in_flight`",
    );
    for (name, other, message) in
        client_problems(&mqtt.client_id, &mqtt.username, &mqtt.password_file, &mqtt.tls)
    {
        must(false, &of(name), &of(other), message);
    }
    must(
        mqtt.session_expiry.is_none() || mqtt.version == MqttVersion::V5,
        &of("session_expiry"),
        &of("version"),
        "is only for `version = \"5\"`: with 3.1.1 the broker decides how long it keeps a session",
    );
    if let Some(status) = &mqtt.status {
        let named = status
            .topics
            .iter()
            .all(|topic| topic.as_str().contains("+sensor_id"));
        must(
            !status.topics.is_empty() && (named || mqtt.default_sensor.is_some()),
            &of("status.topics"),
            &of("default_sensor"),
            "needs topics with `+sensor_id`, or the source a `default_sensor`",
        );
    }
}
