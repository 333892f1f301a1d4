//! What other instances have made, for those who ask this one.
//!
//! Nothing that is stored depends on it: a partition that comes here, and a rewind, bring what they need themselves. How it fails:
//! what could not be read is read the next time.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::registry::Registry;
use crate::actors::statistics::Statistics;
use crate::storage::{Scope, Store, StoreError};

/// Looks every so often what there is, as long as it is polled.
pub async fn watch(
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    statistics: Arc<Statistics>,
    every: Duration,
) {
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = learn(store.as_ref(), &registry, &statistics).await {
            tracing::warn!(%error, "what other instances have stored could not be read");
        }
    }
}

/// Takes in sensors and series that others have made, and how much all have stored.
pub async fn learn(
    store: &dyn Store,
    registry: &Registry,
    statistics: &Statistics,
) -> Result<(), StoreError> {
    if store.registry_size().await? != registry.stored_size() {
        let (sensors, series) = store.load_registry(&Scope::All).await?;
        registry.refresh(sensors, series);
    }
    statistics.total_is_at_least(store.ledger_total().await?.stored);
    Ok(())
}
