//! Single decisions, and the rig that drives a decider as its actor does: a turn at a time, on rows that outlive it.

use std::collections::BTreeMap;

use super::calendar::{Maintenance, When};
use super::*;
use crate::actors::alerting::{Notification, Notified};
use crate::domain::{Band, MetricName, SensorId, SeriesId};
use crate::storage::alerts::{Acknowledgement, NewSilence, Shelf};
use crate::storage::notices::{Decision, KnownAlert};

pub(super) const SECOND: i64 = 1_000_000;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(second)
}

/// What would lie in a database.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    turn: i64,
    alerts: BTreeMap<Episode, KnownAlert>,
    groups: BTreeMap<String, String>,
    members: BTreeMap<(String, Episode), String>,
    limits: BTreeMap<String, Timestamp>,
}

impl Rows {
    fn apply(&mut self, turn: i64, decided: &Decided) {
        assert_eq!(turn, self.turn + 1, "no turn is left out");
        self.turn = turn;
        for (key, body) in &decided.groups {
            match body {
                Some(body) => drop(self.groups.insert(key.clone(), body.clone())),
                None => drop(self.groups.remove(key)),
            }
        }
        for (key, episode, body) in &decided.members {
            let place = (key.clone(), *episode);
            match body {
                Some(body) => drop(self.members.insert(place, body.clone())),
                None => drop(self.members.remove(&place)),
            }
        }
        self.limits.extend(decided.limits.iter().cloned());
    }

    fn state(&self) -> AlertingState {
        let needed = |alert: &&KnownAlert| {
            alert.event.state != AlertState::Resolved
                || self
                    .members
                    .keys()
                    .any(|(_, episode)| *episode == alert.event.episode)
        };
        AlertingState {
            turn: self.turn,
            alerts: self.alerts.values().filter(needed).cloned().collect(),
            groups: self.groups.clone().into_iter().collect(),
            members: self
                .members
                .iter()
                .map(|((key, episode), body)| (key.clone(), *episode, body.clone()))
                .collect(),
            limits: self.limits.clone().into_iter().collect(),
        }
    }
}

/// A decider, what is stored of it, and what came out.
pub(super) struct Rig {
    pub policy: Arc<Policy>,
    pub decider: Decider,
    pub rows: Rows,
    pub told: Vec<Notification>,
    /// What each is about: all alerts, with the last event.
    pub about: Vec<Vec<(Episode, u32)>>,
    pub decisions: Vec<Decision>,
    pub said: BTreeMap<Episode, Said>,
    pub silences: Vec<Silence>,
    ids: i64,
    now: Timestamp,
}

impl Rig {
    pub fn new(policy: Policy) -> Self {
        let policy = Arc::new(policy);
        Rig {
            decider: Decider::load(policy.clone(), AlertingState::default()).unwrap(),
            policy,
            rows: Rows::default(),
            told: Vec::new(),
            about: Vec::new(),
            decisions: Vec::new(),
            said: BTreeMap::new(),
            silences: Vec::new(),
            ids: 0,
            now: at(0),
        }
    }

    /// An event of the alert `episode` of the sensor with this name, and what follows at once.
    pub fn event(&mut self, second: i64, episode: i64, state: AlertState, level: Level) -> Vec<Notification> {
        self.events(second, &[(episode, state, level)])
    }

    pub fn events(&mut self, second: i64, events: &[(i64, AlertState, Level)]) -> Vec<Notification> {
        for (episode, state, level) in events {
            let before = self
                .rows
                .alerts
                .get(&Episode(*episode))
                .map(|alert| alert.event.clone());
            let event = AlertEvent {
                episode: Episode(*episode),
                ordinal: before.map_or(0, |before| before.ordinal + 1),
                change: AlertChange::Raised,
                time: at(second),
                series: SeriesId(1),
                rule: "hot".into(),
                state: *state,
                level: *level,
                began: at(second),
                value: Some(1.0),
                threshold: None,
                expected: Band::default(),
                flapping: false,
                reason: String::new(),
            };
            let site = if episode % 2 == 0 { "even" } else { "odd" };
            let of = Subject {
                sensor: SensorId::parse(&format!("s{episode}")).unwrap(),
                metric: MetricName::parse("t").unwrap(),
                unit: None,
                tags: BTreeMap::from([("site".to_owned(), site.to_owned())]),
            };
            self.ids += 1;
            let known = KnownAlert {
                event: event.clone(),
                of: of.clone(),
                said: Said::default(),
            };
            self.rows.alerts.insert(event.episode, known);
            let id = self.ids;
            self.decider.notice(at(second), WaitingEvent { id, event, of });
        }
        self.turn(second)
    }

