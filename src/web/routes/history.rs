//! A sensor's past: readings, windows, anomalies, restarts.
//!
//! Pages go on from a time, the last one of the page before, exclusively: where several rows share a time, a page holds all of
//! them. So a page that was read once reads the same again, whatever is stored meanwhile at its open end.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

use crate::actors::query_cache::{Asked, Reading};
use crate::actors::registry::{SensorInfo, SeriesName};
use crate::domain::{Anomaly, SeriesId, Timestamp};
use crate::shown::WindowBody;
use crate::storage::history::{Page, RestartRow};
use crate::web::answers::{self, Route};
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::{Moment, Params};
use crate::web::problem::{FieldError, Kind, Problem};
use crate::web::state::AppState;
use crate::web::wire::{Listed, ReadingBody, Time};

pub fn endpoints() -> [Endpoint; 4] {
    let viewer = Access::Local(Role::Viewer);
    [
        Endpoint::new("/api/sensors/{id}/readings", viewer).get(readings),
        Endpoint::new("/api/sensors/{id}/windows", viewer).get(windows),
        Endpoint::new("/api/sensors/{id}/anomalies", viewer).get(anomalies),
        Endpoint::new("/api/sensors/{id}/restarts", viewer).get(restarts),
    ]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SeriesPage<T> {
    pub sensor_id: String,
    pub metric: String,
    pub unit: Option<String>,
    pub data: Vec<T>,
    /// To be given as `cursor` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AnomalyBody {
    pub metric: String,
    pub time: Time,
    pub value: f64,
    pub detector: &'static str,
    /// `info`, `warning`, `error`, `critical`.
    pub level: &'static str,
    /// 0 to 1.
    pub score: f64,
    pub expected: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub explanation: String,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RestartBody {
    pub time: Time,
    /// `panic`, `admin`, `rewind`, `passivation`, `start`, `quarantine`, `revive`, `resume`.
    pub reason: String,
    /// The message and place of the panic, or the words of the administrator.
    pub detail: String,
    pub by: Option<String>,
    /// Until it worked again.
    pub took_ms: Option<f64>,
}

/// Stored readings of one series, newest first.
#[utoipa::path(get, path = "/api/sensors/{id}/readings", tag = "History",
    params(
        ("id" = String, Path, description = "The sensor's id, percent-encoded"),
        ("metric" = Option<String>, Query, description = "Needed where the sensor has several"),
        ("from" = Option<String>, Query, description = "RFC 3339 or a span before now such as -1h; inclusive"),
        ("to" = Option<String>, Query, description = "Exclusive"),
        ("order" = Option<String>, Query, description = "`desc` (default) or `asc`"),
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = SeriesPage<ReadingBody>),
        (status = 404, description = "No such sensor or metric", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn readings(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let of = PageAsked::read(&state, &request)?;
    let read = async |reading: &Reading| {
        let info = state.sensor(&id)?;
        let name = series(&state, &info, of.metric.as_deref())?;
        reading.watch([name.series]);
        let points = state.store.readings(name.series, &of.page).await?;
        let next = next(&of.page, points.len(), points.last().map(|point| point.time));
        let data = points
            .iter()
            .map(|point| ReadingBody::new(point, name.unit.as_deref()))
            .collect();
        Ok(SeriesPage::new(name, data, next))
    };
    state.answers.answer(&of.asked(Route::Readings, &id)?, read).await
}

/// Closed windows of one series, newest first. Open ones are in the sensor's state.
#[utoipa::path(get, path = "/api/sensors/{id}/windows", tag = "History",
    params(
        ("id" = String, Path, description = "The sensor's id, percent-encoded"),
        ("metric" = Option<String>, Query, description = "Needed where the sensor has several"),
        ("from" = Option<String>, Query, description = "The earliest start"),
        ("to" = Option<String>, Query, description = "Exclusive"),
        ("order" = Option<String>, Query, description = "`desc` (default) or `asc`"),
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = SeriesPage<WindowBody>),
        (status = 404, description = "No such sensor or metric", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn windows(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let of = PageAsked::read(&state, &request)?;
    let read = async |reading: &Reading| {
        let info = state.sensor(&id)?;
        let name = series(&state, &info, of.metric.as_deref())?;
        reading.watch([name.series]);
        let found = state.store.windows(name.series, &of.page).await?;
        let next = next(
            &of.page,
            found.len(),
            found.last().map(|window| window.span.start),
        );
        let data = found.iter().map(WindowBody::from).collect();
        Ok(SeriesPage::new(name, data, next))
    };
    state.answers.answer(&of.asked(Route::Windows, &id)?, read).await
}

/// What the detectors found, newest first.
#[utoipa::path(get, path = "/api/sensors/{id}/anomalies", tag = "History",
    params(
        ("id" = String, Path, description = "The sensor's id, percent-encoded"),
        ("metric" = Option<String>, Query, description = "Only of this metric"),
        ("from" = Option<String>, Query, description = "RFC 3339 or a span before now such as -1h; inclusive"),
        ("to" = Option<String>, Query, description = "Exclusive"),
        ("order" = Option<String>, Query, description = "`desc` (default) or `asc`"),
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Listed<AnomalyBody>),
        (status = 404, description = "No such sensor or metric", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn anomalies(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<Listed<AnomalyBody>>, Problem> {
    let info = state.sensor(&id)?;
    let PageAsked { metric, page, .. } = PageAsked::read(&state, &request)?;
    let of: Vec<SeriesId> = match metric {
        Some(metric) => vec![series(&state, &info, Some(&metric))?.series],
        None => info.series.iter().map(|(_, series)| *series).collect(),
    };
    // To the store no series means all.
    let found = if of.is_empty() {
        Vec::new()
    } else {
        state.store.anomalies(&of, &page).await?
    };
    let next = next(&page, found.len(), found.last().map(|anomaly| anomaly.time));
    let data = found
        .into_iter()
        .map(|anomaly| AnomalyBody::new(anomaly, &info))
        .collect();
    Ok(Json(Listed { data, next }))
}

/// When the sensor's actor came back, who wanted it and why; newest first.
#[utoipa::path(get, path = "/api/sensors/{id}/restarts", tag = "History",
    params(
        ("id" = String, Path, description = "The sensor's id, percent-encoded"),
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
    ),
    responses(
        (status = 200, description = "The newest", body = Listed<RestartBody>),
        (status = 404, description = "No such sensor", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn restarts(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<Listed<RestartBody>>, Problem> {
    let mut params = Params::read(&request, &["limit"])?;
    let limit = params.limit();
    params.finish()?;
    let info = state.sensor(&id)?;
    let actor = format!("sensor/{}", info.id);
    let rows = state.store.restarts(Some(&actor), limit).await?;
    Ok(Json(Listed {
        data: rows.into_iter().map(RestartBody::from).collect(),
        next: None,
    }))
}

/// What the parameters ask for.
struct PageAsked {
    metric: Option<String>,
    page: Page,
    range: (Moment, Moment),
    cursor: Option<Timestamp>,
    now: Timestamp,
}

impl PageAsked {
    fn read(state: &AppState, request: &HttpRequest) -> Result<Self, Problem> {
        let mut params = Params::read(request, &["metric", "from", "to", "order", "limit", "cursor"])?;
        let now = state.now();
        let order = params.parsed("order", "must be `asc` or `desc`", |order| match order {
            "desc" => Some(true),
            "asc" => Some(false),
            _ => None,
        });
        let range = (
            params.moment("from").unwrap_or(Moment::At(Timestamp::MIN)),
            params.moment("to").unwrap_or(Moment::At(Timestamp::MAX)),
        );
        let mut page = Page {
            from: range.0.at(now),
            to: range.1.at(now),
            limit: params.limit(),
            newest_first: order.unwrap_or(true),
        };
        let cursor = params.parsed("cursor", "is no cursor of this list", cursor_time);
        if let Some(time) = cursor {
            go_on(&mut page, time);
        }
        let metric = params.text("metric");
        params.finish()?;
        Ok(Self {
            metric,
            page,
            range,
            cursor,
            now,
        })
    }

    /// As a question about that sensor.
    fn asked(&self, route: Route, sensor: &str) -> Result<Asked, Problem> {
        let Page {
            limit, newest_first, ..
        } = self.page;
        let of = (sensor, &self.metric, limit, newest_first, self.cursor);
        let whole = answers::asked(route, &of, self.range, self.now)?;
        Ok(Asked {
            from: self.page.from,
            to: self.page.to,
            ..whole
        })
    }
}

/// Narrows the page to what comes after `time`.
pub fn go_on(page: &mut Page, time: Timestamp) {
    if page.newest_first {
        page.to = page.to.min(time);
    } else {
        page.from = page.from.max(time.saturating_add(1));
    }
}

/// Where a list goes on after a page that is full.
fn next(page: &Page, found: usize, last: Option<Timestamp>) -> Option<String> {
    last.filter(|_| found >= page.limit).map(time_cursor)
}

pub fn time_cursor(time: Timestamp) -> String {
    BASE64URL_NOPAD.encode(&time.0.to_be_bytes())
}

pub fn cursor_time(text: &str) -> Option<Timestamp> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    Some(Timestamp(i64::from_be_bytes(bytes.try_into().ok()?)))
}

/// The series of that metric, or the only one there is.
pub fn series(state: &AppState, info: &SensorInfo, metric: Option<&str>) -> Result<SeriesName, Problem> {
    let found = match (metric, info.series.as_slice()) {
        (Some(metric), series) => series.iter().find(|(name, _)| name.as_str() == metric),
        (None, [only]) => Some(only),
        (None, series) => {
            let mut known: Vec<&str> = series.iter().take(32).map(|(name, _)| name.as_str()).collect();
            known.sort_unstable();
            let reason = format!("must be given, the sensor has: {}", known.join(", "));
            let error = FieldError::new("metric", "invalid", reason.clone());
            let detail = format!("`metric` {reason}");
            return Err(Problem::new(Kind::InvalidParameters, detail).errors(vec![error]));
        }
    };
    found
        .and_then(|(_, series)| state.registry().name(*series))
        .ok_or_else(|| Problem::new(Kind::NotFound, "the sensor has no such metric"))
}

impl<T> SeriesPage<T> {
    fn new(name: SeriesName, data: Vec<T>, next: Option<String>) -> Self {
        Self {
            sensor_id: name.sensor.to_string(),
            metric: name.metric.to_string(),
            unit: name.unit,
            data,
            next,
        }
    }
}

impl AnomalyBody {
    fn new(anomaly: Anomaly, info: &SensorInfo) -> Self {
        let metric = info.series.iter().find(|(_, series)| *series == anomaly.series);
        Self {
            metric: metric.map(|(name, _)| name.to_string()).unwrap_or_default(),
            time: Time(anomaly.time),
            value: anomaly.value,
            detector: anomaly.detector.as_str(),
            level: anomaly.level.as_str(),
            score: anomaly.score,
            expected: anomaly.expected,
            low: anomaly.band.low,
            high: anomaly.band.high,
            explanation: anomaly.explanation,
        }
    }
}

impl From<RestartRow> for RestartBody {
    fn from(row: RestartRow) -> Self {
        Self {
            time: Time(row.time),
            reason: row.reason,
            detail: row.detail,
            by: row.by,
            took_ms: row.took_us.map(|took| took as f64 / 1e3),
        }
    }
}
