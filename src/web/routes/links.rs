//! The pages behind the links of notifications.
//!
//! Invariants: opening a link does nothing, since scanners of mail open all; the button of its page acts. A link is worth what its token
//! says and nothing else, and what is done by it is in the audit log under the name of the receiver that it was sent to.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Form, Path};
use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::admin::audit;
use super::alerts::{Said, alerts_of, notices_of};
use crate::actors::alerting::links::{LinkAction, LinkClaim, LinkError, LinkTarget};
use crate::actors::alerting::page::{self, Concerned, HOURS, Page};
use crate::domain::{AlertState, Episode, Micros};
use crate::storage::alerts::{Acknowledgement, Shelf, StoredAlert};
use crate::web::auth::{Access, Caller, Role};
use crate::web::endpoint::Endpoint;
use crate::web::problem::{Kind, Problem};
use crate::web::state::AppState;

const HOUR: Micros = 3_600 * 1_000_000;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/links/{action}/{token}", Access::Public)
        .get(ask)
        .post(act)]
}

/// What the form of a page says.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Filled {
    by: String,
    comment: String,
    hours: Option<u32>,
}

/// Asks whether to do what a link is for.
#[utoipa::path(get, path = "/links/{action}/{token}", tag = "Alerts",
    params(
        ("action" = String, Path, description = "`acknowledge` or `silence`"),
        ("token" = String, Path, description = "What signs the link"),
    ),
    responses(
        (status = 200, description = "A page that asks, or says that there is nothing to do", content_type = "text/html"),
        (status = 403, description = "The link is not ours or has expired", content_type = "text/html"),
    ))]
pub async fn ask(state: Data<AppState>, path: Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let claim = match check(&state, &path)? {
        Ok(claim) => claim,
        Err(error) => return refuse(&state, error),
    };
    let open = concerned(&state, &claim).await?;
    if claim.action == LinkAction::Acknowledge
        && let Some(said) = everybody_knows(&open)
    {
        let (by, at) = (said.by.as_str(), said.at);
        return show(&state, StatusCode::OK, Page::Already { by, at });
    }
    let names: Vec<_> = open
        .iter()
        .map(|alert| state.registry().name(alert.last.series))
        .collect();
    let mut alerts: Vec<Concerned<'_>> = open
        .iter()
        .zip(&names)
        .filter_map(|(alert, name)| {
            let name = name.as_ref()?;
            Some(Concerned {
                sensor: name.sensor.as_str(),
                metric: Some(name.metric.as_str()),
                rule: &alert.last.rule,
                level: alert.last.level,
                since: alert.last.began,
                value: alert.last.value,
                unit: name.unit.as_deref(),
            })
        })
        .collect();
    if alerts.is_empty() {
        return show(&state, StatusCode::OK, Page::Over);
    }
    alerts.sort_by(|one, other| {
        other
            .level
            .cmp(&one.level)
            .then_with(|| one.sensor.cmp(other.sensor))
    });
    let action = claim.action;
    show(
        &state,
        StatusCode::OK,
        Page::Ask {
            action,
            alerts: &alerts,
            more: 0,
        },
    )
}

/// Does it.
#[utoipa::path(post, path = "/links/{action}/{token}", tag = "Alerts",
    params(
        ("action" = String, Path, description = "`acknowledge` or `silence`"),
        ("token" = String, Path, description = "What signs the link"),
    ),
    responses(
        (status = 200, description = "A page that says what was done", content_type = "text/html"),
        (status = 403, description = "The link is not ours or has expired", content_type = "text/html"),
    ))]
