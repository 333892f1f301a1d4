//! The outside of a supervised actor: its phase, its crashes and restarts, and the commands that reach it whatever its mailbox
//! does.
//!
//! There is one `Arc<Handle>` an actor and there may be a million actors: what a quiet actor does not need (recent events,
//! commands) is allocated when first used. A handle holds no address, so it never keeps an actor alive.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, Ordering};
use std::task::Waker;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;

use super::hook::Hook;
use super::{ActorPath, ActorSpec, Crash, EventKind, ExitReason, Policy, SupervisionEvent, contain};

/// How many of the newest events a handle keeps.
const RECENT_EVENTS: usize = 16;

/// What an actor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    Starting,
    Running,
    /// It crashed; it answers and waits until it may work again.
    BackingOff,
    /// It crashed too often; it answers and does not work.
    Quarantined,
    /// It crashed too often and goes on trying: it may work at this moment or be waiting.
    Degraded,
    Stopped,
}

impl Phase {
    const ALL: [Self; 6] = [
        Self::Starting,
        Self::Running,
        Self::BackingOff,
        Self::Quarantined,
        Self::Degraded,
        Self::Stopped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::Quarantined => "quarantined",
            Self::Degraded => "degraded",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The handle of one supervised actor.
pub struct Handle {
    spec: ActorSpec,
    phase: AtomicU8,
    hook: AtomicU8,
    /// `started` has returned since the context was last restarted.
    settled: AtomicBool,
    commanded: AtomicBool,
    restarts: AtomicU32,
    crashes: AtomicU32,
    /// When the phase began, µs since 1970.
    since: AtomicI64,
    /// Of the supervisor's task, from its first poll to its end.
    waker: Mutex<Option<Waker>>,
    more: Mutex<Option<Box<More>>>,
}

/// What only an actor with a history has.
#[derive(Default)]
struct More {
    commands: Vec<Command>,
    events: VecDeque<SupervisionEvent>,
    last_crash: Option<Crash>,
    at_end: Vec<Box<dyn FnOnce() + Send>>,
}

pub(super) enum Command {
    Restart { by: String, why: String },
    Revive { by: String, why: String },
    Report(Crash),
    Quarantine(Crash),
    Stop,
}

impl Handle {
    /// Restarts the actor now: its state is thrown away and it works again without back-off, also out of back-off or
    /// quarantine. Counts as a restart, not as a crash.
    pub fn restart(&self, by: impl Into<String>, why: impl Into<String>) {
        self.command(Command::Restart {
            by: by.into(),
            why: why.into(),
        });
    }

    /// Takes the actor out of quarantine with a fresh budget. Nothing happens to one that is not in quarantine.
    pub fn revive(&self, by: impl Into<String>, why: impl Into<String>) {
        self.command(Command::Revive {
            by: by.into(),
            why: why.into(),
        });
    }

    /// Ends the actor in any phase, whatever its policy and even if its `stopping` objects. What is in its mailbox is dropped.
    pub fn stop(&self) {
        self.command(Command::Stop);
    }

    /// The actor contained a panic by itself. It is not restarted, but the crash counts against its budget.
    pub fn report_crash(&self, crash: Crash) {
        self.command(Command::Report(crash));
    }

    /// The actor cannot work, and trying again would be of no use: as a reported crash that spends the whole budget.
    pub fn quarantine(&self, crash: Crash) {
        self.command(Command::Quarantine(crash));
    }

    /// Adds what happened to the actor in a life before this one.
    pub fn carry_over(&self, restarts: u32, crashes: u32) {
        self.restarts.fetch_add(restarts, Ordering::Relaxed);
        self.crashes.fetch_add(crashes, Ordering::Relaxed);
    }

    pub fn path(&self) -> &ActorPath {
        &self.spec.path
    }

    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// When the present phase began.
    pub fn since(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.since.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// How often the actor was put back to work after it had ended or an admin asked for it.
    pub fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// How often it panicked, contained panics included.
    pub fn crashes(&self) -> u32 {
        self.crashes.load(Ordering::Relaxed)
    }

    pub fn last_crash(&self) -> Option<Crash> {
        self.more.lock().as_ref()?.last_crash.clone()
    }

    /// The newest events, at most 16, oldest first.
    pub fn recent_events(&self) -> Vec<SupervisionEvent> {
        self.more
            .lock()
            .as_ref()
            .map_or_else(Vec::new, |more| more.events.iter().cloned().collect())
    }

    /// Resolves when the actor has ended and its value is dropped.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.at_end(move || {
            let _ = sender.send(());
        });
        async move {
            let _ = receiver.await;
        }
    }

