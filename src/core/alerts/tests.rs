//! The lifecycle against a model that knows the whole past and nothing else.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::core::{Effects, SensorState, SeriesConfig, decode, encode};
use crate::domain::AlertChange::{Escalated, Lowered, NoData, Raised, Recovering, Resolved, Returned};
use crate::domain::{BatchTime, Flags, Level, Reading};

const SECOND: i64 = 1_000_000;

fn limits(above: f64, clear: f64) -> Condition {
    Condition::Limits(Limits {
        subject: Subject::Value,
        above: Some(Limit { at: above, clear }),
        below: None,
    })
}

fn rule(condition: Condition) -> RuleSpec {
    RuleSpec {
        name: "r".into(),
        condition,
        levels: Levels::One(Level::Warning),
        hold: 0,
        keep: 0,
        no_data: None,
    }
}

/// A sensor of one series whose clocks go on together, in seconds.
struct Rig {
    state: SensorState,
    config: Arc<SeriesConfig>,
}

impl Rig {
    fn new(rules: &[RuleSpec]) -> Self {
        Rig {
            state: SensorState::new(),
            config: Arc::new(SeriesConfig {
                windows: Vec::new(),
                rules: rules.iter().cloned().map(Arc::new).collect(),
                ..SeriesConfig::default()
            }),
        }
    }

    fn at(second: i64) -> BatchTime {
        BatchTime {
            now: Timestamp::from_seconds(second),
            active: ActiveTime(second * SECOND),
        }
    }

    fn say(&mut self, second: i64, value: f64) -> Vec<AlertEvent> {
        let mut effects = Effects::default();
        let reading = Reading {
            series: SeriesId(1),
            time: Timestamp::from_seconds(second),
            value,
            index: 0,
            flags: Flags::NONE,
        };
        let config = self.config.clone();
        self.state
            .observe(&reading, Self::at(second), &|_| config.clone(), &mut effects);
        effects.alerts
    }

    fn wait(&mut self, second: i64) -> Vec<AlertEvent> {
        let mut effects = Effects::default();
        self.state.advance(Self::at(second), &mut effects);
        effects.alerts
    }

    fn restart(&mut self) {
        let config = self.config.clone();
        self.state = decode(&encode(&self.state), &|_| config.clone()).unwrap();
    }
}

/// What happened, and at which second.
fn told(events: &[AlertEvent]) -> Vec<(AlertChange, i64)> {
    events
        .iter()
        .map(|event| (event.change, event.time.0 / SECOND))
        .collect()
}

#[test]
fn an_alert_fires_and_is_resolved() {
    let mut rig = Rig::new(&[rule(limits(80.0, 75.0))]);
    assert_eq!(rig.say(1, 80.0), []);
    let raised = rig.say(2, 93.5);
    assert_eq!(told(&raised), [(Raised, 2)]);
    let event = &raised[0];
    assert_eq!(
        (event.ordinal, event.state, event.level),
        (0, AlertState::Firing, Level::Warning)
    );
    assert_eq!((event.value, event.threshold), (Some(93.5), Some(80.0)));
    assert_eq!(
        (event.expected.high, event.began),
        (Some(80.0), Timestamp::from_seconds(2))
    );
    assert_eq!(event.reason, "The value, 93.5, is above 80.");
    assert_eq!(rig.say(3, 76.0), [], "not far enough back");
    let resolved = rig.say(4, 75.0);
    assert_eq!(told(&resolved), [(Resolved, 4)]);
    assert_eq!((resolved[0].episode, resolved[0].ordinal), (event.episode, 1));
    let again = rig.say(5, 81.0);
    assert_eq!((again[0].change, again[0].ordinal), (Raised, 0));
    assert_ne!(again[0].episode, event.episode);
}