    /// Lets time pass to there, step by step as it wants to be woken.
    pub fn wait(&mut self, second: i64) -> Vec<Notification> {
        let mut told = Vec::new();
        while let Some(next) = self.decider.next().filter(|next| *next <= at(second)) {
            let decided = self.step(next);
            told.extend(decided);
            assert!(self.decider.next().is_none_or(|after| after > next), "it goes on");
        }
        self.now = self.now.max(at(second));
        told
    }

    pub fn turn(&mut self, second: i64) -> Vec<Notification> {
        self.step(at(second))
    }

    /// Time does not go back, also after a restart, when everything wants to be looked at.
    fn step(&mut self, now: Timestamp) -> Vec<Notification> {
        self.now = self.now.max(now);
        let now = self.now;
        let said = self.said.iter().map(|(episode, said)| (*episode, said.clone()));
        self.decider.hear(now, said.collect(), self.silences.clone());
        self.decider.settle(now);
        let Some((turn, decided)) = self.decider.take() else {
            return Vec::new();
        };
        self.rows.apply(turn, &decided);
        self.decisions.extend(decided.decisions);
        let mut told = Vec::new();
        for notification in decided.notifications {
            told.push(serde_json::from_str(&notification.body).unwrap());
            self.about.push(notification.about);
        }
        self.told.extend(told.iter().cloned());
        told
    }

    /// The process dies, and another one goes on from what is stored.
    pub fn restart(&mut self) {
        let mut state = self.rows.state();
        for alert in &mut state.alerts {
            alert.said = self.said.get(&alert.event.episode).cloned().unwrap_or_default();
        }
        self.decider = Decider::load(self.policy.clone(), state).unwrap();
    }

    pub fn silence(&mut self, from: i64, until: i64, matchers: &[(&str, &str)]) {
        let matchers = matchers
            .iter()
            .map(|(label, pattern)| ((*label).to_owned(), (*pattern).to_owned()));
        self.silences.push(Silence {
            id: self.silences.len() as i64 + 1,
            said: NewSilence {
                matchers: matchers.collect(),
                from: at(from),
                until: at(until),
                by: "ada".into(),
                comment: String::new(),
            },
        });
    }

    pub fn acknowledge(&mut self, second: i64, episode: i64) {
        self.said.entry(Episode(episode)).or_default().acknowledged = Some(Acknowledgement {
            by: "ada".into(),
            at: at(second),
            comment: String::new(),
        });
    }

    /// The last event of each alert.
    pub fn last_ordinals(&self) -> BTreeMap<Episode, u32> {
        let alerts = self.rows.alerts.iter();
        alerts
            .map(|(episode, alert)| (*episode, alert.event.ordinal))
            .collect()
    }

    /// Whether nothing is kept, in memory and in rows.
    pub fn is_empty(&self) -> bool {
        let decider = &self.decider;
        self.rows.groups.is_empty()
            && self.rows.members.is_empty()
            && decider.alerts.is_empty()
            && decider.groups.is_empty()
            && decider.wakes.is_empty()
    }

    /// Alerts that a route leads from, and whether they were told or ended while something held them.
    pub fn grave_enough(&self) -> Vec<(Episode, bool)> {
        let of = |what: &str| -> Vec<Episode> {
            let decisions = self.decisions.iter().filter(|said| said.what == what);
            decisions.map(|said| said.episode).collect()
        };
        let (told, ended) = (of("told"), of("ended"));
        let routed = of("routed").into_iter();
        routed
            .map(|episode| (episode, told.contains(&episode) || ended.contains(&episode)))
            .collect()
    }

    fn why(&self, episode: i64) -> Vec<&str> {
        let of = self
            .decisions
            .iter()
            .filter(|said| said.episode == Episode(episode));
        of.map(|said| said.what.as_str()).collect()
    }
}

pub(super) fn matchers(pairs: &[(&str, &str)]) -> Matchers {
    let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
    let pairs: BTreeMap<String, String> = pairs.iter().map(owned).collect();
    Matchers::parse(&pairs).unwrap()
}

/// All warnings and worse to `ops`, by rule, after 30 s, 5 min and 4 h.
pub(super) fn usual() -> Policy {
    Policy {
        routes: vec![Route {
            receiver: "ops".into(),
            matches: Matchers::default(),
            min_level: Level::Warning,
            group_by: vec!["rule".into()],
            timing: Timing::default(),
            goes_on: true,
        }],
        burst: 20,
        every: 120 * SECOND,
        ..Policy::default()
    }
}

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
