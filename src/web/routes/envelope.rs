//! A series as a chart needs it: as many buckets as it has room for, each with its extremes, so that no peak is lost.
//!
//! The step is one that people would choose, and the same for a while as the range moves on, so that a chart that is drawn anew
//! does not flicker. Buckets without readings are absent: a gap is to be shown as one.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::history::series;
use crate::actors::query_cache::Reading;
use crate::domain::{Micros, Timestamp};
use crate::storage::history::{Bucket, Page};
use crate::web::answers::{self, Route};
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::{Moment, Params};
use crate::web::problem::Problem;
use crate::web::state::AppState;
use crate::web::wire::Time;

const DEFAULT_SPAN: Micros = 24 * 3_600_000_000;
const DEFAULT_POINTS: usize = 500;
const MAX_POINTS: usize = 5_000;

pub fn endpoints() -> [Endpoint; 1] {
    let viewer = Access::Local(Role::Viewer);
    [Endpoint::new("/api/sensors/{id}/envelope", viewer).get(envelope)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Envelope {
    pub sensor_id: String,
    pub metric: String,
    pub unit: Option<String>,
    /// Length of a bucket.
    pub step_seconds: f64,
    /// By time, ascending.
    pub data: Vec<EnvelopePoint>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnvelopePoint {
    /// The start of the bucket; those at the ends hold only what is in the range.
    pub time: Time,
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub first: f64,
    pub last: f64,
}

/// One series in so many points, each with its extremes, for a chart.
#[utoipa::path(get, path = "/api/sensors/{id}/envelope", tag = "History",
    params(
        ("id" = String, Path, description = "The sensor's id, percent-encoded"),
        ("metric" = Option<String>, Query, description = "Needed where the sensor has several"),
        ("from" = Option<String>, Query, description = "RFC 3339 or a span before now (-24h); inclusive"),
        ("to" = Option<String>, Query, description = "Exclusive (now)"),
        ("points" = Option<usize>, Query, description = "The most points, 1 to 5000 (500)"),
    ),
    responses(
        (status = 200, description = "The points that have readings", body = Envelope),
        (status = 404, description = "No such sensor or metric", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It takes too long: ask for less", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn envelope(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let mut params = Params::read(&request, &["metric", "from", "to", "points"])?;
    let now = state.now();
    let until = params.moment("to").unwrap_or(Moment::NOW);
    let since = params.moment("from").unwrap_or(until.earlier(DEFAULT_SPAN));
    let (from, to) = (since.at(now), until.at(now));
    let reason = format!("must be a number from 1 to {MAX_POINTS}");
    let parse = |text: &str| {
        text.parse()
            .ok()
            .filter(|points| (1..=MAX_POINTS).contains(points))
    };
    let points = params.parsed("points", &reason, parse).unwrap_or(DEFAULT_POINTS);
    if from >= to {
        params.wrong("from", "must be before `to`");
    }
    let metric = params.text("metric");
    params.finish()?;
    let step = step(from, to, points);
    let page = Page {
        from,
        to,
        limit: points,
        newest_first: false,
    };
    let question = (id.as_str(), metric.as_deref(), points);
    let asked = answers::asked(Route::Envelope, &question, (since, until), now)?;
    let read = async |reading: &Reading| {
        let info = state.sensor(&id)?;
        let name = series(&state, &info, metric.as_deref())?;
        reading.watch([name.series]);
        let buckets = state.store.buckets(name.series, &page, step).await?;
        Ok(Envelope {
            sensor_id: name.sensor.to_string(),
            metric: name.metric.to_string(),
            unit: name.unit,
            step_seconds: step as f64 / 1e6,
            data: buckets.iter().map(EnvelopePoint::from).collect(),
        })
    };
    state.answers.answer(&asked, read).await
}

const SECOND: Micros = 1_000_000;
const MINUTE: Micros = 60 * SECOND;
const HOUR: Micros = 60 * MINUTE;
const DAY: Micros = 24 * HOUR;

/// From a minute on they are made of whole minutes, hours or days, which the store may have added up already.
#[rustfmt::skip]
const STEPS: [Micros; 27] = [
    1_000, 10_000, 100_000, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND,
    MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
    DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY, 360 * DAY,
];

/// The smallest step by which `[from, to)` has no more than `points` buckets, counted from 1970.
fn step(from: Timestamp, to: Timestamp, points: usize) -> Micros {
    let fits = |step: &Micros| {
        let (first, last) = (from.0.div_euclid(*step), (to.0 - 1).div_euclid(*step));
        u64::try_from(last - first).is_ok_and(|between| between < points as u64)
    };
    let years = (1..).map(|years| years * STEPS[STEPS.len() - 1]).take(1_000);
    STEPS
        .into_iter()
        .chain(years)
        .find(fits)
        .unwrap_or(crate::storage::history::WHOLE)
}

impl From<&Bucket> for EnvelopePoint {
    fn from(bucket: &Bucket) -> Self {
        Self {
            time: Time(bucket.start),
            count: bucket.count,
            min: bucket.min,
            max: bucket.max,
            mean: bucket.sum / bucket.count as f64,
            first: bucket.first,
            last: bucket.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_the_smallest_that_fits() {
        let now = Timestamp(1_700_000_000 * SECOND);
        let of = |span: Micros, points| step(now.saturating_sub(span), now, points);
        assert_eq!(of(HOUR, 500), 10 * SECOND);
        assert_eq!(of(DAY, 500), 5 * MINUTE);
        assert_eq!(of(30 * DAY, 500), 2 * HOUR);
        // Both ends lie inside of a bucket, so that there is one more of them.
        assert_eq!(of(10 * MINUTE, 10), 2 * MINUTE);
        assert_eq!(of(10 * MINUTE, 11), MINUTE);
        assert_eq!(of(1, 1), 1_000);
    }

    #[test]
    fn any_range_has_a_step() {
        for (from, to) in [
            (i64::MIN, i64::MAX),
            (-1, 1),
            (i64::MIN, i64::MIN + 1),
            (0, i64::MAX),
        ] {
            for points in [1, 2, 500] {
                let step = step(Timestamp(from), Timestamp(to), points);
                assert!(step > 0, "{from} {to} {points}");
            }
        }
    }
}
