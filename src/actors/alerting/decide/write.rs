//! What a step of the decider leaves behind: rows to be stored, and notifications.

use std::collections::{BTreeMap, BTreeSet};

use super::group::{Group, Key};
use super::{Alert, Decider, Telling};
use crate::actors::alerting::{Notification, NotificationId, Notified};
use crate::domain::{AlertChange, AlertState, Episode, Timestamp};
use crate::storage::notices::{Decided, Decision, NewNotification};

/// The most alerts that a notification lists, and a digest.
const LISTED: usize = 1_000;
const LISTED_IN_DIGEST: usize = 20;

/// What has changed since it was stored last.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub noticed: Vec<i64>,
    groups: BTreeSet<Key>,
    members: BTreeSet<(Key, Episode)>,
    limits: BTreeSet<String>,
    notifications: Vec<NewNotification>,
    decisions: Vec<Decision>,
}

impl Changed {
    pub fn group(&mut self, key: &Key) {
        self.groups.insert(key.clone());
    }

    pub fn member(&mut self, key: &Key, episode: Episode) {
        self.members.insert((key.clone(), episode));
    }

    pub fn limit(&mut self, receiver: &str) {
        self.limits.insert(receiver.to_owned());
    }

    pub fn decide(
        &mut self,
        episode: Episode,
        at: Timestamp,
        receiver: Option<&str>,
        what: &str,
        detail: String,
    ) {
        self.decisions.push(Decision {
            episode,
            at,
            receiver: receiver.map(str::to_owned),
            what: what.to_owned(),
            detail,
        });
    }

    pub fn notify(&mut self, notification: Notification, about: Vec<(Episode, u32)>) {
        self.notifications.push(NewNotification {
            id: notification.id.0.clone(),
            receiver: notification.receiver.clone(),
            thread: notification.thread.clone(),
            digest: notification.digest,
            at: notification.at,
            about,
            // Plain numbers and text can always be written to memory.
            body: serde_json::to_string(&notification).unwrap_or_default(),
        });
    }

    pub fn write(self, groups: &BTreeMap<Key, Group>, spent: &BTreeMap<String, Timestamp>) -> Decided {
        // The same.
        let text = |key: &Key| {
            groups
                .get(key)
                .map(|group| serde_json::to_string(group).unwrap_or_default())
        };
        let member = |(key, episode): (Key, Episode)| {
            let member = groups.get(&key).and_then(|group| group.members.get(&episode));
            let body = member.map(|member| serde_json::to_string(member).unwrap_or_default());
            (key.to_string(), episode, body)
        };
        Decided {
            noticed: self.noticed,
            groups: self
                .groups
                .iter()
                .map(|key| (key.to_string(), text(key)))
                .collect(),
            members: self.members.into_iter().map(member).collect(),
            limits: self
                .limits
                .into_iter()
                .filter_map(|receiver| spent.get(&receiver).map(|spent| (receiver, *spent)))
                .collect(),
            notifications: self.notifications,
            decisions: self.decisions,
        }
    }
}

impl Decider {
    /// What is said of one group; of several it is a digest.
    pub(super) fn notification(&self, now: Timestamp, receiver: &str, tellings: &[Telling]) -> Notification {
        let digest = tellings.len() > 1;
        let single = tellings.first().filter(|_| !digest);
        let group = single.and_then(|telling| Some((&telling.key, self.groups.get(&telling.key)?)));
        let (id, thread, first, labels) = match group {
            Some((key, group)) => {
                let thread = group.thread(key);
                (
                    format!("{thread}-{}", group.sent),
                    thread,
                    group.sent == 0,
                    group.labels.clone(),
                )
            }
            None => {
                let key = super::group::key(receiver, &BTreeMap::new());
                let id = format!("digest-{key}-{:x}", self.turn);
                (id.clone(), id, true, BTreeMap::new())
            }
        };
        let mut alerts: Vec<Notified> = tellings
            .iter()
            .flat_map(|telling| &telling.what)
            .filter_map(|(episode, change)| Some(self.notified(self.alerts.get(episode)?, *change)))
            .collect();
        let over = |alert: &Notified| alert.state == AlertState::Resolved;
        alerts.sort_by(|one, other| {
            (over(one), other.level, one.changed, &one.sensor, one.episode).cmp(&(
                over(other),
                one.level,
                other.changed,
                &other.sensor,
                other.episode,
            ))
        });
        let listed = if digest { LISTED_IN_DIGEST } else { LISTED };
        let more = alerts.len().saturating_sub(listed) as u64;
        alerts.truncate(listed);
        Notification {
            id: NotificationId(id),
            thread,
            first,
            receiver: receiver.to_owned(),
            at: now,
            group: labels,
            alerts,
            more,
            digest,
        }
    }

    fn notified(&self, alert: &Alert, change: AlertChange) -> Notified {
        let event = &alert.event;
        let ended = (event.state == AlertState::Resolved).then_some(event.time);
        Notified {
            episode: event.episode,
            sensor: alert.of.sensor.clone(),
            metric: Some(alert.of.metric.clone()),
            tags: alert.of.tags.clone(),
            rule: event.rule.to_string(),
            runbook: self.policy.runbooks.get(event.rule.as_ref()).cloned(),
            change,
            level: event.level,
            state: event.state,
            since: event.began,
            changed: event.time,
            ended,
            value: event.value,
            unit: alert.of.unit.clone(),
            threshold: event.threshold,
            expected: event.expected.low.zip(event.expected.high),
            reasons: vec![event.reason.clone()],
            acknowledged: alert
                .said
                .acknowledged
                .as_ref()
                .map(|said| (said.by.clone(), said.at)),
            recent: Vec::new(),
        }
    }
}
