//! The subscriptions that are told the same: what they get is written once.
//!
//! Invariants: deltas of a group are numbered one after the other, and each goes to all its members. Who joins gets a snapshot as of
//! the last delta, so the next one fits. Frames of a group are no closer than its members cost: see [`Group::rest`].

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use tokio::time::Instant;

use super::changes::{Change, Watch};
use super::frames::{self, Heads};
use super::lists::{Actors, Anomalies};
use super::outlet::{Close, Outgoing, Outlet, Put};
use super::overview::Overview;
use super::ring::Event;
use super::sensor::SensorTopic;
use super::topic::{Refusal, Topic};
use super::world::World;
use crate::domain::SeriesId;

/// What lies between two frames of a group at least, and what each member adds: with a thousand, 35 ms.
const REST: Duration = Duration::from_millis(10);
const REST_A_MEMBER: Duration = Duration::from_micros(25);

pub enum State {
    Overview(Box<Overview>),
    Sensor(Box<SensorTopic>),
    Anomalies(Box<Anomalies>),
    Actors(Box<Actors>),
}

pub struct Group {
    pub state: State,
    pub members: Vec<Member>,
    /// What it watches, as the tables know it.
    pub watch: Watch,
    seq: u64,
    told_at: Option<Instant>,
    /// As of `seq`.
    snapshot: Option<ByteString>,
}

pub struct Member {
    pub outlet: Arc<Outlet>,
    /// The client's name for the subscription.
    pub id: String,
    pub heads: Heads,
}

/// Where a client was in a stream of events.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    pub epoch: String,
    pub seq: u64,
}

impl Group {
    /// `seq` is above all that was given to groups before.
    pub fn new(
        topic: &Topic,
        period: Duration,
        seq: u64,
        world: &World,
        now: Instant,
    ) -> Result<Self, Refusal> {
        let state = match topic.clone() {
            Topic::Overview { sensors, tags } => {
                State::Overview(Box::new(Overview::new(sensors, tags, period, world, now)))
            }
            Topic::Sensor(id) => {
                let Some(info) = world.parts.registry.sensor_named(&id) else {
                    return Err(Refusal::new("unknown-sensor", "there is no sensor of this id"));
                };
                State::Sensor(Box::new(SensorTopic::new(&info, period, world, now)))
            }
            Topic::Anomalies { sensors, level } => {
                State::Anomalies(Box::new(Anomalies::new(sensors, level, world)))
            }
            Topic::Actors => State::Actors(Box::new(Actors::new(world))),
        };
        Ok(Self {
            state,
            members: Vec::new(),
            watch: Watch::default(),
            seq,
            told_at: None,
            snapshot: None,
        })
    }

    pub fn seq(&self) -> u64 {
        match &self.state {
            State::Anomalies(anomalies) => anomalies.told(),
            _ => self.seq,
        }
    }

    /// What it has to watch; nothing where it does not live on readings.
    pub fn wanted(&self) -> Option<Watch> {
        match &self.state {
            State::Overview(overview) => Some(overview.watch()),
            State::Sensor(sensor) => Some(sensor.watch()),
            State::Anomalies(_) | State::Actors(_) => None,
        }
    }

    /// Takes in a change; whether the group has to watch others now.
    pub fn offer(&mut self, series: SeriesId, change: &Change, world: &World, now: Instant) -> bool {
        let unknown = match &mut self.state {
            State::Overview(overview) => overview.offer(series, change, now),
            State::Sensor(sensor) => sensor.offer(series, change, now),
            State::Anomalies(_) | State::Actors(_) => false,
        };
        unknown && self.look_up(world, now)
    }

    /// Looks up names that may have changed; whether they had.
    pub fn look_up(&mut self, world: &World, now: Instant) -> bool {
        match &mut self.state {
            State::Overview(overview) => overview.look_up(world, now),
            State::Sensor(sensor) => sensor.look_up(world, now),
            State::Anomalies(_) | State::Actors(_) => false,
        }
    }

