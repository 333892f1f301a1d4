//! For those who watch the service: alive, ready, figures.
//!
//! Probes have no tokens, so `/readyz` tells everybody which dependency is at fault, but why only to those who may read.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::actors::supervision::{NodeStatus, Phase};
use crate::web::auth::{self, Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::gate::Gate;
use crate::web::problem::Problem;
use crate::web::state::AppState;

/// How long whoever asks for readiness waits for the store to know his token.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn endpoints() -> [Endpoint; 3] {
    [
        Endpoint::new("/healthz", Access::Public).get(alive),
        Endpoint::new("/readyz", Access::Public).get(ready),
        Endpoint::new("/metrics", Access::Local(Role::Viewer)).get(metrics),
    ]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AliveBody {
    status: &'static str,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReadyBody {
    pub ready: bool,
    pub dependencies: DependenciesBody,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DependenciesBody {
    /// The database answers.
    pub store: DependencyBody,
    /// What is received is committed, and in time.
    pub writer: DependencyBody,
    /// No long-lived actor has crashed too often.
    pub actors: DependencyBody,
    /// The service is not about to stop.
    pub service: DependencyBody,
    /// The last run of the cold archive went well. While it did not, readings are stored all the same.
    pub archive: DependencyBody,
}

#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct DependencyBody {
    pub ok: bool,
    /// Why not, for those who may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What it is, such as `postgresql 15.18 with timescaledb 2.28.3 (db:5432/hive)`, for those who may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "Health",
    responses((status = 200, description = "It is", body = AliveBody)))]
pub async fn alive() -> Json<AliveBody> {
    Json(AliveBody { status: "alive" })
}

/// Whether it can take readings and store them.
#[utoipa::path(get, path = "/readyz", tag = "Health",
    responses(
        (status = 200, description = "It can", body = ReadyBody),
        (status = 503, description = "It cannot, and which dependency is at fault", body = ReadyBody),
    ))]
pub async fn ready(
    state: Data<AppState>,
    gate: Data<Gate>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    // A token is looked up in the store, which may be what is not ready.
    let identity = tokio::time::timeout(PATIENCE, auth::identify(&request));
    let (identity, ping) = tokio::join!(identity, state.store.ping());
    let known = matches!(identity, Ok(Ok(Some(_))));
    let open = known || gate.tokenless(request.headers()).is_ok();
    let depends = |trouble: Option<String>| DependencyBody {
        ok: trouble.is_none(),
        because: trouble.filter(|_| open),
        what: None,
    };
    let writer = state.metrics.store_failing().or_else(|| {
        state
            .rails
            .held()
            .then(|| "batches wait for their commit for too long".to_owned())
    });
    let bad: Vec<NodeStatus> = state.tree.degraded();
    let bad = bad
        .iter()
        .filter(|node| matches!(node.phase, Phase::Quarantined | Phase::Degraded));
    let bad: Vec<String> = bad
        .map(|node| format!("{} is {}", node.path, node.phase))
        .collect();
    let dependencies = DependenciesBody {
        store: DependencyBody {
            what: open.then(|| state.store.describe()),
            ..depends(ping.err().map(|error| error.to_string()))
        },
        writer: depends(writer),
        actors: depends((!bad.is_empty()).then(|| bad.join(", "))),
        service: depends(state.draining().then(|| "it is about to stop".to_owned())),
        archive: depends(state.metrics.archive.trouble().map(|trouble| trouble.message)),
    };
    let all = [
        &dependencies.store,
        &dependencies.writer,
        &dependencies.actors,
        &dependencies.service,
    ];
    let ready = all.iter().all(|dependency| dependency.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok(HttpResponse::build(status).json(ReadyBody { ready, dependencies }))
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "Health",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")))]
pub async fn metrics(state: Data<AppState>) -> HttpResponse {
    state.metrics.set_store_reads(state.store.reads());
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(state.metrics.render())
}
