//! One question for history: raw readings or aggregates of one sensor, or of all that share a tag.
//!
//! Invariants: rows come sensor by sensor (in the order in which they were first heard), series by series, each in the order of
//! time. The cursor is the series and the time reached, so that pages are stable. A page looks at [`MAX_SERIES`] series at most,
//! and may therefore be short; there is more as long as there is a `next`.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::history::go_on;
use crate::actors::registry::SensorInfo;
use crate::domain::{Micros, SensorKey, SeriesId, Tags, Timestamp};
use crate::storage::history::{Bucket, Page};
use crate::web::auth::{Access, Role};
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::params::{self, MAX_LIMIT, Params};
use crate::web::problem::{FieldError, Problem};
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

/// Series that one page looks at.
const MAX_SERIES: usize = 1_000;
const DEFAULT_LIMIT: usize = 1_000;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/query", Access::Local(Role::Viewer)).post(query)]
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// A sensor's id, or a tag as `key=value`.
    measurement: String,
    #[serde(default)]
    time_range: Span,
    #[serde(default)]
    filters: Filters,
    /// Without one: raw readings.
    aggregation: Option<Aggregation>,
    /// Length of a bucket such as `1m`; without one, one row for the whole range.
    step: Option<String>,
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// RFC 3339 or a span before now such as `-1h` (default); inclusive.
    start: Option<String>,
    /// Exclusive; default `now`.
    end: Option<String>,
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Only these metrics.
    #[serde(default, alias = "field")]
    metric: OneOrMany,
    /// Only sensors with all these tags.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    Mean,
    Min,
    Max,
    Sum,
    Count,
    First,
    Last,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RowBody {
    /// Of a bucket, its start.
    pub time: Time,
    /// The sensor.
    pub measurement: String,
    /// The metric.
    pub field: String,
    pub value: f64,
    pub tags: Tags,
}

/// Raw readings, or aggregates by step.
#[utoipa::path(post, path = "/api/query", tag = "History",
    request_body(content = Question, example = json!({
        "measurement": "host", "time_range": {"start": "-1h"}, "filters": {"metric": "cpu_usage"},
        "aggregation": "mean", "step": "1m", "limit": 100})),
    responses(
        (status = 200, description = "A page", body = Listed<RowBody>),
        (status = 400, description = "What is wrong, by field", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn query(
    state: Data<AppState>,
    request: HttpRequest,
    body: Body,
) -> Result<Json<Listed<RowBody>>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let question = Checked::check(body.json()?, state.now())?;
    let mut rows = Vec::new();
    let mut resume = question.cursor;
    for (looked, (info, series)) in question.series(&state).into_iter().enumerate() {
        let from = resume
            .take()
            .filter(|cursor| cursor.series == series)
            .and_then(|cursor| cursor.time);
        if rows.len() >= question.limit || looked == MAX_SERIES {
            let next = Cursor {
                sensor: info.key,
                series,
                time: from,
            };
            return Ok(Json(Listed {
                data: rows,
                next: Some(next.encode()),
            }));
        }
        let room = question.limit - rows.len();
        let found = question.ask(&state, series, from, room).await?;
        let last = found.last().map(|(time, _)| *time);
        let full = found.len() >= room && question.step.is_none_or(|step| step > 0);
        let field = info
            .series
            .iter()
            .find(|(_, id)| *id == series)
            .map(|(metric, _)| metric.to_string());
        rows.extend(found.into_iter().map(|(time, value)| RowBody {
            time: Time(time),
            measurement: info.id.to_string(),
            field: field.clone().unwrap_or_default(),
            value,
            tags: info.tags.clone(),
        }));
        if full && !question.whole() {
            let next = Cursor {
                sensor: info.key,
                series,
                time: last,
            };
            return Ok(Json(Listed {
                data: rows,
                next: Some(next.encode()),
            }));
        }
    }
    Ok(Json(Listed {
        data: rows,
        next: None,
    }))
}

struct Checked {
    measurement: String,
    metrics: Vec<String>,
    tags: BTreeMap<String, String>,
    from: Timestamp,
    to: Timestamp,
    aggregation: Option<Aggregation>,
    step: Option<Micros>,
    limit: usize,
    cursor: Option<Cursor>,
}

/// Where a page goes on: at this series, after this time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cursor {
    sensor: SensorKey,
    series: SeriesId,
    time: Option<Timestamp>,
}

