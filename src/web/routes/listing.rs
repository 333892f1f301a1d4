//! The list of all sensors: searched, filtered, sorted, page by page.
//!
//! In the order in which they were first heard a page costs what is on it, and its cursor is a place that stays. Any other order
//! looks at every sensor that matches; its cursor counts the sensors before, so that a page shifts while what it is sorted by changes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use super::latest::{self, LatestEntry};
use super::sensors::{SensorBody, cursor_key, describe, keep, key_cursor, statuses};
use crate::actors::registry::SensorInfo;
use crate::actors::shard::env::Mode;
use crate::domain::{SensorKey, Tags, Timestamp};
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::AppState;

/// So many may be asked for by their ids.
const MAX_IDS: usize = 1_000;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/sensors", Access::Local(Role::Viewer)).get(list)]
}

/// A page of sensors.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SensorPage {
    pub data: Vec<ListedSensor>,
    /// How many match, where they were counted: without a search and filters, and in every order but the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// To be given as `cursor` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ListedSensor {
    #[serde(flatten)]
    pub sensor: SensorBody,
    /// With `latest=true`: its newest values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<BTreeMap<String, LatestEntry>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// As they were first heard.
    Number,
    SensorId,
    /// In the order of [`grave`].
    Mode,
    /// By the newest reading heard since the start; those without one count as the oldest.
    Heard,
    Restarts,
}

/// Every sensor, in the order in which they were first heard or another.
#[utoipa::path(get, path = "/api/sensors", tag = "Sensors",
    params(
        ("q" = Option<String>, Query, description = "Part of the sensor's id, in any case"),
        ("tag" = Option<Vec<String>>, Query, description = "`key=value`; may be given more than once, all must match"),
        ("mode" = Option<String>, Query, description = "Only sensors in this mode, such as `quarantined`"),
        ("id" = Option<Vec<String>>, Query, description = "Only these sensors, at most 1000; may be given more than once"),
        ("sort" = Option<String>, Query, description = "`number` (as first heard), `sensor_id`, `mode` (troubled ones first), `heard`, `restarts`"),
        ("order" = Option<String>, Query, description = "`asc` (default) or `desc`"),
        ("latest" = Option<bool>, Query, description = "With the newest values"),
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = SensorPage)))]
pub async fn list(state: Data<AppState>, request: HttpRequest) -> Result<Json<SensorPage>, Problem> {
    let asked = Asked::read(&request)?;
    let (sensors, total, next) = match (asked.sort, asked.descending, asked.mode) {
        (Sort::Number, false, None) if asked.ids.is_empty() => as_heard(&state, &asked),
        _ => sorted(&state, &asked).await?,
    };
    let mut values = match asked.latest {
        true => Some(latest::of_sensors(&state, &sensors).await),
        false => None,
    };
    let described = describe(&state, sensors).await?.into_iter();
    let data = described
        .map(|sensor| ListedSensor {
            latest: values
                .as_mut()
                .map(|values| values.remove(&sensor.sensor_id).unwrap_or_default()),
            sensor,
        })
        .collect();
    Ok(Json(SensorPage { data, total, next }))
}

/// Sensors, how many match if that is known, and where the list goes on.
type Found = (Vec<SensorInfo>, Option<usize>, Option<String>);

fn as_heard(state: &AppState, asked: &Asked) -> Found {
    let (limit, after) = (asked.limit, asked.cursor);
    let sensors = state.registry().list(after, limit, &asked.keep);
    let next = (sensors.len() == limit)
        .then(|| sensors.last().map(|info| key_cursor(info.key)))
        .flatten();
    let total = asked.all.then(|| state.registry().size().0);
    (sensors, total, next)
}

