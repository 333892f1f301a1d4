//! Random alerts, people and crashes, and what must hold of all that was told.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::rig::{Rig, SECOND, at, usual};
use super::*;
use crate::actors::alerting::{Notification, NotificationId};
use crate::domain::{AlertState, Level};

#[derive(Debug, Clone)]
enum Step {
    Event {
        episode: i64,
        state: AlertState,
        level: Level,
    },
    Wait,
    Acknowledge {
        episode: i64,
    },
    Silence {
        site: bool,
        long: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let state = prop::sample::select(vec![
        AlertState::Firing,
        AlertState::Firing,
        AlertState::Recovering,
        AlertState::NoData,
        AlertState::Resolved,
        AlertState::Resolved,
    ]);
    let level = prop::sample::select(Level::ALL.to_vec());
    let step = prop_oneof![
        6 => (0..12i64, state, level).prop_map(|(episode, state, level)| Step::Event { episode, state, level }),
        2 => Just(Step::Wait),
        1 => (0..12i64).prop_map(|episode| Step::Acknowledge { episode }),
        1 => (any::<bool>(), 1..2_000i64).prop_map(|(site, long)| Step::Silence { site, long }),
    ];
    prop::collection::vec((0..400i64, step), 1..60)
}

fn policies() -> impl Strategy<Value = Policy> {
    (
        0..60i64,
        1..400i64,
        300..5_000i64,
        1..6u32,
        0..300i64,
        1..4usize,
        any::<bool>(),
    )
        .prop_map(|(wait, interval, repeat, burst, every, labels, escalates)| {
            let mut policy = usual();
            let route = &mut policy.routes[0];
            route.timing = Timing {
                wait: wait * SECOND,
                interval: interval * SECOND,
                repeat: repeat * SECOND,
                escalation: escalates.then(|| Escalation {
                    after: 500 * SECOND,
                    receiver: "boss".into(),
                }),
            };
            route.group_by = ["rule", "site", "sensor"][..labels]
                .iter()
                .map(|label| (*label).to_owned())
                .collect();
            (policy.burst, policy.every) = (burst, every * SECOND);
            policy
        })
}

/// Runs the steps; alerts that were resolved begin anew under another number.
fn run(policy: &Policy, steps: &[(i64, Step)], restarts: Option<&[bool]>) -> (Rig, i64) {
    let mut rig = Rig::new(policy.clone());
    let mut second = 0;
    let mut round = BTreeMap::<i64, (i64, bool)>::new();
    for (place, (wait, step)) in steps.iter().enumerate() {
        second += wait;
        rig.wait(second - 1);
        if restarts.is_some_and(|restarts| restarts[place % restarts.len()]) {
            rig.restart();
        }
        match step {
            Step::Event {
                episode,
                state,
                level,
            } => {
                let (number, open) = round.entry(*episode).or_insert((*episode, false));
                if !*open && *state == AlertState::Resolved {
                    continue;
                }
                let this = *number;
                *open = *state != AlertState::Resolved;
                if !*open {
                    *number += 100;
                }
                rig.event(second, this, *state, *level);
            }
            Step::Wait => drop(rig.turn(second)),
            Step::Acknowledge { episode } => {
                let number = round.get(episode).map_or(*episode, |(number, _)| *number);
                rig.acknowledge(second, number);
                // It is heard at once: whoever says it rings the bell.
                rig.turn(second);
            }
            Step::Silence { site, long } => {
                rig.silence(
                    second,
                    second + long,
                    &[("site", if *site { "odd" } else { "even" })],
                );
                rig.turn(second);
            }
        }
    }
    // All silences end, and all alerts.
    second += 10_000;
    rig.wait(second);
    let open: Vec<_> = round
        .values()
        .filter(|(_, open)| *open)
        .map(|(number, _)| *number)
        .collect();
    for number in open {
        rig.event(second, number, AlertState::Resolved, Level::Critical);
    }
    second += 10_000;
    rig.wait(second);
    (rig, second)
}

fn of<'r>(
    rig: &'r Rig,
    receiver: &'r str,
) -> impl Iterator<Item = (&'r Notification, &'r Vec<(Episode, u32)>)> {
    rig.told
        .iter()
        .zip(&rig.about)
        .filter(move |(told, _)| told.receiver == receiver)
}

/// Everything that was told, with threads by number and without ids, which have the number of a turn in them.
fn told(rig: &Rig) -> Vec<Notification> {
    let mut threads = Vec::new();
    let plain = |told: &Notification| {
        if !threads.contains(&told.thread) {
            threads.push(told.thread.clone());
        }
        let thread = threads.iter().position(|thread| *thread == told.thread);
        Notification {
            id: NotificationId(String::new()),
            thread: thread.unwrap().to_string(),
            ..told.clone()
        }
    };
    rig.told.iter().map(plain).collect()
}

