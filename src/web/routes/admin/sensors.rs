//! Commands on one sensor; everything else keeps running.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::Serialize;

use super::super::sensors::statuses;
use super::{ADMIN, Why, audit};
use crate::actors::shard::env::Mode;
use crate::actors::shard::messages::{Command, CommandSensor};
use crate::web::auth::Caller;
use crate::web::body::Body;
use crate::web::endpoint::Endpoint;
use crate::web::problem::{Kind, Problem};
use crate::web::state::{AppState, ask};

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/admin/sensors/{id}/{command}", ADMIN).post(command)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CommandedBody {
    pub sensor_id: String,
    pub command: &'static str,
    /// Right after the command was given; what it leads to takes its place in the order of readings.
    pub mode: Mode,
}

/// Restarts, resets, pauses or resumes a sensor.
///
/// `restart`: throw the state away and come back from the store. `reset`: empty windows and detectors, history stays.
/// `pause`: store, do not process; outlives a restart of the service. `resume`: out of pause or quarantine.
#[utoipa::path(post, path = "/api/admin/sensors/{id}/{command}", tag = "Admin",
    params(
        ("id" = String, Path, description = "The sensor's id, percent-encoded"),
        ("command" = String, Path, description = "`restart`, `reset`, `pause` or `resume`"),
    ),
    request_body(content = Option<Why>),
    responses(
        (status = 202, description = "The sensor was told", body = CommandedBody),
        (status = 404, description = "No such sensor or command", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another instance has the sensor", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn command(
    state: Data<AppState>,
    path: Path<(String, String)>,
    caller: Caller,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (id, word) = path.into_inner();
    let known = Command::ALL.into_iter().find(|command| command.as_str() == word);
    let command = known.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such command"))?;
    let why = body.json::<Why>()?.checked()?;
    let info = state.sensor(&id)?;
    state.require_ours(&info)?;
    audit(&state, &caller, &format!("sensor.{word}"), info.id.as_str(), &why).await;
    match command {
        Command::Pause => state.store.set_paused(info.key, true).await?,
        Command::Resume => state.store.set_paused(info.key, false).await?,
        Command::Restart | Command::Reset => {}
    }
    let message = CommandSensor {
        sensor: info.key,
        command,
        by: caller.who().to_owned(),
        why,
    };
    if !ask(state.shard(info.shard)?, message).await? {
        return Err(Problem::new(
            Kind::NotFound,
            "the shard does not know this sensor",
        ));
    }
    let status = statuses(&state, std::slice::from_ref(&info)).await?;
    Ok(HttpResponse::Accepted().json(CommandedBody {
        sensor_id: info.id.to_string(),
        command: command.as_str(),
        mode: status.get(&info.key).map_or(Mode::Passive, |status| status.mode),
    }))
}
