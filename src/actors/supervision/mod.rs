//! The panic-proof supervisor. It knows nothing of sensors.
//!
//! actix has no `catch_unwind`: an actor that panics vanishes with its mailbox, and `actix::Supervisor` with it. Here each
//! actor runs in a future that catches the panic, lets the actor throw its state away ([`actix::Supervised::restarting`]) and
//! goes on serving the same mailbox under the same address. Only the message that panicked is lost; a guard inside it reports
//! that when it is dropped.
//!
//! Rules:
//! - A crash is followed by a back-off. Back-off delays the work, not the mailbox: the actor answers at once and works again
//!   when [`Supervise::resume`] is called. Two exceptions keep a hopeless actor from spinning and damaged state from being
//!   used: after a panic in `restarting` or `started`, and after one during the back-off itself, the mailbox waits too.
//! - Past its crash budget the actor is quarantined ([`Supervise::quarantined`]) or degraded, as its [`Policy`] says. In
//!   quarantine it answers and may crash as often as its budget says once more; then it is ended, and its mailbox with it.
//! - [`Handle::stop`] ends it in any phase. It also ends when nobody holds its address, and with its arbiter.
//! - Nothing a supervised actor does reaches its arbiter, its neighbors or its supervisor. What cannot be helped: a
//!   destructor that panics while another panic unwinds aborts the process, as everywhere in Rust.
//! - A mailbox is drained until it is empty, which keeps the handle's commands and the actor's own timers waiting meanwhile.

mod crash;
mod event;
mod handle;
mod hook;
mod policy;
mod supervisor;
mod tree;
mod trouble;

pub use crash::{Crash, contain, install_panic_hook, relay, unwinding};
pub use event::{ActorPath, EventKind, ExitReason, RestartObserver, SupervisionEvent};
pub use handle::{Handle, Phase};
pub use policy::{Backoff, CrashBudget, Exhausted, Jitter, Policy, Restart};
pub use tree::{NodeStatus, SupervisionTree};

use std::sync::{Arc, LazyLock};

use actix::dev::channel;
use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Context, Supervised};

use supervisor::Supervisor;

/// An actor that can be supervised.
///
/// `Supervised::restarting` is where it throws its state away: it is called at once after a panic, before anything else.
/// `Actor::started` runs after it, before any message; keep it trivial, since its panic keeps the mailbox waiting. Futures
/// and timers are begun in `resume`: a restart cancels those from before, and numbers new ones from the start again, so that
/// a `SpawnHandle` kept from before names another future, and a cancellation that was asked for just before a panic would hit
/// what `started` began.
pub trait Supervise: Actor<Context = Context<Self>> + Supervised {
    /// The actor may work: after its start, after the back-off of a restart, and after it was revived. Runs before the next
    /// message. Until then an actor that crashed answers its messages without working.
    fn resume(&mut self, _ctx: &mut Context<Self>) {}

    /// The crash budget is spent: the actor answers its messages and does not work. Called instead of `resume`, each time its
    /// state was thrown away in quarantine.
    fn quarantined(&mut self, _ctx: &mut Context<Self>) {}
}

/// Who an actor is and how it is supervised.
#[derive(Clone)]
pub struct ActorSpec {
    pub path: ActorPath,
    pub policy: Arc<Policy>,
    pub observer: Option<Arc<dyn RestartObserver>>,
}

impl ActorSpec {
    /// With the default policy and nobody listening.
    pub fn new(path: ActorPath) -> Self {
        static DEFAULT: LazyLock<Arc<Policy>> = LazyLock::new(Arc::default);
        Self {
            path,
            policy: DEFAULT.clone(),
            observer: None,
        }
    }

    pub fn policy(mut self, policy: impl Into<Arc<Policy>>) -> Self {
        self.policy = policy.into();
        self
    }

    pub fn observer(mut self, observer: Arc<dyn RestartObserver>) -> Self {
        self.observer = Some(observer);
        self
    }
}

/// Starts an actor on the current arbiter.
///
/// A panic in `make` ends it before it began: the handle says `Stopped` and the address is closed.
///
/// # Panics
/// Outside of an actix arbiter, like everything that spawns on it.
pub fn start<A: Supervise>(
    spec: ActorSpec,
    make: impl FnOnce(&mut Context<A>, &Arc<Handle>) -> A,
) -> (Addr<A>, Arc<Handle>) {
    let context = Context::new();
    let address = context.address();
    let handle = Handle::new(spec);
    Unborn(Some(handle.clone())).begin(context, make);
    (address, handle)
}

/// Starts an actor on another arbiter; `make` runs there. If that arbiter is gone or goes before, the actor ends unborn.
#[expect(clippy::disallowed_methods, reason = "what it runs contains its panics")]
pub fn start_in_arbiter<A: Supervise>(
    arbiter: &ArbiterHandle,
    spec: ActorSpec,
    make: impl FnOnce(&mut Context<A>, &Arc<Handle>) -> A + Send + 'static,
) -> (Addr<A>, Arc<Handle>) {
    let (sender, receiver) = channel::channel(MAILBOX_CAPACITY);
    let handle = Handle::new(spec);
    let unborn = Unborn(Some(handle.clone()));
    arbiter.spawn_fn(move || unborn.begin(Context::with_receiver(receiver), make));
    (Addr::new(sender), handle)
}

/// What actix gives a mailbox by default; `do_send` ignores it.
const MAILBOX_CAPACITY: usize = 16;

/// An actor that was asked for and is not made yet. Dropped like that (its arbiter is gone), it says so.
struct Unborn(Option<Arc<Handle>>);

impl Unborn {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the supervisor, which contains the panics"
    )]
    fn begin<A: Supervise>(
        mut self,
        mut context: Context<A>,
        make: impl FnOnce(&mut Context<A>, &Arc<Handle>) -> A,
    ) {
        let Some(handle) = self.0.take() else { return };
        match contain(|| make(&mut context, &handle)) {
            Ok(actor) => {
                actix::spawn(Supervisor::new(context.into_future(actor), handle));
            }
            Err(crash) => {
                handle.note_crash(&crash);
                handle.end(ExitReason::Panicked(crash));
            }
        }
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.end(ExitReason::ArbiterStopped);
        }
    }
}
