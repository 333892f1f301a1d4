//! The server is lost for good, and its standby takes over.

use std::time::Duration;

use super::Outage;
use crate::instance::report;
use crate::postgres_server::{Flavor, Private};

/// The standby has every commit that was acknowledged, since the primary waited for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over() {
    let Some(server) = Private::with(&Default::default()).await else {
        return;
    };
    let standby = server.standby().await;
    let others = [standby.address()];
    let Some(mut outage) = Outage::on_any(server, &others, Flavor::Plain, "failover").await else {
        return;
    };
    outage.server.kill();
    outage.last(Duration::from_secs(1)).await;
    standby.promote().await;
    report(&format!(
        "PostgreSQL lost, its standby takes over: {}",
        outage.recover().await
    ));
}
