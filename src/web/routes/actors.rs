//! The live tree of actors.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use crate::actors::shard::env::Mode;
use crate::actors::shard::messages::{ListSensors, Status};
use crate::actors::supervision::NodeStatus;
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::{MAX_LIMIT, Params};
use crate::web::problem::Problem;
use crate::web::state::{AppState, ask};

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/actors", Access::Local(Role::Viewer)).get(tree)]
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ActorsBody {
    /// The long-lived actors, by path.
    pub nodes: Vec<NodeStatus>,
    pub shards: Vec<ShardBody>,
    /// With `shard`: the sensors of that shard that are in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensors: Option<Vec<SensorActorBody>>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ShardBody {
    pub shard: u16,
    /// How many sensors are in each mode.
    pub sensors: BTreeMap<&'static str, usize>,
    /// Sensors that wait to be brought back from the store.
    pub wanted: usize,
    pub timers: usize,
    /// Why the shard did not answer, where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SensorActorBody {
    pub sensor_id: String,
    pub mode: Mode,
    pub mailbox: u32,
    pub restarts: u32,
    pub crashes: u32,
}

/// Every long-lived actor, its state and its restarts, and how the sensors of each shard are.
#[utoipa::path(get, path = "/api/actors", tag = "Operation",
    params(
        ("shard" = Option<u16>, Query, description = "List the sensors of this shard, too"),
        ("limit" = Option<usize>, Query, description = "Sensors listed, 1 to 10000 (1000)"),
    ),
    responses((status = 200, description = "The tree at this moment", body = ActorsBody)))]
pub async fn tree(state: Data<AppState>, request: HttpRequest) -> Result<Json<ActorsBody>, Problem> {
    let mut params = Params::read(&request, &["shard", "limit"])?;
    let shard = params.parsed("shard", "must be the number of a shard", |text| {
        text.parse::<u16>().ok()
    });
    let limit = params.limit().min(MAX_LIMIT);
    params.finish()?;
    let sensors = match shard {
        Some(shard) => Some(sensors(&state, shard, limit).await?),
        None => None,
    };
    let mut shards = Vec::with_capacity(state.shards.len());
    for (number, address) in (0..).zip(&state.shards) {
        shards.push(match ask(address, Status).await {
            Ok(status) => ShardBody {
                shard: number,
                sensors: status
                    .sensors
                    .iter()
                    .map(|(mode, count)| (mode.as_str(), *count))
                    .collect(),
                wanted: status.wanted,
                timers: status.timers,
                trouble: None,
            },
            Err(problem) => ShardBody {
                shard: number,
                sensors: BTreeMap::new(),
                wanted: 0,
                timers: 0,
                trouble: Some(problem.to_string()),
            },
        });
    }
    Ok(Json(ActorsBody {
        nodes: state.tree.snapshot(),
        shards,
        sensors,
    }))
}

async fn sensors(state: &AppState, shard: u16, limit: usize) -> Result<Vec<SensorActorBody>, Problem> {
    let all = ListSensors {
        sensors: Vec::new(),
        limit,
    };
    let listed = ask(state.shard(shard)?, all).await?;
    let named = listed.into_iter().filter_map(|status| {
        Some(SensorActorBody {
            sensor_id: state.registry().sensor_id(status.sensor)?.to_string(),
            mode: status.mode,
            mailbox: status.mailbox,
            restarts: status.restarts,
            crashes: status.crashes,
        })
    });
    Ok(named.collect())
}
