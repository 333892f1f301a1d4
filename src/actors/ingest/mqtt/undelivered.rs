//! First arrivals of what was undelivered: it comes again by the next connection, and gets the times that it had.
//!
//! Invariant: they are kept from the end of their batch, whenever that is, to the end of the connection after, so that there
//! are never more than two connections can have under way. How it fails: what comes again later than that is given another time.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::actors::ingest::Arrival;

/// Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Undelivered(Arc<Mutex<Generations>>);

#[derive(Default)]
struct Generations {
    young: Vec<Arrival>,
    old: Vec<Arrival>,
}

impl Undelivered {
    pub fn keep(&self, arrivals: Vec<Arrival>) {
        self.0.lock().young.extend(arrivals);
    }

    /// A connection begins.
    pub fn turn(&self) {
        let mut generations = self.0.lock();
        let old = std::mem::take(&mut generations.young);
        let gone = std::mem::replace(&mut generations.old, old);
        drop(generations);
        // Each of them takes a lock.
        drop(gone);
    }
}
