//! The newest values: live where the sensor spoke since the start, else from the store.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::sensors::{cursor_key, key_cursor};
use crate::actors::latest::LatestValue;
use crate::actors::registry::SensorInfo;
use crate::domain::SeriesId;
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::AppState;
use crate::web::wire::Time;

pub fn endpoints() -> [Endpoint; 2] {
    [
        Endpoint::new("/api/metrics/latest", Access::Local(Role::Viewer)).get(latest),
        Endpoint::new("/api/realtime-data", Access::Local(Role::Viewer)).get(realtime),
    ]
}

/// The newest value of a series.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct LatestEntry {
    pub value: f64,
    pub time: Time,
    pub unit: Option<String>,
}

/// The newest reading of all, and the newest values of its sensor.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RealtimeBody {
    pub sensor_id: String,
    pub metric: String,
    pub value: f64,
    pub time: Time,
    pub unit: Option<String>,
    pub metrics: BTreeMap<String, LatestEntry>,
}

type BySensor = BTreeMap<String, BTreeMap<String, LatestEntry>>;

/// The newest value of every series, by sensor and metric.
#[utoipa::path(get, path = "/api/metrics/latest", tag = "Values",
    params(
        ("sensor" = Option<String>, Query, description = "Only this sensor"),
        ("flat" = Option<bool>, Query, description = "With `sensor`: only {metric: value}"),
        ("limit" = Option<usize>, Query, description = "Sensors a page, 1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before"),
    ),
    responses(
        (status = 200, description = "{sensor: {metric: {value, time, unit}}}", body = BTreeMap<String, BTreeMap<String, LatestEntry>>),
        (status = 404, description = "No such sensor", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn latest(state: Data<AppState>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let mut params = Params::read(&request, &["sensor", "flat", "limit", "cursor"])?;
    let (sensor, flat, limit) = (params.text("sensor"), params.flag("flat"), params.limit());
    let after = params.parsed("cursor", "is no cursor of this list", cursor_key);
    if flat && sensor.is_none() {
        params.wrong("flat", "needs `sensor`");
    }
    params.finish()?;
    let Some(sensor) = sensor else {
        let sensors = state.registry().list(after, limit, |_, _| true);
        let next = (sensors.len() == limit)
            .then(|| sensors.last().map(|info| key_cursor(info.key)))
            .flatten();
        let mut response = HttpResponse::Ok();
        if let Some(next) = next {
            let link = format!("</api/metrics/latest?limit={limit}&cursor={next}>; rel=\"next\"");
            response.insert_header((header::LINK, link));
        }
        return Ok(response.json(of_sensors(&state, &sensors).await));
    };
    let info = state.sensor(&sensor)?;
    let found = of_sensors(&state, std::slice::from_ref(&info)).await;
    if !flat {
        return Ok(HttpResponse::Ok().json(found));
    }
    let values = found.into_values().flatten();
    let values: BTreeMap<String, f64> = values.map(|(metric, entry)| (metric, entry.value)).collect();
    Ok(HttpResponse::Ok().json(values))
}

/// The newest reading of all.
#[utoipa::path(get, path = "/api/realtime-data", tag = "Values",
    responses(
        (status = 200, description = "The reading with the newest time", body = RealtimeBody),
        (status = 404, description = "Before the first reading: `{\"error\":\"No data available\"}`", body = serde_json::Value),
    ))]
pub async fn realtime(state: Data<AppState>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::read(&request, &[])?.finish()?;
    if state.latest.newest().is_none() {
        let sensors = state.registry().list(None, 1_000, |_, _| true);
        of_sensors(&state, &sensors).await;
    }
    let newest = state.latest.newest();
    let found = newest.and_then(|(series, value)| Some((state.registry().name(series)?, value)));
    let Some((name, value)) = found else {
        return Ok(HttpResponse::NotFound().json(serde_json::json!({ "error": "No data available" })));
    };
    let info = state.sensor(name.sensor.as_str())?;
    let metrics = of_sensors(&state, &[info])
        .await
        .into_values()
        .next()
        .unwrap_or_default();
    Ok(HttpResponse::Ok().json(RealtimeBody {
        sensor_id: name.sensor.to_string(),
        metric: name.metric.to_string(),
        value: value.value,
        time: Time(value.time),
        unit: name.unit,
        metrics,
    }))
}

/// The newest values of these sensors. What is not known live is read from the store once and known from then on; where the
/// store does not answer, what is live must do.
pub async fn of_sensors(state: &AppState, sensors: &[SensorInfo]) -> BySensor {
    let missing: Vec<SeriesId> = sensors
        .iter()
        .flat_map(|info| info.series.iter().map(move |(_, series)| (info.shard, *series)))
        .filter(|(shard, series)| state.latest.get(*shard, *series).is_none())
        .map(|(_, series)| series)
        .collect();
    let mut stored = BTreeMap::new();
    if !missing.is_empty() {
        match state.store.latest(&missing).await {
            Ok(points) => {
                // What another instance hears would be outdated here with its next reading.
                let ours = sensors.iter().filter(|info| state.registry().is_ours(info.key));
                remember(state, ours, &points);
                stored = points
                    .into_iter()
                    .map(|(series, point)| (series.0, point))
                    .collect();
            }
            Err(error) => tracing::warn!(%error, "the latest values could not be read"),
        }
    }
    let mut all = BySensor::new();
    for info in sensors {
        let entries = info.series.iter().filter_map(|(metric, series)| {
            let (time, value) = match state.latest.get(info.shard, *series) {
                Some(live) => (live.time, live.value),
                None => stored.get(&series.0).map(|point| (point.time, point.value))?,
            };
            let unit = state.registry().name(*series)?.unit;
            let time = Time(time);
            Some((metric.to_string(), LatestEntry { value, time, unit }))
        });
        let entries: BTreeMap<_, _> = entries.collect();
        if !entries.is_empty() {
            all.insert(info.id.to_string(), entries);
        }
    }
    all
}

fn remember<'a>(
    state: &AppState,
    sensors: impl Iterator<Item = &'a SensorInfo>,
    stored: &[(SeriesId, crate::storage::history::StoredPoint)],
) {
    let mut points: BTreeMap<u32, _> = stored.iter().map(|(series, point)| (series.0, *point)).collect();
    for info in sensors {
        let values = info.series.iter().filter_map(|(_, series)| {
            let point = points.remove(&series.0)?;
            let (time, value) = (point.time, point.value);
            Some((
                *series,
                LatestValue {
                    sensor: info.key,
                    time,
                    value,
                },
            ))
        });
        state.latest.offer(info.shard, values);
    }
}
