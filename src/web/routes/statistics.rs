//! The most important figures at a glance.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use crate::storage::StoreError;
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::AppState;
use crate::web::wire::{LedgerBody, Time};

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/statistics/summary", Access::Local(Role::Viewer)).get(summary)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SummaryBody {
    /// Readings stored, ever.
    pub total_events: u64,
    /// Stored a second, mean of the last ten seconds.
    pub events_per_second: f64,
    /// Sensors heard in the last minute.
    pub active_sources: usize,
    /// Arrival to commit, median of the last minute.
    pub processing_latency_ms: Option<f64>,
    /// Rejected of all, last minute, in percent.
    pub error_rate: f64,
    pub sensors: usize,
    pub series: usize,
    /// Absent while the database does not answer.
    pub ledger: Option<LedgerBody>,
    pub store: StoreBody,
    pub started_at: Time,
    pub uptime_seconds: i64,
    pub version: &'static str,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StoreBody {
    pub database: String,
    /// Why it does not commit, while it does not.
    pub failing: Option<String>,
}

/// Counts, rates, latency, and the ledger of everything.
#[utoipa::path(get, path = "/api/statistics/summary", tag = "Values",
    responses((status = 200, description = "The figures of this moment", body = SummaryBody)))]
pub async fn summary(state: Data<AppState>, request: HttpRequest) -> Result<Json<SummaryBody>, Problem> {
    Params::read(&request, &[])?.finish()?;
    let now = state.now();
    let summary = state.statistics.summary(now);
    let (sensors, series) = state.registry().size();
    let ledger = state
        .ledger
        .ask(async || state.store.ledger_total().await.inspect_err(warn).ok());
    let ledger = ledger.await.map(LedgerBody::from);
    Ok(Json(SummaryBody {
        total_events: summary.total_events,
        events_per_second: summary.events_per_second,
        active_sources: summary.active_sources,
        processing_latency_ms: summary.processing_latency_ms,
        error_rate: summary.error_rate,
        sensors,
        series,
        ledger,
        store: StoreBody {
            database: state.store.describe(),
            failing: state.metrics.store_failing(),
        },
        started_at: Time(state.started_at),
        uptime_seconds: now.since(state.started_at) / 1_000_000,
        version: env!("CARGO_PKG_VERSION"),
    }))
}

fn warn(error: &StoreError) {
    tracing::warn!(%error, "the ledger could not be read");
}
