//! `[sources]` and `[mqtt_listener]`.

use sensorhive::settings::{KafkaSettings, Settings, SourceSettings};

use crate::{load, load_with, problems};

#[test]
fn a_broker_needs_an_address_topics_and_what_belongs_together() {
    let with = |lines: &str| {
        let text = format!("[sources.plant]\nkind = 'mqtt'\n{lines}");
        match load(&text) {
            Ok(_) => Vec::new(),
            refused => problems(refused),
        }
    };
    let good = "brokers = ['mqtt://b']\ntopics = ['a/+sensor_id/#']\n";
    assert!(with(good).is_empty());
    for (more, expected) in [
        ("version = '5'\nsession_expiry = '1h'", ""),
        (
            "session_expiry = '1h'",
            "sources.plant.session_expiry is only for `version = \"5\"`",
        ),
        (
            "password_file = 'x'",
            "sources.plant.password_file needs a `username`",
        ),
        (
            "tls = { cert_file = 'x' }",
            "sources.plant.tls.cert_file and `tls.key_file` need each other",
        ),
        (
            "client_id = ''",
            "sources.plant.client_id must have 1 to 256 bytes",
        ),
        (
            "keep_alive = '100ms'",
            "sources.plant.keep_alive must be a duration from 1s to 18h",
        ),
        (
            "max_packet = '1GiB'",
            "sources.plant.max_packet must not be more than `limits.bytes_in_flight`",
        ),
        (
            "status = { topics = ['a/status'] }",
            "sources.plant.status.topics needs topics with `+sensor_id`",
        ),
        ("qos = 3", "sources.plant.qos must be a whole number from 0 to 2"),
        (
            "version = '4'",
            "sources.plant.version must be one of `3.1.1`, `5`",
        ),
        ("colour = 1", "sources.plant.colour is not known"),
    ] {
        let found = with(&format!("{good}{more}"));
        match expected {
            "" => assert!(found.is_empty(), "{more}: {found:?}"),
            _ => {
                assert_eq!(found.len(), 1, "{more}: {found:?}");
                assert!(found[0].starts_with(expected), "{more}: {found:?}");
            }
        }
    }
    let found = with("");
    assert!(
        found[0].starts_with("sources.plant.brokers needs at least one"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("sources.plant.topics needs at least one"),
        "{found:?}"
    );
    let found = with("brokers = ['mqtt://me:hunter2@b']\ntopics = ['a/#/b']");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().all(|problem| !problem.contains("hunter2")),
        "{found:?}"
    );
}

