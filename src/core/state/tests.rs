//! What a sensor's state does with readings and time, one promise a test.

use super::*;
use crate::core::{DetectorSpec, WindowSpec};
use crate::domain::{DetectorKind, Flags, Timestamp, WindowKind, WindowSpan};

/// A sensor whose every series has windows of 100, a lateness of 20, is idle after 50, and remembers 3.
struct Rig {
    state: SensorState,
    effects: Effects,
    config: Arc<SeriesConfig>,
}

fn rig(detectors: &[DetectorSpec]) -> Rig {
    let config = SeriesConfig {
        windows: vec![WindowSpec::Tumbling { size: 100 }],
        lateness: 20,
        idle_after: 50,
        ring: 3,
        detectors: detectors.to_vec(),
        rules: Vec::new(),
    };
    Rig {
        state: SensorState::new(),
        effects: Effects::default(),
        config: Arc::new(config),
    }
}

fn at(active: i64) -> BatchTime {
    BatchTime {
        now: Timestamp(0),
        active: ActiveTime(active),
    }
}

fn reading(series: u32, time: i64, value: f64) -> Reading {
    Reading {
        series: SeriesId(series),
        time: Timestamp(time),
        value,
        index: 0,
        flags: Flags::NONE,
    }
}

fn span(start: i64) -> WindowSpan {
    WindowSpan {
        series: SeriesId(1),
        kind: WindowKind::Tumbling,
        size: 100,
        start: Timestamp(start),
    }
}

impl Rig {
    fn observe(&mut self, active: i64, time: i64, value: f64) -> Verdict {
        self.observe_in(1, active, time, value)
    }

    fn observe_in(&mut self, series: u32, active: i64, time: i64, value: f64) -> Verdict {
        let config = self.config.clone();
        self.effects.clear();
        self.state.observe(
            &reading(series, time, value),
            at(active),
            &|_| config.clone(),
            &mut self.effects,
        )
    }

    fn remember_only(&mut self, active: i64, time: i64, value: f64) -> Verdict {
        let config = self.config.clone();
        self.effects.clear();
        self.state.remember_only(
            &reading(1, time, value),
            at(active),
            &|_| config.clone(),
            &mut self.effects,
        )
    }

    fn advance(&mut self, active: i64) -> &Effects {
        self.effects.clear();
        self.state.advance(at(active), &mut self.effects);
        &self.effects
    }

    fn deadline(&self) -> Option<i64> {
        self.state.next_deadline().map(|deadline| deadline.0)
    }

    fn watermark(&self) -> i64 {
        self.state.inspect().series[0].watermark.0
    }
}

const NEWEST: Verdict = Verdict::Accepted {
    late: false,
    newest: true,
};

#[test]
fn readings_are_judged_by_what_is_remembered() {
    let mut rig = rig(&[]);
    assert_eq!(rig.observe(0, 100, 0.0), NEWEST);
    assert_eq!(rig.observe(0, 100, -0.0), Verdict::Duplicate);
    assert_eq!(rig.observe(0, 100, 1.0), Verdict::Conflict { stored: 0.0 });
    assert_eq!(
        rig.observe(0, 80, 1.0),
        Verdict::Accepted {
            late: false,
            newest: false
        }
    );
    assert_eq!(
        rig.observe(0, 79, 1.0),
        Verdict::Accepted {
            late: true,
            newest: false
        }
    );
    assert_eq!(rig.observe(0, 101, 1.0), NEWEST);
    assert_eq!(rig.observe(0, 79, 1.0), Verdict::Unjudged { late: true });
    assert_eq!(rig.observe(0, 80, 1.0), Verdict::Duplicate);
}

#[test]
fn a_window_closes_when_a_reading_moves_the_watermark_to_its_end() {
    let mut rig = rig(&[]);
    rig.observe(0, 50, 1.0);
    rig.observe(0, 119, 2.0);
    assert!(rig.effects.is_empty());
    rig.observe(0, 120, 3.0);
    assert_eq!(rig.effects.windows.len(), 1);
    assert_eq!((rig.effects.windows[0].count, rig.watermark()), (1, 100));
    assert_eq!(
        rig.observe(0, 99, 4.0),
        Verdict::Accepted {
            late: true,
            newest: false
        }
    );
    assert_eq!(rig.effects.recompute, [span(0)]);
}

