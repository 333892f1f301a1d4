//! Commands on a source.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::super::sources::{SourceBody, describe};
use super::{ADMIN, Why, audit};
use crate::actors::ingest::SourceCommand;
use crate::web::auth::Caller;
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::problem::{Kind, Problem};
use crate::web::state::AppState;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/admin/sources/{name}/{command}", ADMIN).post(command)]
}

/// Pauses, resumes or restarts a source.
#[utoipa::path(post, path = "/api/admin/sources/{name}/{command}", tag = "Admin",
    params(
        ("name" = String, Path, description = "The source's name"),
        ("command" = String, Path, description = "`pause`, `resume` or `restart`"),
    ),
    request_body(content = Option<Why>),
    responses(
        (status = 202, description = "The source was told", body = SourceBody),
        (status = 404, description = "No such source or command", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn command(
    state: Data<AppState>,
    path: Path<(String, String)>,
    caller: Caller,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (name, word) = path.into_inner();
    let command = match word.as_str() {
        "pause" => Some(SourceCommand::Pause),
        "resume" => Some(SourceCommand::Resume),
        "restart" => None,
        _ => return Err(Problem::new(Kind::NotFound, "there is no such command")),
    };
    let why = body.json::<Why>()?.checked()?;
    let found = state.sources.get(name.as_str());
    let source = found.ok_or_else(|| Problem::new(Kind::NotFound, "there is no source of this name"))?;
    audit(&state, &caller, &format!("source.{word}"), &name, &why).await;
    let status = match command {
        Some(command) => Some(source.tell(command).await?),
        None => {
            source.handle.restart(caller.who(), why);
            source.tell(SourceCommand::Report).await.ok()
        }
    };
    Ok(HttpResponse::Accepted().json(describe(&name, source, status)))
}
