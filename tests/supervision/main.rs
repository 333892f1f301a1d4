//! Proofs of the supervisor, against its public interface and real actix arbiters. Time is tokio's paused clock.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the proofs do to actors what the house must not do, and measure actix's own supervisor"
)]

mod actix_facts;
mod backoff;
mod budget;
mod commands;
mod containment;
mod endings;
mod scale;
mod survival;
mod tree;
mod worker;
