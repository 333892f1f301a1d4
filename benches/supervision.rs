//! What supervision costs: the same actors plain and supervised, side by side in one run, on one thread.
//!
//! `cargo bench --bench supervision`

#![expect(
    clippy::disallowed_methods,
    reason = "the mailbox is filled faster than it is read, on purpose"
)]

use std::time::{Duration, Instant};

use actix::prelude::*;
use sensorhive::actors::supervision::{
    ActorPath, ActorSpec, Backoff, CrashBudget, Jitter, Policy, Supervise, install_panic_hook, start,
};

struct Counter {
    seen: u64,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Supervised for Counter {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.seen = 0;
    }
}

impl Supervise for Counter {}

#[derive(Message)]
#[rtype(result = "()")]
struct Add(u64);

impl Handler<Add> for Counter {
    type Result = ();

    fn handle(&mut self, add: Add, _: &mut Context<Self>) {
        self.seen += add.0;
    }
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Seen;

impl Handler<Seen> for Counter {
    type Result = u64;

    fn handle(&mut self, _: Seen, _: &mut Context<Self>) -> u64 {
        self.seen
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Handler<Crash> for Counter {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("for measuring");
    }
}

const ROUNDS: usize = 9;
const MESSAGES: usize = 2_000_000;

fn main() {
    install_panic_hook();
    System::new().block_on(async {
        println!("{:>34} {:>14} {:>14} {:>7}", "", "plain", "supervised", "ratio");
        for actors in [1_000, 100_000] {
            compare_starts(actors).await;
        }
        for actors in [1_000, 100_000] {
            compare_messages(actors).await;
        }
        measure_crashes().await;
    });
}

fn plain() -> Addr<Counter> {
    Counter { seen: 0 }.start()
}

fn supervised(parent: &ActorPath, number: usize) -> Addr<Counter> {
    start(ActorSpec::new(parent.child(number)), |_, _| Counter { seen: 0 }).0
}

async fn compare_starts(actors: usize) {
    let parent = ActorPath::new("root/shard");
    let (mut best_plain, mut best_supervised) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_plain = best_plain.min(time_start(actors, |_| plain()).await);
        best_supervised = best_supervised.min(time_start(actors, |number| supervised(&parent, number)).await);
    }
    report(
        &format!("starts/s, {actors} actors"),
        actors,
        best_plain,
        best_supervised,
    );
}

async fn time_start(actors: usize, start: impl FnMut(usize) -> Addr<Counter>) -> Duration {
    let begun = Instant::now();
    let all: Vec<Addr<Counter>> = (0..actors).map(start).collect();
    answered(&all).await;
    begun.elapsed()
}

async fn compare_messages(actors: usize) {
    let parent = ActorPath::new("root/shard");
    let plain: Vec<Addr<Counter>> = (0..actors).map(|_| plain()).collect();
    let supervised: Vec<Addr<Counter>> = (0..actors).map(|number| supervised(&parent, number)).collect();
    let (mut best_plain, mut best_supervised) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_plain = best_plain.min(time_messages(&plain).await);
        best_supervised = best_supervised.min(time_messages(&supervised).await);
    }
    report(
        &format!("messages/s, {actors} actors"),
        MESSAGES,
        best_plain,
        best_supervised,
    );
}

/// A message to each actor in turn, in rounds that are waited for, as batches are.
async fn time_messages(actors: &[Addr<Counter>]) -> Duration {
    let begun = Instant::now();
    for _ in 0..MESSAGES / actors.len() {
        for actor in actors {
            actor.do_send(Add(1));
        }
        answered(&actors[actors.len() - 1..]).await;
    }
    begun.elapsed()
}

async fn answered(actors: &[Addr<Counter>]) {
    if let Some(last) = actors.last() {
        let _ = last.send(Seen).await;
    }
}

async fn measure_crashes() {
    const CRASHES: u32 = 2_000;
    let policy = Policy {
        budget: CrashBudget {
            crashes: CRASHES,
            ..CrashBudget::default()
        },
        backoff: Backoff {
            base: Duration::ZERO,
            max: Duration::ZERO,
            jitter: Jitter::None,
        },
        ..Policy::default()
    };
    let (actor, handle) = start(
        ActorSpec::new(ActorPath::new("root/shard/wild")).policy(policy),
        |_, _| Counter { seen: 0 },
    );
    let mut took = Duration::ZERO;
    for crash in 1..=CRASHES {
        let begun = Instant::now();
        let _ = actor.send(Crash).await;
        let _ = actor.send(Seen).await;
        took += begun.elapsed();
        while handle.restarts() < crash {
            tokio::task::yield_now().await;
        }
    }
    let each = took / CRASHES;
    assert_eq!(handle.crashes(), CRASHES);
    println!(
        "{:>34} {:>14} {:>14}",
        "panic to next answer",
        "-",
        format!("{each:.1?}")
    );
}

fn report(what: &str, count: usize, plain: Duration, supervised: Duration) {
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    let ratio = rate(supervised) / rate(plain);
    println!(
        "{what:>34} {:>14.0} {:>14.0} {ratio:>7.2}",
        rate(plain),
        rate(supervised)
    );
}
