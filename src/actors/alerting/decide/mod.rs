//! Who is told what of alerts, and when: pure, with time as a parameter.
//!
//! ```text
//!  event ──▶ routes ──▶ groups ──wait──▶ held? ──no──▶ limit ──▶ notification
//!            label,     by receiver      shelved,      burst, then
//!            level      and labels       silenced,     digests
//!                                        maintenance,
//!                                        hidden
//! ```
//!
//! Invariants: everything that outlives a step leaves it in [`Decided`], so that a [`Decider`] that is loaded from what was stored goes on
//! as the one that stored it. Looking at a group when nothing is due changes nothing. Whoever was told of an alert is told of its
//! end, whatever is silenced or configured then. A decision is recorded when it changes.

mod alert;
pub mod calendar;
mod group;
mod hold;
pub mod limit;
pub mod policy;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod rig;
mod tell;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::alert::Alert;
use self::group::{Group, Key, Member};
use self::hold::{Hold, Silencing, Sources};
pub use self::policy::{Escalation, Inhibition, Labels, Matchers, Policy, Route, Timing};
use self::tell::Telling;
use self::write::Changed;
use crate::domain::{AlertChange, Episode, Timestamp};
use crate::storage::alerts::{Said, Silence};
use crate::storage::notices::{AlertingState, Decided, WaitingEvent};

/// What is known of alerts and of those who were told.
#[derive(Debug)]
pub struct Decider {
    policy: Arc<Policy>,
    /// The one that is being decided.
    turn: i64,
    alerts: BTreeMap<Episode, Alert>,
    groups: BTreeMap<Key, Group>,
    wakes: BTreeSet<(Timestamp, Key)>,
    sources: Sources,
    silences: Vec<Silencing>,
    /// By receiver, see [`Limit`].
    spent: BTreeMap<String, Timestamp>,
    changed: Changed,
}

/// A stored group that cannot be read: somebody else has written it.
#[derive(Debug, thiserror::Error)]
#[error("what is stored of alerting cannot be read: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

impl Decider {
    pub fn load(policy: Arc<Policy>, stored: AlertingState) -> Result<Self, Unreadable> {
        let mut decider = Self {
            policy,
            turn: stored.turn.saturating_add(1),
            alerts: BTreeMap::new(),
            groups: BTreeMap::new(),
            wakes: BTreeSet::new(),
            sources: Sources::default(),
            silences: Vec::new(),
            spent: stored.limits.into_iter().collect(),
            changed: Changed::default(),
        };
        for known in stored.alerts {
            let mut alert = Alert::new(known.event, known.of);
            alert.said = known.said;
            decider.alerts.insert(alert.event.episode, alert);
        }
        for (key, body) in stored.groups {
            decider.groups.insert(key.into(), serde_json::from_str(&body)?);
        }
        for (key, episode, body) in stored.members {
            let member: Member = serde_json::from_str(&body)?;
            let key: Key = key.into();
            let (Some(group), Some(alert)) = (decider.groups.get_mut(&key), decider.alerts.get_mut(&episode))
            else {
                continue;
            };
            group.open += usize::from(!alert.ended());
            group.members.insert(episode, member);
            alert.groups.push(key);
        }
        for (episode, alert) in &decider.alerts {
            let stands = !alert.ended();
            decider
                .sources
                .note(&decider.policy, *episode, &alert.labels, stands);
        }
        let empty = decider.groups.extract_if(.., |_, group| group.members.is_empty());
        for (key, _) in empty.collect::<Vec<_>>() {
            decider.changed.group(&key);
        }
        decider.wake_where(Timestamp::MIN, |_| true);
        Ok(decider)
    }

    /// Has alerts that stand go to those who are to be told of them by now, whatever was configured when they began.
    pub fn adopt(&mut self, now: Timestamp) {
        let open = self.alerts.values().filter(|alert| !alert.ended());
        let open: Vec<Episode> = open.map(|alert| alert.event.episode).collect();
        for episode in open {
            self.join(now, episode);
        }
    }

