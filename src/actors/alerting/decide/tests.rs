//! Single decisions.

use super::calendar::{Maintenance, When};
use super::rig::{Rig, SECOND, at, matchers, usual};
use super::*;
use crate::actors::alerting::{Notification, Notified};
use crate::storage::alerts::Shelf;

/// When, to whom, and of which alerts.
type Told<'a> = (i64, &'a str, Vec<(i64, AlertChange)>);

fn told(told: &[Notification]) -> Vec<Told<'_>> {
    let alerts = |alerts: &[Notified]| {
        alerts
            .iter()
            .map(|alert| (alert.episode.0, alert.change))
            .collect()
    };
    told.iter()
        .map(|told| (told.at.0 / SECOND, told.receiver.as_str(), alerts(&told.alerts)))
        .collect()
}

use crate::domain::AlertChange::{Escalated, Raised, Repeated, Resolved, Unacknowledged};
use crate::domain::AlertState as State;
use crate::domain::Level::{Critical, Error, Info, Warning};

#[test]
fn alerts_that_come_together_are_told_together() {
    let mut rig = Rig::new(usual());
    assert_eq!(rig.event(100, 1, State::Firing, Warning), []);
    assert_eq!(rig.event(110, 2, State::Firing, Warning), []);
    assert_eq!(rig.wait(129), []);
    let first = rig.wait(130);
    assert_eq!(told(&first), [(130, "ops", vec![(1, Raised), (2, Raised)])]);
    assert!(first[0].first && !first[0].digest);
    assert_eq!(rig.event(140, 3, State::Firing, Warning), []);
    let more = rig.wait(1_000);
    assert_eq!(
        told(&more),
        [(430, "ops", vec![(3, Raised)])],
        "after the interval"
    );
    assert_eq!((more[0].first, &more[0].thread), (false, &first[0].thread));
    assert_ne!(more[0].id, first[0].id);
    assert_eq!(rig.event(1_000, 4, State::Firing, Critical), []);
    assert_eq!(
        told(&rig.wait(2_000)),
        [(1_030, "ops", vec![(4, Raised)])],
        "it is worse"
    );
    for (second, episode) in [(2_000, 1), (2_005, 2), (2_010, 3), (2_015, 4)] {
        assert_eq!(rig.event(second, episode, State::Resolved, Warning), []);
    }
    let end = rig.wait(3_000);
    let all = [(4, Resolved), (3, Resolved), (2, Resolved), (1, Resolved)];
    assert_eq!(end.len(), 1);
    assert_eq!((end[0].at, end[0].alerts.len()), (at(2_030), all.len()));
    assert!(rig.rows.groups.is_empty() && rig.rows.members.is_empty());
    assert!(rig.decider.alerts.is_empty());
    rig.event(3_000, 5, State::Firing, Warning);
    let next = rig.wait(3_100);
    assert!(next[0].first, "another thread");
    assert_ne!(next[0].thread, first[0].thread);
}

#[test]
fn what_ends_before_it_was_told_is_told_once() {
    let mut rig = Rig::new(usual());
    rig.event(0, 1, State::Firing, Error);
    rig.event(10, 1, State::Resolved, Error);
    assert_eq!(told(&rig.wait(100)), [(30, "ops", vec![(1, Resolved)])]);
    assert_eq!(rig.wait(1_000_000), []);
}

#[test]
fn what_stands_is_repeated_until_somebody_says_that_he_knows() {
    let mut rig = Rig::new(usual());
    rig.event(0, 1, State::Firing, Error);
    rig.wait(100);
    let hour = 3_600;
    assert_eq!(
        told(&rig.wait(5 * hour)),
        [(30 + 4 * hour, "ops", vec![(1, Repeated)])]
    );
    rig.restart();
    rig.acknowledge(6 * hour, 1);
    assert_eq!(rig.wait(30 * hour), []);
    rig.event(30 * hour, 1, State::Resolved, Error);
    assert_eq!(
        told(&rig.wait(31 * hour)),
        [(30 * hour + 30, "ops", vec![(1, Resolved)])]
    );
}

#[test]
fn a_silence_holds_everything_but_the_end_of_what_was_told() {
    let mut rig = Rig::new(usual());
    rig.event(0, 1, State::Firing, Warning);
    rig.wait(40);
    rig.silence(50, 1_000, &[("sensor", "s*")]);
    rig.event(60, 2, State::Firing, Critical);
    rig.event(61, 3, State::Firing, Critical);
    rig.event(62, 1, State::Firing, Critical);
    assert_eq!(rig.wait(500), []);
    rig.event(500, 1, State::Resolved, Critical);
    assert_eq!(told(&rig.wait(600)), [(530, "ops", vec![(1, Resolved)])]);
    rig.event(700, 2, State::Resolved, Critical);
    assert_eq!(rig.wait(999), []);
    rig.restart();
    assert_eq!(told(&rig.wait(1_100)), [(1_000, "ops", vec![(3, Raised)])]);
    assert_eq!(rig.why(2), ["routed", "held", "ended"]);
    assert_eq!(rig.why(3), ["routed", "held", "released", "told"]);
    rig.silences.clear();
    assert_eq!(rig.turn(1_200), []);
}