/// What was decided of each alert for each receiver, in order.
fn decided(rig: &Rig) -> BTreeMap<(Episode, Option<&str>), Vec<&str>> {
    let mut decided: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for decision in &rig.decisions {
        let of = (decision.episode, decision.receiver.as_deref());
        decided.entry(of).or_default().push(&*decision.what);
    }
    decided
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Without silences: one that begins or ends between two looks may be noted at another time, and what it held back be told
    /// up to an interval sooner or later. After a crash everything is looked at once, so a decision may be recorded in an earlier turn.
    #[test]
    fn crashes_change_nothing(policy in policies(), steps in steps(), restarts in prop::collection::vec(any::<bool>(), 7)) {
        let steps: Vec<_> = steps.into_iter().filter(|(_, step)| !matches!(step, Step::Silence { .. })).collect();
        let (undisturbed, _) = run(&policy, &steps, None);
        let (crashed, _) = run(&policy, &steps, Some(&restarts));
        prop_assert_eq!(told(&undisturbed), told(&crashed));
        prop_assert_eq!(&undisturbed.about, &crashed.about);
        prop_assert_eq!(decided(&undisturbed), decided(&crashed));
    }

    #[test]
    fn what_was_told_can_be_trusted(policy in policies(), steps in steps()) {
        let (rig, _) = run(&policy, &steps, None);
        let mut ids: Vec<_> = rig.told.iter().map(|told| told.id.clone()).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), all, "no id is given twice");
        for receiver in ["ops", "boss"] {
            // Of each alert: how far its receiver knows, and whether he knows of its end.
            let mut known: BTreeMap<Episode, (u32, bool)> = BTreeMap::new();
            for (told, about) in of(&rig, receiver) {
                prop_assert!(!told.alerts.is_empty());
                prop_assert_eq!(told.alerts.len() as u64 + told.more, about.len() as u64);
                for (episode, ordinal) in about {
                    let before = known.get(episode);
                    prop_assert!(before.is_none_or(|(before, ended)| !ended && before <= ordinal), "in order, and nothing after the end");
                    known.insert(*episode, (*ordinal, false));
                }
                for alert in &told.alerts {
                    if alert.state == AlertState::Resolved {
                        known.entry(alert.episode).and_modify(|(_, ended)| *ended = true);
                    }
                }
            }
            let digests = of(&rig, receiver).any(|(told, _)| told.more > 0);
            prop_assert!(digests || known.values().all(|(_, ended)| *ended), "whoever got the alarm gets its end");
            // The rows say the same, also of what no mail lists.
            let last = rig.last_ordinals();
            for (episode, (ordinal, _)) in &known {
                prop_assert_eq!(last.get(episode), Some(ordinal), "the last event was told");
            }
            let times: Vec<i64> = of(&rig, receiver).map(|(told, _)| told.at.0).collect();
            for (place, first) in times.iter().enumerate() {
                for (more, last) in times[place..].iter().enumerate().filter(|_| policy.every > 0) {
                    prop_assert!((more as i64) < i64::from(policy.burst) + (last - first) / policy.every);
                }
            }
        }
        prop_assert!(rig.is_empty(), "nothing is kept of what is over");
        // Every alert that was ever grave enough was told, or there is a decision that says why not.
        for (episode, told) in rig.grave_enough() {
            prop_assert!(told, "{episode:?}: {:?}", rig.decisions);
        }
    }

    #[test]
    fn what_is_silenced_is_not_told(policy in policies(), steps in steps()) {
        let (rig, _) = run(&policy, &steps, None);
        for (told, _) in of(&rig, "ops") {
            let silenced = |site: &str| {
                rig.silences.iter().any(|silence| {
                    silence.said.from <= told.at && told.at < silence.said.until
                        && silence.said.matchers["site"] == site
                })
            };
            for alert in &told.alerts {
                prop_assert!(alert.state == AlertState::Resolved || !silenced(&alert.tags["site"]));
            }
        }
    }

    #[test]
    fn nobody_waits_longer_than_he_must(wait in 0..60i64, begins in prop::collection::vec(0..1_000i64, 1..20)) {
        let mut policy = usual();
        policy.routes[0].timing.wait = wait * SECOND;
        policy.routes[0].group_by = vec!["sensor".into()];
        policy.every = 0;
        let mut rig = Rig::new(policy);
        let mut begins = begins;
        begins.sort_unstable();
        for (episode, second) in begins.iter().enumerate() {
            rig.wait(*second);
            rig.event(*second, episode as i64, AlertState::Firing, Level::Error);
        }
        rig.wait(2_000);
        prop_assert_eq!(rig.told.len(), begins.len());
        for told in &rig.told {
            let began = told.alerts[0].since;
            prop_assert_eq!(told.at, began.saturating_add(wait * SECOND).max(at(0)));
        }
    }
}
