//! Telling: what is due goes to its receiver, as far as his limit allows, and the rest in a digest.
//!
//! Invariants: whoever has no room is looked at again when he has some. What was told is noted with every member of the group, and a
//! member that has ended is taken out. How it fails: not at all; what is told is stored with the turn.

use super::Decider;
use super::group::Key;
use super::limit::Limit;
use crate::domain::{AlertChange, Episode, Level, Timestamp};

/// What there is to be told of a group.
pub(super) struct Telling {
    pub key: Key,
    pub worst: Level,
    pub what: Vec<(Episode, AlertChange)>,
}

impl Decider {
    /// Tells a receiver as much as he may be told: the gravest first, and what there is no room for in a digest.
    pub(super) fn tell_receiver(&mut self, now: Timestamp, receiver: &str, mut tellings: Vec<Telling>) {
        let limit = Limit {
            burst: self.policy.burst,
            every: self.policy.every,
        };
        let spent = self.spent.get(receiver).copied().unwrap_or(Timestamp::MIN);
        let room = usize::try_from(limit.room(spent, now)).unwrap_or(usize::MAX);
        if room == 0 {
            for telling in &tellings {
                self.wake(&telling.key, limit.free_at(spent));
            }
            return;
        }
        tellings.sort_by(|one, other| other.worst.cmp(&one.worst).then_with(|| one.key.cmp(&other.key)));
        let alone = if tellings.len() <= room {
            tellings.len()
        } else {
            room - 1
        };
        let together = tellings.split_off(alone);
        let mut sent: Vec<Vec<Telling>> = tellings.into_iter().map(|telling| vec![telling]).collect();
        sent.extend(Some(together).filter(|rest| !rest.is_empty()));
        for tellings in sent {
            let spent = self.spent.entry(receiver.to_owned()).or_insert(Timestamp::MIN);
            *spent = limit.spend(*spent, now);
            self.changed.limit(receiver);
            self.tell(now, receiver, tellings);
        }
    }

    fn tell(&mut self, now: Timestamp, receiver: &str, tellings: Vec<Telling>) {
        let notification = self.notification(now, receiver, &tellings);
        let id = notification.id.0.clone();
        let mut about = Vec::new();
        for Telling { key, what, .. } in &tellings {
            for (episode, change) in what {
                let (Some(group), Some(alert)) = (self.groups.get_mut(key), self.alerts.get(episode)) else {
                    continue;
                };
                let Some(member) = group.members.get_mut(episode) else {
                    continue;
                };
                let digest = if notification.digest { ", in a digest" } else { "" };
                let detail = format!("Told as {} in {id}{digest}.", change.as_str());
                self.changed.decide(*episode, now, Some(receiver), "told", detail);
                member.tell(&alert.event, now);
                group.worst = group.worst.max(Some(alert.event.level));
                about.push((*episode, alert.event.ordinal));
                let ended = alert.ended();
                self.changed.member(key, *episode);
                if ended {
                    self.remove(key, *episode);
                }
            }
            if let Some(group) = self.groups.get_mut(key) {
                group.sent += u32::from(!notification.digest);
                group.last = Some(now);
                group.due = None;
                self.changed.group(key);
                self.wake(key, now.saturating_add(1));
            }
        }
        self.changed.notify(notification, about);
    }
}
