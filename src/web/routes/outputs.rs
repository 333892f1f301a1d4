//! Where what was stored is sent on to, and how each output is.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use crate::actors::outputs::{OutputCommand, OutputStatus};
use crate::actors::supervision::Phase;
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::{AppState, OutputEntry};
use crate::web::wire::Listed;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/outputs", Access::Local(Role::Viewer)).get(list)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OutputBody {
    pub name: String,
    pub kind: &'static str,
    pub phase: Phase,
    pub restarts: u32,
    pub crashes: u32,
    /// Absent where the output did not answer.
    pub status: Option<OutputStatus>,
}

/// Every output, and what waits for it.
#[utoipa::path(get, path = "/api/outputs", tag = "Operation",
    responses((status = 200, description = "The outputs at this moment", body = Listed<OutputBody>)))]
pub async fn list(state: Data<AppState>, request: HttpRequest) -> Result<Json<Listed<OutputBody>>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let mut data = Vec::with_capacity(state.outputs.len());
    for (name, output) in &state.outputs {
        let status = output.tell(OutputCommand::Report).await.ok();
        data.push(describe(name.as_str(), output, status));
    }
    Ok(Json(Listed { data, next: None }))
}

pub fn describe(name: &str, output: &OutputEntry, status: Option<OutputStatus>) -> OutputBody {
    OutputBody {
        name: name.to_owned(),
        kind: output.kind,
        phase: output.handle.phase(),
        restarts: output.handle.restarts(),
        crashes: output.handle.crashes(),
        status,
    }
}