#[test]
fn it_must_hold_for_long_enough() {
    let patient = RuleSpec {
        hold: 10 * SECOND,
        ..rule(limits(80.0, 80.0))
    };
    let mut rig = Rig::new(&[patient]);
    assert_eq!(rig.say(1, 90.0), []);
    assert_eq!(
        rig.state.inspect().series[0].rules[0].state,
        Some(AlertState::Pending)
    );
    assert_eq!(rig.say(5, 70.0), []);
    assert_eq!(rig.say(6, 90.0), []);
    assert_eq!(rig.say(15, 90.0), []);
    let raised = rig.say(16, 95.0);
    assert_eq!(told(&raised), [(Raised, 16)]);
    assert_eq!(raised[0].began, Timestamp::from_seconds(6));
    rig.say(17, 1.0);

    assert_eq!(rig.say(20, 90.0), []);
    assert_eq!(
        told(&rig.say(60, 1.0)),
        [(Raised, 30), (Resolved, 60)],
        "it held until 60"
    );
    assert_eq!(rig.say(70, 90.0), []);
    assert_eq!(rig.wait(79), []);
    assert_eq!(
        told(&rig.wait(500)),
        [(Raised, 80)],
        "and it is told without another reading"
    );
}

#[test]
fn it_must_be_over_for_long_enough() {
    let keeping = RuleSpec {
        keep: 10 * SECOND,
        ..rule(limits(80.0, 80.0))
    };
    let mut rig = Rig::new(&[keeping]);
    rig.say(1, 90.0);
    assert_eq!(told(&rig.say(2, 70.0)), [(Recovering, 2)]);
    assert_eq!(rig.say(5, 71.0), []);
    assert_eq!(told(&rig.say(8, 90.0)), [(Returned, 8)]);
    assert_eq!(told(&rig.say(9, 70.0)), [(Recovering, 9)]);
    rig.restart();
    assert_eq!(rig.wait(18), []);
    assert_eq!(told(&rig.wait(100)), [(Resolved, 19)]);
    assert_eq!(rig.wait(200), []);
}

#[test]
fn its_level_rises_and_falls() {
    let levels = Levels::Ratios(vec![
        (Level::Warning, 1.0),
        (Level::Error, 1.2),
        (Level::Critical, 1.5),
    ]);
    let mut rig = Rig::new(&[RuleSpec {
        levels,
        ..rule(limits(80.0, 75.0))
    }]);
    assert_eq!(rig.say(1, 100.0)[0].level, Level::Error);
    let up = rig.say(2, 121.0);
    assert_eq!(
        (told(&up), up[0].level, up[0].threshold),
        (vec![(Escalated, 2)], Level::Critical, Some(120.0))
    );
    assert_eq!(rig.say(3, 130.0), []);
    let down = rig.say(4, 76.0);
    assert_eq!((told(&down), down[0].level), (vec![(Lowered, 4)], Level::Warning));
    assert_eq!(told(&rig.say(5, 70.0)), [(Resolved, 5)]);
}

#[test]
fn without_data_it_says_so() {
    let watching = RuleSpec {
        no_data: Some(60 * SECOND),
        ..rule(limits(80.0, 80.0))
    };
    let mut rig = Rig::new(&[watching]);
    rig.say(1, 20.0);
    let missing = rig.wait(1_000);
    assert_eq!(told(&missing), [(NoData, 61)]);
    assert_eq!(
        missing[0].reason,
        "No new reading for 1m; the last was 20 at 1970-01-01T00:00:01Z."
    );
    assert_eq!(rig.wait(2_000), []);
    assert_eq!(told(&rig.say(2_001, 20.0)), [(Resolved, 2_001)]);
    rig.wait(3_000);
    assert_eq!(told(&rig.say(3_001, 90.0)), [(Resolved, 3_001), (Raised, 3_001)]);
    assert_eq!(told(&rig.wait(4_000)), [(NoData, 3_061)]);
    let back = rig.say(4_001, 90.0);
    assert_eq!(
        (told(&back), back[0].ordinal),
        (vec![(Raised, 4_001)], 2),
        "the same alert goes on"
    );
}

#[test]
fn silence_is_an_alert_until_something_is_heard() {
    let mut rig = Rig::new(&[rule(Condition::Silence { after: 60 * SECOND })]);
    rig.say(1, 20.0);
    rig.restart();
    assert_eq!(rig.wait(60), []);
    assert_eq!(told(&rig.wait(61)), [(Raised, 61)]);
    assert_eq!(rig.wait(1_000), []);
    rig.restart();
    assert_eq!(told(&rig.say(1_001, 20.0)), [(Resolved, 1_001)]);
    assert_eq!(told(&rig.wait(5_000)), [(Raised, 1_061)]);
}

