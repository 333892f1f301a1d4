//! What becomes of a window that is computed again from the stored rows.
//!
//! Invariants: poison counts nowhere. The revision grows by one when, and only when, the stored figures change by more than
//! the rounding of sums in another order. A window goes when all that it was computed from is found to be poison. It stands
//! where no reading of it is stored any more, and where some may be in the archive alone.

use crate::core::windows::Aggregate;
use crate::domain::{Timestamp, WindowResult, WindowSpan};

/// How far sums in another order may lie apart, relative to the largest value.
const ROUNDING: f64 = 1e-9;

/// What the stored rows of a span come to.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    sound: Option<Aggregate>,
    poison: Option<Aggregate>,
}

/// What to do with a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Revision {
    /// There is nothing to compute it from, and nothing is to be done.
    Nothing,
    Stands(WindowResult),
    Write(WindowResult),
    Remove,
}

impl Rows {
    pub fn add(&mut self, time: Timestamp, value: f64, poison: bool) {
        match if poison { &mut self.poison } else { &mut self.sound } {
            Some(sum) => sum.add(time, value),
            none => *none = Some(Aggregate::new(time, value)),
        }
    }

    /// `gone` if some of what `stored` was computed from may be in the archive alone.
    pub fn revise(&self, span: &WindowSpan, stored: Option<&WindowResult>, gone: bool) -> Revision {
        match (self.sound.map(|sum| sum.result(*span, 0)), stored) {
            (Some(first), None) => Revision::Write(first),
            (Some(result), Some(stored)) if gone || same_figures(stored, &result) => {
                Revision::Stands(*stored)
            }
            (Some(result), Some(stored)) => Revision::Write(WindowResult {
                revision: stored.revision.saturating_add(1),
                ..result
            }),
            (None, Some(stored)) if !gone && self.was_poison(stored) => Revision::Remove,
            (None, _) => Revision::Nothing,
        }
    }

    /// Whether all that `stored` counts may be among the poison: if there was more, it is not stored any more.
    fn was_poison(&self, stored: &WindowResult) -> bool {
        self.poison.is_some_and(|poison| {
            stored.count <= poison.count() && poison.min() <= stored.min && stored.max <= poison.max()
        })
    }
}

/// Mean and deviation depend in their last digits on the order in which the readings came; the stored rows are read by time.
pub(super) fn same_figures(a: &WindowResult, b: &WindowResult) -> bool {
    let exact = |w: &WindowResult| [w.min, w.max, w.first, w.last];
    let same = |(a, b): (f64, f64)| a == b || (a.is_nan() && b.is_nan());
    let rounding = ROUNDING * a.min.abs().max(a.max.abs());
    let close = |a: f64, b: f64| same((a, b)) || (a - b).abs() <= rounding;
    a.count == b.count
        && exact(a).into_iter().zip(exact(b)).all(same)
        && close(a.mean, b.mean)
        && close(a.stddev, b.stddev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SeriesId, WindowKind};

    const SPAN: WindowSpan = WindowSpan {
        series: SeriesId(1),
        kind: WindowKind::Tumbling,
        size: 60,
        start: Timestamp(0),
    };

    fn rows(sound: &[f64], poison: &[f64]) -> Rows {
        let mut rows = Rows::default();
        let flagged = |flag| move |value: &f64| (*value, flag);
        let all = sound.iter().map(flagged(false));
        for (time, (value, flag)) in (0..).zip(all.chain(poison.iter().map(flagged(true)))) {
            rows.add(Timestamp(time), value, flag);
        }
        rows
    }

    fn window(values: &[f64], revision: u32) -> WindowResult {
        let sum = rows(values, &[]).sound.unwrap();
        sum.result(SPAN, revision)
    }

    #[test]
    fn it_is_written_when_it_changes() {
        let revise = |rows: Rows, stored: Option<&WindowResult>| rows.revise(&SPAN, stored, false);
        let one = window(&[1.0], 3);
        assert_eq!(
            revise(rows(&[1.0], &[9.0]), None),
            Revision::Write(window(&[1.0], 0))
        );
        assert_eq!(revise(rows(&[1.0], &[9.0]), Some(&one)), Revision::Stands(one));
        let two = window(&[1.0, 2.0], 4);
        assert_eq!(revise(rows(&[1.0, 2.0], &[]), Some(&one)), Revision::Write(two));
        assert_eq!(revise(Rows::default(), None), Revision::Nothing);
    }

    #[test]
    fn it_goes_with_the_last_reading_it_was_computed_from() {
        let revise = |poison: &[f64], stored| rows(&[], poison).revise(&SPAN, Some(stored), false);
        let stored = window(&[2.0, 8.0], 0);
        assert_eq!(revise(&[8.0, 2.0], &stored), Revision::Remove);
        assert_eq!(
            revise(&[2.0, 9.0, 1.0], &stored),
            Revision::Remove,
            "some came later"
        );
        assert_eq!(revise(&[], &stored), Revision::Nothing);
        assert_eq!(revise(&[2.0], &stored), Revision::Nothing, "it counts more");
        assert_eq!(
            revise(&[2.0, 7.0], &stored),
            Revision::Nothing,
            "8 was another reading"
        );
        assert_eq!(rows(&[], &[2.0]).revise(&SPAN, None, false), Revision::Nothing);
    }

    #[test]
    fn what_is_archived_and_dropped_is_not_missed() {
        let stored = window(&[2.0, 8.0], 1);
        for left in [rows(&[2.0], &[]), rows(&[2.0, 8.0, 9.0], &[])] {
            assert_eq!(left.revise(&SPAN, Some(&stored), true), Revision::Stands(stored));
        }
        let poison = rows(&[], &[2.0, 8.0]);
        assert_eq!(poison.revise(&SPAN, Some(&stored), true), Revision::Nothing);
    }
}