#[test]
fn an_idle_series_closes_its_window_when_event_time_would_have() {
    let mut rig = rig(&[]);
    // Far from its end: 100 + 20 - 10 after it was heard.
    rig.observe(1_000, 10, 1.0);
    assert_eq!(rig.deadline(), Some(1_110));
    assert!(rig.advance(1_109).is_empty());
    assert_eq!(rig.advance(1_110).windows.len(), 1);
    assert_eq!((rig.deadline(), rig.watermark()), (None, 100));
    assert!(rig.advance(9_999).is_empty());
    // Close to it: not before it counts as idle.
    rig.observe(10_000, 195, 1.0);
    assert_eq!(rig.deadline(), Some(10_050));
    assert_eq!(rig.advance(10_050).windows.len(), 1);
}

#[test]
fn after_idleness_a_backlog_is_late_only_for_windows_that_closed() {
    let mut rig = rig(&[]);
    rig.observe(0, 10, 1.0);
    rig.advance(1_000_000);
    assert_eq!(
        rig.observe(1_000_000, 99, 2.0),
        Verdict::Accepted {
            late: true,
            newest: true
        }
    );
    assert_eq!(rig.effects.recompute, [span(0)]);
    assert_eq!(rig.observe(1_000_000, 100, 2.0), NEWEST);
    assert!(rig.effects.is_empty());
}

#[test]
fn what_is_due_comes_before_the_reading_that_finds_it_so() {
    let mut rig = rig(&[DetectorSpec::Silence { after: 30 }]);
    rig.observe(0, 10, 1.0);
    assert_eq!(rig.deadline(), Some(30));
    rig.observe(500, 20, 2.0);
    assert_eq!(rig.effects.anomalies.len(), 1);
    assert_eq!(
        (rig.effects.anomalies[0].time, rig.effects.anomalies[0].value),
        (Timestamp(40), 1.0)
    );
    assert_eq!(
        rig.effects.windows[0].count, 1,
        "the window closed without the second reading"
    );
    assert_eq!(rig.effects.recompute, [span(0)]);
    assert_eq!(rig.deadline(), Some(530), "it is listened for again");
}

#[test]
fn silences_are_told_in_the_order_of_their_time_however_late() {
    let mut rig = rig(&[
        DetectorSpec::Silence { after: 300 },
        DetectorSpec::Silence { after: 30 },
    ]);
    rig.observe_in(2, 0, 10, 1.0);
    rig.observe_in(1, 10, 10, 1.0);
    let told: Vec<_> = rig
        .advance(9_999)
        .anomalies
        .iter()
        .map(|found| (found.series.0, found.time.0))
        .collect();
    assert_eq!(told, [(2, 40), (1, 40), (2, 310), (1, 310)]);
    assert_eq!(rig.state.anomalies().len(), 4);
}

#[test]
fn neither_a_duplicate_nor_an_unjudged_reading_is_heard() {
    let mut rig = rig(&[
        DetectorSpec::Silence { after: 30 },
        DetectorSpec::Threshold { above: 5.0 },
    ]);
    for time in [90, 91, 92, 93] {
        rig.observe(0, time, 1.0);
    }
    assert_eq!(rig.observe(20, 93, 1.0), Verdict::Duplicate);
    assert_eq!(rig.observe(20, 93, 2.0), Verdict::Conflict { stored: 1.0 });
    assert_eq!(rig.observe(20, 90, 99.0), Verdict::Unjudged { late: false });
    assert_eq!(rig.observe(20, 50, 99.0), Verdict::Unjudged { late: true });
    assert!(rig.effects.is_empty());
    assert_eq!(rig.deadline(), Some(30));
    assert_eq!(rig.observe(20, 91, 1.0), Verdict::Duplicate);
    assert_eq!(rig.advance(40).anomalies.len(), 1);
    assert_eq!(
        rig.advance(80).recompute,
        [span(0)],
        "its window is left to the rows"
    );
}

