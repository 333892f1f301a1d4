//! What an observed reading or a due timer brings about.
//!
//! Invariants: an [`Effects`] only grows until its owner clears it, so one serves a whole slice of readings. The same
//! span can stand in `recompute` more than once; to compute it once is enough. The store applies `windows` before
//! `recompute`.

use crate::domain::{Anomaly, WindowResult, WindowSpan};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effects {
    /// Windows that closed, computed.
    pub windows: Vec<WindowResult>,
    /// Windows to be computed from the stored rows, because late readings reached them or the running state does not
    /// know all that is stored of them. A span without rows has no result.
    pub recompute: Vec<WindowSpan>,
    pub anomalies: Vec<Anomaly>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.recompute.is_empty() && self.anomalies.is_empty()
    }

    /// Keeps the room for the next readings.
    pub fn clear(&mut self) {
        self.windows.clear();
        self.recompute.clear();
        self.anomalies.clear();
    }
}

/// What a reading turned out to be. `late` means older than the watermark when it came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// New to the series. `newest` if no earlier one had a later event time.
    Accepted { late: bool, newest: bool },
    /// Same time and value as a remembered reading. Changed nothing.
    Duplicate,
    /// Same time as a remembered reading, but another value. Changed nothing.
    Conflict { stored: f64 },
    /// Older than what is remembered: the stored rows must judge it. No detector saw it; the windows it falls in are
    /// computed from the stored rows.
    Unjudged { late: bool },
}
