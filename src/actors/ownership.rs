//! Partitions that come to this instance and leave it, with the sensors whose home they are.
//!
//! A source that shares its partitions with other instances tells of each change: [`Ownership::assigned`] after it has claimed
//! partitions and before it reads from them, [`Ownership::revoked`] before it gives them back, once nothing of theirs is under way,
//! [`Ownership::lost`] when they are gone already. What is lost is named by its tenure: the partition itself may be here again, through
//! another member of the group.
//!
//! Invariants:
//! - Nothing of a sensor is done here before everything that its former owner committed is known: the claim has seen to it that
//!   no more can come.
//! - After a partition was given back nothing is under way that concerns its sensors.
//! - Sequences of a sensor only grow, and so does its active clock, whoever has it.
//!
//! How it fails: while the database is away both wait for it. A source that cannot wait gives up the wait by dropping it, and calls
//! [`Ownership::lost`]: the next owner goes by what is stored. Where one instance has everything there is nothing to do.

use std::sync::Arc;

use actix::Addr;
use tokio::sync::watch;

use super::Rails;
use super::latest::Latest;
use super::registry::{HomeId, Tenure};
use super::shard::ShardSupervisor;
use super::shard::messages::{Forget, Release, Wake};
use super::storage::progress::{self, Progress};
use super::storage::retry;
use crate::actors::dispatcher::NUMBER_BLOCK;
use crate::domain::{Home, SourceName};
use crate::storage::{Scope, Store, StoreError};

#[derive(Clone)]
pub struct Ownership {
    pub(crate) rails: Arc<Rails>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shards: Vec<Addr<ShardSupervisor>>,
    pub(crate) latest: Arc<Latest>,
    pub(crate) progress: watch::Receiver<Progress>,
}

impl Ownership {
    /// Partitions were claimed, and nothing was read from them yet. Resolves when readings of theirs may be sent off; those of their
    /// sensors that have something to do are on their way back by then. Returns a tenure for each of `partitions`; none where one
    /// instance has everything.
    pub async fn assigned(&self, source: &SourceName, partitions: &[String]) -> Vec<Tenure> {
        if !self.rails.registry().is_shared() || partitions.is_empty() {
            return Vec::new();
        }
        let scope = Scope::Homes(homes(source, partitions).collect());
        let mut attempt = 0;
        while let Err(error) = self.learn(&scope).await {
            tracing::warn!(%error, attempt, "sensors of new partitions could not be read, trying again");
            tokio::time::sleep(retry::pause(attempt)).await;
            attempt += 1;
        }
        let numbers = self.numbers(source, partitions);
        // What is in memory of them is from another time.
        self.rails.registry().disown(&numbers);
        self.tell_all(|| Forget).await;
        let tenures = self.rails.registry().own(&numbers);
        let wake = || Wake {
            homes: numbers.clone(),
            scope: scope.clone(),
        };
        self.tell_all(wake).await;
        tracing::info!(
            source = source.as_str(),
            partitions = partitions.len(),
            "partitions came to this instance"
        );
        tenures
    }

    /// Partitions are about to be given back, and nothing of them is under way. Resolves when their sensors have left with a
    /// snapshot, and somebody else may claim them.
    pub async fn revoked(&self, source: &SourceName, partitions: &[String]) {
        if !self.rails.registry().is_shared() || partitions.is_empty() {
            return;
        }
        let homes = self.numbers(source, partitions);
        loop {
            self.settle().await;
            let asked = self.shards.iter().map(|shard| shard.send(Release(homes.clone())));
            let more = futures_util::future::join_all(asked).await;
            if !more.into_iter().any(|more| more.unwrap_or(false)) {
                break;
            }
        }
        self.settle().await;
        // A deadline may have brought one back meanwhile. From here on none does anything, and what it did is committed.
        self.rails.registry().disown(&homes);
        self.tell_all(|| Forget).await;
        self.settle().await;
        self.hide(&homes);
        if let Err(error) = self.store.release_positions(source, partitions).await {
            // Then the next owner fences us once, which costs a rewind.
            tracing::warn!(%error, "partitions could not be given back");
        }
        tracing::info!(
            source = source.as_str(),
            partitions = partitions.len(),
            "partitions left this instance"
        );
    }

    /// Partitions are somebody else's already, or may be.
    pub async fn lost(&self, source: &SourceName, tenures: &[Tenure]) {
        let homes = self.rails.registry().end(tenures);
        if homes.is_empty() {
            return;
        }
        self.tell_all(|| Forget).await;
        self.hide(&homes);
        tracing::warn!(
            source = source.as_str(),
            partitions = homes.len(),
            "partitions were taken from this instance"
        );
    }

    /// All that a source has here.
    pub fn tenures(&self, source: &SourceName) -> Vec<Tenure> {
        let all = self.rails.registry().tenures().into_iter();
        let of_source = all.filter(|(home, _)| home.is_of(source));
        of_source.map(|(_, tenure)| tenure).collect()
    }

    /// What the former owner has left: names, numbers, where its clocks stood.
    async fn learn(&self, scope: &Scope) -> Result<(), StoreError> {
        let active = self.store.active_clock().await?;
        let first = self.store.reserve_batches(NUMBER_BLOCK).await?;
        self.rails.begin_block(first, active);
        let (sensors, series) = self.store.load_registry(scope).await?;
        self.rails.registry().refresh(sensors, series);
        Ok(())
    }

    async fn settle(&self) {
        progress::settled(&self.rails, &self.progress).await;
    }

    /// What they said last is no news any more.
    fn hide(&self, homes: &[HomeId]) {
        self.latest.forget(&self.rails.registry().series_of(homes));
    }

    fn numbers(&self, source: &SourceName, partitions: &[String]) -> Vec<HomeId> {
        let registry = self.rails.registry();
        homes(source, partitions)
            .map(|home| registry.home(&home))
            .collect()
    }

    async fn tell_all<M>(&self, message: impl Fn() -> M)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        ShardSupervisor: actix::Handler<M>,
    {
        let told = self.shards.iter().map(|shard| shard.send(message()));
        // A shard that has ended has no sensors.
        let _ = futures_util::future::join_all(told).await;
    }
}

fn homes(source: &SourceName, partitions: &[String]) -> impl Iterator<Item = Home> {
    partitions
        .iter()
        .map(|partition| Home::partition(source, partition))
}
