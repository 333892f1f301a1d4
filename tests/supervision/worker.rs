//! The actor under test: it panics where its plan says, and writes down what is called in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use parking_lot::Mutex;
use sensorhive::actors::supervision::{
    ActorPath, ActorSpec, Backoff, EventKind, Handle, Jitter, Policy, Supervise, SupervisionEvent,
    install_panic_hook, start,
};
use tokio::task::LocalSet;
use tokio::time::Instant;

type Begin = Box<dyn FnMut(&mut Context<Worker>) + Send>;
type Work = Box<dyn FnOnce(&mut Worker, &mut Context<Worker>) + Send>;
type Call = (&'static str, Option<Instant>);

/// Where and how often a worker panics, and what it does when it starts.
#[derive(Default)]
pub struct Plan {
    pub started_panics: u32,
    pub restarting_panics: u32,
    pub resume_panics: u32,
    pub quarantined_panics: u32,
    pub stopping_panics: u32,
    pub stopped_panics: u32,
    pub refuses_to_stop: bool,
    pub on_started: Option<Begin>,
    pub on_resume: Option<Begin>,
}

/// What a test sees of a worker from outside.
#[derive(Clone, Default)]
pub struct View {
    pub plan: Arc<Mutex<Plan>>,
    calls: Arc<Mutex<Vec<Call>>>,
    events: Arc<Mutex<Vec<SupervisionEvent>>>,
}

impl View {
    pub fn planned(plan: Plan) -> Self {
        Self {
            plan: Arc::new(Mutex::new(plan)),
            ..Self::default()
        }
    }

    /// The names of the methods called so far.
    pub fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().iter().map(|(name, _)| *name).collect()
    }

    pub fn count(&self, name: &str) -> usize {
        self.calls
            .lock()
            .iter()
            .filter(|(called, _)| *called == name)
            .count()
    }

    pub fn times(&self, name: &str) -> Vec<Instant> {
        self.calls
            .lock()
            .iter()
            .filter(|(called, _)| *called == name)
            .filter_map(|(_, at)| *at)
            .collect()
    }

    pub fn events(&self) -> Vec<EventKind> {
        self.events
            .lock()
            .iter()
            .map(|event| event.kind.clone())
            .collect()
    }

    pub fn delays(&self) -> Vec<Duration> {
        let of = |kind: &EventKind| match kind {
            EventKind::Crashed { delay, .. } => *delay,
            _ => None,
        };
        self.events().iter().filter_map(of).collect()
    }

    pub fn spec(&self, policy: Policy) -> ActorSpec {
        let events = self.events.clone();
        ActorSpec::new(ActorPath::new("test/worker"))
            .policy(policy)
            .observer(Arc::new(move |event: &SupervisionEvent| {
                events.lock().push(event.clone())
            }))
    }

    pub fn worker(&self) -> Worker {
        Worker {
            view: self.clone(),
            handled: 0,
        }
    }

    pub fn start(&self, policy: Policy) -> (Addr<Worker>, Arc<Handle>) {
        start(self.spec(policy), |_, _| self.worker())
    }

    fn call(&self, name: &'static str) {
        let at = tokio::runtime::Handle::try_current().ok().map(|_| Instant::now());
        self.calls.lock().push((name, at));
    }
}

pub struct Worker {
    view: View,
    /// The state that a restart must throw away.
    pub handled: u32,
}

impl Worker {
    fn enter(&self, name: &'static str, panics: impl Fn(&mut Plan) -> &mut u32) {
        self.view.call(name);
        let due = {
            let mut plan = self.view.plan.lock();
            let left = panics(&mut plan);
            let due = *left > 0;
            *left = left.saturating_sub(1);
            due
        };
        assert!(!due, "planned panic in {name}");
    }

