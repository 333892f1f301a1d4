//! The log of notifications: what was sent to whom, what waits, what was given up.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::Value;

use super::admin::audit;
use super::alerts::notices_of;
use crate::domain::Episode;
use crate::storage::notices::{NotificationFilter, SendState, StoredNotification};
use crate::web::auth::{Access, Caller, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::{Kind, Problem};
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

pub fn endpoints() -> [Endpoint; 3] {
    let viewer = Access::Local(Role::Viewer);
    [
        Endpoint::new("/api/notifications", viewer).get(list),
        Endpoint::new("/api/notifications/{id}", viewer).get(one),
        Endpoint::new("/api/notifications/{id}/send", Access::Always(Role::Operator)).post(send),
    ]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct NotificationBody {
    /// The part of its Message-ID before the at sign is made of it.
    pub id: String,
    pub receiver: String,
    /// The same for all that is said of one group.
    pub thread: String,
    /// Too much happened to tell each.
    pub digest: bool,
    pub time: Time,
    /// `waiting`, `sent`, `parked` (given up).
    pub state: &'static str,
    pub attempts: u32,
    /// When it is tried again, or for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    pub done_at: Option<Time>,
    /// Who has taken it.
    pub taken: Vec<String>,
    /// What was answered last.
    pub answer: String,
    /// How many alerts it is about.
    pub alerts: u64,
}

/// Notifications, newest first.
#[utoipa::path(get, path = "/api/notifications", tag = "Alerts",
    params(
        ("receiver" = Option<String>, Query, description = "Only to this one"),
        ("state" = Option<String>, Query, description = "`waiting`, `sent`, `parked`"),
        ("alert" = Option<String>, Query, description = "Only those about this alert"),
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Listed<NotificationBody>)))]
pub async fn list(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<Json<Listed<NotificationBody>>, Problem> {
    let mut params = Params::read(&request, &["receiver", "state", "alert", "limit", "cursor"])?;
    let number = |text: &str| text.parse::<i64>().ok();
    let filter = NotificationFilter {
        receiver: params.text("receiver"),
        state: params.parsed("state", "must be waiting, sent or parked", SendState::parse),
        about: params
            .parsed("alert", "is no number of an alert", number)
            .map(Episode),
        before: params.parsed("cursor", "is no cursor of this list", number),
        limit: params.limit(),
    };
    params.finish()?;
    let found = notices_of(&state)?.notifications(&filter).await?;
    let last = found.last().filter(|_| found.len() == filter.limit);
    Ok(Json(Listed {
        next: last.map(|last| last.seq.to_string()),
        data: found.into_iter().map(NotificationBody::from).collect(),
    }))
}

/// What one says, as its receiver got it.
#[utoipa::path(get, path = "/api/notifications/{id}", tag = "Alerts",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The notification", body = Value),
        (status = 404, description = "No such notification", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn one(
    state: Data<AppState>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<Value>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let none = || Problem::new(Kind::NotFound, "there is no such notification");
    let body = notices_of(&state)?
        .notification_body(&id)
        .await?
        .ok_or_else(none)?;
    let read = serde_json::from_str(&body);
    Ok(Json(read.map_err(|error| {
        Problem::new(Kind::Internal, error.to_string())
    })?))
}

/// Has one that was given up sent again.
#[utoipa::path(post, path = "/api/notifications/{id}/send", tag = "Alerts",
    params(("id" = String, Path)),
    responses(
        (status = 202, description = "It waits to be sent"),
        (status = 404, description = "None of this id was given up", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn send(state: Data<AppState>, id: Path<String>, caller: Caller) -> Result<HttpResponse, Problem> {
    audit(&state, &caller, "notification.send", &id, "").await;
    match notices_of(&state)?.send_again(&id, state.now()).await? {
        true => Ok(HttpResponse::Accepted().finish()),
        false => Err(Problem::new(
            Kind::NotFound,
            "no notification of this id was given up",
        )),
    }
}

impl From<StoredNotification> for NotificationBody {
    fn from(stored: StoredNotification) -> Self {
        Self {
            id: stored.id,
            receiver: stored.receiver,
            thread: stored.thread,
            digest: stored.digest,
            time: Time(stored.at),
            state: stored.state.as_str(),
            attempts: stored.attempts,
            due: Some(Time(stored.due)).filter(|_| stored.state == SendState::Waiting),
            done_at: stored.done_at.map(Time),
            taken: stored.taken,
            answer: stored.answer,
            alerts: stored.alerts,
        }
    }
}
