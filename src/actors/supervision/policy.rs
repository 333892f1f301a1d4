//! Policy is data: when an actor is restarted, how long it waits before it works again, and when that ends.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// When an actor that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// After a panic, and when it stopped by itself.
    Permanent,
    /// After a panic only.
    Transient,
    /// Never.
    Temporary,
}

/// What follows when the crash budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// The actor works no more but answers its messages, until it is revived.
    Quarantine,
    /// It goes on trying at the longest back-off and counts as degraded until it has been stable.
    KeepTrying,
}

/// At most `crashes` crashes in any span of `within`; one more spends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashBudget {
    pub crashes: u32,
    pub within: Duration,
}

impl Default for CrashBudget {
    /// 5 in 60 s.
    fn default() -> Self {
        Self {
            crashes: 5,
            within: Duration::from_secs(60),
        }
    }
}

/// How long an actor waits before it works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling after the first crash; each further one doubles it.
    pub base: Duration,
    /// The highest ceiling.
    pub max: Duration,
    pub jitter: Jitter,
}

impl Default for Backoff {
    /// 100 ms × 2ⁿ up to 30 s, full jitter.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            max: Duration::from_secs(30),
            jitter: Jitter::Full,
        }
    }
}

impl Backoff {
    /// `min(max, base × 2^(attempt − 1))`; the first attempt is 1.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        1u128
            .checked_shl(attempt.saturating_sub(1))
            .and_then(|factor| self.base.as_nanos().checked_mul(factor))
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map_or(self.max, |nanos| Duration::from_nanos(nanos).min(self.max))
    }
}

/// Spreads the delays of actors that crashed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// The delay is the ceiling.
    None,
    /// Uniform between zero and the ceiling, inclusive ("full jitter": AWS Architecture Blog, "Exponential Backoff And
    /// Jitter", 2015).
    Full,
    /// The same from a seed, so that it can be computed beforehand.
    Seeded(u64),
}

/// How an actor is supervised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub restart: Restart,
    pub budget: CrashBudget,
    pub backoff: Backoff,
    pub exhausted: Exhausted,
    /// After this much uninterrupted work the back-off starts from its base again, and a degraded actor is well.
    pub stable_after: Duration,
}

impl Default for Policy {
    /// Permanent, quarantined past its budget, stable after 60 s.
    fn default() -> Self {
        Self {
            restart: Restart::Permanent,
            budget: CrashBudget::default(),
            backoff: Backoff::default(),
            exhausted: Exhausted::Quarantine,
            stable_after: Duration::from_secs(60),
        }
    }
}

/// The random numbers of one actor's back-off.
pub(super) enum Draws {
    None,
    Thread,
    Seeded(Box<ChaCha8Rng>),
}

impl Draws {
    pub(super) fn new(jitter: Jitter) -> Self {
        match jitter {
            Jitter::None => Self::None,
            Jitter::Full => Self::Thread,
            Jitter::Seeded(seed) => Self::Seeded(Box::new(ChaCha8Rng::seed_from_u64(seed))),
        }
    }

    /// A delay between zero and `ceiling`.
    pub(super) fn delay(&mut self, ceiling: Duration) -> Duration {
        let draw = match self {
            Self::None => return ceiling,
            Self::Thread => rand::random(),
            Self::Seeded(rng) => rng.next_u64(),
        };
        let nanos = ceiling.as_nanos().saturating_mul(u128::from(draw)) / u128::from(u64::MAX);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
