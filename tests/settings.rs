//! The settings as an operator meets them: files, the environment, flags, and every mistake at once.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use sensorhive::domain::Tags;
use sensorhive::settings::{
    ArchiveUrl, DetectorSettings, KafkaSettings, Layers, OutputSettings, Settings, SettingsError,
    SourceSettings, StorageUrl, Synchronous,
};
use sensorhive::simulate::Fault;
use tempfile::NamedTempFile;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load(text: &str) -> Result<Settings, SettingsError> {
    load_with(text, &[])
}

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let file = file(text);
    let layers = Layers {
        file: Some(file.path().to_owned()),
        environment: environment
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        ..Layers::default()
    };
    layers.load()
}

/// Each problem as `key message`.
fn problems(result: Result<Settings, SettingsError>) -> Vec<String> {
    let error = result.expect_err("the settings were accepted");
    error
        .problems
        .iter()
        .map(|p| format!("{} {}", p.key, p.message))
        .collect()
}

fn defaults() -> Settings {
    Layers::default().load().unwrap()
}

#[test]
fn nothing_configured_is_a_whole_configuration() {
    let settings = defaults();
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(
        settings.storage.url,
        StorageUrl::Sqlite(PathBuf::from("data/sensorhive.db"))
    );
    assert_eq!(settings.storage.synchronous, Synchronous::Full);
    assert_eq!(settings.storage.retention, None);
    assert_eq!(settings.limits.bytes_in_flight, 64 << 20);
    assert_eq!(settings.limits.min_time.to_string(), "2000-01-01T00:00:00Z");
    assert_eq!(settings.supervision.backoff_base, Duration::from_millis(100));
    let sources: Vec<_> = settings.sources.keys().map(|name| name.as_str()).collect();
    assert_eq!(sources, ["host"]);
    assert!(settings.sources["host"].enabled());
}

#[test]
fn each_layer_beats_the_one_before() {
    let file = file("[http]\nrequests_per_second = 1\n[log]\nlevel = 'warn'\nformat = 'json'");
    let mut layers = Layers {
        file: Some(file.path().to_owned()),
        ..Layers::default()
    };
    let settings = layers.load().unwrap();
    assert_eq!(
        (settings.http.requests_per_second, settings.log.level.as_str()),
        (1, "warn")
    );
    assert_eq!(settings.http.max_body, defaults().http.max_body);

    layers.environment = vec![
        ("SENSORHIVE__HTTP__REQUESTS_PER_SECOND".into(), "2".into()),
        ("SENSORHIVE__LOG__LEVEL".into(), "error".into()),
        ("SENSORHIVE_OTHER".into(), "not ours".into()),
    ];
    let settings = layers.load().unwrap();
    assert_eq!(
        (settings.http.requests_per_second, settings.log.level.as_str()),
        (2, "error")
    );

    layers.flags = vec![("log.level".into(), "--log-level".into(), "debug".into())];
    assert_eq!(layers.load().unwrap().log.level, "debug");
}

