//! The actors: thin shells around the pure core.

pub mod batch;
pub mod dispatcher;
pub mod part;
pub mod permits;
pub mod registry;
pub mod supervision;
