//! Windows over event time: one set a specification holds the windows of a series that are open.
//!
//! Invariants: a window is closed once the watermark has reached its end, whether it was ever open or not. A closed
//! window never opens again: what reaches it later is computed from the stored rows. A window that holds readings the
//! set did not see is `incomplete`, and is given to be computed from the rows when it closes.

mod aggregate;
mod tumbling;

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

pub use aggregate::Aggregate;
pub(super) use tumbling::Tumbling;

use super::config::WindowSpec;
use super::effects::Effects;
use super::view::OpenWindow;
use crate::domain::{SeriesId, Timestamp, WindowSpan};

/// The window of `series` that `time` falls in.
pub fn span_at(spec: WindowSpec, series: SeriesId, time: Timestamp) -> WindowSpan {
    Windows::new(spec).span_at(series, time)
}

/// What every kind of window does.
pub(super) trait WindowSet {
    fn spec(&self) -> WindowSpec;

    /// The window of `series` that `time` falls in.
    fn span_at(&self, series: SeriesId, time: Timestamp) -> WindowSpan;

    /// Takes a new reading. If its window is closed, the window is to be recomputed.
    fn accept(
        &mut self,
        series: SeriesId,
        time: Timestamp,
        value: f64,
        watermark: Timestamp,
        effects: &mut Effects,
    );

    /// Hears of a reading that only the stored rows can judge: its window becomes incomplete, or is to be recomputed
    /// if it is closed.
    fn doubt(&mut self, series: SeriesId, time: Timestamp, watermark: Timestamp, effects: &mut Effects);

    /// Begins amid a series: whatever is open between the watermark and the newest event time is incomplete.
    fn begin_amid(&mut self, watermark: Timestamp, newest: Timestamp);

    /// Closes every window that ends at or before `until`, in order of start.
    fn close(&mut self, series: SeriesId, until: Timestamp, effects: &mut Effects);

    /// The earliest end of an open window.
    fn next_end(&self) -> Option<Timestamp>;

    /// Forgets what was seen. What is open stays open, incomplete.
    fn reset(&mut self);

    fn view(&self) -> Vec<OpenWindow>;

    /// Bytes on the heap.
    fn heap(&self) -> usize;

    /// Whether every invariant holds; asked of what comes out of a snapshot.
    fn is_sound(&self) -> bool;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Windows {
    Tumbling(Tumbling),
}

impl Windows {
    pub(super) fn new(spec: WindowSpec) -> Self {
        match spec {
            WindowSpec::Tumbling { size } => Windows::Tumbling(Tumbling::new(size)),
        }
    }
}

impl Deref for Windows {
    type Target = dyn WindowSet;

    fn deref(&self) -> &Self::Target {
        match self {
            Windows::Tumbling(set) => set,
        }
    }
}

impl DerefMut for Windows {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Windows::Tumbling(set) => set,
        }
    }
}
