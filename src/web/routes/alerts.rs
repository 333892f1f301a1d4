//! Alerts: a list, one with its events, and what an operator says to one.
//!
//! Invariant: who acknowledges first stays; whoever comes after is told who it was.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Path};
use serde::{Deserialize, Serialize};

use super::admin::audit;
use crate::domain::{AlertState, Episode, Level, SeriesId, Timestamp};
use crate::shown::AlertBody;
use crate::storage::Alerts;
use crate::storage::alerts::{Acknowledgement, AlertFilter, StoredAlert};
use crate::web::auth::{Access, Caller, Role};
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::{FieldError, Kind, Problem};
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

/// The most events that one alert is shown with.
const EVENTS: usize = 1_000;
/// The longest name that somebody signs with, and the longest comment, in bytes.
const MAX_BY: usize = 128;
const MAX_COMMENT: usize = 1_000;

pub fn endpoints() -> [Endpoint; 3] {
    [
        Endpoint::new("/api/alerts", Access::Local(Role::Viewer)).get(list),
        Endpoint::new("/api/alerts/{id}", Access::Local(Role::Viewer)).get(one),
        Endpoint::new("/api/alerts/{id}/acknowledge", Access::Always(Role::Operator)).post(acknowledge),
    ]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ListedAlert {
    /// Null for a moment after another instance has met the sensor.
    pub sensor_id: Option<String>,
    pub metric: Option<String>,
    #[serde(flatten)]
    pub alert: AlertBody,
    /// When it was resolved.
    pub ended: Option<Time>,
    pub acknowledged: Option<AcknowledgedBody>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AlertDetail {
    #[serde(flatten)]
    pub alert: ListedAlert,
    /// The last 1,000, oldest first.
    pub events: Vec<AlertBody>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AcknowledgedBody {
    pub by: String,
    pub at: Time,
    pub comment: String,
}

/// Who says something, and what.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The name of the token, where nobody signs; up to 128 bytes.
    pub by: Option<String>,
    /// Up to 1,000 bytes.
    #[serde(default)]
    pub comment: String,
}

/// Alerts, those that began last first.
#[utoipa::path(get, path = "/api/alerts", tag = "Alerts",
    params(
        ("state" = Option<String>, Query, description = "`open`, `firing`, `recovering`, `no_data`, `resolved`"),
        ("level" = Option<String>, Query, description = "At least this one"),
        ("sensor" = Option<String>, Query, description = "Only of this sensor"),
        ("rule" = Option<String>, Query, description = "Only of this rule"),
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Listed<ListedAlert>)))]
pub async fn list(state: Data<AppState>, request: HttpRequest) -> Result<Json<Listed<ListedAlert>>, Problem> {
    let mut params = Params::read(&request, &["state", "level", "sensor", "rule", "limit", "cursor"])?;
    let filter = AlertFilter {
        states: params.parsed("state", STATES, states),
        levels: params.parsed("level", "must be info, warning, error or critical", at_least),
        series: params.text("sensor").map(|sensor| series_of(&state, &sensor)),
        rule: params.text("rule"),
        after: params.parsed("cursor", "is no cursor of this list", cursor),
        limit: params.limit(),
    };
    params.finish()?;
    let found = alerts_of(&state)?.alerts(&filter).await?;
    let next = found
        .last()
        .filter(|_| found.len() == filter.limit)
        .map(|alert| format!("{}.{}", alert.last.began.0, alert.last.episode.0));
    Ok(Json(Listed {
        data: found.iter().map(|alert| listed(&state, alert)).collect(),
        next,
    }))
}