impl Checked {
    fn check(question: Question, now: Timestamp) -> Result<Self, Problem> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, reason: String| errors.push(FieldError::new(field, "invalid", reason));
        let mut time = |field: &str, text: Option<String>, default: Timestamp| match text {
            None => default,
            Some(text) => params::time(&text, now).unwrap_or_else(|| {
                wrong(field, params::TIME.to_owned());
                default
            }),
        };
        let from = time(
            "time_range.start",
            question.time_range.start,
            now.saturating_sub(3_600_000_000),
        );
        let to = time("time_range.end", question.time_range.end, now);
        if from >= to {
            wrong("time_range", "must start before it ends".to_owned());
        }
        let step = question
            .step
            .map(|text| params::span_micros(&text).filter(|step| *step > 0));
        if step == Some(None) {
            wrong("step", "must be a span of time such as 1m".to_owned());
        }
        if step.is_some() && question.aggregation.is_none() {
            wrong("step", "needs `aggregation`".to_owned());
        }
        let limit = question.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            wrong("limit", format!("must be a number from 1 to {MAX_LIMIT}"));
        }
        let cursor = question.cursor.map(|text| Cursor::decode(&text));
        if cursor == Some(None) {
            wrong("cursor", "is no cursor of this list".to_owned());
        }
        params::finish(errors)?;
        Ok(Self {
            measurement: question.measurement,
            metrics: match question.filters.metric {
                OneOrMany::One(metric) => vec![metric],
                OneOrMany::Many(metrics) => metrics,
            },
            tags: question.filters.tags,
            from,
            to,
            aggregation: question.aggregation,
            step: step.flatten(),
            limit,
            cursor: cursor.flatten(),
        })
    }

    /// The series in question from the cursor on, one more than a page looks at.
    fn series(&self, state: &AppState) -> Vec<(SensorInfo, SeriesId)> {
        let tagged = |of: &Tags| self.tags.iter().all(|(key, value)| of.get(key) == Some(value));
        let sensors = match state.registry().sensor_named(&self.measurement) {
            Some(info) => {
                if tagged(&info.tags) {
                    vec![info]
                } else {
                    Vec::new()
                }
            }
            None => match self.measurement.split_once('=') {
                Some((key, value)) => {
                    let first = self
                        .cursor
                        .and_then(|cursor| cursor.sensor.0.checked_sub(1))
                        .map(SensorKey);
                    let keep = |_: &str, of: &Tags| of.get(key).is_some_and(|has| has == value) && tagged(of);
                    state.registry().list(first, MAX_SERIES + 1, keep)
                }
                None => Vec::new(),
            },
        };
        let mut all = Vec::new();
        for info in sensors {
            let mut of_sensor: Vec<SeriesId> = info
                .series
                .iter()
                .filter(|(metric, _)| {
                    self.metrics.is_empty() || self.metrics.iter().any(|m| m == metric.as_str())
                })
                .map(|(_, series)| *series)
                .collect();
            of_sensor.sort_by_key(|series| series.0);
            all.extend(of_sensor.into_iter().map(|series| (info.clone(), series)));
        }
        if let Some(cursor) = self.cursor {
            all.retain(|(info, series)| (info.key.0, series.0) >= (cursor.sensor.0, cursor.series.0));
        }
        all.truncate(MAX_SERIES + 1);
        all
    }

    /// Whether each series gives one row for the whole range.
    fn whole(&self) -> bool {
        self.aggregation.is_some() && self.step.is_none()
    }

    async fn ask(
        &self,
        state: &AppState,
        series: SeriesId,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, f64)>, Problem> {
        let mut page = Page {
            from: self.from,
            to: self.to,
            limit,
            newest_first: false,
        };
        let Some(aggregation) = self.aggregation else {
            if let Some(after) = after {
                go_on(&mut page, after);
            }
            let points = state.store.readings(series, &page).await?;
            return Ok(points.iter().map(|point| (point.time, point.value)).collect());
        };
        if let (Some(after), Some(step)) = (after, self.step) {
            page.from = page.from.max(after.saturating_add(step));
        }
        let step = self.step.unwrap_or_else(|| self.to.since(self.from).max(1));
        if self.whole() {
            // Buckets are aligned to 1970, so a range as long as a bucket touches two.
            page.limit = 2;
        }
        let buckets = state.store.buckets(series, &page, step).await?;
        if self.whole() {
            let all = buckets.into_iter().reduce(|earlier, later| earlier.join(&later));
            return Ok(all
                .map(|bucket| (self.from, aggregation.of(&bucket)))
                .into_iter()
                .collect());
        }
        Ok(buckets
            .iter()
            .map(|bucket| (bucket.start, aggregation.of(bucket)))
            .collect())
    }
}

impl Aggregation {
    fn of(self, bucket: &Bucket) -> f64 {
        match self {
            Aggregation::Mean => bucket.sum / bucket.count as f64,
            Aggregation::Min => bucket.min,
            Aggregation::Max => bucket.max,
            Aggregation::Sum => bucket.sum,
            Aggregation::Count => bucket.count as f64,
            Aggregation::First => bucket.first,
            Aggregation::Last => bucket.last,
        }
    }
}

impl Default for OneOrMany {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl Cursor {
    fn encode(self) -> String {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend(self.sensor.0.to_be_bytes());
        bytes.extend(self.series.0.to_be_bytes());
        bytes.extend(self.time.map(|time| time.0.to_be_bytes()).into_iter().flatten());
        BASE64URL_NOPAD.encode(&bytes)
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (sensor, rest) = bytes.split_first_chunk()?;
        let (series, rest) = rest.split_first_chunk()?;
        let time = match rest {
            [] => None,
            time => Some(Timestamp(i64::from_be_bytes(time.try_into().ok()?))),
        };
        Some(Self {
            sensor: SensorKey(u32::from_be_bytes(*sensor)),
            series: SeriesId(u32::from_be_bytes(*series)),
            time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_says_the_same_when_it_comes_back() {
        for time in [None, Some(Timestamp(-5)), Some(Timestamp(1_730_332_800_123_000))] {
            let cursor = Cursor {
                sensor: SensorKey(7),
                series: SeriesId(9),
                time,
            };
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
        for text in ["", "AAAA", "not base64!", "AAAAAAAAAAAAAA"] {
            assert_eq!(Cursor::decode(text), None, "{text}");
        }
    }
}