#[test]
fn the_environment_reaches_every_type() {
    let settings = load_with(
        "",
        &[
            (
                "SENSORHIVE__HTTP__CORS_ORIGINS",
                "https://a.example, http://b.example:3000",
            ),
            ("SENSORHIVE__SOURCES__HOST__ENABLED", "false"),
            ("SENSORHIVE__SOURCES__BENCH__KIND", "simulated"),
            ("SENSORHIVE__SOURCES__BENCH__RATE", "2.5"),
            ("SENSORHIVE__SOURCES__BENCH__FAULTS", "nan,far-future"),
            ("SENSORHIVE__STORAGE__RETENTION", "30d"),
            (
                "SENSORHIVE__SERIES",
                "[{ match = { metric = \"t\" }, windows = [\"10s\"] }]",
            ),
        ],
    )
    .unwrap();
    assert_eq!(
        settings.http.cors_origins,
        ["https://a.example", "http://b.example:3000"]
    );
    assert!(!settings.sources["host"].enabled());
    let SourceSettings::Simulated(bench) = &settings.sources["bench"] else {
        panic!("bench is not simulated");
    };
    assert_eq!((bench.rate, bench.sensors), (2.5, 10));
    assert_eq!(bench.faults, [Fault::Nan, Fault::FarFuture]);
    assert_eq!(settings.storage.retention, Some(Duration::from_secs(30 * 86_400)));
    let found = settings.series.find("s", "t", &Tags::new());
    assert_eq!(found.windows, [Duration::from_secs(10)]);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_key_and_place() {
    let text = r#"
        colour = "red"
        [http]
        listen = "everywhere"
        cors_origins = ["https://good.example", "ftp://bad.example"]
        tls = true
        [storage]
        synchronous = "off"
        readers = 0
        retention = 5
        [limits]
        sensors = "many"
        min_time = "yesterday"
        [supervision]
        within = "soon"
        [log]
        level = "inof"
        [sources.a]
        kind = "telepathy"
        [sources.b]
        interval = "1s"
        [sources.c]
        kind = "simulated"
        sensors = -1
        rate = nan
        colour = "red"
        [[series]]
        match = { sensor = "[", colour = "red" }
        windows = ["1m", "0s"]
        detectors = [
            { kind = "jump", threshold = "five" },
            { kind = "jump", above = 5.0 },
            { kind = "jump" },
            { kind = "guess" },
            { threshold = 1 },
        ]
        [[series]]
        windows = ["1m", "60s"]
    "#;
    let found = problems(load_with(text, &[("SENSORHIVE__PIPELINE__SHARDS", "-2")]));
    let expected = [
        "colour is not known; allowed here: `http`",
        "http.cors_origins[1] must be \"*\", or an origin",
        "http.listen must be an address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\", but is string \"everywhere\"",
        "http.tls is not known; allowed here: `listen`",
        "limits.min_time must be a date",
        "limits.sensors must be a whole number from 1 to 4294967295, but is string \"many\"",
        "log.level must be off, error",
        "series[0].detectors[0].threshold must be a finite number, but is string \"five\"",
        "series[0].detectors[1] needs the key `threshold`",
        "series[0].detectors[1].above is not known; allowed here: `threshold`",
        "series[0].detectors[2] needs the key `threshold`",
        "series[0].detectors[3].kind must be one of `jump`, `threshold`, `silence`",
        "series[0].detectors[4] needs the key `kind`, one of `jump`",
        "series[0].match.colour is not known; allowed here: `sensor`, `metric`, `tags`",
        "series[0].match.sensor must be a pattern",
        "series[0].windows[1] must be a duration of at least 1ms",
        "series[1] needs the key `match`",
        "series[1].windows has the size 1m twice",
        "sources.a.kind must be one of `file`, `host`, `http_poll`, `kafka`, `mqtt`, `redis`, `simulated`, but is \"telepathy\"",
        "sources.b needs the key `kind`, one of `file`, `host`, `http_poll`, `kafka`, `mqtt`, `redis`, `simulated`",
        "sources.c.colour is not known; allowed here: `enabled`, `sensors`",
        "sources.c.rate must be a finite number, but is floating point `NaN`",
        "sources.c.sensors must be a whole number from 1 to 10000000, but is integer `-1`",
        "storage.readers must be a whole number from 1 to 64, but is integer `0`",
        "storage.retention must be \"forever\", or a duration such as \"30d\", but is integer `5`",
        "storage.synchronous must be one of `full`, `normal`, but is \"off\"",
        "supervision.within must be a duration",
        "pipeline.shards must be a whole number from 0 to 1024, but is",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.starts_with(expected),
            "{found}\n  should open with\n{expected}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_problem_names_the_file_or_the_variable() {
    let file = file("[http]\nlisten = 5");
    let layers = Layers {
        file: Some(file.path().to_owned()),
        environment: vec![("SENSORHIVE__HTTP__MAX_BODY".into(), "big".into())],
        flags: vec![("log.level".into(), "--log-level".into(), "loud".into())],
        ..Layers::default()
    };
    let message = layers.load().unwrap_err().to_string();
    assert!(message.contains("has 3 errors"), "{message}");
    assert!(
        message.contains(&format!("{}: `http.listen` must be", file.path().display())),
        "{message}"
    );
    assert!(
        message.contains("environment variable SENSORHIVE__HTTP__MAX_BODY: `http.max_body`"),
        "{message}"
    );
    assert!(message.contains("flag --log-level: `log.level`"), "{message}");
}

#[test]
fn a_file_that_is_no_toml_hides_no_other_mistake() {
    let found = problems(load_with("[http\n", &[("SENSORHIVE__HTTP__LISTEN", "x")]));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("is not TOML"), "{found:#?}");
}

#[test]
fn a_value_in_the_place_of_a_section_is_reported_and_the_other_way_round() {
    let environment = [
        ("SENSORHIVE__HTTP__LISTEN", "127.0.0.1:1"),
        ("SENSORHIVE__HTTP__LISTEN__PORT", "1"),
        ("SENSORHIVE__LOG", "loud"),
        ("SENSORHIVE__LOG__LEVEL", "info"),
        ("SENSORHIVE__SERIES__0__WINDOWS", "1s"),
    ];
    let found = problems(load_with("http = 5\nseries = 7\nsources = []", &environment));
    let expected = [
        "http must be a table, with keys of its own",
        "series must be a list, but is integer `7`",
        "sources must be a table, with keys of its own",
        "http.listen has no keys of its own; it has a value from environment variable SENSORHIVE__HTTP__LISTEN",
        "log must be a table, with keys of its own",
        "series has no keys of its own",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_missing_file_is_one_clear_line() {
    let layers = Layers {
        file: Some(PathBuf::from("/no/such.toml")),
        ..Layers::default()
    };
    let message = layers.load().unwrap_err().to_string();
    assert!(message.contains("/no/such.toml: cannot be read"), "{message}");
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    let found = problems(load(
        "[limits]\nbatch_readings = 10\nreadings_in_flight = 5\nbytes_in_flight = '1KiB'\n[supervision]\nbackoff_max = '1ms'
         [sources.http]\nkind = 'simulated'\n[sources.me]\nkind = 'host'
         [sources.fast]\nkind = 'simulated'\nsensors = 2\nrate = 2000001
         [sources.full]\nkind = 'simulated'\nsensors = 2\nrate = 2000000",
    ));
    let expected = [
        "http.max_body must not be more than `limits.bytes_in_flight`",
        "limits.batch_readings must not be more than `limits.readings_in_flight`",
        "limits.payload must not be more than `limits.bytes_in_flight`",
        "sources.fast.rate must not be more than a million for each sensor",
        "sources.http has a name that the service uses itself",
        "sources.me is a second source of kind `host`, and there is only one host",
        "supervision.backoff_base must not be longer than `supervision.backoff_max`",
    ];
    assert_eq!(found, expected);
}

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

#[test]
fn several_instances_share_only_what_can_be_shared() {
    let shared = "[storage]\nshared = true\n";
    let found = problems(load(&format!("{shared}[sources.made-up]\nkind = \"simulated\"")));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("storage.shared needs PostgreSQL")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("sources.made-up cannot be shared")),
        "{found:?}"
    );
    let url = "url = \"postgres://u@h/d\"\n";
    let settings = load(&format!("{shared}{url}instance = \"plant-1.a\"")).unwrap();
    assert_eq!(
        (settings.storage.shared, settings.storage.instance.as_str()),
        (true, "plant-1.a")
    );
    let found = problems(load(&format!("{shared}{url}instance = \"a b\"")));
    assert!(
        found[0].starts_with("storage.instance must be at most 64"),
        "{found:?}"
    );
}

#[test]
fn what_is_not_built_yet_is_accepted_and_named() {
    let settings = load("[[rules]]\nname = 'x'\n[alerting]\ngroup_wait = '30s'").unwrap();
    assert_eq!(settings.unavailable, ["rules", "alerting"]);
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
    ] {
        let found = problems(load(&format!("[sources.it]\n{source}")));
        let expected = format!("sources.it.{key} {message}");
        assert!(found[0].starts_with(&expected), "{source}: {found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn a_database_is_shown_without_its_password() {
    for (url, shown) in [
        ("postgres://me:hunter2@db/x", "postgres://me@db/x"),
        (
            "postgres://me:hunter2@one:5433,two/x?password=hunter2",
            "postgres://me@one:5433,two/x",
        ),
        ("postgresql://db/x", "postgresql://db/x"),
    ] {
        let settings = load(&format!("[storage]\nurl = '{url}'")).unwrap();
        assert_eq!(settings.storage.url.to_string(), shown);
        let all = format!("{settings:?}{}", settings.to_toml().unwrap());
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[test]
fn a_database_that_cannot_be_is_an_error_without_its_password() {
    for url in [
        "postgres://me:hunter2@db",
        "postgres://me:hunter2@db:port/x",
        "mysql://me:hunter2@db/x",
        "sqlite:",
        "sqlite::memory:",
        "sqlite:a?hunter2",
    ] {
        let message = load(&format!("[storage]\nurl = '{url}'"))
            .unwrap_err()
            .to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn the_first_matching_series_wins_and_yours_come_first() {
    let settings = load(
        "[[series]]\nmatch = { sensor = 'boiler-*', tags = { site = 'a*' } }\nwindows = ['10s']
         [[series]]\nmatch = { sensor = 'host', metric = 'cpu_usage' }",
    )
    .unwrap();
    let tags = |site: &str| Tags::from([("site".to_owned(), site.to_owned())]);
    let ten = [Duration::from_secs(10)];
    let minute = [Duration::from_secs(60)];
    assert_eq!(settings.series.find("boiler-7", "t", &tags("ab")).windows, ten);
    assert_eq!(settings.series.find("boiler-7", "t", &tags("b")).windows, minute);
    assert_eq!(
        settings.series.find("boiler-7", "t", &Tags::new()).windows,
        minute
    );
    assert_eq!(
        settings.series.find("host", "cpu_usage", &Tags::new()).detectors,
        []
    );
    let above = |limit| [DetectorSettings::Threshold { above: limit }];
    assert_eq!(
        settings
            .series
            .find("host", "memory_usage", &Tags::new())
            .detectors,
        above(85.0)
    );
    assert_eq!(
        settings
            .series
            .find("sensorhive", "error_rate", &Tags::new())
            .detectors,
        above(5.0)
    );
    let everything = load("[[series]]\nmatch = {}\nwindows = []").unwrap();
    assert!(
        everything
            .series
            .find("host", "cpu_usage", &Tags::new())
            .windows
            .is_empty()
    );
}

#[test]
fn the_demo_has_sensors_and_a_database_of_its_own_unless_configured() {
    let demo = Layers {
        demo: true,
        ..Layers::default()
    };
    let settings = demo.load().unwrap();
    assert_eq!(settings.storage.url.to_string(), "sqlite:data/demo.db");
    let SourceSettings::Simulated(simulated) = &settings.sources["demo"] else {
        panic!("the demo is not simulated");
    };
    assert_eq!(
        (simulated.sensors, simulated.faults.as_slice()),
        (200, &Fault::ALL[1..])
    );
    let jump = [DetectorSettings::Jump { threshold: 5.0 }];
    assert_eq!(
        settings
            .series
            .find("sim-7", "temperature", &Tags::new())
            .detectors,
        jump
    );
    assert_eq!(
        settings
            .series
            .find("host", "cpu_usage", &Tags::new())
            .detectors
            .len(),
        1
    );

    let configured = Layers {
        environment: vec![("SENSORHIVE__STORAGE__URL".into(), "sqlite:mine.db".into())],
        ..demo
    };
    assert_eq!(
        configured.load().unwrap().storage.url.to_string(),
        "sqlite:mine.db"
    );
}

#[test]
fn what_is_shown_can_be_read_again() {
    let settings = load(
        "[http]\nmax_body = '1000B'\n[storage]\nretention = '30d'
         [sources.s]\nkind = 'simulated'
         [[series]]\nmatch = { tags = { a = 'b' } }\ndetectors = [{ kind = 'silence', after = '5m' }]",
    )
    .unwrap();
    let shown = load(&settings.to_toml().unwrap()).unwrap();
    let entries = settings.series.entries.len();
    assert_eq!(shown.series.entries[..entries], settings.series.entries[..]);
    assert_eq!(
        (shown.http, shown.storage, shown.limits),
        (settings.http, settings.storage, settings.limits)
    );
    assert_eq!((shown.sources, shown.log), (settings.sources, settings.log));
}

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
         detectors = [{ kind = 'jump', threshold = 1 }, { kind = 'silence', after = '1m' }, { kind = 'threshold', above = 1 }]",
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
    let defaults = include_str!("../config/default.toml");
    let manual = include_str!("../docs/configuration.md");
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
    let defaults = include_str!("../config/default.toml");
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

#[test]
fn an_archive_is_a_directory_or_a_bucket() {
    assert_eq!(defaults().storage.archive, None);
    let archive = |url: &str| {
        let settings = load(&format!("[storage.archive]\nurl = {url:?}\n")).unwrap();
        settings.storage.archive.unwrap()
    };
    let directory = |path: &str| ArchiveUrl::Directory(PathBuf::from(path));
    for (url, expected) in [
        ("file:///var/lib/x", directory("/var/lib/x")),
        ("file:/var/lib/x", directory("/var/lib/x")),
        ("cold/x", directory("cold/x")),
    ] {
        assert_eq!(archive(url).url, expected, "{url}");
    }
    let bucket = archive("s3://cold/plant a/");
    assert_eq!(bucket.url.to_string(), "s3://cold/plant a");
    assert_eq!(bucket.after, Duration::from_secs(90 * 86_400));
    for url in [
        "",
        "file://",
        "file:x",
        "s3://",
        "s3:///x",
        "s3://me:secret@cold",
        "https://x/y",
        "s3://b/x?key=secret",
    ] {
        let problems = problems(load(&format!("[storage.archive]\nurl = {url:?}\n")));
        assert_eq!(problems.len(), 1, "{url}: {problems:?}");
        assert!(problems[0].starts_with("storage.archive.url "), "{problems:?}");
        assert!(!problems[0].contains("secret"), "{problems:?}");
    }
}

#[test]
fn nothing_is_dropped_before_it_is_archived() {
    let with = |keys: &str, archive: &str| {
        load(&format!(
            "[storage]\n{keys}\n[storage.archive]\nurl = 's3://cold'\n{archive}\n"
        ))
    };
    assert!(with("retention = '90d'", "").is_ok());
    assert!(with("retention = '1d'", "after = '1d'").is_ok());
    assert_eq!(
        problems(with("retention = '89d'", "")),
        [
            "storage.retention must not be shorter than `storage.archive.after`: what is not archived is not dropped"
        ]
    );
    assert_eq!(problems(with("", "after = '23h'")).len(), 1);
    assert_eq!(problems(with("", "access_key_id = 'me'")).len(), 1);
    assert_eq!(problems(with("", "secret_access_key = 'hunter2'")).len(), 1);
    assert_eq!(problems(with("", "endpoint = 'http://me:hunter2@x'")).len(), 1);
    let local = load("[storage.archive]\nurl = 'cold'\nendpoint = 'http://x'\n");
    assert_eq!(
        problems(local),
        ["storage.archive.endpoint is only for an archive at \"s3://\""]
    );
    assert_eq!(problems(load("[storage.archive]\nafter = '2d'\n")).len(), 1);
}

#[test]
fn an_archive_is_shown_as_it_can_be_read_again() {
    let text = "[storage.archive]\nurl = 's3://cold/x'\nregion = 'eu-central-1'\nendpoint = 'http://127.0.0.1:9000'\n\
        access_key_id = 'me'\nsecret_access_key_file = '/run/secrets/x'\n";
    let settings = load(text).unwrap();
    assert!(settings.storage.archive.is_some());
    assert_eq!(
        load(&settings.to_toml().unwrap()).unwrap().storage,
        settings.storage
    );
}

#[test]
fn a_cache_of_nothing_is_none() {
    assert_eq!(defaults().storage.query_cache, 16 << 20);
    for off in ["'0'", "'0B'"] {
        let settings = load(&format!("[storage]\nquery_cache = {off}\n")).unwrap();
        assert_eq!(settings.storage.query_cache, 0);
        assert_eq!(
            load(&settings.to_toml().unwrap()).unwrap().storage,
            settings.storage
        );
    }
    for wrong in ["'2TiB'", "'-1'", "'much'"] {
        let told = problems(load(&format!("[storage]\nquery_cache = {wrong}\n")));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("storage.query_cache") && told[0].contains("\"0\""),
            "{told:?}"
        );
    }
}

fn kafka(settings: &Settings, name: &str) -> KafkaSettings {
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
fn an_output_is_read_shown_and_checked() {
    let plain = "[outputs.a]\nkind = 'kafka'\nbrokers = 'a:9092'\ntopics = { readings = 'clean' }
         match = { sensor = 'boiler-*' }\noptions = { 'compression.type' = 'zstd' }
         [outputs.b]\nkind = 'mqtt'\nbrokers = ['mqtt://a']\ntopics = { windows = 'x/{sensor_id}/{metric}' }\nkeep = 'forever'";
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
        "[outputs.a]\nkind = 'kafka'\nbrokers = []\ntopics = { readings = 'a b', alerts = 'c' }
         options = { acks = '0', 'message.timeout.ms' = 5, 'sasl.password' = 'hunter2', 'no.such' = 1 }
         [outputs.b]\nkind = 'mqtt'\nbrokers = ['mqtt://a']\ntopics = { readings = 'x/+', windows = '{sensor}' }\npassword_file = 'p'
         [outputs.c]\nkind = 'kafka'\nbrokers = 'a'\n[outputs.d]\nkind = 'pigeon'",
    ));
    for key in [
        "outputs.a.brokers",
        "outputs.a.topics.alerts",
        "outputs.a.topics.readings",
        "outputs.a.options.acks",
        "outputs.a.options.message.timeout.ms",
        "outputs.a.options.sasl.password",
        "outputs.a.options.no.such",
        "outputs.b.topics.readings",
        "outputs.b.topics.windows",
        "outputs.b.password_file",
        "outputs.c.topics",
        "outputs.d.kind must be one of `kafka`, `mqtt`",
    ] {
        assert!(
            found.iter().any(|problem| problem.starts_with(key)),
            "{key}: {found:?}"
        );
    }
    assert!(!found.join(" ").contains("hunter2"));
}