pub async fn act(
    state: Data<AppState>,
    path: Path<(String, String)>,
    form: Result<Form<Filled>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let claim = match check(&state, &path)? {
        Ok(claim) => claim,
        Err(error) => return refuse(&state, error),
    };
    let form = form
        .map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))?
        .into_inner();
    let caller = Caller {
        name: format!("a link sent to {}", claim.receiver),
        role: Role::Operator,
    };
    let by = Some(form.by.trim().to_owned()).filter(|by| !by.is_empty());
    let comment = form.comment.replace(['\r', '\n'], " ");
    let (by, comment) = Said { by, comment }.checked(&caller)?;
    let open = concerned(&state, &claim).await?;
    if open.is_empty() {
        return show(&state, StatusCode::OK, Page::Over);
    }
    let at = state.now();
    let alerts = alerts_of(&state)?;
    let target = match &claim.target {
        LinkTarget::Alert(episode) => episode.0.to_string(),
        LinkTarget::Notification(id) => id.0.clone(),
    };
    let until = match claim.action {
        LinkAction::Acknowledge => {
            if let Some(said) = everybody_knows(&open) {
                let (by, at) = (said.by.as_str(), said.at);
                return show(&state, StatusCode::OK, Page::Already { by, at });
            }
            audit(
                &state,
                &caller,
                "alert.acknowledge",
                &target,
                &format!("{by}: {comment}"),
            )
            .await;
            for alert in &open {
                let said = Acknowledgement {
                    by: by.clone(),
                    at,
                    comment: comment.clone(),
                };
                alerts.acknowledge(alert.last.episode, &said).await?;
            }
            None
        }
        LinkAction::Silence => {
            let hours = form
                .hours
                .filter(|hours| HOURS.contains(hours))
                .unwrap_or(HOURS[0]);
            let until = at.saturating_add(Micros::from(hours) * HOUR);
            audit(
                &state,
                &caller,
                "alert.shelve",
                &target,
                &format!("{by} until {until}: {comment}"),
            )
            .await;
            let shelf = Shelf {
                by: by.clone(),
                at,
                until,
                comment,
            };
            for alert in &open {
                alerts.shelve(alert.last.episode, Some(&shelf)).await?;
            }
            Some(until)
        }
    };
    state.alerting.bell.ring();
    let (action, done) = (claim.action, open.len() as u64);
    show(
        &state,
        StatusCode::OK,
        Page::Done {
            action,
            alerts: done,
            by: &by,
            until,
        },
    )
}

/// What the link says; a path that is no action at all is not found.
fn check(state: &AppState, path: &(String, String)) -> Result<Result<LinkClaim, LinkError>, Problem> {
    let none = || Problem::new(Kind::NotFound, "there are no such links here");
    let action = LinkAction::ALL
        .into_iter()
        .find(|action| action.as_str() == path.0);
    let (action, key) = action.zip(state.alerting.links.as_ref()).ok_or_else(none)?;
    Ok(key.check(&path.1, action, state.now()))
}

/// The alerts that it is about, and that are not resolved.
async fn concerned(state: &AppState, claim: &LinkClaim) -> Result<Vec<StoredAlert>, Problem> {
    let episodes: Vec<Episode> = match &claim.target {
        LinkTarget::Alert(episode) => vec![*episode],
        LinkTarget::Notification(id) => notices_of(state)?.notified_alerts(&id.0).await?,
    };
    let alerts = alerts_of(state)?;
    let mut open = Vec::new();
    for episode in episodes {
        let found = alerts.alert(episode).await?;
        open.extend(found.filter(|alert| alert.last.state != AlertState::Resolved));
    }
    Ok(open)
}

/// Who acknowledged last, if each one is.
fn everybody_knows(open: &[StoredAlert]) -> Option<&Acknowledgement> {
    let said: Option<Vec<&Acknowledgement>> = open
        .iter()
        .map(|alert| alert.said.acknowledged.as_ref())
        .collect();
    said?.into_iter().max_by_key(|said| said.at)
}

fn refuse(state: &AppState, error: LinkError) -> Result<HttpResponse, Problem> {
    show(state, StatusCode::FORBIDDEN, Page::Refused(error))
}

fn show(state: &AppState, status: StatusCode, shown: Page<'_>) -> Result<HttpResponse, Problem> {
    let none = || Problem::new(Kind::NotFound, "there are no such links here");
    let pages = state.alerting.pages.as_ref().ok_or_else(none)?;
    let html = pages
        .render(shown)
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, page::policy()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(web::Bytes::from(html)))
}
