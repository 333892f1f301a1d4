//! The future that an actor lives in.
//!
//! It polls the actor's context inside [`contain`]. After an exit it restarts the context, which keeps the mailbox, and decides
//! by policy when the actor may work again. Every exit is followed by a return to the scheduler, so that even an actor that
//! crashes at once each time never keeps its arbiter from the others.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use actix::dev::{AsyncContextParts, ContextFut};
use actix::{ActorContext, ActorState, AsyncContext, Context};
use tokio::time::{Instant, sleep};

use super::handle::Command;
use super::hook::{Deliver, Hook};
use super::trouble::Trouble;
use super::{Crash, EventKind, Exhausted, ExitReason, Handle, Phase, Policy, Restart, Supervise, contain};

pub(super) struct Supervisor<A: Supervise> {
    /// `None` once the actor has ended.
    future: Option<ContextFut<A, Context<A>>>,
    handle: Arc<Handle>,
    /// The handle can wake it.
    wakeable: bool,
    mode: Mode,
    /// The mailbox waits with the work.
    held: bool,
    /// `restarting` panicked: the state is damaged still.
    damaged: bool,
    working_since: Instant,
    trouble: Option<Box<Trouble>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Working,
    BackingOff,
    Quarantined,
}

/// `Break` when the actor has ended.
type Flow = ControlFlow<()>;

impl<A: Supervise> Supervisor<A> {
    pub(super) fn new(future: ContextFut<A, Context<A>>, handle: Arc<Handle>) -> Self {
        let mut supervisor = Self {
            future: Some(future),
            handle,
            wakeable: false,
            mode: Mode::Working,
            held: false,
            damaged: false,
            working_since: Instant::now(),
            trouble: None,
        };
        supervisor.deliver_hook();
        supervisor
    }

    fn advance(&mut self, task: &mut std::task::Context<'_>) -> ControlFlow<(), Poll<()>> {
        if self.handle.has_commands() {
            for command in self.handle.take_commands() {
                self.obey(command)?;
            }
        }
        while let Some(timer) = self.trouble.as_mut().and_then(|trouble| trouble.timer.as_mut())
            && timer.as_mut().poll(task).is_ready()
        {
            self.timer_fired()?;
        }
        let Some(future) = &mut self.future else {
            return ControlFlow::Break(());
        };
        if self.held {
            return ControlFlow::Continue(Poll::Pending);
        }
        if self.damaged {
            self.restart_context()?;
            return ControlFlow::Continue(Poll::Ready(()));
        }
        match contain(|| Pin::new(&mut *future).poll(task)) {
            Ok(Poll::Pending) => {
                self.note_if_restarted();
                return ControlFlow::Continue(Poll::Pending);
            }
            Ok(Poll::Ready(())) => self.stopped_by_itself()?,
            Err(crash) => self.crashed(crash, false)?,
        }
        ControlFlow::Continue(Poll::Ready(()))
    }

    fn obey(&mut self, command: Command) -> Flow {
        match command {
            Command::Stop => self.end(ExitReason::Stopped),
            Command::Restart { by, why } => {
                self.trouble().restart = Some((ExitReason::Admin { by, why }, Instant::now()));
                self.resume_work();
                self.restart_context()
            }
            Command::Revive { by, why } if self.mode == Mode::Quarantined => {
                self.handle.emit(EventKind::Revived { by, why });
                self.resume_work();
                self.resume_context()
            }
            Command::Revive { .. } => Flow::Continue(()),
            Command::Report(crash) => self.contained(crash, false),
            Command::Quarantine(crash) => self.contained(crash, true),
        }
    }

    fn timer_fired(&mut self) -> Flow {
        self.trouble().timer = None;
        match self.mode {
            Mode::BackingOff => {
                self.resume_work();
                self.resume_context()
            }
            Mode::Working | Mode::Quarantined => {
                self.trouble().degraded = false;
                self.handle.set_phase(Phase::Running);
                self.handle.emit(EventKind::Recovered);
                Flow::Continue(())
            }
        }
    }

