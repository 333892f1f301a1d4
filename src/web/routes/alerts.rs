//! Alerts: a list, one with its events and with why somebody was told of it or not, and what an operator says to one.
//!
//! Invariant: who acknowledges first stays; whoever comes after is told who it was.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Path};
use serde::{Deserialize, Serialize};

use super::admin::audit;
use super::notifications::NotificationBody;
use crate::domain::{AlertState, Episode, Level, SeriesId, Timestamp};
use crate::shown::AlertBody;
use crate::storage::alerts::{Acknowledgement, AlertFilter, Shelf, StoredAlert};
use crate::storage::notices::NotificationFilter;
use crate::storage::{Alerts, Notices};
use crate::web::auth::{Access, Caller, Role};
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::params::{self, Params};
use crate::web::problem::{FieldError, Kind, Problem};
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

/// The most events that one alert is shown with.
const EVENTS: usize = 1_000;
/// The longest name that somebody signs with, and the longest comment, in bytes.
const MAX_BY: usize = 128;
const MAX_COMMENT: usize = 1_000;

/// The most decisions and notifications that one is explained by.
const EXPLAINED: usize = 1_000;

pub fn endpoints() -> [Endpoint; 6] {
    let (viewer, operator) = (Access::Local(Role::Viewer), Access::Always(Role::Operator));
    [
        Endpoint::new("/api/alerts", viewer).get(list),
        Endpoint::new("/api/alerts/counts", viewer).get(counts),
        Endpoint::new("/api/alerts/{id}", viewer).get(one),
        Endpoint::new("/api/alerts/{id}/explain", viewer).get(explain),
        Endpoint::new("/api/alerts/{id}/acknowledge", operator).post(acknowledge),
        Endpoint::new("/api/alerts/{id}/shelve", operator)
            .post(shelve)
            .delete(unshelve),
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
    /// Nobody is told of it before then.
    pub shelved: Option<ShelvedBody>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ShelvedBody {
    pub by: String,
    pub at: Time,
    pub until: Time,
    pub comment: String,
}

/// Alerts that are not resolved.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AlertCountsBody {
    pub open: u64,
    /// Those that nobody has acknowledged.
    pub unacknowledged: u64,
    pub info: u64,
    pub warning: u64,
    pub error: u64,
    pub critical: u64,
}

/// Why it fired, and who was told of it, or why not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ExplainBody {
    #[serde(flatten)]
    pub alert: ListedAlert,
    /// The last 1,000, oldest first.
    pub events: Vec<AlertBody>,
    /// What was decided, stage by stage; the last 1,000, oldest first.
    pub decisions: Vec<DecisionBody>,
    /// Notifications about it, newest first.
    pub notifications: Vec<NotificationBody>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DecisionBody {
    pub time: Time,
    /// Absent where it concerns all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// `no_route`, `routed`, `held`, `released`, `told`, `ended`.
    pub what: String,
    pub detail: String,
}

/// How long somebody is not to be told, and who says so.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShelveWanted {
    /// RFC 3339; this or `duration`.
    until: Option<String>,
    /// From now, such as `2h`.
    duration: Option<String>,
    by: Option<String>,
    #[serde(default)]
    comment: String,
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
    state.alerting.bell.ring();
    Ok(Json(listed(&state, &find(&state, &id).await?)))
}

/// How many there are that are not resolved.
#[utoipa::path(get, path = "/api/alerts/counts", tag = "Alerts",
    responses((status = 200, description = "Open alerts by level", body = AlertCountsBody)))]
pub async fn counts(state: Data<AppState>, request: HttpRequest) -> Result<Json<AlertCountsBody>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let counts = alerts_of(&state)?.alert_counts().await?;
    let [info, warning, error, critical] = counts.by_level;
    Ok(Json(AlertCountsBody {
        open: counts.by_level.iter().sum(),
        unacknowledged: counts.unacknowledged,
        info,
        warning,
        error,
        critical,
    }))
}

