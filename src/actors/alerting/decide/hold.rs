//! Why nobody is told of an alert at the moment: shelved, silenced, in maintenance, or hidden behind another alert.

use std::collections::{BTreeMap, BTreeSet};

use super::Alert;
use super::policy::{Labels, Matchers, Policy};
use crate::domain::{Episode, Timestamp};
use crate::storage::alerts::Silence;

pub(super) struct Hold {
    /// For people.
    pub why: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

/// A silence whose patterns are ready.
#[derive(Debug)]
pub(super) struct Silencing {
    pub silence: Silence,
    matchers: Matchers,
}

impl Silencing {
    /// A silence that cannot be read silences nobody.
    pub fn new(silence: Silence) -> Option<Self> {
        let matchers = Matchers::parse(&silence.said.matchers);
        match matchers {
            Ok(matchers) => Some(Self { silence, matchers }),
            Err(error) => {
                tracing::error!(silence = silence.id, %error, "a silence cannot be used");
                None
            }
        }
    }

    fn hold(&self, labels: &Labels, now: Timestamp) -> Option<Hold> {
        let said = &self.silence.said;
        let holds = said.from <= now && now < said.until && self.matchers.accept(labels);
        holds.then(|| Hold {
            why: format!("silence {} of {}, until {}", self.silence.id, said.by, said.until),
            until: Some(said.until),
        })
    }
}

/// Alerts that hide others: by inhibition, and by the values of its labels.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sources(BTreeMap<(usize, Vec<String>), BTreeSet<Episode>>);

impl Sources {
    /// Notes whether an alert stands; `true` where it hides others no more.
    pub fn note(&mut self, policy: &Policy, episode: Episode, labels: &Labels, stands: bool) -> bool {
        let mut freed = false;
        for (place, inhibition) in policy.inhibitions.iter().enumerate() {
            let Some(values) = values(labels, &inhibition.equal) else {
                continue;
            };
            if !inhibition.source.accept(labels) {
                continue;
            }
            let key = (place, values);
            if stands {
                self.0.entry(key).or_default().insert(episode);
            } else if let Some(episodes) = self.0.get_mut(&key) {
                freed |= episodes.remove(&episode);
                if episodes.is_empty() {
                    self.0.remove(&key);
                }
            }
        }
        freed
    }

    fn hold(&self, policy: &Policy, labels: &Labels) -> Option<Hold> {
        let inhibitions = policy.inhibitions.iter().enumerate();
        for (place, inhibition) in inhibitions {
            // What is a source itself is never hidden by its like: else two could hide each other.
            if !inhibition.target.accept(labels) || inhibition.source.accept(labels) {
                continue;
            }
            let source = values(labels, &inhibition.equal)
                .and_then(|values| self.0.get(&(place, values)))
                .and_then(BTreeSet::first);
            if let Some(source) = source {
                return Some(Hold {
                    why: format!("hidden by {:?} behind alert {}", inhibition.name, source.0),
                    until: None,
                });
            }
        }
        None
    }
}

/// The values of these labels, if all are there.
fn values(labels: &Labels, names: &[String]) -> Option<Vec<String>> {
    names.iter().map(|name| labels.get(name).cloned()).collect()
}

pub(super) fn hold(
    policy: &Policy,
    silences: &[Silencing],
    sources: &Sources,
    alert: &Alert,
    now: Timestamp,
) -> Option<Hold> {
    let shelf = alert.said.shelved.as_ref().filter(|shelf| now < shelf.until);
    if let Some(shelf) = shelf {
        return Some(Hold {
            why: format!("shelved by {}, until {}", shelf.by, shelf.until),
            until: Some(shelf.until),
        });
    }
    let labels = &alert.labels;
    silences
        .iter()
        .find_map(|silence| silence.hold(labels, now))
        .or_else(|| {
            policy.maintenance.iter().find_map(|window| {
                Some(Hold {
                    until: Some(window.holds(labels, now)?),
                    why: format!("maintenance {:?}", window.name),
                })
            })
        })
        .or_else(|| sources.hold(policy, labels))
}