pub fn kafka(settings: &Settings, name: &str) -> KafkaSettings {
    match &settings.sources[name] {
        SourceSettings::Kafka(kafka) => (**kafka).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn kafka_is_read_from_a_file_and_shown_as_it_can_be_read_again() {
    let text =
        "[sources.x]\nkind = 'kafka'\nbrokers = 'a:9092, b:9092'\ntopics = ['t', '^u-.*']\nreset = 'latest'
        key_as_sensor = true\ndefault_metric = 'm'\ntls = {}
        sasl = { mechanism = 'SCRAM-SHA-256', username = 'me', password_file = '/run/secrets/kafka' }
        options = { 'fetch.min.bytes' = 1000, 'check.crcs' = true, 'client.rack' = 'a' }
        mapping = { value = '/v', timestamp = '/t' }";
    let settings = load(text).unwrap();
    let read = kafka(&settings, "x");
    assert_eq!(read.brokers, ["a:9092", "b:9092"]);
    assert_eq!(read.topics, ["t", "^u-.*"]);
    let options: Vec<_> = read
        .options
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        options,
        [
            ("check.crcs", "true"),
            ("client.rack", "a"),
            ("fetch.min.bytes", "1000")
        ]
    );
    assert!(read.mapping.is_some() && read.tls.is_some() && read.sasl.is_some());
    let again = load(&settings.to_toml().unwrap()).unwrap();
    assert_eq!(kafka(&again, "x"), read);
    let by_environment = load_with(text, &[("SENSORHIVE__SOURCES__X__BROKERS", "c:1,d:2")]).unwrap();
    assert_eq!(kafka(&by_environment, "x").brokers, ["c:1", "d:2"]);
}

#[test]
fn what_kafka_cannot_be_told_is_refused_with_its_key() {
    let found = problems(load(
        "[sources.x]\nkind = 'kafka'\nbrokers = []\ntopics = ['a b']\nconsumers = 0\ncolour = 'red'
         [sources.y]\nkind = 'kafka'\nbrokers = 'a'\ntopics = 't'\ndead_letter_topic = 't'
         options = { 'enable.auto.commit' = true, 'sasl.password' = 'hunter2', 'no.such.key' = 1, 'fetch.min.bytes' = 'x' }
         [sources.z]\nkind = 'kafka'\nbrokers = 'a'\ntopics = 't'\nsasl = { mechanism = 'PLAIN', username = 'me', password = 'hunter2' }",
    ));
    let all = found.join("\n");
    for expected in [
        "sources.x.brokers is needed, such as",
        "sources.x.topics has \"a b\", which no topic can be called",
        "sources.x.consumers must be a whole number from 1 to 64",
        "sources.x.colour is not known",
        "sources.y.dead_letter_topic is one of `topics`",
        "sources.y.options.enable.auto.commit is not allowed: a position is committed after",
        "sources.y.options.sasl.password is not allowed here: set `sasl`",
        "sources.y.options.no.such.key is not understood by the Kafka client",
        "sources.y.options.fetch.min.bytes is not understood by the Kafka client",
        "sources.z.sasl.password is not known",
    ] {
        assert!(all.contains(expected), "{expected}\n  is not in\n{all}");
    }
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn a_port_for_mqtt_is_known_to_be_chosen_or_not() {
    assert!(
        !load("[mqtt_listener]\nkeep_alive = '2h'")
            .unwrap()
            .mqtt_listener
            .chosen
    );
    let same = load("[mqtt_listener]\nlisten = '127.0.0.1:1883'").unwrap();
    assert!(same.mqtt_listener.chosen, "even if it is the default");
}

#[test]
fn users_and_topics_of_the_mqtt_listener_are_checked() {
    let found = problems(load(
        "[mqtt_listener]
        keep_alive = '20h'
        topics = ['a/#', '$share/g/a', 'a/#/b']
        users = [{ name = 'a' }, { name = 'a', publish = ['$share/g/b'] }, { name = '' }]",
    ));
    let about = |key: &str| found.iter().any(|problem| problem.starts_with(key));
    for key in [
        "mqtt_listener.keep_alive",
        "mqtt_listener.topics[2]",
        "mqtt_listener.users[2].name",
    ] {
        assert!(about(key), "{key}: {found:?}");
    }
    let found = problems(load(
        "[mqtt_listener]
        topics = ['a/#', '$share/g/a']
        users = [{ name = 'a' }, { name = 'a', publish = ['$share/g/b'] }]",
    ));
    assert_eq!(
        found,
        [
            "mqtt_listener.topics[1] is a shared subscription, which only a broker has",
            "mqtt_listener.users[1] has the name of a user before it",
            "mqtt_listener.users[1].publish has a shared subscription, which only a broker has",
        ]
    );
}

#[test]
fn sources_that_cannot_be_are_told_with_what_to_do() {
    for (source, key, message) in [
        ("kind = 'file'", "path", "is needed"),
        ("kind = 'file'\npath = 'a/**/b'", "path", "must not have `**`"),
        (
            "kind = 'file'\npath = 'a'\ncsv = { value = 1 }",
            "csv",
            "is only for",
        ),
        (
            "kind = 'file'\npath = 'a'\nformat = 'csv'",
            "csv.sensor_id",
            "is needed",
        ),
        (
            "kind = 'file'\npath = 'a'\nformat = 'csv'\ndefault_sensor = 's'\ncsv = { header = false, value = 'v' }",
            "csv.header",
            "is missing",
        ),
        (
            "kind = 'file'\npath = 'a'\nformat = 'csv'\ndefault_sensor = 's'\ncsv = { time_format = 'soon' }",
            "csv.time_format",
            "must be",
        ),
        ("kind = 'http_poll'", "urls", "needs at least one"),
        ("kind = 'http_poll'\nurls = ['http://a:b@c/']", "urls", "has one"),
        ("kind = 'http_poll'\nurls = ['ftp://c/']", "urls", "has one"),
        (
            "kind = 'http_poll'\nurls = ['http://c/']\nheaders = { Authorization = 'x' }",
            "headers",
            "must not have",
        ),
        ("kind = 'redis'\nlist = 'a'", "url", "must be such as"),
        (
            "kind = 'redis'\nurl = 'redis://:hunter2@a'\nlist = 'a'",
            "url",
            "must be such as",
        ),
        ("kind = 'redis'\nurl = 'redis://a'", "list", "or `stream`"),
        (
            "kind = 'redis'\nurl = 'redis://a'\nlist = 'a'\nstream = 'b'",
            "list",
            "or `stream`",
        ),
        (
            "kind = 'redis'\nurl = 'redis://a'\nlist = 'a'\ntls = { ca_file = 'c' }",
            "tls",
            "is only for",
        ),
        (
            "kind = 'redis'\nurl = 'rediss://a'\nlist = 'a'\ntls = { cert_file = 'c' }",
            "tls.cert_file",
            "and `tls.key_file`",
        ),
        (
            "kind = 'http_poll'\nurls = ['https://c/']\ntls = { key_file = 'k' }",
            "tls.cert_file",
            "and `tls.key_file`",
        ),
        (
            "kind = 'file'\npath = 'a'\nforget_after = '0s'",
            "forget_after",
            "must be \"never\"",
        ),
    ] {
        let found = problems(load(&format!("[sources.it]\n{source}")));
        let expected = format!("sources.it.{key} {message}");
        assert!(found[0].starts_with(&expected), "{source}: {found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}
