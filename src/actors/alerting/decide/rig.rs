//! What drives a decider in tests as its actor does: a turn at a time, on rows that outlive it.

use std::collections::BTreeMap;

use super::*;
use crate::actors::alerting::Notification;
use crate::domain::{AlertEvent, AlertState, Band, Level, MetricName, SensorId, SeriesId};
use crate::storage::alerts::{Acknowledgement, NewSilence};
use crate::storage::notices::{Decision, KnownAlert, Subject};

pub(super) const SECOND: i64 = 1_000_000;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(second)
}

/// What would lie in a database.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    turn: i64,
    pub alerts: BTreeMap<Episode, KnownAlert>,
    pub groups: BTreeMap<String, String>,
    pub members: BTreeMap<(String, Episode), String>,
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

    pub fn why(&self, episode: i64) -> Vec<&str> {
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
