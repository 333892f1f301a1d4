//! `[log]`: how much is logged, and for whom.

use serde::{Deserialize, Deserializer, Serialize};
use tracing_subscriber::EnvFilter;

use super::units;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// A level, and levels of parts of the program, such as `info,sensorhive::web=debug`.
    #[serde(deserialize_with = "level")]
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: a line of text an event.
    Human,
    /// For machines: a JSON object an event.
    Json,
}

impl LogFormat {
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Human => "human",
            LogFormat::Json => "json",
        }
    }
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let expected = "off, error, warn, info, debug or trace, or a list such as \"info,sensorhive::web=debug\"";
    units::parsed(deserializer, expected, |text| {
        // The filter takes a word it does not know for the name of a part; a misspelt level must not pass as one.
        let known = |part: &str| part.contains('=') || LEVELS.contains(&part.trim().to_lowercase().as_str());
        let good = text.split(',').all(known) && EnvFilter::try_new(text).is_ok();
        good.then(|| text.to_owned())
    })
}
