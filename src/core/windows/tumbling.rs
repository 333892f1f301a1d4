//! Tumbling windows: spans of one size, side by side, aligned to the epoch.
//!
//! Invariants: open windows are sorted by start. All of them end after the watermark and start no later than the newest
//! event time, so at most ⌈lateness / size⌉ + 1 are open, wherever the readings lie.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Aggregate, WindowSet};
use crate::core::config::{SeriesConfig, WindowSpec};
use crate::core::effects::Effects;
use crate::core::view::OpenWindow;
use crate::domain::{Micros, SeriesId, Timestamp, WindowKind, WindowSpan};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Tumbling {
    size: Micros,
    open: SmallVec<[Open; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    start: Timestamp,
    /// Holds stored readings that are not in the aggregate.
    incomplete: bool,
    aggregate: Option<Aggregate>,
}

impl Tumbling {
    pub(super) fn new(size: Micros) -> Self {
        Tumbling {
            size,
            open: SmallVec::new(),
        }
    }

    /// Also right for times before 1970.
    fn start_of(&self, time: Timestamp) -> Timestamp {
        time.saturating_sub(time.0.rem_euclid(self.size.max(1)))
    }

    fn end_of(&self, start: Timestamp) -> Timestamp {
        start.saturating_add(self.size.max(1))
    }

    fn span(&self, series: SeriesId, start: Timestamp) -> WindowSpan {
        WindowSpan {
            series,
            kind: WindowKind::Tumbling,
            size: self.size.max(1),
            start,
        }
    }

    /// The open window that starts here; opened if need be.
    fn open_at(&mut self, start: Timestamp) -> &mut Open {
        // Nearly always the last one.
        let at = self.open.iter().rposition(|open| open.start <= start);
        match at {
            Some(at) if self.open[at].start == start => &mut self.open[at],
            _ => {
                let at = at.map_or(0, |before| before + 1);
                self.open.insert(
                    at,
                    Open {
                        start,
                        incomplete: false,
                        aggregate: None,
                    },
                );
                &mut self.open[at]
            }
        }
    }
}

impl WindowSet for Tumbling {
    fn spec(&self) -> WindowSpec {
        WindowSpec::Tumbling { size: self.size }
    }

    fn accept(
        &mut self,
        series: SeriesId,
        time: Timestamp,
        value: f64,
        watermark: Timestamp,
        recompute: &mut Vec<WindowSpan>,
    ) {
        let start = self.start_of(time);
        if self.end_of(start) <= watermark {
            recompute.push(self.span(series, start));
            return;
        }
        match &mut self.open_at(start).aggregate {
            Some(aggregate) => aggregate.add(time, value),
            empty => *empty = Some(Aggregate::new(time, value)),
        }
    }

    fn doubt(
        &mut self,
        series: SeriesId,
        time: Timestamp,
        watermark: Timestamp,
        recompute: &mut Vec<WindowSpan>,
    ) {
        let start = self.start_of(time);
        if self.end_of(start) <= watermark {
            recompute.push(self.span(series, start));
        } else {
            self.open_at(start).incomplete = true;
        }
    }

    fn begin_amid(&mut self, watermark: Timestamp, newest: Timestamp) {
        let mut start = self.start_of(newest);
        for _ in 0..=SeriesConfig::MAX_OPEN {
            if self.end_of(start) <= watermark {
                return;
            }
            self.open_at(start).incomplete = true;
            start = start.saturating_sub(self.size.max(1));
        }
    }

    fn close(&mut self, series: SeriesId, until: Timestamp, effects: &mut Effects) {
        while let Some(first) = self.open.first()
            && self.end_of(first.start) <= until
        {
            let closed = self.open.remove(0);
            let span = self.span(series, closed.start);
            match closed.aggregate {
                Some(aggregate) if !closed.incomplete => effects.windows.push(aggregate.result(span, 0)),
                _ => effects.recompute.push(span),
            }
        }
    }

    fn next_end(&self) -> Option<Timestamp> {
        self.open.first().map(|first| self.end_of(first.start))
    }

    fn reset(&mut self) {
        for open in &mut self.open {
            open.incomplete = true;
            open.aggregate = None;
        }
    }

    fn view(&self) -> Vec<OpenWindow> {
        let view = |open: &Open| {
            OpenWindow::new(
                open.start,
                self.end_of(open.start),
                open.incomplete,
                open.aggregate,
            )
        };
        self.open.iter().map(view).collect()
    }

    fn heap(&self) -> usize {
        if self.open.spilled() {
            self.open.capacity() * size_of::<Open>()
        } else {
            0
        }
    }

    fn is_sound(&self) -> bool {
        self.open.windows(2).all(|pair| pair[0].start < pair[1].start)
            && self
                .open
                .iter()
                .filter_map(|open| open.aggregate.as_ref())
                .all(Aggregate::is_sound)
    }
}