#[test]
fn maintenance_and_shelves_hold_as_well() {
    let mut policy = usual();
    policy.maintenance.push(Maintenance {
        name: "cleaning".into(),
        matches: matchers(&[("site", "odd")]),
        when: When::Once {
            from: at(0),
            until: at(1_000),
        },
    });
    let mut rig = Rig::new(policy);
    let shelf = Shelf {
        by: "ada".into(),
        at: at(0),
        until: at(2_000),
        comment: String::new(),
    };
    rig.said.entry(Episode(2)).or_default().shelved = Some(shelf);
    rig.event(0, 1, State::Firing, Warning);
    rig.event(0, 2, State::Firing, Warning);
    assert_eq!(
        told(&rig.wait(3_000)),
        [
            (1_000, "ops", vec![(1, Raised)]),
            (2_000, "ops", vec![(2, Raised)])
        ]
    );
}

#[test]
fn a_dead_gateway_hides_its_sensors() {
    let mut policy = usual();
    policy.inhibitions.push(Inhibition {
        name: "gateway".into(),
        source: matchers(&[("level", "critical")]),
        target: matchers(&[("sensor", "*")]),
        equal: vec!["site".into()],
    });
    let mut rig = Rig::new(policy);
    rig.event(0, 3, State::Firing, Warning);
    rig.event(5, 1, State::Firing, Critical);
    rig.event(6, 2, State::Firing, Warning);
    assert_eq!(
        told(&rig.wait(900)),
        [(30, "ops", vec![(1, Raised), (2, Raised)])]
    );
    rig.restart();
    let freed = rig.event(901, 1, State::Resolved, Critical);
    assert_eq!(told(&freed), [(901, "ops", vec![(3, Raised), (1, Resolved)])]);
    assert_eq!(rig.wait(2_000), []);
}

#[test]
fn what_nobody_acknowledges_goes_to_somebody_else() {
    let mut policy = usual();
    policy.routes[0].timing.escalation = Some(Escalation {
        after: 600 * SECOND,
        receiver: "boss".into(),
    });
    let mut rig = Rig::new(policy);
    rig.events(0, &[(1, State::Firing, Error), (2, State::Firing, Error)]);
    rig.wait(100);
    rig.acknowledge(200, 2);
    rig.restart();
    let escalated = rig.wait(700);
    assert_eq!(told(&escalated), [(630, "boss", vec![(1, Unacknowledged)])]);
    assert_eq!(rig.wait(3_000), []);
    rig.events(3_000, &[(1, State::Resolved, Error), (2, State::Resolved, Error)]);
    let ends = rig.wait(4_000);
    let receivers: Vec<_> = ends
        .iter()
        .map(|told| (told.receiver.as_str(), told.alerts.len()))
        .collect();
    assert_eq!(receivers, [("boss", 1), ("ops", 2)]);
}

#[test]
fn too_much_becomes_a_digest() {
    let mut policy = usual();
    policy.routes[0].group_by = vec!["sensor".into()];
    policy.routes[0].timing.wait = 0;
    policy.burst = 3;
    let mut rig = Rig::new(policy);
    let storm: Vec<_> = (1..=50)
        .map(|episode| {
            (
                episode,
                State::Firing,
                if episode == 50 { Critical } else { Warning },
            )
        })
        .collect();
    let first = rig.events(0, &storm);
    assert_eq!(first.len(), 3);
    assert_eq!(first[0].alerts[0].episode, Episode(50), "the gravest first");
    assert!(first[2].digest);
    assert_eq!((first[2].alerts.len(), first[2].more), (20, 28));
    let ends: Vec<_> = (1..=50)
        .map(|episode| (episode, State::Resolved, Warning))
        .collect();
    assert_eq!(rig.events(1, &ends), []);
    rig.restart();
    let rest = rig.wait(1_000);
    assert_eq!(rest.len(), 1);
    assert_eq!((rest[0].at, rest[0].digest, rest[0].more), (at(120), true, 30));
    assert_eq!(rig.about.last().unwrap().len(), 50, "nobody's end is lost");
}

#[test]
fn a_level_that_rises_is_told_and_routed_anew() {
    let mut policy = usual();
    let mut boss = policy.routes[0].clone();
    (boss.receiver, boss.min_level) = ("boss".into(), Critical);
    policy.routes.push(boss);
    let mut rig = Rig::new(policy);
    assert_eq!(rig.event(0, 1, State::Firing, Info), []);
    assert_eq!(rig.why(1), ["no_route"]);
    rig.event(1, 1, State::Firing, Warning);
    rig.wait(50);
    rig.event(50, 1, State::Firing, Critical);
    assert_eq!(
        told(&rig.wait(100)),
        [(80, "boss", vec![(1, Raised)]), (80, "ops", vec![(1, Escalated)])]
    );
    rig.event(100, 1, State::Recovering, Critical);
    assert_eq!(rig.wait(1_000), [], "it may come back");
}

#[test]
fn a_route_that_is_new_is_told_of_what_stands() {
    let mut rig = Rig::new(Policy::default());
    rig.event(0, 1, State::Firing, Error);
    rig.policy = Arc::new(usual());
    rig.restart();
    rig.decider.adopt(at(10));
    assert_eq!(told(&rig.wait(100)), [(40, "ops", vec![(1, Raised)])]);
}
