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

    fn span_at(&self, series: SeriesId, time: Timestamp) -> WindowSpan {
        self.span(series, self.start_of(time))
    }

    fn accept(
        &mut self,
        series: SeriesId,
        time: Timestamp,
        value: f64,
        watermark: Timestamp,
        effects: &mut Effects,
    ) {
        let start = self.start_of(time);
        if self.end_of(start) <= watermark {
            effects.ask(self.span(series, start));
            return;
        }
        match &mut self.open_at(start).aggregate {
            Some(aggregate) => aggregate.add(time, value),
            empty => *empty = Some(Aggregate::new(time, value)),
        }
    }

    fn doubt(&mut self, series: SeriesId, time: Timestamp, watermark: Timestamp, effects: &mut Effects) {
        let start = self.start_of(time);
        if self.end_of(start) <= watermark {
            effects.ask(self.span(series, start));
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
                _ => effects.ask(span),
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

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: SeriesId = SeriesId(3);
    const NEVER: Timestamp = Timestamp::MIN;

    fn set(times: &[i64]) -> Tumbling {
        let mut set = Tumbling::new(10);
        for time in times {
            set.accept(
                SERIES,
                Timestamp(*time),
                *time as f64,
                NEVER,
                &mut Effects::default(),
            );
        }
        set
    }

    fn starts(set: &Tumbling) -> Vec<i64> {
        set.open.iter().map(|open| open.start.0).collect()
    }

    fn close(set: &mut Tumbling, until: i64) -> Effects {
        let mut effects = Effects::default();
        set.close(SERIES, Timestamp(until), &mut effects);
        effects
    }

    #[test]
    fn spans_are_aligned_to_the_epoch_on_both_sides_of_it() {
        assert_eq!(starts(&set(&[9, 0, -1, -10, -11, 10])), [-20, -10, 0, 10]);
    }

    #[test]
    fn the_ends_of_time_are_no_danger() {
        let mut set = set(&[i64::MIN, i64::MAX]);
        assert_eq!(set.next_end(), Some(Timestamp(i64::MIN + 10)));
        assert_eq!(close(&mut set, i64::MAX).windows.len(), 2);
    }

    #[test]
    fn a_window_closes_when_the_watermark_reaches_its_end() {
        let mut set = set(&[25, 5, 9, 15]);
        assert_eq!(set.next_end(), Some(Timestamp(10)));
        assert!(close(&mut set, 9).is_empty());
        let effects = close(&mut set, 20);
        let closed: Vec<_> = effects
            .windows
            .iter()
            .map(|window| (window.span.start.0, window.count))
            .collect();
        assert_eq!(closed, [(0, 2), (10, 1)]);
        assert_eq!(
            effects.windows[0].span,
            WindowSpan {
                series: SERIES,
                kind: WindowKind::Tumbling,
                size: 10,
                start: Timestamp(0)
            }
        );
        assert_eq!((starts(&set), set.next_end()), (vec![20], Some(Timestamp(30))));
    }

    #[test]
    fn a_reading_of_a_closed_window_asks_for_it_from_the_rows() {
        let mut set = set(&[25]);
        let mut effects = Effects::default();
        set.accept(SERIES, Timestamp(9), 1.0, Timestamp(10), &mut effects);
        assert_eq!(effects.recompute, [set.span(SERIES, Timestamp(0))]);
        set.accept(SERIES, Timestamp(9), 1.0, Timestamp(9), &mut effects);
        assert_eq!((effects.recompute.len(), starts(&set)), (1, vec![0, 20]));
    }

    #[test]
    fn a_doubted_window_is_left_to_the_rows() {
        let mut set = set(&[5, 15]);
        let mut effects = Effects::default();
        set.doubt(SERIES, Timestamp(7), Timestamp(9), &mut effects);
        set.doubt(SERIES, Timestamp(25), Timestamp(9), &mut effects);
        assert!(effects.is_empty());
        set.doubt(SERIES, Timestamp(-1), Timestamp(0), &mut effects);
        assert_eq!(effects.recompute, [set.span(SERIES, Timestamp(-10))]);
        let effects = close(&mut set, 100);
        assert_eq!(
            effects
                .windows
                .iter()
                .map(|window| window.span.start.0)
                .collect::<Vec<_>>(),
            [10]
        );
        assert_eq!(
            effects
                .recompute
                .iter()
                .map(|span| span.start.0)
                .collect::<Vec<_>>(),
            [0, 20]
        );
    }

    #[test]
    fn begun_amid_a_series_all_that_is_open_is_incomplete() {
        let mut set = set(&[]);
        set.begin_amid(Timestamp(10), Timestamp(35));
        assert_eq!(starts(&set), [10, 20, 30]);
        assert!(
            set.open
                .iter()
                .all(|open| open.incomplete && open.aggregate.is_none())
        );
        let mut set = super::super::Windows::new(WindowSpec::Tumbling { size: 10 });
        set.begin_amid(Timestamp::MIN, Timestamp(0));
        assert_eq!(set.view().len(), 1_001);
    }

    #[test]
    fn reset_keeps_what_is_open_without_its_values() {
        let mut set = set(&[5, 15]);
        set.reset();
        let view = set.view();
        assert_eq!(
            (view.len(), view[0].count, view[0].incomplete, view[0].min),
            (2, 0, true, None)
        );
        let effects = close(&mut set, 100);
        assert_eq!((effects.windows.len(), effects.recompute.len()), (0, 2));
    }

    #[test]
    fn what_is_open_is_shown_while_it_fills() {
        let view = &set(&[5, 7]).view()[0];
        assert_eq!(
            (view.start, view.end, view.incomplete),
            (Timestamp(0), Timestamp(10), false)
        );
        assert_eq!(
            (view.count, view.min, view.max, view.mean),
            (2, Some(5.0), Some(7.0), Some(6.0))
        );
        assert_eq!(
            (view.stddev, view.first, view.last),
            (Some(2.0f64.sqrt()), Some(5.0), Some(7.0))
        );
    }

    #[test]
    fn only_sorted_windows_of_finite_values_are_sound() {
        assert!(set(&[5, 15]).is_sound());
        let mut twice = set(&[5, 15]);
        twice.open[1].start = Timestamp(0);
        assert!(!twice.is_sound());
        let mut wild = set(&[5]);
        wild.open[0].aggregate = Some(Aggregate::new(Timestamp(5), f64::NAN));
        assert!(!wild.is_sound());
    }

    #[test]
    fn only_many_open_windows_need_the_heap() {
        assert_eq!(set(&[5, 15]).heap(), 0);
        assert_eq!(set(&[5, 15, 25]).heap(), 4 * size_of::<Open>());
    }
}
