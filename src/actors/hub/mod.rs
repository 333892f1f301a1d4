//! The hub: tells everybody who is connected what happens, as it happens.
//!
//! The pipeline leaves what changed in [`Live`] and wakes the hub; the hub writes what is to be told once for all who get the
//! same, and puts it into their [`Outlet`]s. Invariants:
//! - Nobody waits for the hub, and the hub waits for nobody: a client that does not take what it is given is closed.
//! - Nothing is missing between a snapshot and the deltas after it.
//! - Everything comes from memory: no number of clients makes it ask the database.
//! - Values are told before their commit; windows, anomalies and restarts only after it.
//!
//! How it fails: after a crash it has forgotten who was subscribed to what, begins a new epoch, and has every session subscribe
//! again, which clients see as a resync. Until then they are told nothing, and nothing else notices.

pub mod board;
mod body;
pub mod cells;
pub mod changes;
mod figures;
pub mod frames;
mod group;
mod lists;
pub mod live;
pub mod outlet;
mod overview;
mod pace;
mod ring;
mod sensor;
pub mod sessions;
#[cfg(test)]
mod tests;
pub mod topic;
mod values;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use rustc_hash::FxHashMap;
use tokio::time::{Instant, sleep_until};

pub use self::figures::LiveMetrics;
use self::frames::Heads;
pub use self::group::Since;
use self::group::{Group, Member, State};
pub use self::live::Live;
use self::outlet::{Close, Outlet, Put};
use self::topic::{Refusal, Topic};
pub use self::world::HubParts;
use self::world::World;
use super::supervision::Supervise;
use crate::domain::SensorKey;

/// The hub looks at what the pipeline left no more often than that, so that much of it costs little.
const TURN: Duration = Duration::from_millis(5);
/// How often figures, actors and all cells are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon after a look a sensor that changed its state is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// How often those who stand still are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// Sessions that subscribe may wait in the mailbox, each for itself.
const MAILBOX: usize = 1_024;

pub struct Hub {
    world: World,
    /// How long a client may take nothing.
    patience: Duration,
    groups: BTreeMap<u64, Group>,
    by_topic: FxHashMap<(Topic, u64), u64>,
    /// The groups that watch a sensor, and those that watch all.
    by_sensor: FxHashMap<SensorKey, Vec<u64>>,
    of_all: Vec<u64>,
    /// Those that are told of the anomalies of many sensors.
    of_events: Vec<u64>,
    next: u64,
    /// Above all numbers that groups have given.
    seq: u64,
    turned_at: Instant,
    looked_at: Instant,
    heartbeat_at: Instant,
    sweep_at: Instant,
    ever_started: bool,
}

/// Has a client told of a topic. A subscription of the same name is replaced.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribe {
    pub outlet: Arc<Outlet>,
    pub id: String,
    pub topic: Topic,
    /// Milliseconds.
    pub period: u64,
    pub since: Option<Since>,
    /// The session was told to.
    pub again: bool,
}

#[derive(Message)]
#[rtype(result = "()")]
pub struct Unsubscribe {
    pub outlet: Arc<Outlet>,
    pub id: String,
}

impl Hub {
    pub fn new(parts: HubParts, patience: Duration) -> Self {
        let now = Instant::now();
        Self {
            world: World::new(parts),
            patience,
            groups: BTreeMap::new(),
            by_topic: FxHashMap::default(),
            by_sensor: FxHashMap::default(),
            of_all: Vec::new(),
            of_events: Vec::new(),
            next: 0,
            seq: 0,
            turned_at: now,
            looked_at: now,
            heartbeat_at: now,
            sweep_at: now,
            ever_started: false,
        }
    }

    fn live(&self) -> &Arc<Live> {
        &self.world.parts.live
    }

    /// Waits for something to do, does it, and waits again.
    fn listen(&mut self, ctx: &mut Context<Self>) {
        let live = self.live().clone();
        let (earliest, due) = (self.turned_at + TURN, self.due(Instant::now()));
        let wait = async move {
            tokio::select! {
                () = live.news() => {}
                () = sleep_until(due) => {}
            }
            sleep_until(earliest).await;
        };
        ctx.spawn(wait.into_actor(self).map(|(), hub, ctx| {
            hub.turn(Instant::now());
            hub.listen(ctx);
        }));
    }