#[test]
fn what_is_only_remembered_counts_for_time_but_not_for_its_value() {
    let mut rig = rig(&[DetectorSpec::Jump { threshold: 1.0 }]);
    rig.observe(0, 50, 1.0);
    assert_eq!(rig.remember_only(7, 120, 99.0), NEWEST);
    assert_eq!((rig.effects.windows.len(), rig.effects.windows[0].count), (1, 1));
    assert_eq!(rig.effects.anomalies, []);
    let view = &rig.state.inspect().series[0];
    assert_eq!(
        (view.watermark, view.heard_at, view.newest_value),
        (Timestamp(100), ActiveTime(7), 99.0)
    );
    let open = &view.windows[0].open[0];
    assert_eq!(
        (open.start, open.count, open.incomplete),
        (Timestamp(100), 0, true)
    );
    assert_eq!(rig.observe(8, 120, 99.0), Verdict::Duplicate);
    assert_eq!(
        rig.remember_only(8, 60, 99.0),
        Verdict::Accepted {
            late: true,
            newest: false
        }
    );
    assert_eq!(
        (&rig.effects.windows[..], &rig.effects.recompute[..]),
        (&[][..], &[span(0)][..])
    );
    rig.observe(9, 121, 1.5);
    assert_eq!(rig.effects.anomalies, [], "the step is from the value before");
    assert_eq!(rig.advance(1_000).recompute, [span(100)]);
}

#[test]
fn only_the_last_anomalies_are_kept() {
    let mut rig = rig(&[DetectorSpec::Jump { threshold: 1.0 }]);
    for time in 0..=70 {
        rig.observe(0, time, (time % 2) as f64 * 9.0);
        assert_eq!(rig.effects.anomalies.len(), usize::from(time > 0));
    }
    let times: Vec<_> = rig.state.anomalies().map(|anomaly| anomaly.time.0).collect();
    assert_eq!(times, (7..=70).collect::<Vec<_>>());
}

#[test]
fn reset_forgets_everything_but_what_was_heard() {
    let mut rig = rig(&[
        DetectorSpec::Jump { threshold: 1.0 },
        DetectorSpec::Silence { after: 10 },
    ]);
    rig.observe(0, 10, 1.0);
    rig.observe(0, 11, 9.0);
    rig.advance(10);
    assert_eq!((rig.state.anomalies().len(), rig.deadline()), (2, Some(109)));
    rig.state.reset(at(10), &mut Effects::default());
    assert_eq!((rig.state.anomalies().len(), rig.deadline()), (0, Some(10)));
    assert_eq!(rig.advance(10).anomalies[0].detector, DetectorKind::Silence);
    assert_eq!(rig.observe(11, 11, 9.0), Verdict::Duplicate);
    rig.observe(11, 12, 1.0);
    assert_eq!(rig.effects.anomalies, [], "there is no value before");
    assert_eq!(rig.state.inspect().series[0].windows[0].open[0].count, 1);
    assert_eq!(rig.advance(1_000).recompute, [span(0)]);
}

#[test]
fn under_a_new_configuration_only_what_is_alike_goes_on() {
    let mut rig = rig(&[
        DetectorSpec::Jump { threshold: 1.0 },
        DetectorSpec::Threshold { above: 5.0 },
    ]);
    for time in [110, 111, 112] {
        rig.observe(0, time, time as f64);
    }
    let config = SeriesConfig {
        windows: vec![
            WindowSpec::Tumbling { size: 50 },
            WindowSpec::Tumbling { size: 100 },
        ],
        ring: 2,
        detectors: vec![
            DetectorSpec::Silence { after: 40 },
            DetectorSpec::Threshold { above: 5.0 },
        ],
        ..(*rig.config).clone()
    };
    rig.state.reconfigure(&|_| Arc::new(config.clone()));
    let view = &rig.state.inspect().series[0];
    let open: Vec<_> = view.windows.iter().flat_map(|set| &set.open).collect();
    let open: Vec<_> = open
        .iter()
        .map(|open| (open.start.0, open.count, open.incomplete))
        .collect();
    assert_eq!(open, [(50, 0, true), (100, 0, true), (100, 3, false)]);
    assert_eq!((view.remembered, view.ring, view.forgot), (2, 2, true));
    let specs: Vec<_> = view.detectors.iter().map(|detector| detector.spec).collect();
    assert_eq!(specs, config.detectors);
    assert_eq!(rig.advance(39).anomalies, []);
    assert_eq!(rig.advance(40).anomalies.len(), 1, "the new timer runs");
    rig.observe(41, 113, 113.0);
    assert_eq!(
        rig.effects.anomalies,
        [],
        "the threshold's episode goes on, the jump is gone"
    );
}