#[test]
fn what_comes_and_goes_stays() {
    let mut rig = Rig::new(&[rule(limits(80.0, 80.0))]);
    let mut all = Vec::new();
    for second in 0..10 {
        all.extend(rig.say(second, if second % 2 == 0 { 90.0 } else { 70.0 }));
    }
    let flapping: Vec<_> = all.iter().filter(|event| event.flapping).collect();
    assert_eq!(
        (flapping[0].change, flapping[0].time),
        (Raised, Timestamp::from_seconds(8))
    );
    assert_eq!(all.last().map(|event| event.change), Some(Recovering));
    for second in 10..300 {
        let events = rig.say(second, if second % 2 == 0 { 90.0 } else { 70.0 });
        assert!(
            events
                .iter()
                .all(|event| matches!(event.change, Returned | Recovering)),
            "{events:?}"
        );
    }
    assert_eq!(told(&rig.wait(10_000)), [(Resolved, 299 + 600)]);
}

#[test]
fn a_rate_is_of_neighbors_in_event_time() {
    let condition = Condition::Limits(Limits {
        subject: Subject::Rate { per: 60 * SECOND },
        above: Some(Limit { at: 5.0, clear: 5.0 }),
        below: None,
    });
    let mut rig = Rig::new(&[rule(condition)]);
    assert_eq!(rig.say(60, 20.0), []);
    assert_eq!(rig.say(120, 25.0), []);
    let raised = rig.say(150, 28.0);
    assert_eq!((told(&raised), raised[0].value), (vec![(Raised, 150)], Some(6.0)));
    assert_eq!(raised[0].reason, "The change in 1m, 6, is above 5.");
    assert_eq!(told(&rig.say(180, 28.0)), [(Resolved, 180)]);
}

#[test]
fn a_reset_ends_it_and_a_new_one_has_another_number() {
    let mut rig = Rig::new(&[rule(Condition::Silence { after: 60 * SECOND })]);
    rig.say(1, 20.0);
    let raised = rig.wait(100);
    let mut effects = Effects::default();
    rig.state.reset(Rig::at(100), &mut effects);
    assert_eq!(told(&effects.alerts), [(Resolved, 100)]);
    let again = rig.wait(100);
    assert_eq!(told(&again), [(Raised, 61)], "it is silent still");
    assert_ne!(again[0].episode, raised[0].episode);
}

#[test]
fn what_is_stored_is_brought_to_where_it_is() {
    let mut rig = Rig::new(&[rule(limits(80.0, 80.0))]);
    let raised = rig.say(1, 90.0);
    let reconcile = |rig: &mut Rig, stored: &[AlertEvent]| {
        let mut effects = Effects::default();
        rig.state
            .reconcile(Timestamp::from_seconds(50), stored, &mut effects);
        effects.alerts
    };
    assert_eq!(reconcile(&mut rig, &raised), [], "nothing differs");
    let lost = reconcile(&mut rig, &[]);
    assert_eq!(
        (told(&lost), lost[0].episode),
        (vec![(Raised, 1)], raised[0].episode)
    );

    let ended = AlertEvent {
        ordinal: 7,
        state: AlertState::Resolved,
        ..raised[0].clone()
    };
    let other = AlertEvent {
        episode: crate::domain::Episode(9),
        ordinal: 3,
        ..raised[0].clone()
    };
    let events = reconcile(&mut rig, &[ended, other]);
    assert_eq!(told(&events), [(Raised, 1), (Resolved, 50)]);
    assert_eq!((events[0].ordinal, events[1].ordinal), (8, 4));
    assert_eq!(
        events[1].reason,
        "Its rule was changed or removed, or its sensor was reset."
    );

    let mut changed = Rig::new(&[rule(limits(85.0, 80.0))]);
    let config = changed.config.clone();
    changed.state = decode(&encode(&rig.state), &|_| config.clone()).unwrap();
    assert_eq!(
        told(&reconcile(&mut changed, &raised)),
        [(Resolved, 50)],
        "another limit is another rule"
    );
}