    /// The context panicked, or with `in_restarting` the attempt to restart it.
    fn crashed(&mut self, crash: Crash, in_restarting: bool) -> Flow {
        self.handle.note_crash(&crash);
        let policy = *self.handle.policy();
        let within_budget = self.trouble().count_crash(&policy.budget);
        if policy.restart == Restart::Temporary {
            self.handle.emit(EventKind::Crashed {
                crash: crash.clone(),
                attempt: 1,
                delay: None,
            });
            return self.end(ExitReason::Panicked(crash));
        }
        let stable = self.stable(&policy);
        let attempt = self.trouble().count_attempt(stable);
        if self.mode == Mode::Quarantined || (!within_budget && policy.exhausted == Exhausted::Quarantine) {
            self.handle.emit(EventKind::Crashed {
                crash: crash.clone(),
                attempt,
                delay: None,
            });
            if self.mode == Mode::Quarantined && !within_budget {
                return self.end(ExitReason::GaveUp);
            }
            self.quarantine(crash);
        } else {
            let delay = self.trouble().next_delay(&policy.backoff, attempt, within_budget);
            self.handle.emit(EventKind::Crashed {
                crash: crash.clone(),
                attempt,
                delay: Some(delay),
            });
            if !within_budget {
                self.degrade(&crash);
            }
            let held = in_restarting || !self.handle.is_settled();
            self.back_off(ExitReason::Panicked(crash), delay, held);
        }
        if in_restarting {
            self.damaged = true;
            return Flow::Continue(());
        }
        self.restart_context()
    }

    /// The actor panicked inside and went on; a `hopeless` one should not.
    fn contained(&mut self, crash: Crash, hopeless: bool) -> Flow {
        self.handle.note_crash(&crash);
        self.handle.emit(EventKind::Contained { crash: crash.clone() });
        let policy = *self.handle.policy();
        let within_budget = self.trouble().count_crash(&policy.budget) && !hopeless;
        if self.mode == Mode::Quarantined || within_budget {
            return Flow::Continue(());
        }
        match policy.exhausted {
            Exhausted::KeepTrying => {
                self.degrade(&crash);
                if self.mode == Mode::Working {
                    self.await_recovery(&policy);
                }
                Flow::Continue(())
            }
            Exhausted::Quarantine => {
                self.quarantine(crash);
                self.restart_context()
            }
        }
    }

    fn stopped_by_itself(&mut self) -> Flow {
        let policy = *self.handle.policy();
        let connected = self
            .future
            .as_mut()
            .is_some_and(|future| future.ctx().connected());
        if !connected || policy.restart != Restart::Permanent {
            return self.end(ExitReason::Stopped);
        }
        if self.mode == Mode::Quarantined {
            return self.end(ExitReason::GaveUp);
        }
        let stable = self.stable(&policy);
        let attempt = self.trouble().count_attempt(stable);
        if attempt > 1 {
            let delay = self.trouble().next_delay(&policy.backoff, attempt - 1, true);
            self.back_off(ExitReason::Stopped, delay, false);
        } else {
            self.trouble().restart = Some((ExitReason::Stopped, Instant::now()));
            self.resume_work();
        }
        self.restart_context()
    }

    /// A crash while it backs off already holds the mailbox: not even its answers work.
    fn back_off(&mut self, reason: ExitReason, delay: Duration, held: bool) {
        self.held = held || self.mode == Mode::BackingOff;
        self.mode = Mode::BackingOff;
        let trouble = self.trouble();
        trouble.timer = Some(Box::pin(sleep(delay)));
        trouble.restart = Some((reason, Instant::now()));
        let phase = if trouble.degraded {
            Phase::Degraded
        } else {
            Phase::BackingOff
        };
        self.handle.set_phase(phase);
    }

    fn quarantine(&mut self, crash: Crash) {
        if self.mode == Mode::Quarantined {
            return;
        }
        self.mode = Mode::Quarantined;
        self.held = false;
        let trouble = self.trouble();
        trouble.refill_budget();
        trouble.timer = None;
        trouble.restart = None;
        trouble.degraded = false;
        self.handle.set_phase(Phase::Quarantined);
        self.handle.emit(EventKind::Quarantined { crash });
    }

    fn degrade(&mut self, crash: &Crash) {
        if std::mem::replace(&mut self.trouble().degraded, true) {
            return;
        }
        self.handle.set_phase(Phase::Degraded);
        self.handle.emit(EventKind::Degraded { crash: crash.clone() });
    }