async fn sorted(state: &AppState, asked: &Asked) -> Result<Found, Problem> {
    let mut all = match asked.ids.as_slice() {
        [] => state.registry().list(None, usize::MAX, &asked.keep),
        ids => ids
            .iter()
            .filter_map(|id| state.registry().sensor_named(id))
            .filter(|info| (asked.keep)(info.id.as_str(), &info.tags))
            .collect(),
    };
    let status = match (asked.sort, asked.mode) {
        (Sort::Mode | Sort::Restarts, _) | (_, Some(_)) => statuses(state, &all).await?,
        _ => Default::default(),
    };
    let mode = |key: &SensorKey| status.get(key).map_or(Mode::Passive, |status| status.mode);
    if let Some(wanted) = asked.mode {
        all.retain(|info| mode(&info.key) == wanted);
    }
    match asked.sort {
        Sort::Number => all.sort_by_key(|info| info.key.0),
        Sort::SensorId => all.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str())),
        Sort::Mode => all.sort_by_key(|info| (grave(mode(&info.key)), info.key.0)),
        Sort::Heard => all.sort_by_cached_key(|info| (Reverse(heard(state, info)), info.key.0)),
        Sort::Restarts => all.sort_by_key(|info| {
            let restarts = status.get(&info.key).map_or(0, |status| status.restarts);
            (restarts, info.key.0)
        }),
    }
    if asked.descending {
        all.reverse();
    }
    let total = all.len();
    let before = asked.cursor.map_or(0, |cursor| cursor.0 as usize);
    let page: Vec<_> = all.into_iter().skip(before).take(asked.limit).collect();
    let read = before.saturating_add(page.len());
    let next = u32::try_from(read)
        .ok()
        .filter(|_| read < total && !page.is_empty());
    Ok((page, Some(total), next.map(|read| key_cursor(SensorKey(read)))))
}

fn heard(state: &AppState, info: &SensorInfo) -> Option<Timestamp> {
    let values = info
        .series
        .iter()
        .filter_map(|(_, series)| state.latest.get(info.shard, *series));
    values.map(|value| value.time).max()
}

/// What needs somebody comes first.
fn grave(mode: Mode) -> u8 {
    match mode {
        Mode::Quarantined => 0,
        Mode::BackingOff => 1,
        Mode::CatchingUp => 2,
        Mode::Paused => 3,
        Mode::Running => 4,
        Mode::Passive => 5,
    }
}

/// Whether a sensor of that id and those tags is wanted.
type Keep = Box<dyn Fn(&str, &Tags) -> bool>;

struct Asked {
    /// Neither searched nor filtered by tags.
    all: bool,
    keep: Keep,
    ids: Vec<String>,
    mode: Option<Mode>,
    sort: Sort,
    descending: bool,
    latest: bool,
    limit: usize,
    cursor: Option<SensorKey>,
}

impl Asked {
    fn read(request: &HttpRequest) -> Result<Self, Problem> {
        let known = [
            "q", "tag", "mode", "id", "sort", "order", "latest", "limit", "cursor",
        ];
        let mut params = Params::read(request, &known)?;
        let keep = keep(&mut params);
        let ids: Vec<String> = params.all("id").cloned().collect();
        if ids.len() > MAX_IDS {
            params.wrong("id", "may be given 1000 times at most");
        }
        let modes = "must be `running`, `catching_up`, `backing_off`, `paused`, `quarantined` or `passive`";
        let mode = params.parsed("mode", modes, |word| {
            Mode::ALL.into_iter().find(|mode| mode.as_str() == word)
        });
        let sorts = "must be `number`, `sensor_id`, `mode`, `heard` or `restarts`";
        let sort = params.parsed("sort", sorts, |word| match word {
            "number" => Some(Sort::Number),
            "sensor_id" => Some(Sort::SensorId),
            "mode" => Some(Sort::Mode),
            "heard" => Some(Sort::Heard),
            "restarts" => Some(Sort::Restarts),
            _ => None,
        });
        let descending = params.parsed("order", "must be `asc` or `desc`", |order| match order {
            "desc" => Some(true),
            "asc" => Some(false),
            _ => None,
        });
        let asked = Self {
            all: params.text("q").is_none() && params.all("tag").next().is_none(),
            keep: Box::new(keep),
            ids,
            mode,
            sort: sort.unwrap_or(Sort::Number),
            descending: descending.unwrap_or(false),
            latest: params.flag("latest"),
            limit: params.limit(),
            cursor: params.parsed("cursor", "is no cursor of this list", cursor_key),
        };
        params.finish()?;
        Ok(asked)
    }
}