#[test]
fn each_series_has_its_own_configuration_and_windows() {
    let mut state = SensorState::new();
    let mut effects = Effects::default();
    let config = |series: SeriesId| {
        let size = i64::from(series.0) * 10;
        Arc::new(SeriesConfig {
            windows: vec![WindowSpec::Tumbling { size }],
            ..SeriesConfig::default()
        })
    };
    for series in [3, 1, 2, 1] {
        state.observe(
            &reading(series, i64::from(series), 1.0),
            at(0),
            &config,
            &mut effects,
        );
    }
    let view = state.inspect();
    let specs: Vec<_> = view
        .series
        .iter()
        .map(|series| (series.series.0, series.windows[0].spec))
        .collect();
    assert_eq!(
        specs,
        [1, 2, 3].map(|id| (
            id,
            WindowSpec::Tumbling {
                size: i64::from(id) * 10
            }
        ))
    );
}

#[test]
fn memory_grows_with_what_is_held() {
    let mut rig = rig(&[DetectorSpec::Jump { threshold: 1.0 }]);
    let empty = rig.state.memory();
    assert_eq!(empty, size_of::<SensorState>());
    rig.observe(0, 1, 1.0);
    let one = rig.state.memory();
    assert_eq!(one, empty + 4 * 16, "a ring of four, everything else in place");
    rig.observe_in(2, 0, 1, 1.0);
    assert_eq!(rig.state.memory(), one + 2 * size_of::<Series>() + 4 * 16);
    rig.observe(0, 2, 9.0);
    let text = rig.state.anomalies().next().unwrap().explanation.capacity();
    let history = rig.state.anomalies.capacity() * size_of::<Anomaly>();
    assert_eq!(
        rig.state.memory(),
        one + 2 * size_of::<Series>() + 4 * 16 + text + history
    );
    rig.config = Arc::new(SeriesConfig {
        windows: [10, 20, 30].map(|size| WindowSpec::Tumbling { size }).to_vec(),
        lateness: 25,
        detectors: [1.0, 2.0, 3.0]
            .map(|above| DetectorSpec::Threshold { above })
            .to_vec(),
        ..(*rig.config).clone()
    });
    let config = rig.config.clone();
    let mut wide = SensorState::new();
    for time in [0, 10, 20] {
        wide.observe(
            &reading(1, time, 0.0),
            at(0),
            &|_| config.clone(),
            &mut rig.effects,
        );
    }
    let series = &wide.series[0];
    let spilled = series.windows.capacity() * size_of_val(&series.windows[0])
        + series.detectors.capacity() * size_of_val(&series.detectors[0])
        + series.windows[0].heap();
    assert!(series.windows[0].heap() > 0);
    assert_eq!(wide.memory(), size_of::<SensorState>() + 4 * 16 + spilled);
}

#[test]
fn amid_its_history_a_series_leaves_to_the_store_what_it_cannot_know() {
    let mut rig = rig(&[]);
    rig.state = SensorState::amid_history();
    assert_eq!(rig.observe(0, 150, 1.0), NEWEST);
    assert_eq!(rig.observe(0, 140, 1.0), Verdict::Unjudged { late: false });
    assert_eq!(rig.observe(0, 150, 1.0), Verdict::Duplicate);
    assert_eq!(rig.observe(0, 99, 1.0), Verdict::Unjudged { late: true });
    assert_eq!(rig.effects.recompute, [span(0)]);
    rig.observe(0, 240, 1.0);
    assert_eq!(
        (&rig.effects.windows[..], &rig.effects.recompute[..]),
        (&[][..], &[span(100)][..])
    );
    rig.observe(0, 340, 1.0);
    assert_eq!(rig.effects.windows.len(), 1, "what began after it is known");
    let config = rig.config.clone();
    rig.state = crate::core::decode(&crate::core::encode(&rig.state), &|_| config.clone()).unwrap();
    rig.observe_in(2, 0, 150, 1.0);
    assert_eq!(rig.observe_in(2, 0, 140, 1.0), Verdict::Unjudged { late: false });
}
