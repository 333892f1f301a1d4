//! What an observed reading or a due timer brings about.
//!
//! Invariants: an [`Effects`] only grows until its owner clears it, so one serves a whole slice of readings. The same
//! span can stand in `recompute` more than once; to compute it once is enough. The store applies `windows` before
//! `recompute`.

use crate::domain::{AlertEvent, Anomaly, WindowResult, WindowSpan};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Effects {
    /// Windows that closed, computed.
    pub windows: Vec<WindowResult>,
    /// Windows to be computed from the stored rows, because late readings reached them or the running state does not
    /// know all that is stored of them. A span without rows has no result, nor has one with nothing but poison.
    pub recompute: Vec<WindowSpan>,
    pub anomalies: Vec<Anomaly>,
    pub alerts: Vec<AlertEvent>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
            && self.recompute.is_empty()
            && self.anomalies.is_empty()
            && self.alerts.is_empty()
    }

    /// Asks for a window to be computed from the stored rows. Late readings come in runs, so looking at the last few
    /// finds nearly all that was asked for already.
    pub(super) fn ask(&mut self, span: WindowSpan) {
        if !self.recompute.iter().rev().take(8).any(|asked| *asked == span) {
            self.recompute.push(span);
        }
    }

    /// Keeps the room for the next readings.
    pub fn clear(&mut self) {
        self.windows.clear();
        self.recompute.clear();
        self.anomalies.clear();
        self.alerts.clear();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SeriesId, Timestamp, WindowKind};

    fn span(start: i64) -> WindowSpan {
        WindowSpan {
            series: SeriesId(1),
            kind: WindowKind::Tumbling,
            size: 10,
            start: Timestamp(start),
        }
    }

    #[test]
    fn what_was_just_asked_for_is_not_asked_for_again() {
        let mut effects = Effects::default();
        for start in [0, 0, 10, 0, 10, 20] {
            effects.ask(span(start));
        }
        assert_eq!(effects.recompute, [span(0), span(10), span(20)]);
    }

    #[test]
    fn cleared_it_is_empty() {
        let mut effects = Effects::default();
        assert!(effects.is_empty());
        effects.ask(span(0));
        assert!(!effects.is_empty());
        effects.clear();
        assert!(effects.is_empty());
    }
}
