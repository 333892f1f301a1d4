//! Commands on an output.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::super::outputs::{OutputBody, describe};
use super::{ADMIN, Why, audit};
use crate::actors::outputs::OutputCommand;
use crate::web::auth::Caller;
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::problem::{Kind, Problem};
use crate::web::state::AppState;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/admin/outputs/{name}/{command}", ADMIN).post(command)]
}

/// Pauses, resumes or restarts an output. What is stored meanwhile waits.
#[utoipa::path(post, path = "/api/admin/outputs/{name}/{command}", tag = "Admin",
    params(
        ("name" = String, Path, description = "The output's name"),
        ("command" = String, Path, description = "`pause`, `resume` or `restart`"),
    ),
    request_body(content = Option<Why>),
    responses(
        (status = 202, description = "The output was told", body = OutputBody),
        (status = 404, description = "No such output or command", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn command(
    state: Data<AppState>,
    path: Path<(String, String)>,
    caller: Caller,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (name, word) = path.into_inner();
    let command = match word.as_str() {
        "pause" => Some(OutputCommand::Pause),
        "resume" => Some(OutputCommand::Resume),
        "restart" => None,
        _ => return Err(Problem::new(Kind::NotFound, "there is no such command")),
    };
    let why = body.json::<Why>()?.checked()?;
    let found = state.outputs.get(name.as_str());
    let output = found.ok_or_else(|| Problem::new(Kind::NotFound, "there is no output of this name"))?;
    audit(&state, &caller, &format!("output.{word}"), &name, &why).await;
    let status = match command {
        Some(command) => Some(output.tell(command).await?),
        None => {
            output.handle.restart(caller.who(), why);
            output.tell(OutputCommand::Report).await.ok()
        }
    };
    Ok(HttpResponse::Accepted().json(describe(&name, output, status)))
}
