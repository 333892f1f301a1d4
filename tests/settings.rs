//! The settings as an operator meets them: files, the environment, flags, and every mistake at once.

#[path = "settings/alerting.rs"]
mod alerting;
#[path = "settings/documented.rs"]
mod documented;
#[path = "settings/layers.rs"]
mod layers;
#[path = "settings/mistakes.rs"]
mod mistakes;
#[path = "settings/outputs.rs"]
mod outputs;
#[path = "settings/rules.rs"]
mod rules;
#[path = "settings/series.rs"]
mod series;
#[path = "settings/sources.rs"]
mod sources;
#[path = "settings/storage.rs"]
mod storage;

use std::io::Write;

use sensorhive::settings::{Layers, Settings, SettingsError};
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