    /// Takes an event in.
    pub fn notice(&mut self, now: Timestamp, waiting: WaitingEvent) {
        let WaitingEvent { id, event, of } = waiting;
        self.changed.noticed.push(id);
        let episode = event.episode;
        let before = self
            .alerts
            .get(&episode)
            .map(|alert| (alert.event.ordinal, alert.ended()));
        if before.is_some_and(|(ordinal, _)| ordinal >= event.ordinal) {
            return;
        }
        let mut alert = Alert::new(event, of);
        let (stood, stands) = (before.is_some_and(|(_, ended)| !ended), !alert.ended());
        let mut freed = false;
        if let Some(known) = self.alerts.remove(&episode) {
            if !stands || known.event.level != alert.event.level {
                freed = self.sources.note(&self.policy, episode, &known.labels, false);
            }
            (alert.said, alert.groups) = (known.said, known.groups);
        }
        self.sources.note(&self.policy, episode, &alert.labels, stands);
        self.alerts.insert(episode, alert);
        if freed {
            self.wake_where(now, |group| {
                group.members.values().any(|member| member.held.is_some())
            });
        }
        for key in self.groups_of(episode) {
            let Some(group) = self.groups.get_mut(&key) else {
                continue;
            };
            match (stood, stands) {
                (true, false) => group.open = group.open.saturating_sub(1),
                (false, true) => group.open += 1,
                _ => {}
            }
            self.hasten(now, &key, episode);
        }
        if stands {
            self.join(now, episode);
        }
        if self.groups_of(episode).is_empty() {
            if before.is_none() {
                self.changed.decide(
                    episode,
                    now,
                    None,
                    "no_route",
                    "No route leads to a receiver.".to_owned(),
                );
            }
            if !stands {
                self.alerts.remove(&episode);
            }
        }
    }

    /// Takes in what people have said since.
    pub fn hear(&mut self, now: Timestamp, said: Vec<(Episode, Said)>, silences: Vec<Silence>) {
        let mut said: BTreeMap<Episode, Said> = said.into_iter().collect();
        let mut concerned = Vec::new();
        for (episode, alert) in &mut self.alerts {
            let new = said.remove(episode).unwrap_or_default();
            // What was said to one that is resolved since is not asked for any more.
            if alert.said != new && !alert.ended() {
                alert.said = new;
                concerned.extend(alert.groups.iter().cloned());
            }
        }
        for key in concerned {
            self.wake(&key, now);
        }
        if !self.silences.iter().map(|known| &known.silence).eq(&silences) {
            self.silences = silences.into_iter().filter_map(Silencing::new).collect();
            self.wake_where(now, |_| true);
        }
    }

