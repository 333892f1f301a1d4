//! The actors: thin shells around the pure core.

pub mod supervision;
