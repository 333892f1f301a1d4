//! `kind = "file"`: files that grow, are rotated, or lie in a directory.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::csv::CsvSettings;
use crate::actors::ingest::file::PathPattern;
use crate::decode::TimeUnit;
use crate::domain::{MetricName, SensorId};
use crate::settings::{MappingSettings, units};

/// Files whose lines are readings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSettings {
    pub enabled: bool,
    /// A path, whose components may have `*`, `?`, `[…]` and `{…}`.
    #[serde(deserialize_with = "path", serialize_with = "written")]
    pub path: PathPattern,
    pub format: FileFormat,
    /// What the times of line protocol count.
    pub precision: Precision,
    /// Where files are begun that are there at the very first start.
    pub begin: FileBegin,
    /// How often files are looked at.
    #[serde(with = "units::interval")]
    pub interval: Duration,
    /// After how long a file that is gone is forgotten.
    #[serde(with = "units::age")]
    pub forget_after: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_sensor: Option<SensorId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_metric: Option<MetricName>,
    /// Where the fields of JSON in another form are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingSettings>,
    /// What the columns of tables are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSettings>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// A payload in each line.
    Json,
    /// Line protocol.
    Lines,
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileBegin {
    Beginning,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    S,
    Ms,
    Us,
    Ns,
}

impl From<Precision> for TimeUnit {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::S => TimeUnit::S,
            Precision::Ms => TimeUnit::Ms,
            Precision::Us => TimeUnit::Us,
            Precision::Ns => TimeUnit::Ns,
        }
    }
}

impl FileSettings {
    /// What does not fit, each with the key below the source's own; empty where all does.
    pub(in crate::settings) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut must = |holds: bool, key: &str, message: &str| {
            if !holds {
                found.push((key.to_owned(), message.to_owned()));
            }
        };
        must(
            !self.path.as_str().is_empty(),
            "path",
            "is needed, such as \"/var/log/sensors/*.jsonl\"",
        );
        must(
            self.mapping.is_none() || self.format == FileFormat::Json,
            "mapping",
            "is only for `format = \"json\"`",
        );
        must(
            self.csv.is_none() || self.format == FileFormat::Csv,
            "csv",
            "is only for `format = \"csv\"`",
        );
        must(
            self.precision == Precision::Ns || self.format == FileFormat::Lines,
            "precision",
            "is only for `format = \"lines\"`",
        );
        if self.format == FileFormat::Csv {
            let csv = self.csv.clone().unwrap_or_default();
            let named = csv.sensor_id.is_some() || self.default_sensor.is_some();
            must(
                named,
                "csv.sensor_id",
                "is needed, or the source a `default_sensor`: nothing else says whose the rows are",
            );
            for (key, message) in csv.problems() {
                found.push((format!("csv.{key}"), message));
            }
        }
        found
    }
}

impl Default for FileSettings {
    fn default() -> Self {
        FileSettings {
            enabled: true,
            path: PathPattern::none(),
            format: FileFormat::Json,
            precision: Precision::Ns,
            begin: FileBegin::Beginning,
            interval: Duration::from_secs(1),
            forget_after: Some(Duration::from_secs(30 * 86_400)),
            default_sensor: None,
            default_metric: None,
            mapping: None,
            csv: None,
        }
    }
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathPattern, D::Error> {
    let text = String::deserialize(deserializer)?;
    PathPattern::parse(&text).map_err(serde::de::Error::custom)
}

fn written<S: Serializer>(path: &PathPattern, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(path.as_str())
}
