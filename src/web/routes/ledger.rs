//! The ledger: every reading accounted for.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::AppState;
use crate::web::wire::LedgerBody;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/ledger", Access::Local(Role::Viewer)).get(total)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TotalBody {
    /// Over all sensors, and input that no sensor could be named for.
    pub total: LedgerBody,
    /// Input that no sensor could be named for, by source.
    pub sources: BTreeMap<String, LedgerBody>,
}

/// What became of everything that was ever received.
#[utoipa::path(get, path = "/api/ledger", tag = "Operation",
    responses((status = 200, description = "`received = stored + duplicate + rejected + filtered`", body = TotalBody)))]
pub async fn total(state: Data<AppState>, request: HttpRequest) -> Result<Json<TotalBody>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let total = state.store.ledger_total().await?.into();
    let sources = state.store.source_ledgers().await?.into_iter();
    Ok(Json(TotalBody {
        total,
        sources: sources
            .map(|(name, ledger)| (name.to_string(), ledger.into()))
            .collect(),
    }))
}
