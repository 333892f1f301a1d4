//! How `Supervise`'s hooks get in.
//!
//! They need the actor, which only the context can lend, so a [`Deliver`] future is given to `Context::wait`: it runs after
//! `started` and before the next message. Having run, it also tells that `started` returned. Which hook is due stands in the
//! handle, so that one that was overtaken by a later decision is not called.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use actix::{ActorFuture, Context};

use super::{Handle, Phase, Supervise};

/// What is called in the actor at the next opportunity.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Hook {
    None,
    Resume,
    ResumeDegraded,
    Quarantine,
}

impl Hook {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Resume, Self::ResumeDegraded, Self::Quarantine];
}

/// Calls the hook that is due, if any still is.
pub(super) struct Deliver(pub(super) Arc<Handle>);

impl<A: Supervise> ActorFuture<A> for Deliver {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        context: &mut Context<A>,
        _task: &mut std::task::Context<'_>,
    ) -> Poll<()> {
        let handle = &self.0;
        handle.set_settled(true);
        match handle.take_hook() {
            Hook::None => {}
            Hook::Resume => {
                handle.set_phase(Phase::Running);
                actor.resume(context);
            }
            Hook::ResumeDegraded => {
                handle.set_phase(Phase::Degraded);
                actor.resume(context);
            }
            Hook::Quarantine => actor.quarantined(context),
        }
        Poll::Ready(())
    }
}
