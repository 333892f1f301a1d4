//! What else changes hands with a partition.

use async_trait::async_trait;

use crate::domain::SourceName;

/// Told when partitions come and go, before their first reading and after their last. `partitions` are `topic/3`.
#[async_trait]
pub trait Ownership: Send + Sync {
    /// Their positions are claimed; reading begins when this returns.
    async fn gained(&self, source: &SourceName, partitions: &[String]);

    /// What was read of them is stored, unless they were `lost`: then somebody else may own them already. They are given
    /// away when this returns.
    async fn given(&self, source: &SourceName, partitions: &[String], lost: bool);
}

/// For a service that is alone on its database: nothing of it lives elsewhere.
pub struct Alone;

#[async_trait]
impl Ownership for Alone {
    async fn gained(&self, _: &SourceName, _: &[String]) {}
    async fn given(&self, _: &SourceName, _: &[String], _: bool) {}
}
