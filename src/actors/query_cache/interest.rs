//! Which series there are answers about, as the writer sees it: without a lock, and a few too many.
//!
//! Invariant: whoever adds a series before he reads it either sees a commit, or is seen by whoever looks after that commit.
//! Adding and looking are therefore in one order for all threads.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::domain::SeriesId;

/// Series share them by their numbers, which lie close together.
const BUCKETS: usize = 1_024;

pub struct Interest {
    all: AtomicU64,
    buckets: Box<[AtomicU64]>,
}

impl Default for Interest {
    fn default() -> Self {
        Self {
            all: AtomicU64::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Interest {
    pub fn add(&self, series: SeriesId) {
        self.all.fetch_add(1, Ordering::SeqCst);
        self.bucket(series).fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// As often as it was added.
    pub fn remove(&self, series: SeriesId) {
        self.all.fetch_sub(1, Ordering::SeqCst);
        self.bucket(series).fetch_sub(1, Ordering::SeqCst);
    }

    pub fn any(&self) -> bool {
        fence(Ordering::SeqCst);
        self.all.load(Ordering::SeqCst) > 0
    }

    pub fn about(&self, series: SeriesId) -> bool {
        self.bucket(series).load(Ordering::SeqCst) > 0
    }

    fn bucket(&self, series: SeriesId) -> &AtomicU64 {
        &self.buckets[series.0 as usize % BUCKETS]
    }
}
