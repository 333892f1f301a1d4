//! What is written of the settings is true.

use sensorhive::settings::{KafkaSettings, SourceSettings};

use crate::load;
use crate::sources::kafka;

/// Every key there is, as its last part, from settings in which everything is set.
fn every_key() -> Vec<String> {
    fn walk(value: &toml::Value, keys: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    keys.push(key.clone());
                    walk(value, keys);
                }
            }
            toml::Value::Array(items) => items.iter().for_each(|item| walk(item, keys)),
            _ => {}
        }
    }

    let settings = load(
        "[sources.bench]\nkind = 'simulated'
         [[series]]\nmatch = { sensor = 's', metric = 'm', tags = { site = 'a' } }
         detectors = [{ kind = 'jump', threshold = 1 }, { kind = 'silence', after = '1m' }, { kind = 'threshold', above = 1 }, { kind = 'ensemble' },
         { kind = 'rate', above = 2.0, per = '1m' },
         { kind = 'stuck', after = '10m', within = 0.0 },
         { kind = 'z_score', above = 4.0, window = 60 },
         { kind = 'ewma', above = 4.0, span = 60 },
         { kind = 'hampel', above = 4.0, window = 60 },
         { kind = 'seasonal', above = 4.0, season = 'day' },
         { kind = 'shift', above = 10.0, span = 60 }]",
    )
    .unwrap();
    let mut keys = Vec::new();
    walk(
        &settings.to_toml().unwrap().parse::<toml::Table>().unwrap().into(),
        &mut keys,
    );
    keys
}

#[test]
fn every_key_is_explained() {
    let defaults = include_str!("../../config/default.toml");
    let manual = include_str!("../../docs/configuration.md");
    let keys = every_key();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let assigned = |line: &str| {
            let parts = line
                .split([' ', '{', ','])
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>();
            parts.windows(2).any(|pair| pair == [key.as_str(), "="])
        };
        let section = [format!("[{key}]"), format!(".{key}]"), format!("[{key}.")];
        assert!(
            defaults.lines().any(assigned) || section.iter().any(|form| defaults.contains(form)),
            "{key} is not in config/default.toml"
        );
        let named = [
            format!("`{key}`"),
            format!("`[{key}]`"),
            format!("`[[{key}]]`"),
            format!("`[sources.{key}]`"),
            format!("`[{key}.NAME]`"),
        ];
        assert!(
            named.iter().any(|form| manual.contains(form)),
            "{key} is not in docs/configuration.md"
        );
    }
}

/// The keys that the defaults show commented out have the values that they say.
/// Passwords come from the environment there.
#[test]
fn the_configuration_of_the_compose_file_is_good() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/sensorhive.toml");
    let settings = load(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(settings.unavailable, Vec::<String>::new());
    let sources: Vec<_> = settings.sources.keys().map(|name| name.as_str()).collect();
    assert_eq!(sources, ["host", "plant", "raw"]);
    assert!(!settings.mqtt_listener.enabled);
}

#[test]
fn the_commented_defaults_are_true() {
    let defaults = include_str!("../../config/default.toml");
    let uncommented: String = defaults
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.starts_with('[')
                    || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                rest
            }
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let settings = load(&uncommented).unwrap();
    assert_eq!(
        settings.sources["host"],
        defaults_of("[sources.x]\nkind = 'host'\n[sources.host]\nkind = 'simulated'")
    );
    assert_eq!(
        settings.sources["bench"],
        defaults_of("[sources.x]\nkind = 'simulated'")
    );
    let SourceSettings::Mqtt(shown) = &settings.sources["plant"] else {
        panic!("{:?}", settings.sources["plant"]);
    };
    let SourceSettings::Mqtt(plain) = defaults_of(
        "[sources.x]\nkind = 'mqtt'\nbrokers = ['mqtt://127.0.0.1:1883']\ntopics = ['plant/+sensor_id/+metric']
         [sources.x.status]\ntopics = ['plant/+sensor_id/status']",
    ) else {
        panic!("it is of the kind mqtt");
    };
    let mut shown = shown.clone();
    // What is shown of these is an example.
    (shown.client_id, shown.username, shown.password_file) = (None, None, None);
    shown.tls = plain.tls.clone();
    assert_eq!(shown, plain);
    let (shown, plain) = (
        kafka(&settings, "raw"),
        load("[sources.x]\nkind = 'kafka'\nbrokers = 'localhost:9092'\ntopics = 'sensor-readings-raw'")
            .unwrap(),
    );
    let examples = KafkaSettings {
        dead_letter_topic: None,
        tls: None,
        sasl: None,
        options: Default::default(),
        ..shown
    };
    assert_eq!(examples, kafka(&plain, "x"));
    let archive = load("[storage.archive]\nurl = 's3://cold'")
        .unwrap()
        .storage
        .archive;
    assert_eq!(settings.storage.archive.unwrap().after, archive.unwrap().after);
    let entry = &settings.series.entries[0];
    let plain = &load("[[series]]\nmatch = {}").unwrap().series.entries[0];
    assert!(
        entry.matches.sensor.is_some(),
        "the commented entry is not the first"
    );
    assert_eq!(
        (&entry.windows, entry.lateness, entry.idle_after, &entry.detectors),
        (&plain.windows, plain.lateness, plain.idle_after, &plain.detectors)
    );
}

fn defaults_of(text: &str) -> SourceSettings {
    load(text).unwrap().sources["x"].clone()
}