    /// Runs `then` when the actor has ended, on its thread; at once if it has.
    pub fn at_end(&self, then: impl FnOnce() + Send + 'static) {
        let mut more = self.more.lock();
        if self.phase() != Phase::Stopped {
            more.get_or_insert_default().at_end.push(Box::new(then));
            return;
        }
        drop(more);
        then();
    }

    pub(super) fn new(spec: ActorSpec) -> Arc<Self> {
        Arc::new(Self {
            spec,
            phase: AtomicU8::new(Phase::Starting as u8),
            hook: AtomicU8::new(Hook::None as u8),
            settled: AtomicBool::new(false),
            commanded: AtomicBool::new(false),
            restarts: AtomicU32::new(0),
            crashes: AtomicU32::new(0),
            since: AtomicI64::new(now().timestamp_micros()),
            waker: Mutex::new(None),
            more: Mutex::new(None),
        })
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.spec.policy
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        if self.phase.swap(phase as u8, Ordering::AcqRel) != phase as u8 {
            self.since.store(now().timestamp_micros(), Ordering::Relaxed);
        }
    }

    pub(super) fn set_hook(&self, hook: Hook) {
        self.hook.store(hook as u8, Ordering::Relaxed);
    }

    pub(super) fn take_hook(&self) -> Hook {
        Hook::ALL[usize::from(self.hook.swap(Hook::None as u8, Ordering::Relaxed))]
    }

    pub(super) fn awaits_hook(&self) -> bool {
        self.hook.load(Ordering::Relaxed) != Hook::None as u8
    }

    pub(super) fn set_settled(&self, settled: bool) {
        self.settled.store(settled, Ordering::Relaxed);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    pub(super) fn wake_with(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    pub(super) fn has_commands(&self) -> bool {
        self.commanded.load(Ordering::Acquire)
    }

    pub(super) fn take_commands(&self) -> Vec<Command> {
        let mut more = self.more.lock();
        self.commanded.store(false, Ordering::Release);
        more.as_mut()
            .map_or_else(Vec::new, |more| std::mem::take(&mut more.commands))
    }

    pub(super) fn note_crash(&self, crash: &Crash) {
        self.crashes.fetch_add(1, Ordering::Relaxed);
        self.more.lock().get_or_insert_default().last_crash = Some(crash.clone());
    }

    pub(super) fn note_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn emit(&self, kind: EventKind) {
        let event = SupervisionEvent {
            path: self.spec.path.clone(),
            at: now(),
            kind,
        };
        event.log();
        {
            let mut more = self.more.lock();
            let events = &mut more.get_or_insert_default().events;
            if events.len() == RECENT_EVENTS {
                events.pop_front();
            }
            events.push_back(event.clone());
        }
        if let Some(observer) = &self.spec.observer
            && let Err(crash) = contain(|| observer.observe(&event))
        {
            tracing::error!(path = self.spec.path.as_str(), %crash, "restart observer panicked");
        }
    }

    /// The actor is gone.
    pub(super) fn end(&self, reason: ExitReason) {
        self.emit(EventKind::Stopped { reason });
        // It would keep the memory of the task.
        let waker = self.waker.lock().take();
        drop(waker);
        let at_end = {
            let mut more = self.more.lock();
            self.set_phase(Phase::Stopped);
            let more = more.get_or_insert_default();
            more.commands = Vec::new();
            std::mem::take(&mut more.at_end)
        };
        for then in at_end {
            if let Err(crash) = contain(then) {
                tracing::error!(path = self.spec.path.as_str(), %crash, "callback at an actor's end panicked");
            }
        }
    }

    fn command(&self, command: Command) {
        {
            let mut more = self.more.lock();
            if self.phase() == Phase::Stopped {
                return;
            }
            more.get_or_insert_default().commands.push(command);
            self.commanded.store(true, Ordering::Release);
        }
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("path", &self.spec.path)
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is shown to people, and nothing is decided by it"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_begins_when_it_changes() {
        let handle = Handle::new(ActorSpec::new(ActorPath::new("test")));
        let later_than = |then: DateTime<Utc>| while now() <= then {};
        let began = handle.since();
        later_than(began);
        handle.set_phase(Phase::Starting);
        assert_eq!(handle.since(), began);
        handle.set_phase(Phase::Running);
        assert!(handle.since() > began);
        let shown = format!("{handle:?}");
        assert!(shown.contains("test") && shown.contains("Running"), "{shown}");
    }
}