/// Where the model stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stand {
    Normal,
    Pending { since: i64 },
    Firing,
    Recovering { since: i64 },
}

/// What a rule on values without levels comes to: a fold over seconds, each of which judges what was said last.
fn model(said: &[(i64, f64)], rule: &RuleSpec, end: i64) -> Vec<(AlertChange, i64)> {
    let Condition::Limits(Limits {
        above: Some(limit), ..
    }) = rule.condition
    else {
        unreachable!("the model knows one limit")
    };
    let (hold, keep) = (rule.hold / SECOND, rule.keep / SECOND);
    let (mut stand, mut flapping) = (Stand::Normal, false);
    let (mut raised, mut events): (Vec<i64>, Vec<(AlertChange, i64)>) = (Vec::new(), Vec::new());
    let Some((first, _)) = said.first() else {
        return events;
    };
    let mut value = None;
    for second in *first..=end {
        if let Some((_, now)) = said.iter().find(|(time, _)| *time == second) {
            value = Some(*now);
        }
        let value = value.unwrap();
        let stays = if flapping {
            keep.max(lifecycle::FLAP_KEEP / SECOND)
        } else {
            keep
        };
        let holds = match stand {
            Stand::Normal | Stand::Pending { .. } => value > limit.at,
            Stand::Firing | Stand::Recovering { .. } => value > limit.clear,
        };
        let fire = |raised: &mut Vec<i64>, flapping: &mut bool| {
            raised.push(second);
            let span = lifecycle::FLAP_SPAN / SECOND;
            let before = raised.iter().rev().nth(lifecycle::FLAPS - 1);
            *flapping = before.is_some_and(|before| second - before <= span);
            Stand::Firing
        };
        let (next, change) = match (stand, holds) {
            (Stand::Normal, true) if hold == 0 => (fire(&mut raised, &mut flapping), Some(Raised)),
            (Stand::Normal, true) => (Stand::Pending { since: second }, None),
            (Stand::Pending { since }, true) if second - since >= hold => {
                (fire(&mut raised, &mut flapping), Some(Raised))
            }
            (Stand::Normal | Stand::Pending { .. }, false) => (Stand::Normal, None),
            (Stand::Firing, false) if stays == 0 => (Stand::Normal, Some(Resolved)),
            (Stand::Firing, false) => (Stand::Recovering { since: second }, Some(Recovering)),
            (Stand::Recovering { .. }, true) => (Stand::Firing, Some(Returned)),
            (Stand::Recovering { since }, false) if second - since >= stays => {
                (Stand::Normal, Some(Resolved))
            }
            (same, _) => (same, None),
        };
        stand = next;
        events.extend(change.map(|change| (change, second)));
    }
    events
}

proptest! {
    #[test]
    fn the_lifecycle_is_the_models(
        said in prop::collection::vec((1..40i64, prop::sample::select(vec![1.0, 4.0, 5.0, 6.0, 9.0])), 1..60),
        (hold, keep) in (0..30i64, 0..30i64),
        looks in prop::collection::vec(any::<bool>(), 60),
        restarts in prop::collection::vec(any::<bool>(), 60),
    ) {
        let rule = RuleSpec { hold: hold * SECOND, keep: keep * SECOND, ..rule(limits(5.0, 3.5)) };
        let mut second = 0;
        let said: Vec<(i64, f64)> = said
            .into_iter()
            .map(|(step, value)| {
                second += step;
                (second, value)
            })
            .collect();
        let end = second + 2_000;
        let mut rig = Rig::new(std::slice::from_ref(&rule));
        let mut events = Vec::new();
        for (place, (second, value)) in said.iter().enumerate() {
            if looks[place] {
                events.extend(rig.wait(*second - 1));
            }
            if restarts[place] {
                rig.restart();
            }
            events.extend(rig.say(*second, *value));
        }
        events.extend(rig.wait(end));
        prop_assert_eq!(told(&events), model(&said, &rule, end));

        let mut last: std::collections::BTreeMap<_, u32> = Default::default();
        for event in &events {
            let next = last.entry(event.episode).or_default();
            prop_assert_eq!(event.ordinal, *next, "events of an episode are numbered without a gap");
            *next += 1;
        }
    }
}
