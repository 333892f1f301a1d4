//! Making, listing and revoking tokens.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{ADMIN, audit};
use crate::web::auth::{Caller, Role};
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::{FieldError, Kind, Problem};
use crate::web::state::AppState;
use crate::web::tokens::{self, TokenError};
use crate::web::wire::{Listed, Time};

/// The longest name of a token, in bytes.
const MAX_NAME: usize = 128;

pub fn endpoints() -> [Endpoint; 2] {
    [
        Endpoint::new("/api/admin/tokens", ADMIN).get(list).post(create),
        Endpoint::new("/api/admin/tokens/{id}", ADMIN).delete(revoke),
    ]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenBody {
    pub id: String,
    pub name: String,
    pub role: String,
    pub created_at: Time,
    /// Only in the answer that made it: 43 characters that are shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for; 1 to 128 bytes.
    name: String,
    role: Role,
}

/// The tokens there are, without their texts, which nobody knows.
#[utoipa::path(get, path = "/api/admin/tokens", tag = "Admin",
    responses((status = 200, description = "All", body = Listed<TokenBody>)))]
pub async fn list(state: Data<AppState>, request: HttpRequest) -> Result<Json<Listed<TokenBody>>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let rows = state.store.tokens().await?.into_iter();
    let data = rows.map(|row| TokenBody {
        id: row.id,
        name: row.name,
        role: row.role,
        created_at: Time(row.created_at),
        token: None,
    });
    Ok(Json(Listed {
        data: data.collect(),
        next: None,
    }))
}

/// Makes a token.
#[utoipa::path(post, path = "/api/admin/tokens", tag = "Admin",
    request_body(content = NewToken),
    responses((status = 201, description = "The token, shown once", body = TokenBody)))]
pub async fn create(state: Data<AppState>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    let NewToken { name, role } = body.json()?;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let reason = format!("must have 1 to {MAX_NAME} bytes and no control character");
        let error = FieldError::new("name", "invalid", reason.clone());
        return Err(Problem::new(Kind::InvalidParameters, format!("`name` {reason}")).errors(vec![error]));
    }
    audit(&state, &caller, "token.create", &name, role.as_str()).await;
    let made = tokens::create(&*state.store, role, &name, state.now()).await;
    let (row, text) = made.map_err(|error| match error {
        TokenError::Store(error) => error.into(),
        TokenError::Random(error) => Problem::new(Kind::Internal, error.to_string()),
    })?;
    state.tokens.forget();
    Ok(HttpResponse::Created().json(TokenBody {
        id: row.id,
        name: row.name,
        role: row.role,
        created_at: Time(row.created_at),
        token: Some(text.expose_secret().to_owned()),
    }))
}

/// Makes a token worthless.
#[utoipa::path(delete, path = "/api/admin/tokens/{id}", tag = "Admin",
    params(("id" = String, Path, description = "As the list shows it")),
    responses(
        (status = 204, description = "It is worthless"),
        (status = 404, description = "No such token", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn revoke(
    state: Data<AppState>,
    id: Path<String>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    audit(&state, &caller, "token.revoke", &id, "").await;
    if !state.store.revoke_token(&id).await? {
        return Err(Problem::new(Kind::NotFound, "there is no such token"));
    }
    state.tokens.forget();
    Ok(HttpResponse::NoContent().finish())
}
