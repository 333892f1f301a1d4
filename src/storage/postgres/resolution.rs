//! How coarsely readings are rolled up, and which stretch of a question may be answered from what.
//!
//! Invariant: the stretches of a question lie side by side and cover it whole. Those of a rollup begin and end with its buckets,
//! before the time up to which rollups are made, and hold no hour that has changed since.

use std::ops::Range;

use crate::domain::{Micros, Timestamp};

pub(super) const MINUTE: Micros = 60_000_000;
pub(super) const HOUR: Micros = 60 * MINUTE;
pub(super) const DAY: Micros = 24 * HOUR;

/// A sum of finite values that overflows is an error to PostgreSQL, one with an infinite value is not: values near the end
/// count as such. The continuous aggregates do the same.
macro_rules! sum_of_values {
    () => {
        "sum(CASE WHEN value > 1e290 THEN 'Infinity' WHEN value < -1e290 THEN '-Infinity' ELSE value END)"
    };
}
pub(super) use sum_of_values;

/// The columns of a bucket, from those of readings.
pub(super) const OF_READINGS: &str = concat!(
    "count(*) AS count, min(value) AS min, max(value) AS max, ",
    sum_of_values!(),
    " AS sum, (array_agg(value ORDER BY time))[1] AS first, (array_agg(value ORDER BY time))[count(*)::integer] AS last,
     min(time) AS first_time, max(time) AS last_time"
);
/// The columns of a bucket, from those of smaller ones.
pub(super) const OF_BUCKETS: &str = "sum(count)::bigint AS count, min(min) AS min, max(max) AS max, sum(sum) AS sum,
     (array_agg(first ORDER BY bucket))[1] AS first, (array_agg(last ORDER BY bucket))[count(*)::integer] AS last,
     min(first_time) AS first_time, max(last_time) AS last_time";

/// No time that PostgreSQL knows lies beyond; one can still count from here.
const FAR: i64 = 1 << 61;
/// Changed stretches that are stepped around one by one. Where there are more, all from the first to the last is read from the
/// readings.
const MOST_CHANGED: usize = 64;

/// Lengths of the buckets that are kept, aligned to 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resolution {
    Minute,
    Hour,
    Day,
}

/// A stretch of time, and what to ask about it: without a resolution, the readings themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub of: Option<Resolution>,
    pub span: Range<Timestamp>,
}

impl Resolution {
    pub const ALL: [Resolution; 3] = [Resolution::Minute, Resolution::Hour, Resolution::Day];

    pub fn span(self) -> Micros {
        match self {
            Resolution::Minute => MINUTE,
            Resolution::Hour => HOUR,
            Resolution::Day => DAY,
        }
    }

    /// The table, or the continuous aggregate.
    pub fn name(self) -> &'static str {
        match self {
            Resolution::Minute => "readings_1m",
            Resolution::Hour => "readings_1h",
            Resolution::Day => "readings_1d",
        }
    }

    /// What it is made of; `None` are the readings.
    pub fn finer(self) -> Option<Resolution> {
        match self {
            Resolution::Minute => None,
            Resolution::Hour => Some(Resolution::Minute),
            Resolution::Day => Some(Resolution::Hour),
        }
    }

    /// The coarsest whose buckets fill buckets of `step` exactly.
    pub fn dividing(step: Micros) -> Option<Resolution> {
        Self::ALL.into_iter().rev().find(|of| step % of.span() == 0)
    }
}

/// The last multiple of `span` that is not after `time`.
pub(super) fn floor(time: Timestamp, span: Micros) -> Timestamp {
    time.saturating_sub(time.0.rem_euclid(span))
}

fn ceil(time: Timestamp, span: Micros) -> Timestamp {
    floor(time.saturating_add(span - 1), span)
}

/// Divides `asked` into stretches, in the order of time. `step` is what is counted in, `done` up to when rollups are made,
/// `changed` the beginnings of hours that they do not show, ascending.
pub(super) fn stretches(
    asked: Range<Timestamp>,
    step: Micros,
    done: Timestamp,
    changed: &[Timestamp],
) -> Vec<Stretch> {
    let (from, to) = (near(asked.start), near(asked.end));
    let mut all = Vec::new();
    let Some(coarsest) = Resolution::dividing(step) else {
        add(&mut all, None, from..to);
        return all;
    };
    let end = to.min(near(done)).max(from);
    let mut at = from;
    for hours in runs(changed) {
        let start = hours.start.clamp(at, end);
        divide(&mut all, Some(coarsest), at..start);
        at = hours.end.clamp(start, end);
        add(&mut all, None, start..at);
    }
    divide(&mut all, Some(coarsest), at..end);
    add(&mut all, None, end..to);
    all
}

/// As much as possible of `span` at the resolution `of`, both ends at finer ones.
fn divide(all: &mut Vec<Stretch>, of: Option<Resolution>, span: Range<Timestamp>) {
    let Some(resolution) = of else {
        return add(all, None, span);
    };
    let (start, end) = (
        ceil(span.start, resolution.span()),
        floor(span.end, resolution.span()),
    );
    if start < end {
        divide(all, resolution.finer(), span.start..start);
        add(all, of, start..end);
        divide(all, resolution.finer(), end..span.end);
    } else {
        divide(all, resolution.finer(), span);
    }
}

