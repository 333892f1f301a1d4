//! Topics of a Kafka cluster, as a source.
//!
//! [`KafkaSource`] is the actor: it asks the database and takes commands. Each member of the consumer group is a thread of its
//! own ([`worker`]), because the client wants to be polled whatever happens, and no actor may wait for it.
//!
//! Invariants:
//! - The positions are those of the database, stored in the transaction of the readings they cover; the group is told of them
//!   after, for others to look at. Where the database knows none, the group's are taken, and then `reset` decides.
//! - What a partition holds is stored in its order or not at all: after one batch is undelivered nothing that follows departs
//!   before its reading went back to what is stored.
//! - Every message is answered for: its readings are stored, or there is a dead letter that says where it lay and why.
//! - Without room nothing is taken, while the client goes on being polled, so that the group keeps us however long it lasts.
//!
//! How it fails: brokers that are away are tried for ever, and counted. What the client cannot go on from, and every panic,
//! ends the threads; the actor is restarted after a back-off with new ones, and reads on from what is stored.

mod client;
mod gather;
mod letters;
mod partition;
mod rebalance;
mod seek;
mod source;
mod status;
mod worker;

pub use source::{KafkaParts, KafkaSource, Reset};
pub use status::{KafkaPartition, KafkaStatus, KafkaTrouble};