    fn due(&self, now: Instant) -> Instant {
        if self.live().sessions.count() == 0 {
            return now + FOR_EVER;
        }
        let mut due = self.heartbeat_at.min(self.sweep_at);
        if !self.groups.is_empty() {
            let changed = self.live().board.has_changed();
            due = due.min(self.looked_at + if changed { LOOK_AGAIN } else { LOOK_EVERY });
        }
        let groups = self.groups.values().filter_map(|group| group.due(now));
        groups.fold(due, Instant::min)
    }

    fn turn(&mut self, now: Instant) {
        self.turned_at = now;
        self.take_changes(now);
        self.take_events();
        let since = now.saturating_duration_since(self.looked_at);
        let changed = self.live().board.has_changed();
        if !self.groups.is_empty() && (since >= LOOK_EVERY || (changed && since >= LOOK_AGAIN)) {
            self.look(now);
        }
        self.tell(now);
        let live = self.live().clone();
        if now >= self.heartbeat_at {
            self.heartbeat_at = now + HEARTBEAT_EVERY;
            let beat = frames::heartbeat(self.world.parts.clock.now());
            live.sessions.tell_all(&beat, &live.metrics, now);
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            live.sessions.sweep(self.patience, &live.metrics, now);
            self.leave(|member| member.outlet.is_closed());
        }
    }

    fn take_changes(&mut self, now: Instant) {
        let mut to_watch = Vec::new();
        for (series, change) in self.live().take_changes() {
            let of_sensor = self.by_sensor.get(&change.sensor).map_or(&[][..], Vec::as_slice);
            for number in of_sensor.iter().chain(&self.of_all) {
                if let Some(group) = self.groups.get_mut(number)
                    && group.offer(series, &change, &self.world, now)
                {
                    to_watch.push(*number);
                }
            }
        }
        for number in to_watch {
            self.watch(number);
        }
    }

    fn take_events(&mut self) {
        let events = self.live().take_events();
        for (seq, sensor, anomaly) in events.anomalies {
            self.world.ring.add(seq, sensor, anomaly);
            let Some(event) = self.world.ring.after(seq - 1).next() else {
                continue;
            };
            let of_sensor = self.by_sensor.get(&sensor).map_or(&[][..], Vec::as_slice);
            for number in of_sensor.iter().chain(&self.of_events) {
                if let Some(group) = self.groups.get_mut(number) {
                    group.found(event, &self.world);
                }
            }
        }
        for (sensor, window) in &events.windows {
            let Some(name) = self.world.parts.registry.name(window.span.series) else {
                continue;
            };
            for number in self.by_sensor.get(sensor).map_or(&[][..], Vec::as_slice) {
                if let Some(group) = self.groups.get_mut(number)
                    && let State::Sensor(topic) = &mut group.state
                {
                    topic.closed(name.metric.to_string(), window);
                }
            }
        }
        for row in &events.restarts {
            for group in self.groups.values_mut() {
                if let State::Sensor(topic) = &mut group.state {
                    topic.restarted(row);
                }
            }
        }
    }

    fn look(&mut self, now: Instant) {
        self.looked_at = now;
        self.world.look_at_figures();
        self.world.look_at_sensors();
        let mut to_watch = Vec::new();
        for (number, group) in &mut self.groups {
            if group.look_up(&self.world, now) {
                to_watch.push(*number);
            }
            group.look(&self.world);
        }
        for number in to_watch {
            self.watch(number);
        }
    }

    fn tell(&mut self, now: Instant) {
        let mut left = false;
        for group in self.groups.values_mut() {
            if group.due(now).is_some_and(|due| due <= now) {
                group.tell(&self.world, now);
                self.seq = self.seq.max(group.seq());
                left |= group.members.is_empty();
            }
        }
        if left {
            self.leave(|_| false);
        }
    }

    /// Notes anew what a group watches.
    fn watch(&mut self, number: u64) {
        self.unwatch(number);
        let live = self.live().clone();
        let Some(group) = self.groups.get_mut(&number) else {
            return;
        };
        let Some(watch) = group.wanted() else { return };
        live.watched.add(&watch);
        for sensor in &watch.sensors {
            self.by_sensor.entry(*sensor).or_default().push(number);
        }
        if watch.all {
            self.of_all.push(number);
        }
        group.watch = watch;
    }