    /// When [`Self::settle`] has something to do, if nothing happens until then.
    pub fn next(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Tells what is due.
    pub fn settle(&mut self, now: Timestamp) {
        let mut ready: BTreeMap<String, Vec<Telling>> = BTreeMap::new();
        while let Some((at, key)) = self.wakes.first().cloned() {
            if at > now {
                break;
            }
            self.sleep(&key);
            let telling = self.review(now, &key);
            if let (Some(telling), Some(group)) = (telling, self.groups.get(&key)) {
                ready.entry(group.receiver.clone()).or_default().push(telling);
            }
        }
        for (receiver, tellings) in ready {
            self.tell_receiver(now, &receiver, tellings);
        }
    }

    /// Ends a turn: events are noticed first, then it is settled once. What is to be stored of it in one transaction, if anything.
    pub fn take(&mut self) -> Option<(i64, Decided)> {
        let decided = std::mem::take(&mut self.changed).write(&self.groups, &self.spent);
        if decided.is_empty() {
            return None;
        }
        let turn = self.turn;
        self.turn = turn.saturating_add(1);
        Some((turn, decided))
    }

    fn join(&mut self, now: Timestamp, episode: Episode) {
        let Some(alert) = self.alerts.get(&episode) else {
            return;
        };
        let policy = self.policy.clone();
        let level = alert.event.level;
        for (receiver, labels) in policy.destinations(&alert.labels, level) {
            self.add(now, episode, receiver, labels, false);
        }
    }

    /// Makes an alert a member of a group, unless its receiver is told of it already.
    fn add(
        &mut self,
        now: Timestamp,
        episode: Episode,
        receiver: &str,
        labels: Labels,
        unacknowledged: bool,
    ) -> bool {
        let told = |key: &Key| {
            self.groups
                .get(key)
                .is_some_and(|group| group.receiver == receiver)
        };
        if self.groups_of(episode).iter().any(told) {
            return false;
        }
        let key = group::key(receiver, &labels);
        let turn = self.turn;
        let begin = || Group::new(receiver, labels.clone(), turn);
        let group = self.groups.entry(key.clone()).or_insert_with(begin);
        let member = Member {
            unacknowledged,
            ..Member::default()
        };
        group.members.insert(episode, member);
        group.open += 1;
        self.changed.member(&key, episode);
        if let Some(alert) = self.alerts.get_mut(&episode) {
            alert.groups.push(key.clone());
        }
        let alike: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        let detail = match unacknowledged {
            true => "Nobody has acknowledged it in time.".to_owned(),
            false => format!(
                "A route leads to this receiver; told together with what is alike in [{}].",
                alike.join(", ")
            ),
        };
        self.changed
            .decide(episode, now, Some(receiver), "routed", detail);
        self.hasten(now, &key, episode);
        true
    }

    /// Something may be to be told of a member.
    fn hasten(&mut self, now: Timestamp, key: &Key, episode: Episode) {
        let (Some(group), Some(alert)) = (self.groups.get_mut(key), self.alerts.get(&episode)) else {
            return;
        };
        let Some(member) = group.members.get(&episode) else {
            return;
        };
        let Some(change) = member.change(&alert.event) else {
            return;
        };
        let timing = self.policy.timing(&group.receiver, &group.labels);
        match change {
            AlertChange::Unacknowledged => group.due = Some(now),
            _ => group.hasten(now, timing, alert.event.level),
        }
        let due = group.due.unwrap_or(now);
        self.changed.group(key);
        self.wake(key, due);
    }

    /// Brings what holds members back up to date, and finds out what is to be told now and when to look again.
    fn review(&mut self, now: Timestamp, key: &Key) -> Option<Telling> {
        let policy = self.policy.clone();
        let group = self.groups.get_mut(key)?;
        let timing = policy.timing(&group.receiver, &group.labels);
        let due = group.due.is_none_or(|due| due <= now);
        let mut released = false;
        let (mut changes, mut stand) = (Vec::new(), Vec::new());
        let (mut dropped, mut escalated) = (Vec::new(), Vec::new());
        let mut again: Option<Timestamp> = None;
        let mut look = |at: Timestamp| again = Some(again.map_or(at, |before: Timestamp| before.min(at)));
        for (episode, member) in &mut group.members {
            let Some(alert) = self.alerts.get(episode) else {
                dropped.push(*episode);
                continue;
            };
            let (change, ended) = (member.change(&alert.event), alert.ended());
            let hold = match ended && member.knows() {
                // Whoever was told of it is told of its end.
                true => None,
                false => hold::hold(&policy, &self.silences, &self.sources, alert, now),
            };
            let receiver = Some(group.receiver.as_str());
            if ended && !member.knows() && (member.unacknowledged || (hold.is_some() && due)) {
                let why = hold.map_or_else(|| "acknowledged or over in time".to_owned(), |hold| hold.why);
                let detail = format!("It ended before anybody was told: {why}.");
                self.changed.decide(*episode, now, receiver, "ended", detail);
                dropped.push(*episode);
                continue;
            }
            let why = hold.as_ref().map(|hold| hold.why.clone());
            // What nobody would be told of yet is not held back yet.
            let matters = why.is_none() || (change.is_some() && due);
            if matters && member.held != why {
                let (what, detail) = match &why {
                    Some(why) => ("held", format!("Not told: {why}.")),
                    None => ("released", "Nothing holds it back any more.".to_owned()),
                };
                self.changed.decide(*episode, now, receiver, what, detail);
                // What was held back has waited for long enough.
                released |= why.is_none() && change.is_some();
                member.held = why;
                self.changed.member(key, *episode);
            }
            if let Some(Hold { until, .. }) = hold {
                until.into_iter().for_each(&mut look);
                continue;
            }
            let acknowledged = alert.said.acknowledged.is_some();
            match change {
                Some(change) => changes.push((*episode, change, alert.event.level)),
                None if !ended && !acknowledged => stand.push((*episode, alert.event.level)),
                None => {}
            }
            let escalation = timing
                .escalation
                .as_ref()
                .filter(|_| !acknowledged && !ended && !member.escalated);
            if let (Some(escalation), Some(told)) = (escalation, &member.told) {
                let at = told.since.saturating_add(escalation.after);
                if at <= now {
                    member.escalated = true;
                    self.changed.member(key, *episode);
                    escalated.push((*episode, escalation.receiver.clone()));
                } else {
                    look(at);
                }
            }
        }
        let repeat = group.last.map(|last| last.saturating_add(timing.repeat.max(1)));
        let repeats = !stand.is_empty() && repeat.is_some_and(|at| at <= now);
        if let (Some(at), false) = (repeat.filter(|_| !stand.is_empty()), repeats) {
            look(at);
        }
        let mut what = Vec::new();
        let tells = due || released || repeats;
        match (changes.is_empty(), group.due) {
            (_, Some(at)) if !due && (changes.is_empty() || !tells) => look(at),
            (false, _) => what.extend(changes),
            // What is held back is told when nothing holds it any more.
            (true, Some(_)) => {
                group.due = None;
                self.changed.group(key);
            }
            (true, None) => {}
        }
        if repeats {
            what.extend(
                stand
                    .into_iter()
                    .map(|(episode, level)| (episode, AlertChange::Repeated, level)),
            );
        }
        let labels = group.labels.clone();
        if let Some(at) = again {
            self.wake(key, at);
        }
        for episode in dropped {
            self.remove(key, episode);
        }
        for (episode, receiver) in escalated {
            self.add(now, episode, &receiver, labels.clone(), true);
        }
        let worst = what.iter().map(|(.., level)| *level).max()?;
        let what = what
            .into_iter()
            .map(|(episode, change, _)| (episode, change))
            .collect();
        Some(Telling {
            key: key.clone(),
            worst,
            what,
        })
    }

    /// Takes a member out, and what nobody needs any more with it.
    fn remove(&mut self, key: &Key, episode: Episode) {
        let open = self.alerts.get(&episode).is_some_and(|alert| !alert.ended());
        if let Some(group) = self.groups.get_mut(key) {
            group.members.remove(&episode);
            group.open -= usize::from(open && group.open > 0);
            self.changed.member(key, episode);
            if group.members.is_empty() {
                self.sleep(key);
                self.groups.remove(key);
                self.changed.group(key);
            }
        }
        if let Some(alert) = self.alerts.get_mut(&episode) {
            alert.groups.retain(|of| of != key);
            if alert.groups.is_empty() && alert.ended() {
                self.alerts.remove(&episode);
            }
        }
    }

    fn groups_of(&self, episode: Episode) -> Vec<Key> {
        self.alerts
            .get(&episode)
            .map(|alert| alert.groups.clone())
            .unwrap_or_default()
    }

    fn wake_where(&mut self, at: Timestamp, concerned: impl Fn(&Group) -> bool) {
        let keys = self
            .groups
            .iter()
            .filter(|(_, group)| concerned(group))
            .map(|(key, _)| key.clone());
        for key in keys.collect::<Vec<_>>() {
            self.wake(&key, at);
        }
    }

    /// Has the group looked at, at the latest then.
    fn wake(&mut self, key: &Key, at: Timestamp) {
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        if group.wake.is_none_or(|before| at < before) {
            if let Some(before) = group.wake.replace(at) {
                self.wakes.remove(&(before, key.clone()));
            }
            self.wakes.insert((at, key.clone()));
        }
    }

    fn sleep(&mut self, key: &Key) {
        let at = self.groups.get_mut(key).and_then(|group| group.wake.take());
        if let Some(at) = at {
            self.wakes.remove(&(at, key.clone()));
        }
    }
}
