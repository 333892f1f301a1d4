//! A question, with every mistake in it told at once; and the series that it is about.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::cursor::{Cursor, Place};
use super::{Aggregation, Fill, Question, ValueFilter};
use crate::actors::registry::SensorInfo;
use crate::domain::{Micros, SensorKey, SeriesId, Tags, Timestamp};
use crate::web::params::{self, MAX_LIMIT, Moment};
use crate::web::problem::{FieldError, Problem};
use crate::web::state::AppState;

const DEFAULT_LIMIT: usize = 1_000;
const DEFAULT_SPAN: Micros = 3_600_000_000;
const TIME: &str = "must be a time (RFC 3339), `now`, a span before now such as -1h, or a number since 1970";

/// It is told apart from others by what is written of it, and by its range.
#[derive(Serialize)]
pub struct Checked {
    pub selection: Selection,
    #[serde(skip)]
    pub range: (Moment, Moment),
    #[serde(skip)]
    pub from: Timestamp,
    #[serde(skip)]
    pub to: Timestamp,
    pub value: Option<ValueFilter>,
    pub aggregation: Option<Aggregation>,
    pub step: Option<Micros>,
    pub group_by: Option<String>,
    /// Whether empty buckets are rows.
    pub fill: bool,
    pub limit: usize,
    pub cursor: Option<Cursor>,
}

/// Which series are asked about.
#[derive(Serialize)]
pub struct Selection {
    pub measurement: String,
    sensors: Vec<String>,
    metrics: Vec<String>,
    tags: BTreeMap<String, String>,
}

/// Mistakes, by field.
struct Wrong(Vec<FieldError>);

impl Wrong {
    fn say(&mut self, field: &str, reason: impl Into<String>) {
        self.0.push(FieldError::new(field, "invalid", reason));
    }
}

impl Checked {
    pub fn check(question: Question, now: Timestamp) -> Result<Self, Problem> {
        let mut wrong = Wrong(Vec::new());
        let range = time_range(question.time_range, now, &mut wrong);
        let aggregated = question.aggregation.is_some();
        let step = question
            .step
            .map(|text| params::span_micros(&text).filter(|step| *step > 0));
        if step == Some(None) {
            wrong.say("step", "must be a span of time such as 1m");
        }
        if step.is_some() && !aggregated {
            wrong.say("step", "needs `aggregation`");
        }
        if question.group_by.is_some() && !aggregated {
            wrong.say("group_by", "needs `aggregation`");
        }
        let fill = question.fill == Some(Fill::Null);
        if fill && step.is_none() {
            wrong.say("fill", "needs `step`");
        }
        let value = question.filters.value;
        if let Some(value) = &value {
            if aggregated {
                wrong.say(
                    "filters.value",
                    "goes with raw readings only: leave out `aggregation`",
                );
            }
            check_value(value, &mut wrong);
        }
        let limit = question.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            wrong.say("limit", format!("must be a number from 1 to {MAX_LIMIT}"));
        }
        let fits = |cursor: &Cursor| matches!(cursor.at, Place::Group(_)) == question.group_by.is_some();
        let cursor = question.cursor.map(|text| Cursor::decode(&text).filter(fits));
        if cursor == Some(None) {
            wrong.say("cursor", "is no cursor of this list");
        }
        params::finish(wrong.0)?;
        Ok(Self {
            selection: Selection {
                measurement: question.measurement,
                sensors: question.filters.sensor.into_vec(),
                metrics: question.filters.metric.into_vec(),
                tags: question.filters.tags,
            },
            range,
            from: range.0.at(now),
            to: range.1.at(now),
            value,
            aggregation: question.aggregation,
            step: step.flatten(),
            group_by: question.group_by,
            fill,
            limit,
            cursor: cursor.flatten(),
        })
    }
}

