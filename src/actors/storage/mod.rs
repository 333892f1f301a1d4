//! The actors that write: the storage writer, and maintenance.

pub mod archivist;
pub mod condemn;
pub mod group;
pub mod maintenance;
pub mod neighbors;
pub mod progress;
pub mod retry;
mod scattered;
pub mod writer;