    fn unwatch(&mut self, number: u64) {
        let live = self.live().clone();
        let Some(group) = self.groups.get_mut(&number) else {
            return;
        };
        let watch = std::mem::take(&mut group.watch);
        if watch.sensors.is_empty() && !watch.all {
            return;
        }
        live.watched.remove(&watch);
        for sensor in &watch.sensors {
            if let Some(groups) = self.by_sensor.get_mut(sensor) {
                groups.retain(|other| *other != number);
                if groups.is_empty() {
                    self.by_sensor.remove(sensor);
                }
            }
        }
        self.of_all.retain(|other| *other != number);
    }

    /// Lets members go, and groups without any.
    fn leave(&mut self, leaves: impl Fn(&Member) -> bool) {
        for group in self.groups.values_mut() {
            group.members.retain(|member| !leaves(member));
        }
        let empty: Vec<u64> = self
            .groups
            .iter()
            .filter(|(_, group)| group.members.is_empty())
            .map(|(number, _)| *number)
            .collect();
        for number in empty {
            self.unwatch(number);
            self.groups.remove(&number);
            self.by_topic.retain(|_, other| *other != number);
            self.of_events.retain(|other| *other != number);
        }
        let members = self.groups.values().map(|group| group.members.len()).sum();
        self.live().metrics.set_subscriptions(members);
    }

    fn subscribe(&mut self, asked: Subscribe, now: Instant) -> Result<(), Refusal> {
        let period = if asked.topic.has_rate() { asked.period } else { 0 };
        let key = (asked.topic, period);
        // So that a snapshot is of now.
        self.take_changes(now);
        self.take_events();
        let number = match self.by_topic.get(&key) {
            Some(number) => *number,
            None => {
                if self.groups.is_empty() {
                    self.looked_at = now;
                    self.world.look_at_figures();
                    self.world.look_at_sensors();
                }
                let period = Duration::from_millis(period);
                let group = Group::new(&key.0, period, self.seq + 1, &self.world, now)?;
                self.seq += 1;
                self.next += 1;
                if matches!(group.state, State::Anomalies(_)) {
                    self.of_events.push(self.next);
                }
                self.groups.insert(self.next, group);
                self.by_topic.insert(key, self.next);
                self.watch(self.next);
                self.next
            }
        };
        let heads = Heads::new(&asked.id);
        let member = Member {
            outlet: asked.outlet,
            id: asked.id,
            heads,
        };
        if let Some(group) = self.groups.get_mut(&number) {
            group.join(member, asked.since, asked.again, &self.world, now);
        }
        let members = self.groups.values().map(|group| group.members.len()).sum();
        self.live().metrics.set_subscriptions(members);
        // The next turn may be sooner now.
        self.live().wake();
        Ok(())
    }
}

impl Actor for Hub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Supervised for Hub {
    fn restarting(&mut self, _ctx: &mut Context<Self>) {
        self.live().begin_epoch();
        let ever_started = self.ever_started;
        *self = Self::new(self.world.parts.clone(), self.patience);
        self.ever_started = ever_started;
    }
}

impl Supervise for Hub {
    fn resume(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.ever_started, true) {
            self.live().sessions.renew_all();
        }
        self.listen(ctx);
    }
}

impl Handler<Subscribe> for Hub {
    type Result = ();

    fn handle(&mut self, asked: Subscribe, _ctx: &mut Context<Self>) {
        let now = Instant::now();
        let (outlet, id) = (asked.outlet.clone(), asked.id.clone());
        self.forget(&outlet, &id);
        if outlet.is_closed() {
            return;
        }
        if let Err(refusal) = self.subscribe(asked, now) {
            let error = frames::error(Some(&id), refusal.code, &refusal.detail);
            if outlet.put(error, now) == Put::TooSlow {
                self.live().metrics.closed(Close::TooSlow);
            }
        }
    }
}

impl Handler<Unsubscribe> for Hub {
    type Result = ();

    fn handle(&mut self, Unsubscribe { outlet, id }: Unsubscribe, _ctx: &mut Context<Self>) {
        self.forget(&outlet, &id);
    }
}

impl Hub {
    fn forget(&mut self, outlet: &Outlet, id: &str) {
        let is_it = |member: &Member| member.outlet.number == outlet.number && member.id == id;
        let known = self.groups.values().any(|group| group.members.iter().any(is_it));
        if known {
            self.leave(is_it);
        }
    }
}
