//! `[outputs]`.

use std::time::Duration;

use sensorhive::settings::OutputSettings;

use crate::{load, problems};

#[test]
fn an_output_is_read_shown_and_checked() {
    let plain = "[outputs.a]\nkind = 'kafka'\nbrokers = 'a:9092'\ntopics = { readings = 'clean' }
         match = { sensor = 'boiler-*' }\noptions = { 'compression.type' = 'zstd' }
         [outputs.b]\nkind = 'mqtt'\nbrokers = ['mqtt://a']\ntopics = { windows = 'x/{sensor_id}/{metric}' }\nkeep = 'forever'
         [outputs.c]\nkind = 'redis'\nurl = 'redis://a/1'\nlatest = 'l:'\nttl = '1d'\nstreams = { anomalies = 'events' }";
    let settings = load(plain).unwrap();
    let OutputSettings::Kafka(kafka) = &settings.outputs["a"] else {
        panic!("{:?}", settings.outputs["a"]);
    };
    assert_eq!(
        (kafka.topics.readings.as_str(), kafka.topics.windows.as_str()),
        ("clean", "")
    );
    assert_eq!(kafka.keep, Some(Duration::from_secs(7 * 86_400)));
    let again = load(&settings.to_toml().unwrap()).unwrap();
    assert_eq!(again.outputs, settings.outputs);

    let found = problems(load(
        "[outputs.a]\nkind = 'kafka'\nbrokers = []\ntopics = { readings = 'a b', stars = 'c' }
         options = { acks = '0', 'message.timeout.ms' = 5, 'sasl.password' = 'hunter2', 'no.such' = 1 }
         [outputs.b]\nkind = 'mqtt'\nbrokers = ['mqtt://a']\ntopics = { readings = 'x/+', windows = '{sensor}' }\npassword_file = 'p'
         [outputs.c]\nkind = 'kafka'\nbrokers = 'a'\n[outputs.d]\nkind = 'pigeon'
         [outputs.e]\nkind = 'redis'\nurl = 'redis://:hunter2@a'\nlatest = 'l:'\nstreams = { anomalies = 'l:events' }\nusername = 'u'
         tls = { cert_file = 'c' }\nmax_entries = 0\nttl = '0s'\nchannels = { stars = 'c' }
         [outputs.f]\nkind = 'redis'\nurl = 'a'",
    ));
    for key in [
        "outputs.a.brokers",
        "outputs.a.topics.stars",
        "outputs.a.topics.readings",
        "outputs.a.options.acks",
        "outputs.a.options.message.timeout.ms",
        "outputs.a.options.sasl.password",
        "outputs.a.options.no.such",
        "outputs.b.topics.readings",
        "outputs.b.topics.windows",
        "outputs.b.password_file",
        "outputs.c.topics",
        "outputs.e.url",
        "outputs.e.streams.anomalies",
        "outputs.e.username",
        "outputs.e.tls",
        "outputs.e.tls.cert_file",
        "outputs.e.max_entries",
        "outputs.e.ttl",
        "outputs.e.channels.stars",
        "outputs.f.url",
        "outputs.f.latest",
        "outputs.d.kind must be one of `kafka`, `mqtt`, `redis`",
    ] {
        assert!(
            found.iter().any(|problem| problem.starts_with(key)),
            "{key}: {found:?}"
        );
    }
    assert!(!found.join(" ").contains("hunter2"));
}