    /// The actor may work from now on; the context has to be told.
    fn resume_work(&mut self) {
        let policy = *self.handle.policy();
        if self.mode == Mode::Quarantined {
            self.trouble().forget();
        }
        self.held = false;
        self.mode = Mode::Working;
        self.working_since = Instant::now();
        if let Some(trouble) = &mut self.trouble {
            trouble.timer = None;
            if trouble.degraded {
                self.await_recovery(&policy);
            }
        }
    }

    fn await_recovery(&mut self, policy: &Policy) {
        self.trouble().timer = Some(Box::pin(sleep(policy.stable_after)));
    }

    fn resume_context(&mut self) -> Flow {
        if self.damaged {
            return self.restart_context();
        }
        self.deliver_hook();
        Flow::Continue(())
    }

    /// Throws the actor's state away and begins with `started` at the next poll.
    fn restart_context(&mut self) -> Flow {
        let Some(future) = &mut self.future else {
            return Flow::Break(());
        };
        self.handle.set_settled(false);
        match contain(|| future.restart()) {
            Ok(true) => {
                self.damaged = false;
                self.deliver_hook();
                Flow::Continue(())
            }
            // Nobody holds its address.
            Ok(false) => match self.trouble().restart.take() {
                Some((reason @ ExitReason::Panicked(_), _)) => self.end(reason),
                _ => self.end(ExitReason::Stopped),
            },
            Err(crash) => self.crashed(crash, true),
        }
    }

    fn deliver_hook(&mut self) {
        let degraded = self.trouble.as_ref().is_some_and(|trouble| trouble.degraded);
        self.handle.set_hook(match self.mode {
            Mode::Working if degraded => Hook::ResumeDegraded,
            Mode::Working => Hook::Resume,
            Mode::BackingOff => Hook::None,
            Mode::Quarantined => Hook::Quarantine,
        });
        if let Some(future) = &mut self.future {
            future.ctx().wait(Deliver(self.handle.clone()));
        }
    }

    fn note_if_restarted(&mut self) {
        if let Some(trouble) = &mut self.trouble
            && self.mode == Mode::Working
            && !self.handle.awaits_hook()
            && let Some((reason, since)) = trouble.restart.take()
        {
            self.handle.note_restart();
            self.handle.emit(EventKind::Restarted {
                reason,
                took: since.elapsed(),
            });
        }
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble
            .get_or_insert_with(|| Box::new(Trouble::new(self.handle.policy())))
    }

    fn stable(&self, policy: &Policy) -> bool {
        self.mode == Mode::Working && self.working_since.elapsed() >= policy.stable_after
    }

    fn end(&mut self, reason: ExitReason) -> Flow {
        let reason = match self.bury() {
            Err(crash) => {
                self.handle.note_crash(&crash);
                match reason {
                    ExitReason::Stopped => ExitReason::Panicked(crash),
                    reason => reason,
                }
            }
            Ok(()) => reason,
        };
        self.handle.end(reason);
        Flow::Break(())
    }

    /// Lets the actor stop and drops it, each contained. The context's own drop would do both, and a panic in the first would
    /// unwind through the second.
    fn bury(&mut self) -> Result<(), Crash> {
        let Some(mut future) = self.future.take() else {
            return Ok(());
        };
        let stopped = contain(|| {
            let started = future.ctx().parts().started();
            if started && future.ctx().state() != ActorState::Stopped {
                future.ctx().stop();
                let _ = Pin::new(&mut future).poll(&mut std::task::Context::from_waker(Waker::noop()));
            }
        });
        // A context that is not stopped polls itself when it is dropped, and one that has not started would start.
        future.ctx().terminate();
        let dropped = contain(|| drop(future));
        stopped.and(dropped)
    }
}

impl<A: Supervise> Future for Supervisor<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.wakeable {
            // It is a task of its own from `start` to its end, so its waker stays the same.
            this.handle.wake_with(task.waker());
            this.wakeable = true;
        }
        match this.advance(task) {
            ControlFlow::Break(()) => Poll::Ready(()),
            ControlFlow::Continue(Poll::Pending) => Poll::Pending,
            ControlFlow::Continue(Poll::Ready(())) => {
                task.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl<A: Supervise> Drop for Supervisor<A> {
    fn drop(&mut self) {
        if self.future.is_some() {
            let _ = self.end(ExitReason::ArbiterStopped);
        }
    }
}
