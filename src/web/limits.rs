//! How much each client address may ask.
//!
//! Invariants: an IPv6 client is its /64, of which one machine has as many addresses as it likes. Addresses that were not
//! heard of lately are forgotten, so that memory follows the number of live clients.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// After so many questions those addresses are forgotten that have their whole quota again.
const FORGET_EVERY: u32 = 4096;

pub struct PerClient {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl PerClient {
    /// So many a second, and as many at once.
    pub fn per_second(count: NonZeroU32) -> Self {
        Self::new(Quota::per_second(count))
    }

    /// `burst` at once, and one more after each `period`.
    pub fn slow(burst: NonZeroU32, period: Duration) -> Option<Self> {
        Some(Self::new(Quota::with_period(period)?.allow_burst(burst)))
    }

    fn new(quota: Quota) -> Self {
        Self {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            asked: AtomicU32::new(0),
        }
    }

    /// Takes one from the client's quota. Without any left, says after how many seconds there is one again.
    pub fn take(&self, client: IpAddr) -> Result<(), u64> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(&network(client)).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
        })
    }
}

/// One machine has as many addresses as it likes in its /64.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_quotas_of_their_own() {
        let hour = Duration::from_secs(3600);
        let limit = PerClient::slow(NonZeroU32::new(2).unwrap(), hour).unwrap();
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert!(limit.take(one).is_ok() && limit.take(one).is_ok());
        let wait = limit.take(one).unwrap_err();
        assert!((3590..=3600).contains(&wait), "{wait}");
        assert!(limit.take(other).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let network = |text: &str| super::network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    }
}
