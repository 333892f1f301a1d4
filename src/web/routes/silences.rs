//! Silences: whose alerts nobody is to be told of for a while.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::admin::audit;
use super::alerts::{Said, alerts_of};
use crate::domain::{Micros, Timestamp};
use crate::settings::Pattern;
use crate::storage::alerts::{NewSilence, Silence};
use crate::web::auth::{Access, Caller, Role};
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::params::{self, Params};
use crate::web::problem::{FieldError, Kind, Problem};
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

/// The most labels of one silence, and the longest label or pattern, in bytes.
const MAX_MATCHERS: usize = 16;
const MAX_PATTERN: usize = 512;

pub fn endpoints() -> [Endpoint; 2] {
    let operator = Access::Always(Role::Operator);
    [
        Endpoint::new("/api/silences", operator)
            .read_by(Access::Local(Role::Viewer))
            .get(list)
            .post(create),
        Endpoint::new("/api/silences/{id}", operator).delete(end),
    ]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SilenceBody {
    pub id: i64,
    /// Patterns by label; all must match.
    pub matchers: BTreeMap<String, String>,
    pub from: Time,
    pub until: Time,
    pub by: String,
    pub comment: String,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceWanted {
    /// Patterns such as `boiler-*` by label: `sensor`, `metric`, `rule`, `level`, or a tag. All must match.
    matchers: BTreeMap<String, String>,
    /// RFC 3339; now, where it is not given.
    from: Option<String>,
    /// RFC 3339; this or `duration`.
    until: Option<String>,
    /// From its begin, such as `2h`.
    duration: Option<String>,
    by: Option<String>,
    #[serde(default)]
    comment: String,
}

/// Silences that have not ended, newest first.
#[utoipa::path(get, path = "/api/silences", tag = "Alerts",
    responses((status = 200, description = "All", body = Listed<SilenceBody>)))]
pub async fn list(state: Data<AppState>, request: HttpRequest) -> Result<Json<Listed<SilenceBody>>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let found = alerts_of(&state)?.silences(state.now()).await?;
    Ok(Json(Listed {
        data: found.into_iter().map(SilenceBody::from).collect(),
        next: None,
    }))
}

/// Makes a silence.
#[utoipa::path(post, path = "/api/silences", tag = "Alerts",
    request_body(content = SilenceWanted),
    responses((status = 201, description = "It is in force, or will be from its begin on", body = SilenceBody)))]
pub async fn create(state: Data<AppState>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    let said = body.json::<SilenceWanted>()?.checked(&caller, state.now())?;
    let target = serde_json::to_string(&said.matchers).unwrap_or_default();
    let detail = format!("{} until {}: {}", said.by, said.until, said.comment);
    audit(&state, &caller, "silence.create", &target, &detail).await;
    let id = alerts_of(&state)?.add_silence(&said).await?;
    state.alerting.bell.ring();
    Ok(HttpResponse::Created().json(SilenceBody::from(Silence { id, said })))
}

/// Ends a silence.
#[utoipa::path(delete, path = "/api/silences/{id}", tag = "Alerts",
    params(("id" = i64, Path)),
    responses(
        (status = 204, description = "It has ended"),
        (status = 404, description = "No such silence", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn end(state: Data<AppState>, id: Path<String>, caller: Caller) -> Result<HttpResponse, Problem> {
    let none = || Problem::new(Kind::NotFound, "there is no such silence, or it has ended");
    let number: i64 = id.parse().map_err(|_| none())?;
    audit(&state, &caller, "silence.end", &id, "").await;
    let ended = alerts_of(&state)?.end_silence(number, state.now()).await?;
    state.alerting.bell.ring();
    match ended {
        true => Ok(HttpResponse::NoContent().finish()),
        false => Err(none()),
    }
}

impl SilenceWanted {
    fn checked(self, caller: &Caller, now: Timestamp) -> Result<NewSilence, Problem> {
        let (by, comment) = Said {
            by: self.by,
            comment: self.comment,
        }
        .checked(caller)?;
        let mut errors = Vec::new();
        let mut wrong = |field: &str, reason: String| errors.push(FieldError::new(field, "invalid", reason));
        if !(1..=MAX_MATCHERS).contains(&self.matchers.len()) {
            wrong("matchers", format!("must have 1 to {MAX_MATCHERS} labels"));
        }
        for (label, pattern) in &self.matchers {
            if label.len().max(pattern.len()) > MAX_PATTERN {
                wrong(
                    "matchers",
                    format!("must have labels and patterns of at most {MAX_PATTERN} bytes"),
                );
            } else if let Err(error) = Pattern::parse(pattern) {
                wrong("matchers", format!("has a pattern that cannot be used: {error}"));
            }
        }
        let mut moment = |field: &str, text: &Option<String>| {
            let text = text.as_ref()?;
            let time = Timestamp::from_text(text).ok();
            if time.is_none() {
                wrong(field, "must be a time such as 2026-05-01T12:00:00Z".to_owned());
            }
            time
        };
        let from = moment("from", &self.from).unwrap_or(now);
        let until = moment("until", &self.until);
        let span: Option<Micros> = match self.duration.as_deref() {
            None => None,
            Some(text) => {
                let span = params::span_micros(text);
                if span.is_none() {
                    wrong("duration", "must be a span such as 2h".to_owned());
                }
                span
            }
        };
        let until = match (until, span) {
            (Some(until), None) => until,
            (None, Some(span)) => from.saturating_add(span),
            _ => {
                wrong("until", "or `duration` must be given, and not both".to_owned());
                now
            }
        };
        if until <= from.max(now) {
            wrong("until", "must be after its begin and after now".to_owned());
        }
        params::finish(errors)?;
        Ok(NewSilence {
            matchers: self.matchers,
            from,
            until,
            by,
            comment,
        })
    }
}

impl From<Silence> for SilenceBody {
    fn from(silence: Silence) -> Self {
        let Silence { id, said } = silence;
        Self {
            id,
            matchers: said.matchers,
            from: Time(said.from),
            until: Time(said.until),
            by: said.by,
            comment: said.comment,
        }
    }
}
