//! `[sources.NAME.csv]`: what the columns of tables are.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decode::{Column, CsvMapping, CsvValues, TableTime, check_tag_name};
use crate::domain::MetricName;
use crate::settings::units;

/// Columns by their names in the header, or by their places, from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsvSettings {
    /// Whether the first line has the names of the columns.
    pub header: bool,
    #[serde(deserialize_with = "delimiter")]
    pub delimiter: char,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor_id: Option<Column>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Column>,
    /// How times are written: `auto`, `s`, `ms`, `us`, `ns`, or a pattern such as `%d.%m.%Y %H:%M:%S`.
    #[serde(deserialize_with = "time", serialize_with = "shown_time")]
    pub time_format: TableTime,
    /// One reading a row: what is measured, and its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<Column>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Column>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Column>,
    /// Several readings a row: columns, or what each metric's column is. Without this and `value` every column with a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Columns>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Columns>,
}

/// Columns that keep their names, or get others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Columns {
    Same(Vec<String>),
    Named(BTreeMap<String, Column>),
}

impl Columns {
    fn named(&self) -> Vec<(String, Column)> {
        match self {
            Columns::Same(names) => {
                let named = names
                    .iter()
                    .map(|name| (name.clone(), Column::Name(name.clone())));
                named.collect()
            }
            Columns::Named(columns) => columns.clone().into_iter().collect(),
        }
    }
}

impl CsvSettings {
    /// As the decoder takes it.
    pub fn mapping(&self) -> CsvMapping {
        CsvMapping {
            header: self.header,
            delimiter: u8::try_from(self.delimiter).unwrap_or(b','),
            sensor_id: self.sensor_id.clone(),
            timestamp: self.timestamp.clone(),
            time: self.time_format.clone(),
            tags: self.tags.as_ref().map(Columns::named).unwrap_or_default(),
            values: match (&self.value, &self.metrics) {
                (Some(value), _) => CsvValues::Long {
                    metric: self.metric.clone(),
                    value: value.clone(),
                    unit: self.unit.clone(),
                },
                (None, Some(metrics)) => {
                    let metrics = metrics.named().into_iter();
                    let parsed =
                        metrics.filter_map(|(name, column)| Some((MetricName::parse(&name).ok()?, column)));
                    CsvValues::Wide(parsed.collect())
                }
                (None, None) => CsvValues::Numbers,
            },
        }
    }

    pub(in crate::settings) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut must = |holds: bool, key: &str, message: String| {
            if !holds {
                found.push((key.to_owned(), message));
            }
        };
        let both = "goes with `value`: one reading a row, or several by `metrics`";
        must(
            self.metrics.is_none() || self.value.is_none(),
            "metrics",
            "and `value` exclude each other".into(),
        );
        must(
            self.metric.is_none() || self.value.is_some(),
            "metric",
            both.into(),
        );
        must(self.unit.is_none() || self.value.is_some(), "unit", both.into());
        let all = self.value.is_none() && self.metrics.is_none();
        must(
            self.header || !all,
            "header",
            "is missing, so that columns have no names: set `value` or `metrics`".into(),
        );
        for (name, _) in self.metrics.as_ref().map(Columns::named).unwrap_or_default() {
            if let Err(error) = MetricName::check(&name) {
                must(
                    false,
                    "metrics",
                    format!("has \"{}\", which {error}", name.escape_debug()),
                );
            }
        }
        for (name, _) in self.tags.as_ref().map(Columns::named).unwrap_or_default() {
            if let Err(error) = check_tag_name(&name) {
                must(
                    false,
                    "tags",
                    format!("has \"{}\", which {error}", name.escape_debug()),
                );
            }
        }
        let columns = [
            &self.sensor_id,
            &self.timestamp,
            &self.metric,
            &self.value,
            &self.unit,
        ];
        let named = self.metrics.iter().chain(&self.tags).flat_map(Columns::named);
        let mut columns = columns
            .into_iter()
            .flatten()
            .cloned()
            .chain(named.map(|(_, column)| column));
        must(
            self.header || !columns.any(|column| matches!(column, Column::Name(_))),
            "header",
            "is missing, so that columns have no names: give their places, from 0".into(),
        );
        found
    }
}

impl Default for CsvSettings {
    fn default() -> Self {
        CsvSettings {
            header: true,
            delimiter: ',',
            sensor_id: None,
            timestamp: None,
            time_format: TableTime::Unit(crate::decode::TimeUnit::Auto),
            metric: None,
            value: None,
            unit: None,
            metrics: None,
            tags: None,
        }
    }
}

fn delimiter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<char, D::Error> {
    let expected = "one ASCII character such as \",\", \";\" or \"\\t\"";
    let text = String::deserialize(deserializer)?;
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if letter.is_ascii() && !matches!(letter, '\n' | '\r' | '"') => Ok(letter),
        _ => Err(serde::de::Error::custom(format!("must be {expected}"))),
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TableTime, D::Error> {
    units::parsed(
        deserializer,
        "`auto`, `s`, `ms`, `us`, `ns`, or a pattern such as \"%d.%m.%Y %H:%M:%S\"",
        TableTime::parse,
    )
}

fn shown_time<S: Serializer>(time: &TableTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(time.as_str())
}
