//! The audit log: who commanded what, and when.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use super::ADMIN;
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::AppState;
use crate::web::wire::{Listed, Time};

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/admin/audit", ADMIN).get(log)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditBody {
    pub time: Time,
    /// The name of the token.
    pub who: String,
    pub what: String,
    pub target: String,
    pub detail: String,
}

/// What administrators did, newest first.
#[utoipa::path(get, path = "/api/admin/audit", tag = "Admin",
    params(("limit" = Option<usize>, Query, description = "1 to 10000 (1000)")),
    responses((status = 200, description = "The newest", body = Listed<AuditBody>)))]
pub async fn log(state: Data<AppState>, request: HttpRequest) -> Result<Json<Listed<AuditBody>>, Problem> {
    let mut params = Params::read(&request, &["limit"])?;
    let limit = params.limit();
    params.finish()?;
    let rows = state.store.audit_log(limit).await?.into_iter();
    let data = rows.map(|row| AuditBody {
        time: Time(row.time),
        who: row.who,
        what: row.what,
        target: row.target,
        detail: row.detail,
    });
    Ok(Json(Listed {
        data: data.collect(),
        next: None,
    }))
}