    /// Compares with what was told what is not told by itself.
    pub fn look(&mut self, world: &World) {
        match &mut self.state {
            State::Overview(overview) => overview.look(world),
            State::Sensor(sensor) => sensor.look(world),
            State::Actors(actors) => actors.look(world),
            State::Anomalies(_) => {}
        }
    }

    pub fn found(&mut self, event: &Event, world: &World) {
        match &mut self.state {
            State::Anomalies(anomalies) => anomalies.found(event, world),
            State::Sensor(sensor) if sensor.key() == event.sensor => sensor.found(event, world),
            _ => {}
        }
    }

    /// When there is something to be told, no sooner than the rest allows.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let due = match &self.state {
            State::Overview(overview) => overview.due(now),
            State::Sensor(sensor) => sensor.due(now),
            State::Anomalies(anomalies) => anomalies.due(now),
            State::Actors(actors) => actors.due(now),
        }?;
        Some(self.told_at.map_or(due, |told| due.max(told + self.rest())))
    }

    /// Tells all members what there is.
    pub fn tell(&mut self, world: &World, now: Instant) {
        let data = match &mut self.state {
            State::Overview(overview) => overview.delta(now),
            State::Sensor(sensor) => sensor.delta(now),
            State::Anomalies(anomalies) => anomalies.delta(world),
            State::Actors(actors) => actors.delta(now),
        };
        let Some(data) = data else { return };
        self.told_at = Some(now);
        self.snapshot = None;
        self.seq += 1;
        let metrics = &world.parts.live.metrics;
        metrics.rendered();
        let body = frames::delta(self.seq(), &data);
        self.members.retain(|member| {
            let message = Outgoing {
                head: member.heads.delta.clone(),
                body: body.clone(),
            };
            match member.outlet.put(message, now) {
                Put::Queued => true,
                Put::Closed => false,
                Put::TooSlow => {
                    metrics.closed(Close::TooSlow);
                    false
                }
            }
        });
    }

    /// Tells a new member where it begins: with what it missed, or everything. `again`: because of us.
    pub fn join(&mut self, member: Member, since: Option<Since>, again: bool, world: &World, now: Instant) {
        if let State::Anomalies(anomalies) = &mut self.state {
            anomalies.settle(world);
        }
        let live = &world.parts.live;
        let epoch = live.epoch();
        let put = |head: &ByteString, body: ByteString| {
            let head = head.clone();
            if member.outlet.put(Outgoing { head, body }, now) == Put::TooSlow {
                live.metrics.closed(Close::TooSlow);
            }
        };
        let (mut replay, mut resync) = (None, again.then_some("the hub began anew"));
        if let (State::Anomalies(anomalies), Some(since)) = (&self.state, &since) {
            if since.epoch != epoch {
                resync = Some("this is another epoch");
            } else {
                replay = anomalies.replay(since.seq, &world.ring, world);
                resync = replay
                    .is_none()
                    .then_some("what was missed is not known any more");
            }
        }
        if let Some(reason) = resync {
            live.metrics.resync();
            put(&member.heads.resync, frames::resync(self.seq(), &epoch, reason));
        }
        match replay {
            Some(missed) => put(&member.heads.delta, frames::delta(self.seq(), &missed)),
            None => {
                let body = self.snapshot(world, &epoch);
                put(&member.heads.snapshot, body);
            }
        }
        self.members.push(member);
    }

    fn snapshot(&mut self, world: &World, epoch: &str) -> ByteString {
        if let Some(snapshot) = &self.snapshot {
            return snapshot.clone();
        }
        let data = match &self.state {
            State::Overview(overview) => overview.snapshot(world),
            State::Sensor(sensor) => sensor.snapshot(world),
            State::Anomalies(anomalies) => anomalies.snapshot(world),
            State::Actors(actors) => actors.snapshot(),
        };
        world.parts.live.metrics.rendered();
        let body = frames::snapshot(self.seq(), epoch, &data);
        self.snapshot.insert(body).clone()
    }

    fn rest(&self) -> Duration {
        REST + REST_A_MEMBER.saturating_mul(u32::try_from(self.members.len()).unwrap_or(u32::MAX))
    }
}
