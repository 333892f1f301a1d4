//! Input that was not processed: to be looked at, and to be replayed.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use data_encoding::BASE64;
use serde::Serialize;

use super::super::ingest::taken;
use super::{ADMIN, audit};
use crate::actors::ingest::Ingested;
use crate::storage::history::StoredDeadLetter;
use crate::web::auth::Caller;
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::{Kind, Problem};
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

/// Bytes of the payload that a list shows.
const SHOWN: usize = 512;

pub fn endpoints() -> [Endpoint; 3] {
    [
        Endpoint::new("/api/admin/dead-letters", ADMIN).get(list),
        Endpoint::new("/api/admin/dead-letters/{id}", ADMIN).get(one),
        Endpoint::new("/api/admin/dead-letters/{id}/replay", ADMIN).post(replay),
    ]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeadLetterBody {
    pub id: i64,
    pub time: Time,
    pub source: String,
    /// Where in the source it was; empty where the source has no positions.
    pub position: String,
    /// The key of its message, where that is the sensor of readings that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub sensor_id: Option<String>,
    pub reason: &'static str,
    /// The field, and what is wrong with it; for a panic, its message and place.
    pub detail: String,
    /// The input as text; in a list its beginning. Bytes that are no UTF-8 are replaced.
    pub payload: String,
    /// All of it as base64; not in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    pub payload_bytes: usize,
    pub replayed_at: Option<Time>,
}

/// Dead letters, newest first.
#[utoipa::path(get, path = "/api/admin/dead-letters", tag = "Admin",
    params(
        ("limit" = Option<usize>, Query, description = "1 to 10000 (1000)"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Listed<DeadLetterBody>)))]
pub async fn list(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<Json<Listed<DeadLetterBody>>, Problem> {
    let mut params = Params::read(&request, &["limit", "cursor"])?;
    let limit = params.limit();
    let before = params.parsed("cursor", "is no cursor of this list", |text| {
        text.parse::<i64>().ok()
    });
    params.finish()?;
    let letters = state.store.dead_letters(before, limit).await?;
    let next = letters
        .last()
        .filter(|_| letters.len() == limit)
        .map(|letter| letter.id.to_string());
    let data = letters
        .iter()
        .map(|letter| describe(&state, letter, SHOWN))
        .collect();
    Ok(Json(Listed { data, next }))
}

/// One dead letter, whole.
#[utoipa::path(get, path = "/api/admin/dead-letters/{id}", tag = "Admin",
    params(("id" = i64, Path)),
    responses(
        (status = 200, description = "The letter", body = DeadLetterBody),
        (status = 404, description = "No such letter", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn one(state: Data<AppState>, id: Path<String>) -> Result<Json<DeadLetterBody>, Problem> {
    let letter = find(&state, &id).await?;
    let mut body = describe(&state, &letter, usize::MAX);
    body.payload_base64 = Some(BASE64.encode(&letter.letter.payload));
    Ok(Json(body))
}

/// Takes a dead letter in anew, as its source would now: by the mapping that is in force. What has no time gets the letter's.
#[utoipa::path(post, path = "/api/admin/dead-letters/{id}/replay", tag = "Admin",
    params(("id" = i64, Path)),
    responses(
        (status = 200, description = "Stored, or known already", body = Ingested),
        (status = 409, description = "It was replayed already", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Refused again; there is a new letter for it", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn replay(
    state: Data<AppState>,
    id: Path<String>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let letter = find(&state, &id).await?;
    if let Some(at) = letter.replayed_at {
        return Err(Problem::new(Kind::Conflict, format!("it was replayed at {at}")));
    }
    audit(&state, &caller, "dead_letter.replay", &letter.id.to_string(), "").await;
    let source = state
        .sources
        .get(&letter.letter.source)
        .map(|entry| &entry.intake);
    let taking = state.ingest.replay(&letter.letter, letter.time, source);
    let taken = taken(&state, taking).await;
    let refused_again = |problem: &Problem| matches!(problem.kind(), Kind::NothingStored | Kind::NotJson);
    if taken.is_ok() || taken.as_ref().is_err_and(refused_again) {
        state.store.mark_replayed(letter.id, state.now()).await?;
    }
    taken.map(|ingested| HttpResponse::Ok().json(ingested))
}

async fn find(state: &AppState, id: &str) -> Result<StoredDeadLetter, Problem> {
    let none = || Problem::new(Kind::NotFound, "there is no such dead letter");
    let id: i64 = id.parse().map_err(|_| none())?;
    state.store.dead_letter(id).await?.ok_or_else(none)
}

fn describe(state: &AppState, stored: &StoredDeadLetter, shown: usize) -> DeadLetterBody {
    let letter = &stored.letter;
    let payload = &letter.payload[..letter.payload.len().min(shown)];
    DeadLetterBody {
        id: stored.id,
        time: Time(stored.time),
        source: letter.source.to_string(),
        position: letter.position.clone(),
        key: letter.key.clone(),
        sensor_id: letter
            .sensor
            .and_then(|key| state.registry().sensor_id(key))
            .map(|id| id.to_string()),
        reason: letter.reason.as_str(),
        detail: letter.detail.clone(),
        payload: String::from_utf8_lossy(payload).into_owned(),
        payload_base64: None,
        payload_bytes: letter.payload.len(),
        replayed_at: stored.replayed_at.map(Time),
    }
}
