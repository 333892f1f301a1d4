//! Sensors: how one is. Which there are is in [`super::listing`].

use std::collections::{BTreeMap, HashMap};

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Path};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::latest::{self, LatestEntry};
use crate::actors::registry::SensorInfo;
use crate::actors::sensor::Inspect;
use crate::actors::shard::env::Mode;
use crate::actors::shard::messages::{Find, ListSensors, SensorStatus};
use crate::domain::{SensorKey, Tags};
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::{Kind, Problem};
use crate::web::state::{AppState, ask};
use crate::web::wire::{LedgerBody, Time};

pub fn endpoints() -> [Endpoint; 3] {
    let viewer = Access::Local(Role::Viewer);
    [
        Endpoint::new("/api/sensors/{id}", viewer).get(detail),
        Endpoint::new("/api/sensors/{id}/state", viewer).get(state),
        Endpoint::new("/api/sensors/{id}/ledger", viewer).get(ledger),
    ]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SensorBody {
    pub sensor_id: String,
    pub tags: BTreeMap<String, String>,
    pub metrics: Vec<MetricBody>,
    pub shard: u16,
    pub mode: Mode,
    /// Messages that wait in its mailbox.
    pub mailbox: u32,
    /// Since the process began, as `crashes`, in memory or not.
    pub restarts: u32,
    pub crashes: u32,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MetricBody {
    pub metric: String,
    pub unit: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SensorDetailBody {
    #[serde(flatten)]
    pub sensor: SensorBody,
    pub latest: BTreeMap<String, LatestEntry>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SensorLedgerBody {
    pub sensor_id: String,
    #[serde(flatten)]
    pub ledger: LedgerBody,
    /// Sequence of the newest snapshot: what is stored after it is replayed when the sensor comes back.
    pub snapshot_seq: Option<u64>,
    pub snapshot_bytes: Option<u64>,
    /// Largest event time stored.
    pub last_time: Option<Time>,
    pub last_seq: Option<u64>,
}

/// One sensor and its newest values.
#[utoipa::path(get, path = "/api/sensors/{id}", tag = "Sensors",
    params(("id" = String, Path, description = "The sensor's id, percent-encoded")),
    responses(
        (status = 200, description = "The sensor", body = SensorDetailBody),
        (status = 404, description = "No such sensor", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn detail(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<SensorDetailBody>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let info = state.sensor(&id)?;
    let latest = latest::of_sensors(&state, std::slice::from_ref(&info)).await;
    let described = describe(&state, vec![info]).await?.pop();
    let sensor = described.ok_or_else(|| Problem::new(Kind::NotFound, "there is no sensor of this id"))?;
    Ok(Json(SensorDetailBody {
        sensor,
        latest: latest.into_values().next().unwrap_or_default(),
    }))
}

/// The inside of a sensor: windows while they fill, detectors, anomalies, restarts, memory.
///
/// One that is not in memory is brought back for this.
#[utoipa::path(get, path = "/api/sensors/{id}/state", tag = "Sensors",
    params(("id" = String, Path, description = "The sensor's id, percent-encoded")),
    responses(
        (status = 200, description = "Everything the actor holds", body = serde_json::Value),
        (status = 404, description = "No such sensor", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another instance has the sensor", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn state(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<Value>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let info = state.sensor(&id)?;
    state.require_ours(&info)?;
    let gone =
        || Problem::new(Kind::Unavailable, "the sensor's actor is not there at the moment").retry_after(1);
    let actor = ask(state.shard(info.shard)?, Find(info.key))
        .await?
        .ok_or_else(gone)?;
    let inspection = ask(&actor, Inspect).await?;
    let mut inside = serde_json::to_value(&inspection.state)
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    name_series(&mut inside, &info);
    let events = serde_json::to_value(&inspection.events).unwrap_or_default();
    Ok(Json(json!({
        "sensor_id": info.id,
        "mode": inspection.mode,
        "mailbox": inspection.mailbox,
        "restarts": inspection.restarts,
        "crashes": inspection.crashes,
        "last_crash": inspection.last_crash,
        "events": events,
        "memory_bytes": inspection.memory,
        "state": inside,
    })))
}

/// What became of everything this sensor sent.
#[utoipa::path(get, path = "/api/sensors/{id}/ledger", tag = "Sensors",
    params(("id" = String, Path, description = "The sensor's id, percent-encoded")),
    responses(
        (status = 200, description = "The ledger", body = SensorLedgerBody),
        (status = 404, description = "No such sensor", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn ledger(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<SensorLedgerBody>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let info = state.sensor(&id)?;
    let record = state.store.sensor_ledger(info.key).await?;
    Ok(Json(SensorLedgerBody {
        sensor_id: info.id.to_string(),
        ledger: record.ledger.into(),
        snapshot_seq: record.snapshot_seq.map(|seq| seq.0),
        snapshot_bytes: record.snapshot_bytes,
        last_time: record.last_time.map(Time),
        last_seq: record.last_seq.map(|seq| seq.0),
    }))
}

/// The status of each sensor, asked of its shard in one message a shard. Those not in memory are passive.
pub async fn statuses(
    state: &AppState,
    sensors: &[SensorInfo],
) -> Result<HashMap<SensorKey, SensorStatus>, Problem> {
    let mut by_shard: BTreeMap<u16, Vec<SensorKey>> = BTreeMap::new();
    for info in sensors {
        by_shard.entry(info.shard).or_default().push(info.key);
    }
    let mut all = HashMap::with_capacity(sensors.len());
    for (shard, sensors) in by_shard {
        let limit = sensors.len();
        let listed = ask(state.shard(shard)?, ListSensors { sensors, limit }).await?;
        all.extend(listed.into_iter().map(|status| (status.sensor, status)));
    }
    Ok(all)
}

pub async fn describe(state: &AppState, sensors: Vec<SensorInfo>) -> Result<Vec<SensorBody>, Problem> {
    let statuses = statuses(state, &sensors).await?;
    let bodies = sensors.into_iter().map(|info| {
        let status = statuses.get(&info.key);
        SensorBody {
            sensor_id: info.id.to_string(),
            tags: info.tags,
            metrics: info
                .series
                .iter()
                .map(|(metric, series)| MetricBody {
                    metric: metric.to_string(),
                    unit: state.registry().name(*series).and_then(|name| name.unit),
                })
                .collect(),
            shard: info.shard,
            mode: status.map_or(Mode::Passive, |status| status.mode),
            mailbox: status.map_or(0, |status| status.mailbox),
            restarts: status.map_or(0, |status| status.restarts),
            crashes: status.map_or(0, |status| status.crashes),
        }
    });
    Ok(bodies.collect())
}

/// Puts the metric's name beside each number of a series.
fn name_series(inside: &mut Value, info: &SensorInfo) {
    let name = |value: &mut Value| {
        let number = value.get("series").and_then(Value::as_u64);
        let known = info
            .series
            .iter()
            .find(|(_, series)| Some(u64::from(series.0)) == number);
        if let (Some((metric, _)), Some(object)) = (known, value.as_object_mut()) {
            object.insert("metric".to_owned(), metric.as_str().into());
            object.remove("series");
        }
    };
    for list in ["series", "anomalies"] {
        inside
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .for_each(name);
    }
}

/// Which sensors `q` and `tag` keep.
pub fn keep(params: &mut Params) -> impl Fn(&str, &Tags) -> bool + use<> {
    let part = params.text("q").map(|part| part.to_lowercase());
    let tags: Vec<_> = params
        .all("tag")
        .map(|tag| tag.split_once('=').map(owned))
        .collect();
    if tags.contains(&None) {
        params.wrong("tag", "must be `key=value`");
    }
    move |id, of| {
        part.as_ref().is_none_or(|part| id.to_lowercase().contains(part))
            && tags
                .iter()
                .flatten()
                .all(|(key, value)| of.get(key) == Some(value))
    }
}

pub fn key_cursor(key: SensorKey) -> String {
    BASE64URL_NOPAD.encode(&key.0.to_be_bytes())
}

pub fn cursor_key(text: &str) -> Option<SensorKey> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    Some(SensorKey(u32::from_be_bytes(bytes.try_into().ok()?)))
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}
