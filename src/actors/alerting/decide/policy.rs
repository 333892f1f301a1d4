//! What is configured of who is told what, and when.
//!
//! Invariants: all routes that match an alert count, up to the first that says it is the last; a receiver counts once, by the first
//! route that names it. Durations are microseconds and none is negative.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};

use super::calendar::Maintenance;
use crate::domain::{Level, Micros};

pub type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub routes: Vec<Route>,
    /// For groups that no route stands behind any more.
    pub usual: Timing,
    pub inhibitions: Vec<Inhibition>,
    pub maintenance: Vec<Maintenance>,
    /// A receiver gets so many notifications at once,
    pub burst: u32,
    /// and one more each time this has passed; 0 is without a limit.
    pub every: Micros,
    /// Links by rule.
    pub runbooks: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Route {
    pub receiver: String,
    pub matches: Matchers,
    pub min_level: Level,
    /// What is alike in these labels is told together.
    pub group_by: Vec<String>,
    pub timing: Timing,
    /// Whether routes after it are looked at.
    pub goes_on: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How long the first alert of a group waits for others.
    pub wait: Micros,
    /// The least time between two notifications of a group, unless it gets worse or is all over.
    pub interval: Micros,
    /// After which what still stands is told again.
    pub repeat: Micros,
    pub escalation: Option<Escalation>,
}

const SECOND: Micros = 1_000_000;

impl Default for Timing {
    fn default() -> Self {
        Self {
            wait: 30 * SECOND,
            interval: 300 * SECOND,
            repeat: 4 * 3_600 * SECOND,
            escalation: None,
        }
    }
}

/// Who is told when nobody has acknowledged an alert so long after it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    pub after: Micros,
    pub receiver: String,
}

/// While an alert stands that `source` matches, those that `target` matches are not told if they are alike in the labels `equal`.
#[derive(Debug, Clone)]
pub struct Inhibition {
    pub name: String,
    pub source: Matchers,
    pub target: Matchers,
    pub equal: Vec<String>,
}

/// Patterns by label; all must match, and a label that is not there matches none.
#[derive(Debug, Clone, Default)]
pub struct Matchers(Vec<(String, GlobMatcher)>);

impl Matchers {
    pub fn parse<'p>(
        patterns: impl IntoIterator<Item = (&'p String, &'p String)>,
    ) -> Result<Self, globset::Error> {
        let compiled = patterns
            .into_iter()
            .map(|(label, pattern)| Ok((label.clone(), Glob::new(pattern)?.compile_matcher())));
        Ok(Self(compiled.collect::<Result<_, globset::Error>>()?))
    }

    pub fn accept(&self, labels: &Labels) -> bool {
        let accepts = |(label, pattern): &(String, GlobMatcher)| {
            labels.get(label).is_some_and(|value| pattern.is_match(value))
        };
        self.0.iter().all(accepts)
    }
}

impl Policy {
    /// Who is to be told of an alert, and with which others.
    pub fn destinations(&self, labels: &Labels, level: Level) -> Vec<(&str, Labels)> {
        let mut found: Vec<(&str, Labels)> = Vec::new();
        for route in &self.routes {
            if level < route.min_level || !route.matches.accept(labels) {
                continue;
            }
            if !found.iter().any(|(receiver, _)| *receiver == route.receiver) {
                found.push((&route.receiver, route.group_of(labels)));
            }
            if !route.goes_on {
                break;
            }
        }
        found
    }

    /// Of the first route that makes such groups.
    pub fn timing(&self, receiver: &str, group: &Labels) -> &Timing {
        let makes = |route: &&Route| {
            route.receiver == receiver && group.keys().all(|label| route.group_by.contains(label))
        };
        self.routes
            .iter()
            .find(makes)
            .map_or(&self.usual, |route| &route.timing)
    }
}

impl Route {
    fn group_of(&self, labels: &Labels) -> Labels {
        let pair = |label: &String| Some((label.clone(), labels.get(label)?.clone()));
        self.group_by.iter().filter_map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn route(receiver: &str, matches: &[(&str, &str)], min_level: Level, goes_on: bool) -> Route {
        Route {
            receiver: receiver.to_owned(),
            matches: Matchers::parse(&labels(matches)).unwrap(),
            min_level,
            group_by: vec!["rule".to_owned(), "site".to_owned()],
            timing: Timing::default(),
            goes_on,
        }
    }

    #[test]
    fn routes_go_by_label_and_level() {
        let policy = Policy {
            routes: vec![
                route("boss", &[], Level::Critical, true),
                route(
                    "plant",
                    &[("site", "a*"), ("sensor", "boiler-*")],
                    Level::Warning,
                    false,
                ),
                route("plant", &[("rule", "*")], Level::Info, true),
                route("ops", &[], Level::Warning, true),
            ],
            ..Policy::default()
        };
        let asked = |pairs: &[(&str, &str)], level| {
            let found = policy.destinations(&labels(pairs), level);
            found
                .iter()
                .map(|(receiver, _)| (*receiver).to_owned())
                .collect::<Vec<_>>()
        };
        let boiler = [("sensor", "boiler-7"), ("site", "a1"), ("rule", "hot")];
        assert_eq!(asked(&boiler, Level::Critical), ["boss", "plant"]);
        assert_eq!(asked(&boiler, Level::Info), ["plant"]);
        assert_eq!(
            asked(&boiler[..1], Level::Error),
            ["ops"],
            "a label that is not there"
        );
        let group = policy.destinations(&labels(&boiler), Level::Warning)[0].1.clone();
        assert_eq!(group, labels(&[("rule", "hot"), ("site", "a1")]));
    }
}
