//! Files, the environment and flags, one over the other, and what comes out.

use std::path::PathBuf;
use std::time::Duration;

use sensorhive::domain::Tags;
use sensorhive::settings::{DetectorSettings, Layers, SourceSettings, StorageUrl, Synchronous};
use sensorhive::simulate::Fault;

use crate::{defaults, file, load, load_with};

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