fn add(all: &mut Vec<Stretch>, of: Option<Resolution>, span: Range<Timestamp>) {
    if span.start >= span.end {
        return;
    }
    match all.last_mut() {
        Some(last) if last.of == of => last.span.end = span.end,
        _ => all.push(Stretch { of, span }),
    }
}

/// Hours that follow each other as one.
fn runs(hours: &[Timestamp]) -> Vec<Range<Timestamp>> {
    let mut runs: Vec<Range<Timestamp>> = Vec::new();
    for &hour in hours {
        let end = hour.saturating_add(HOUR);
        match runs.last_mut() {
            Some(last) if last.end >= hour => last.end = end,
            _ => runs.push(hour..end),
        }
    }
    match (runs.first(), runs.last()) {
        (Some(first), Some(last)) if runs.len() > MOST_CHANGED => vec![first.start..last.end],
        _ => runs,
    }
}

fn near(time: Timestamp) -> Timestamp {
    time.clamp(Timestamp(-FAR), Timestamp(FAR))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brief(
        asked: Range<i64>,
        step: Micros,
        done: i64,
        changed: &[i64],
    ) -> Vec<(Option<Resolution>, i64, i64)> {
        let changed: Vec<_> = changed.iter().map(|&hour| Timestamp(hour)).collect();
        let all = stretches(
            Timestamp(asked.start)..Timestamp(asked.end),
            step,
            Timestamp(done),
            &changed,
        );
        all.into_iter()
            .map(|stretch| (stretch.of, stretch.span.start.0, stretch.span.end.0))
            .collect()
    }

    #[test]
    fn the_middle_is_coarse_and_the_ends_are_fine() {
        let (minute, hour, day) = (
            Some(Resolution::Minute),
            Some(Resolution::Hour),
            Some(Resolution::Day),
        );
        let asked = DAY - HOUR - MINUTE - 1..3 * DAY + 5;
        assert_eq!(
            brief(asked.clone(), 2 * DAY, 9 * DAY, &[]),
            [
                (None, DAY - HOUR - MINUTE - 1, DAY - HOUR - MINUTE),
                (minute, DAY - HOUR - MINUTE, DAY - HOUR),
                (hour, DAY - HOUR, DAY),
                (day, DAY, 3 * DAY),
                (None, 3 * DAY, 3 * DAY + 5),
            ]
        );
        assert_eq!(
            brief(asked.clone(), 7 * MINUTE, DAY, &[]),
            [
                (None, DAY - HOUR - MINUTE - 1, DAY - HOUR - MINUTE),
                (minute, DAY - HOUR - MINUTE, DAY),
                (None, DAY, 3 * DAY + 5),
            ]
        );
        assert_eq!(
            brief(asked.clone(), 30_000_000, 9 * DAY, &[]),
            [(None, asked.start, asked.end)]
        );
        assert_eq!(
            brief(asked.clone(), DAY, i64::MIN, &[]),
            [(None, asked.start, asked.end)]
        );
    }

    #[test]
    fn an_hour_that_changed_is_read_anew() {
        let (hour, day) = (Some(Resolution::Hour), Some(Resolution::Day));
        assert_eq!(
            brief(0..3 * DAY, DAY, 3 * DAY, &[DAY + HOUR, DAY + 2 * HOUR]),
            [
                (day, 0, DAY),
                (hour, DAY, DAY + HOUR),
                (None, DAY + HOUR, DAY + 3 * HOUR),
                (hour, DAY + 3 * HOUR, 2 * DAY),
                (day, 2 * DAY, 3 * DAY),
            ]
        );
        let many: Vec<i64> = (0..200).map(|n| n * 3 * HOUR).collect();
        assert_eq!(
            brief(0..30 * DAY, DAY, 30 * DAY, &many),
            [
                (None, 0, 598 * HOUR),
                (hour, 598 * HOUR, 25 * DAY),
                (day, 25 * DAY, 30 * DAY)
            ]
        );
    }

    proptest! {
        #[test]
        fn stretches_cover_what_is_asked_and_nothing_that_changed(
            from in -5 * DAY..5 * DAY, length in 0..9 * DAY, step in prop_oneof![
                Just(MINUTE), Just(5 * MINUTE), Just(HOUR), Just(DAY), Just(1_000_000), 1..DAY],
            done in prop_oneof![Just(i64::MIN), Just(i64::MAX), (-6 * DAY..6 * DAY).prop_map(|t| t - t.rem_euclid(MINUTE))],
            hours in proptest::collection::btree_set(-150_i64..150, 0..12),
        ) {
            let changed: Vec<i64> = hours.into_iter().map(|hour| hour * HOUR).collect();
            let all = brief(from..from + length, step, done, &changed);
            let mut at = from;
            for (of, start, end) in all {
                prop_assert!(start == at && start < end);
                at = end;
                let Some(of) = of else { continue };
                prop_assert!(step % of.span() == 0 && start % of.span() == 0 && end % of.span() == 0);
                prop_assert!(end <= done);
                prop_assert!(changed.iter().all(|&hour| hour + HOUR <= start || hour >= end));
            }
            prop_assert_eq!(at, from + length);
        }

        #[test]
        fn the_ends_of_time_do_not_overflow(from in any::<i64>(), to in any::<i64>(), done in any::<i64>()) {
            for step in [MINUTE, DAY, 1 << 60] {
                brief(from..to, step, done, &[i64::MIN / 2, 0, i64::MAX]);
            }
        }
    }
}
