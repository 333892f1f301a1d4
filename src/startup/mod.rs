//! Builds the service, wires it, and takes it down again.

pub mod catalog;
pub mod pipeline;
