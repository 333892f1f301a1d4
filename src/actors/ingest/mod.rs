//! Sources: where readings come in.
//!
//! A source decodes what it received, one payload or many, into a [`DraftBatch`] and hands it to its [`Intake`], which takes a
//! permit, sends the batch off and tells what became of it. Sources that are asked rather than told are a [`Feed`] behind a [`PolledSource`];
//! those that fetch what waits for them elsewhere are a [`Fetch`] behind a [`FetchedSource`].
//!
//! Invariants: every call of the decoder is counted as received, exactly once, on the sensor it names or else on the source.
//! A source acknowledges only [`Delivery::Stored`](super::batch::Delivery::Stored); whatever is undelivered it sends again.

mod arrivals;
mod control;
mod draft;
pub mod file;
mod host;
mod http;
pub mod http_poll;
mod intake;
pub mod kafka;
mod link;
pub mod listener;
pub mod mqtt;
mod own;
mod polled;
pub mod redis;
mod simulated;

pub use arrivals::{Arrival, ArrivalKey, Arrivals};
use arrivals::{MessageId, Seen, Session, SessionName, pages};
pub use control::{
    Seek, SeekError, SeekTo, SeekedTo, SourceCommand, SourceDetail, SourceState, SourceStatus,
};
pub use draft::{DraftBatch, Filling, ItemRefusal, Payload, Place};
pub use host::HostFeed;
pub use http::{HttpIngest, IngestError, Ingested};
pub use intake::{Intake, IntakeSettings, NotSent};
pub use link::{Fetch, FetchedSource, Link, Stopped};
pub use own::OwnFeed;
pub use polled::{Feed, PolledSource};
pub use simulated::SimulatedFeed;

#[cfg(test)]
mod tests;
