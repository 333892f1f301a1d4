//! The cache at its boundaries: what ends an answer and what does not, and which answers stay.

use std::sync::Arc;

use bytes::Bytes;

use super::oracle::{BYTES, LIFE, World, group, of_outcome};
use super::{Asked, Limits, QueryCache, Rows};
use crate::domain::*;
use crate::metrics::Metrics;
use crate::storage::{BatchReport, CommitReport, SliceOutcome};

/// That of series 0 from 10 to 20, kept.
fn kept(world: &World, rows: Rows) -> Asked {
    let asked = Asked {
        key: format!("{rows:?}").into_bytes().into(),
        rows,
        from: Timestamp(10),
        to: Timestamp(20),
        relative: false,
        now: Timestamp(0),
    };
    let reading = world.cache.begin(&asked);
    reading.watch([SeriesId(0)]);
    reading.keep(Bytes::from_static(b"a"));
    asked
}

#[test]
fn only_what_touches_it_ends_an_answer() {
    let world = World::new();
    let asked = kept(&world, Rows::Readings);
    for elsewhere in [(0, 9), (0, 20), (1, 15), (1_024, 15)] {
        world
            .cache
            .committed(&group(&[elsewhere]), &CommitReport::default());
        assert!(world.cache.get(&asked).is_some(), "{elsewhere:?}");
    }
    for within in [10, 15, 19] {
        kept(&world, Rows::Readings);
        world
            .cache
            .committed(&group(&[(0, within)]), &CommitReport::default());
        assert!(world.cache.get(&asked).is_none(), "{within}");
    }
}

#[test]
fn windows_and_flags_are_changes_too() {
    let world = World::new();
    let span = WindowSpan {
        series: SeriesId(0),
        kind: WindowKind::Tumbling,
        size: 5,
        start: Timestamp(12),
    };
    let window = WindowResult {
        span,
        count: 1,
        min: 0.0,
        max: 0.0,
        mean: 0.0,
        stddev: 0.0,
        first: 0.0,
        last: 0.0,
        revision: 0,
    };
    let windows = SliceOutcome {
        windows: vec![window],
        ..SliceOutcome::default()
    };
    let recompute = SliceOutcome {
        recompute: vec![span],
        ..SliceOutcome::default()
    };
    let poison = SliceOutcome {
        poison: vec![(SeriesId(0), Timestamp(12))],
        ..SliceOutcome::default()
    };
    let revised = CommitReport {
        batches: vec![BatchReport {
            revised: vec![window],
            ..BatchReport::default()
        }],
    };
    let told = CommitReport::default;
    for (outcome, report, changed) in [
        (windows, told(), Rows::Windows),
        (recompute, told(), Rows::Windows),
        (SliceOutcome::default(), revised, Rows::Windows),
        (poison, told(), Rows::Readings),
    ] {
        let both = [Rows::Readings, Rows::Windows].map(|rows| kept(&world, rows));
        world.cache.committed(&of_outcome(outcome.clone()), &report);
        for asked in both {
            let stays = asked.rows != changed;
            assert_eq!(world.cache.get(&asked).is_some(), stays, "{outcome:?} {report:?}");
        }
    }
}

#[test]
fn the_longest_unused_goes_first_and_the_largest_never_come() {
    let world = World::new();
    let asked = |n: u32| Asked {
        key: n.to_be_bytes().as_slice().into(),
        rows: Rows::Readings,
        from: Timestamp(0),
        to: Timestamp(1),
        relative: false,
        now: Timestamp(0),
    };
    let keep = |n, bytes| world.cache.begin(&asked(n)).keep(Bytes::from(vec![b'a'; bytes]));
    let there = |n| world.cache.get(&asked(n)).is_some();
    keep(0, BYTES as usize / 8);
    assert!(!there(0));
    for n in 0..15 {
        keep(n, 10);
    }
    assert!(there(0), "it was kept first, and is used");
    for n in 15..20 {
        keep(n, 10);
    }
    assert!(there(0) && !there(1) && there(19));
    let off = Limits { bytes: 0, life: LIFE };
    let off = QueryCache::new(off, world.registry.clone(), Arc::new(Metrics::default()));
    let off = Arc::new(off);
    off.begin(&asked(0)).keep(Bytes::new());
    assert!(off.is_off() && off.get(&asked(0)).is_none() && !off.interest.any());
}