/// Why it fired, and why somebody was told of it, or was not.
#[utoipa::path(get, path = "/api/alerts/{id}/explain", tag = "Alerts",
    params(("id" = String, Path, description = "`alert` of the list")),
    responses(
        (status = 200, description = "What happened, what was decided, what was sent", body = ExplainBody),
        (status = 404, description = "No such alert", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn explain(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<ExplainBody>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let alert = find(&state, &id).await?;
    let episode = alert.last.episode;
    let events = alerts_of(&state)?.alert_events(episode, EVENTS).await?;
    let notices = notices_of(&state)?;
    let decisions = notices.decisions(episode, EXPLAINED).await?.into_iter();
    let about = NotificationFilter {
        about: Some(episode),
        limit: EXPLAINED,
        ..NotificationFilter::default()
    };
    let notifications = notices.notifications(&about).await?;
    Ok(Json(ExplainBody {
        alert: listed(&state, &alert),
        events: events.iter().map(AlertBody::from).collect(),
        decisions: decisions
            .map(|said| DecisionBody {
                time: Time(said.at),
                receiver: said.receiver,
                what: said.what,
                detail: said.detail,
            })
            .collect(),
        notifications: notifications.into_iter().map(NotificationBody::from).collect(),
    }))
}

/// Puts an alert off: nobody is told of it before then, but of its end whoever was told of it.
#[utoipa::path(post, path = "/api/alerts/{id}/shelve", tag = "Alerts",
    params(("id" = String, Path, description = "`alert` of the list")),
    request_body(content = ShelveWanted),
    responses(
        (status = 200, description = "The alert", body = ListedAlert),
        (status = 404, description = "No such alert", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn shelve(
    state: Data<AppState>,
    id: Path<String>,
    caller: Caller,
    body: Body,
) -> Result<Json<ListedAlert>, Problem> {
    let wanted = body.json::<ShelveWanted>()?;
    let at = state.now();
    let until = span(at, wanted.until.as_deref(), wanted.duration.as_deref())?;
    let said = Said {
        by: wanted.by,
        comment: wanted.comment,
    };
    let (by, comment) = said.checked(&caller)?;
    let alert = find(&state, &id).await?;
    audit(
        &state,
        &caller,
        "alert.shelve",
        &id,
        &format!("{by} until {until}: {comment}"),
    )
    .await;
    let shelf = Shelf {
        by,
        at,
        until,
        comment,
    };
    alerts_of(&state)?
        .shelve(alert.last.episode, Some(&shelf))
        .await?;
    state.alerting.bell.ring();
    Ok(Json(listed(&state, &find(&state, &id).await?)))
}

/// Ends that.
#[utoipa::path(delete, path = "/api/alerts/{id}/shelve", tag = "Alerts",
    params(("id" = String, Path, description = "`alert` of the list")),
    responses(
        (status = 200, description = "The alert", body = ListedAlert),
        (status = 404, description = "No such alert", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn unshelve(
    state: Data<AppState>,
    id: Path<String>,
    caller: Caller,
) -> Result<Json<ListedAlert>, Problem> {
    let alert = find(&state, &id).await?;
    audit(&state, &caller, "alert.unshelve", &id, "").await;
    alerts_of(&state)?.shelve(alert.last.episode, None).await?;
    state.alerting.bell.ring();
    Ok(Json(listed(&state, &find(&state, &id).await?)))
}

/// When something ends that goes on from `from`; told as a time or as a span.
pub(super) fn span(
    from: Timestamp,
    until: Option<&str>,
    duration: Option<&str>,
) -> Result<Timestamp, Problem> {
    let until = match (until, duration) {
        (Some(until), None) => Timestamp::from_text(until).ok(),
        (None, Some(span)) => params::span_micros(span).map(|span| from.saturating_add(span)),
        _ => None,
    };
    until.filter(|until| *until > from).ok_or_else(|| {
        let reason =
            "must be a time after its begin such as 2026-05-01T12:00:00Z, or `duration` a span such as 2h";
        let error = FieldError::new("until", "invalid", reason);
        Problem::new(Kind::InvalidParameters, format!("`until` {reason}")).errors(vec![error])
    })
}

pub(super) fn notices_of(state: &AppState) -> Result<&dyn Notices, Problem> {
    let none = || Problem::new(Kind::Unavailable, "this database keeps no notifications");
    state.store.notices().ok_or_else(none)
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
        shelved: alert.said.shelved.as_ref().map(|shelf| ShelvedBody {
            by: shelf.by.clone(),
            at: Time(shelf.at),
            until: Time(shelf.until),
            comment: shelf.comment.clone(),
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
