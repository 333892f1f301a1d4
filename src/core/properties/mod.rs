//! Properties of the core, tried with random streams against the brute-force [`oracle`].
//!
//! Times and sizes are small numbers of microseconds, so that duplicates, conflicts, closed windows and forgotten
//! readings come up in nearly every stream.

mod extremes;
mod oracle;
mod restore;
mod truth;

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    Condition, DetectorSpec, Effects, Levels, Limit, Limits, RuleSpec, SensorState, SeriesConfig, Subject,
    Verdict, WindowNumber, WindowSpec,
};
use crate::domain::{
    ActiveTime, BatchTime, DetectorKind, Flags, Level, Micros, Reading, SeriesId, Timestamp,
};

/// One thing that happens to a sensor. `wait` is the active time since the thing before.
#[derive(Debug, Clone, Copy)]
enum Step {
    Observe {
        series: SeriesId,
        time: Timestamp,
        value: f64,
        wait: Micros,
    },
    Advance {
        wait: Micros,
    },
    Reset,
}

/// What a step gave.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    verdict: Option<Verdict>,
    effects: Effects,
}

/// A sensor with its clock.
struct Sensor {
    state: SensorState,
    config: Arc<SeriesConfig>,
    active: ActiveTime,
}

impl Sensor {
    fn new(config: &Arc<SeriesConfig>) -> Self {
        Sensor {
            state: SensorState::new(),
            config: config.clone(),
            active: ActiveTime(1_000),
        }
    }

    fn at(&self) -> BatchTime {
        BatchTime {
            now: Timestamp(self.active.0),
            active: self.active,
        }
    }

    fn take(&mut self, step: Step) -> Outcome {
        let mut effects = Effects::default();
        let verdict = match step {
            Step::Observe {
                series,
                time,
                value,
                wait,
            } => {
                self.active = self.active + wait;
                let reading = Reading {
                    series,
                    time,
                    value,
                    index: 0,
                    flags: Flags::NONE,
                };
                let config = self.config.clone();
                Some(
                    self.state
                        .observe(&reading, self.at(), &|_| config.clone(), &mut effects),
                )
            }
            Step::Advance { wait } => {
                self.active = self.active + wait;
                self.state.advance(self.at(), &mut effects);
                None
            }
            Step::Reset => {
                self.state.reset(self.at(), &mut effects);
                None
            }
        };
        Outcome { verdict, effects }
    }
}

fn configs() -> impl Strategy<Value = Arc<SeriesConfig>> {
    let windows = prop::collection::vec((1..40i64).prop_map(|size| WindowSpec::Tumbling { size }), 0..3);
    let detectors = (1..4i64, 0..6i64, 1..80i64, 1..80i64).prop_map(|(jump, above, after, longer)| {
        vec![
            DetectorSpec::Silence {
                after: after + longer,
            },
            DetectorSpec::Jump {
                threshold: jump as f64,
            },
            DetectorSpec::Threshold {
                above: above as f64 - 2.0,
            },
            DetectorSpec::Silence { after },
            DetectorSpec::Ensemble {},
            DetectorSpec::Rate { above: 1.0, per: 60 },
            DetectorSpec::Stuck {
                after: 9,
                within: 0.0,
            },
            DetectorSpec::ZScore {
                above: 3.0,
                window: 4,
            },
            DetectorSpec::Ewma { above: 3.0, span: 4 },
            DetectorSpec::Hampel {
                above: 3.0,
                window: 5,
            },
            DetectorSpec::Seasonal {
                above: 3.0,
                season: crate::core::Season::Day,
            },
            DetectorSpec::Shift { above: 5.0, span: 6 },
        ]
    });
    let limits = (-2..4i64, 1..80i64, 0..30i64).prop_map(|(above, after, hold)| (above as f64, after, hold));
    (windows, 0..30i64, 1..60i64, 1..8usize, detectors, limits).prop_map(
        |(mut windows, lateness, idle_after, ring, detectors, (above, after, hold))| {
            windows.dedup();
            let size = windows.first().map_or(1, |WindowSpec::Tumbling { size }| *size);
            Arc::new(SeriesConfig {
                windows,
                lateness,
                idle_after,
                ring,
                detectors,
                rules: rules(above, after, size, hold),
            })
        },
    )
}

/// One of each kind.
fn rules(above: f64, after: Micros, size: Micros, hold: Micros) -> Vec<Arc<RuleSpec>> {
    let limits = |subject| {
        Condition::Limits(Limits {
            subject,
            above: Some(Limit {
                at: above,
                clear: above - 1.0,
            }),
            below: Some(Limit {
                at: above - 6.0,
                clear: above - 5.0,
            }),
        })
    };
    let window = Subject::Window {
        size,
        aggregate: WindowNumber::Mean,
    };
    let ratios = Levels::Ratios(vec![(Level::Info, 1.0), (Level::Critical, 1.5)]);
    let rule = |name: &str, condition, levels: &Levels, no_data| {
        Arc::new(RuleSpec {
            name: name.into(),
            condition,
            levels: levels.clone(),
            hold,
            keep: hold / 2,
            no_data,
        })
    };
    let one = Levels::One(Level::Error);
    vec![
        rule("value", limits(Subject::Value), &ratios, Some(after)),
        rule("rate", limits(Subject::Rate { per: 10 }), &one, None),
        rule("window", limits(window), &ratios, Some(after)),
        rule(
            "jump",
            Condition::Detector(DetectorKind::Jump),
            &Levels::Found,
            None,
        ),
        rule("silence", Condition::Silence { after }, &one, None),
    ]
}

/// Streams of two series whose event time goes on, with disorder, repetitions, late and future readings.
fn streams(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let values = prop::sample::select(vec![-7.5, -3.0, -0.0, 0.0, 1.0, 2.0, 2.5, 3.5, 9.0]);
    let jitter = prop_oneof![6 => -3..4i64, 3 => -40..5i64, 1 => -200..100i64];
    let wait = prop_oneof![5 => 0..4i64, 2 => 0..50i64, 1 => 0..300i64];
    let step = (0..40u8, 0..2u32, 0..3i64, jitter, values, wait);
    prop::collection::vec(step, 1..length).prop_map(|steps| {
        let mut clock = -60;
        let step = |(kind, series, pace, jitter, value, wait)| {
            clock += pace;
            match kind {
                0 => Step::Reset,
                1..8 => Step::Advance { wait },
                _ => Step::Observe {
                    series: SeriesId(series),
                    time: Timestamp(clock + jitter),
                    value,
                    wait,
                },
            }
        };
        steps.into_iter().map(step).collect()
    })
}