/// One alert, with its events.
#[utoipa::path(get, path = "/api/alerts/{id}", tag = "Alerts",
    params(("id" = String, Path, description = "`alert` of the list")),
    responses(
        (status = 200, description = "The alert", body = AlertDetail),
        (status = 404, description = "No such alert", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn one(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<AlertDetail>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let alert = find(&state, &id).await?;
    let events = alerts_of(&state)?
        .alert_events(alert.last.episode, EVENTS)
        .await?;
    Ok(Json(AlertDetail {
        alert: listed(&state, &alert),
        events: events.iter().map(AlertBody::from).collect(),
    }))
}

/// Says that somebody takes care of it.
#[utoipa::path(post, path = "/api/alerts/{id}/acknowledge", tag = "Alerts",
    params(("id" = String, Path, description = "`alert` of the list")),
    request_body(content = Option<Said>),
    responses(
        (status = 200, description = "The alert, with whoever was first", body = ListedAlert),
        (status = 404, description = "No such alert", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn acknowledge(
    state: Data<AppState>,
    id: Path<String>,
    caller: Caller,
    body: Body,
) -> Result<Json<ListedAlert>, Problem> {
    let (by, comment) = body.json::<Said>()?.checked(&caller)?;
    let alert = find(&state, &id).await?;
    audit(
        &state,
        &caller,
        "alert.acknowledge",
        &id,
        &format!("{by}: {comment}"),
    )
    .await;
    let at = state.now();
    let said = Acknowledgement { by, at, comment };
    alerts_of(&state)?.acknowledge(alert.last.episode, &said).await?;
    Ok(Json(listed(&state, &find(&state, &id).await?)))
}

impl Said {
    /// Who, and what, if it can be shown to people.
    pub(super) fn checked(self, caller: &Caller) -> Result<(String, String), Problem> {
        let by = self.by.unwrap_or_else(|| caller.who().to_owned());
        for (field, text, most) in [("by", &by, MAX_BY), ("comment", &self.comment, MAX_COMMENT)] {
            if text.len() > most || text.chars().any(char::is_control) {
                let reason = format!("must have at most {most} bytes and no control character");
                let error = FieldError::new(field, "invalid", reason.clone());
                let told = format!("`{field}` {reason}");
                return Err(Problem::new(Kind::InvalidParameters, told).errors(vec![error]));
            }
        }
        Ok((by, self.comment))
    }
}

pub(super) fn alerts_of(state: &AppState) -> Result<&dyn Alerts, Problem> {
    let none = || Problem::new(Kind::Unavailable, "this database keeps no alerts");
    state.store.alerts().ok_or_else(none)
}

async fn find(state: &AppState, id: &str) -> Result<StoredAlert, Problem> {
    let none = || Problem::new(Kind::NotFound, "there is no such alert");
    let episode = Episode(id.parse().map_err(|_| none())?);
    alerts_of(state)?.alert(episode).await?.ok_or_else(none)
}

fn listed(state: &AppState, alert: &StoredAlert) -> ListedAlert {
    let name = state.registry().name(alert.last.series);
    let (sensor, metric) = name.map(|name| (name.sensor, name.metric)).unzip();
    ListedAlert {
        sensor_id: sensor.map(|sensor| sensor.to_string()),
        metric: metric.map(|metric| metric.to_string()),
        alert: AlertBody::from(&alert.last),
        ended: alert.ended.map(Time),
        acknowledged: alert.said.acknowledged.as_ref().map(|said| AcknowledgedBody {
            by: said.by.clone(),
            at: Time(said.at),
            comment: said.comment.clone(),
        }),
    }
}

const STATES: &str = "must be open, firing, recovering, no_data or resolved";

fn states(text: &str) -> Option<Vec<AlertState>> {
    let open = || {
        AlertState::ALL
            .into_iter()
            .filter(|state| *state != AlertState::Resolved)
    };
    match text {
        "open" => Some(open().collect()),
        // No row is ever pending.
        "pending" => None,
        _ => AlertState::parse(text).map(|state| vec![state]),
    }
}

fn at_least(text: &str) -> Option<Vec<Level>> {
    let least = Level::parse(text)?;
    Some(Level::ALL.into_iter().filter(|level| *level >= least).collect())
}

fn series_of(state: &AppState, sensor: &str) -> Vec<SeriesId> {
    let series = state.registry().sensor_named(sensor).map(|info| info.series);
    series.into_iter().flatten().map(|(_, series)| series).collect()
}

fn cursor(text: &str) -> Option<(Timestamp, Episode)> {
    let (began, episode) = text.split_once('.')?;
    Some((Timestamp(began.parse().ok()?), Episode(episode.parse().ok()?)))
}
