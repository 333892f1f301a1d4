//! Starting the hub, which tells who is connected what happens.

use super::pipeline::Pipeline;
use crate::actors::hub::{Hub, HubParts};
use crate::domain::Timestamp;
use crate::settings::LiveSettings;
use crate::web::LiveEntry;

/// Starts it on a thread of its own.
pub fn start(pipeline: &mut Pipeline, settings: &LiveSettings, started_at: Timestamp) -> LiveEntry {
    let parts = HubParts {
        live: pipeline.live.clone(),
        registry: pipeline.rails.registry().clone(),
        latest: pipeline.latest.clone(),
        statistics: pipeline.statistics.clone(),
        metrics: pipeline.metrics.clone(),
        tree: pipeline.tree.clone(),
        clock: pipeline.rails.clock().clone(),
        started_at,
    };
    let patience = settings.slow_after;
    let arbiter = pipeline.arbiter();
    let (hub, _) = pipeline.supervise(&arbiter, "web/hub", "Hub", move || Hub::new(parts, patience));
    LiveEntry {
        live: pipeline.live.clone(),
        hub,
        settings: settings.clone(),
    }
}