fn time_range(given: Value, now: Timestamp, wrong: &mut Wrong) -> (Moment, Moment) {
    let (mut start, mut end) = (None, None);
    match given {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let field = format!("time_range.{name}");
                match name.as_str() {
                    "start" => start = time(&field, &value, wrong),
                    "end" => end = time(&field, &value, wrong),
                    _ => wrong.say(&field, "is no field here, known are: start, end"),
                }
            }
        }
        Value::String(_) | Value::Number(_) => start = time("time_range", &given, wrong),
        _ => wrong.say(
            "time_range",
            format!("must be {{start, end}} or a start: it {TIME}"),
        ),
    }
    let (from, to) = (
        start.unwrap_or(Moment::Before(DEFAULT_SPAN)),
        end.unwrap_or(Moment::NOW),
    );
    if from.at(now) >= to.at(now) && wrong.0.is_empty() {
        wrong.say("time_range", "must start before it ends");
    }
    (from, to)
}

fn time(field: &str, given: &Value, wrong: &mut Wrong) -> Option<Moment> {
    let time = match given {
        Value::Null => return None,
        Value::String(text) => params::moment(text),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Timestamp::from_integer(integer).ok(),
            None => number
                .as_f64()
                .and_then(|number| Timestamp::from_number(number).ok()),
        }
        .map(Moment::At),
        _ => None,
    };
    if time.is_none() {
        wrong.say(field, TIME);
    }
    time
}

fn check_value(filter: &ValueFilter, wrong: &mut Wrong) {
    let field = "filters.value";
    if *filter == ValueFilter::default() {
        wrong.say(
            field,
            "needs at least one of: above, below, at_least, at_most, equals",
        );
    }
    let low = filter.above.into_iter().chain(filter.at_least).reduce(f64::max);
    let high = filter.below.into_iter().chain(filter.at_most).reduce(f64::min);
    if let (Some(low), Some(high)) = (low, high)
        && low > high
    {
        wrong.say(
            field,
            format!("takes nothing: no value is both above {low} and below {high}"),
        );
    }
}

impl Selection {
    /// The series in question, at most `limit`, those of sensors in the order of their keys, from the place of `cursor` on.
    pub fn series(
        &self,
        state: &AppState,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Vec<(SensorInfo, SeriesId)> {
        let begin = match cursor.map(|cursor| &cursor.at) {
            Some(Place::Series(sensor, series)) => (sensor.0, series.0),
            _ => (0, 0),
        };
        let mut all = Vec::new();
        for info in self.sensors(state, SensorKey(begin.0), limit) {
            let mut of_sensor: Vec<SeriesId> = info
                .series
                .iter()
                .filter(|(metric, _)| {
                    self.metrics.is_empty() || self.metrics.iter().any(|m| m == metric.as_str())
                })
                .map(|(_, series)| *series)
                .filter(|series| (info.key.0, series.0) >= begin)
                .collect();
            of_sensor.sort_by_key(|series| series.0);
            all.extend(of_sensor.into_iter().map(|series| (info.clone(), series)));
        }
        all.truncate(limit);
        all
    }

    /// Sensors with a series at least that is asked about, from `first` on.
    fn sensors(&self, state: &AppState, first: SensorKey, limit: usize) -> Vec<SensorInfo> {
        let wanted = |id: &str, of: &Tags| {
            (self.sensors.is_empty() || self.sensors.iter().any(|sensor| sensor == id))
                && self.tags.iter().all(|(key, value)| of.get(key) == Some(value))
        };
        if let Some(info) = state.registry().sensor_named(&self.measurement) {
            return if info.key >= first && wanted(info.id.as_str(), &info.tags) {
                vec![info]
            } else {
                Vec::new()
            };
        }
        let after = first.0.checked_sub(1).map(SensorKey);
        match self.measurement.split_once('=') {
            _ if self.measurement == "*" => state.registry().list(after, limit, wanted),
            Some((key, value)) => {
                let tagged = |of: &Tags| of.get(key).is_some_and(|has| has == value);
                let keep = |id: &str, of: &Tags| tagged(of) && wanted(id, of);
                state.registry().list(after, limit, keep)
            }
            None => Vec::new(),
        }
    }
}
