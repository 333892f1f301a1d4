//! What an actor that ended once has: its crashes, its back-off and the restart under way.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::policy::Draws;
use super::{Backoff, CrashBudget, ExitReason, Policy};

pub(super) struct Trouble {
    /// When it crashed, as far back as the budget looks.
    crashes: VecDeque<Instant>,
    /// Exits since it was last stable.
    attempt: u32,
    draws: Draws,
    pub(super) degraded: bool,
    /// Until it works again, or, while it works, until it has recovered from being degraded.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    /// A restart that is under way: why and since when.
    pub(super) restart: Option<(ExitReason, Instant)>,
}

impl Trouble {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            crashes: VecDeque::new(),
            attempt: 0,
            draws: Draws::new(policy.backoff.jitter),
            degraded: false,
            timer: None,
            restart: None,
        }
    }

    /// Counts a crash; false when it is one too many.
    pub(super) fn count_crash(&mut self, budget: &CrashBudget) -> bool {
        let now = Instant::now();
        while self
            .crashes
            .front()
            .is_some_and(|at| now.duration_since(*at) >= budget.within)
        {
            self.crashes.pop_front();
        }
        self.crashes.push_back(now);
        let spent = self.crashes.len() > budget.crashes as usize;
        if spent {
            self.crashes.pop_front();
        }
        !spent
    }

    /// The number of this exit since the actor was last stable, from 1.
    pub(super) fn count_attempt(&mut self, stable: bool) -> u32 {
        self.attempt = if stable { 1 } else { self.attempt.saturating_add(1) };
        self.attempt
    }

    pub(super) fn next_delay(&mut self, backoff: &Backoff, attempt: u32, within_budget: bool) -> Duration {
        let longest = self.degraded || !within_budget;
        self.draws.delay(if longest {
            backoff.max
        } else {
            backoff.ceiling(attempt)
        })
    }

    /// The budget is full again, for quarantine or after it.
    pub(super) fn refill_budget(&mut self) {
        self.crashes.clear();
    }

    /// As if it had never crashed.
    pub(super) fn forget(&mut self) {
        self.crashes.clear();
        self.attempt = 0;
    }
}
