//! Where readings come from, and how each source is.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use crate::actors::ingest::SourceStatus;
use crate::actors::supervision::Phase;
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::{AppState, SourceEntry};
use crate::web::wire::Listed;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/sources", Access::Local(Role::Viewer)).get(list)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SourceBody {
    pub name: String,
    pub kind: &'static str,
    pub phase: Phase,
    pub restarts: u32,
    pub crashes: u32,
    /// Readings that it could send off at once.
    pub room: usize,
    /// Absent where the source did not answer.
    pub status: Option<SourceStatus>,
}

/// Every source but HTTP itself, which has no state of its own.
#[utoipa::path(get, path = "/api/sources", tag = "Operation",
    responses((status = 200, description = "The sources at this moment", body = Listed<SourceBody>)))]
pub async fn list(state: Data<AppState>, request: HttpRequest) -> Result<Json<Listed<SourceBody>>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let mut data = Vec::with_capacity(state.sources.len());
    for (name, source) in &state.sources {
        let status = source
            .tell(crate::actors::ingest::SourceCommand::Report)
            .await
            .ok();
        data.push(describe(name.as_str(), source, status));
    }
    Ok(Json(Listed { data, next: None }))
}

pub fn describe(name: &str, source: &SourceEntry, status: Option<SourceStatus>) -> SourceBody {
    SourceBody {
        name: name.to_owned(),
        kind: source.kind,
        phase: source.handle.phase(),
        restarts: source.handle.restarts(),
        crashes: source.handle.crashes(),
        room: source.intake.room(),
        status,
    }
}
