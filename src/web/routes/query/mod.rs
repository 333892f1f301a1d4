//! One question for history: raw readings or aggregates of one sensor, or of all that share a tag.
//!
//! Invariants: rows come sensor by sensor (in the order in which they were first heard) and series by series, or group by
//! group, each in the order of time. The cursor is the series or group and the time reached, so that pages are stable. A page
//! looks at a bounded number of series and readings, and may therefore be short; there is more as long as there is a `next`.

mod check;
mod cursor;
mod run;

use std::collections::BTreeMap;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use crate::actors::query_cache::Reading;
use crate::domain::Tags;
use crate::storage::history::Bucket;
use crate::web::answers::{self, Route};
use crate::web::auth::{Access, Role};
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

use self::check::Checked;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/query", Access::Local(Role::Viewer)).post(query)]
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// A sensor's id, or a tag as `key=value`, or `*` for all.
    measurement: String,
    /// `{"start", "end"}`, or a start alone such as `"-1h"` (default). Each is RFC 3339, `now`, a span before now, or a
    /// number of s, ms, µs or ns since 1970. The start is inclusive, the end exclusive and `now` by default.
    #[serde(default)]
    #[schema(value_type = Object)]
    time_range: serde_json::Value,
    #[serde(default)]
    filters: Filters,
    /// Without one: raw readings.
    aggregation: Option<Aggregation>,
    /// Length of a bucket such as `1m`; without one, one row for the whole range.
    step: Option<String>,
    /// A tag: one row for all series of a metric whose sensors have the same value of it.
    group_by: Option<String>,
    /// What to make of buckets without readings; by default they are left out.
    fill: Option<Fill>,
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Only these metrics.
    #[serde(default, alias = "field")]
    metric: OneOrMany,
    /// Only these sensors.
    #[serde(default, alias = "sensor_id")]
    sensor: OneOrMany,
    /// Only sensors with all these tags.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Only readings with such a value; not with an aggregation.
    value: Option<ValueFilter>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// All that are given must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueFilter {
    above: Option<f64>,
    below: Option<f64>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    equals: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, utoipa::ToSchema)]
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

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Rows whose value is null.
    Null,
    /// None.
    None,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RowBody {
    /// Of a bucket, its start.
    pub time: Time,
    /// The sensor; of a group, what was asked for.
    pub measurement: String,
    /// The metric.
    pub field: String,
    /// Null where a bucket has no readings, or a sum is beyond all numbers.
    pub value: Option<f64>,
    /// Of a group, its one tag; none where its sensors do not have that.
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
        (status = 422, description = "It takes too long: ask for less", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn query(state: Data<AppState>, request: HttpRequest, body: Body) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?.finish()?;
    let now = state.now();
    let question = Checked::check(body.json()?, now)?;
    let asked = answers::asked(Route::Query, &question, question.range, now)?;
    let run = async |reading: &Reading| run::run(&state, &question, reading).await;
    state.answers.answer(&asked, run).await
}

impl ValueFilter {
    fn takes(&self, value: f64) -> bool {
        self.above.is_none_or(|bound| value > bound)
            && self.below.is_none_or(|bound| value < bound)
            && self.at_least.is_none_or(|bound| value >= bound)
            && self.at_most.is_none_or(|bound| value <= bound)
            && self.equals.is_none_or(|wanted| value == wanted)
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

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

impl Default for OneOrMany {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}
