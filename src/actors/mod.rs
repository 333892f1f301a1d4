//! The actors: thin shells around the pure core.

pub mod alerting;
pub mod batch;
pub mod dispatcher;
#[cfg(test)]
mod fixture;
pub mod hub;
pub mod ingest;
pub mod journal;
pub mod latest;
pub mod outputs;
pub mod ownership;
pub mod part;
pub mod permits;
pub mod query_cache;
pub mod registry;
pub mod sensor;
pub mod shard;
pub mod statistics;
pub mod storage;
pub mod supervision;

/// The dispatcher of sensors' shards.
pub type Rails = dispatcher::Dispatcher<shard::ShardWork>;
