//! Proofs of the supervisor, against its public interface and real actix arbiters. Time is tokio's paused clock.

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
