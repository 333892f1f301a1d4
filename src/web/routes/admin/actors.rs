//! Restarting a long-lived actor.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::Serialize;

use super::{ADMIN, Why, audit};
use crate::actors::supervision::{ActorPath, Phase};
use crate::web::auth::Caller;
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::problem::{Kind, Problem};
use crate::web::state::AppState;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/admin/actors/{path:.+}/restart", ADMIN).post(restart)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ActorBody {
    pub path: String,
    pub phase: Phase,
    pub restarts: u32,
}

/// Throws an actor's state away and lets it begin anew, also out of back-off or quarantine.
#[utoipa::path(post, path = "/api/admin/actors/{path}/restart", tag = "Admin",
    params(("path" = String, Path, description = "As in the tree, such as `storage/writer`")),
    request_body(content = Option<Why>),
    responses(
        (status = 202, description = "The actor was told", body = ActorBody),
        (status = 404, description = "No such actor", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn restart(
    state: Data<AppState>,
    path: Path<String>,
    caller: Caller,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let why = body.json::<Why>()?.checked()?;
    let found = state.tree.get(&ActorPath::new(path.as_str()));
    let handle = found.ok_or_else(|| Problem::new(Kind::NotFound, "there is no actor at this path"))?;
    audit(&state, &caller, "actor.restart", handle.path().as_str(), &why).await;
    handle.restart(caller.who(), why);
    Ok(HttpResponse::Accepted().json(ActorBody {
        path: handle.path().to_string(),
        phase: handle.phase(),
        restarts: handle.restarts(),
    }))
}
