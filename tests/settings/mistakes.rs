//! Mistakes: all at once, each with its key and its place.

use std::path::PathBuf;

use sensorhive::settings::Layers;

use crate::{file, load, load_with, problems};

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
fn what_is_not_built_yet_is_accepted_and_named() {
    let settings = load("[alerting]\nschedules = []").unwrap();
    assert_eq!(settings.unavailable, ["alerting.schedules"]);
}