    fn begin(&self, context: &mut Context<Self>, what: impl Fn(&mut Plan) -> &mut Option<Begin>) {
        let begin = what(&mut self.view.plan.lock()).take();
        if let Some(mut begin) = begin {
            begin(context);
            *what(&mut self.view.plan.lock()) = Some(begin);
        }
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.enter("started", |plan| &mut plan.started_panics);
        self.begin(context, |plan| &mut plan.on_started);
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        self.enter("stopping", |plan| &mut plan.stopping_panics);
        if self.view.plan.lock().refuses_to_stop {
            Running::Continue
        } else {
            Running::Stop
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.enter("stopped", |plan| &mut plan.stopped_panics);
    }
}

impl Supervised for Worker {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.enter("restarting", |plan| &mut plan.restarting_panics);
        self.handled = 0;
    }
}

impl Supervise for Worker {
    fn resume(&mut self, context: &mut Context<Self>) {
        self.enter("resume", |plan| &mut plan.resume_panics);
        self.begin(context, |plan| &mut plan.on_resume);
    }

    fn quarantined(&mut self, _: &mut Context<Self>) {
        self.enter("quarantined", |plan| &mut plan.quarantined_panics);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.view.call("dropped");
    }
}

/// Counts, and answers with how many came since the state was last thrown away.
#[derive(Message)]
#[rtype(result = "u32")]
pub struct Ping;

impl Handler<Ping> for Worker {
    type Result = u32;

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> u32 {
        self.handled += 1;
        self.view.call("ping");
        self.handled
    }
}

/// Does anything in the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Run(Work);

impl Run {
    pub fn new(work: impl FnOnce(&mut Worker, &mut Context<Worker>) + Send + 'static) -> Self {
        Self(Box::new(work))
    }

    pub fn panic() -> Self {
        Self::new(|_, _| panic!("planned panic in a handler"))
    }

    pub fn stop() -> Self {
        Self::new(|_, context| context.stop())
    }
}

impl Handler<Run> for Worker {
    type Result = ();

    fn handle(&mut self, run: Run, context: &mut Context<Self>) {
        run.0(self, context);
    }
}

/// Panics while it holds a guard.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Poison(pub Guard);

impl Handler<Poison> for Worker {
    type Result = ();

    fn handle(&mut self, poison: Poison, _: &mut Context<Self>) {
        if self.handled < u32::MAX {
            panic!("planned panic with a guard");
        }
        poison.0.delivered();
    }
}

/// Reports when it is dropped undelivered.
pub struct Guard {
    lost: Arc<AtomicBool>,
    delivered: bool,
}

impl Guard {
    pub fn new() -> (Self, Arc<AtomicBool>) {
        let lost = Arc::new(AtomicBool::new(false));
        (
            Self {
                lost: lost.clone(),
                delivered: false,
            },
            lost,
        )
    }

    fn delivered(mut self) {
        self.delivered = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.lost.store(!self.delivered, Ordering::SeqCst);
    }
}

/// A policy whose delays are exact.
pub fn exact() -> Policy {
    Policy {
        backoff: Backoff {
            jitter: Jitter::None,
            ..Backoff::default()
        },
        ..Policy::default()
    }
}

/// Runs a test on one thread with the paused clock. What would wait for ever fails after three days of it.
pub fn paused(test: impl Future<Output = ()>) {
    install_panic_hook();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let deadline = Duration::from_secs(3 * 86_400);
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(deadline, test).await.unwrap()
    });
}

/// Lets everything run that can, without letting time pass.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

pub async fn pass(duration: Duration) {
    tokio::time::advance(duration).await;
    settle().await;
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One crash, and its back-off waited for.
pub async fn crash(address: &Addr<Worker>, view: &View) {
    settle().await;
    let before = view.count("resume");
    address.do_send(Run::panic());
    for _ in 0..40_000 {
        if view.count("resume") > before {
            return;
        }
        tokio::time::sleep(ms(1)).await;
    }
    panic!("it did not resume within 40 s");
}
