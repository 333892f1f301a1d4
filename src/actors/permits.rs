//! Back-pressure: what is under way is bounded in readings and in bytes, and each source has its own share.
//!
//! Invariants: a batch holds its [`Permit`] from before it is dispatched until it is committed or undelivered; the share of
//! one source is of no use to another, so that a backlog in one starves no other. Internal batches take no permit: each
//! shard has at most a few of them under way.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The share of one source.
#[derive(Debug, Clone)]
pub struct Permits {
    readings: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    share: Share,
}

/// How much a source may have under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub readings: u32,
    pub bytes: u32,
}

/// Room for a batch, given back on drop.
#[derive(Debug)]
pub struct Permit {
    _readings: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    #[error("the batch is larger than its source's share of {} readings and {} bytes", .0.readings, .0.bytes)]
    TooLarge(Share),
    #[error("the source has as much under way as it may")]
    Busy,
}

impl Permits {
    pub fn new(share: Share) -> Self {
        Self {
            readings: Arc::new(Semaphore::new(share.readings as usize)),
            bytes: Arc::new(Semaphore::new(share.bytes as usize)),
            share,
        }
    }

    pub fn share(&self) -> Share {
        self.share
    }

    /// Readings that could be sent off now.
    pub fn available(&self) -> usize {
        self.readings.available_permits()
    }

    /// Waits until there is room. Fair: first come, first served.
    pub async fn acquire(&self, readings: u32, bytes: u32) -> Result<Permit, PermitError> {
        self.check(readings, bytes)?;
        let held_readings = self.readings.clone().acquire_many_owned(readings).await;
        let held_bytes = self.bytes.clone().acquire_many_owned(bytes).await;
        match (held_readings, held_bytes) {
            (Ok(_readings), Ok(_bytes)) => Ok(Permit { _readings, _bytes }),
            // The semaphores are never closed.
            _ => Err(PermitError::Busy),
        }
    }

    /// Room now, or [`PermitError::Busy`].
    pub fn try_acquire(&self, readings: u32, bytes: u32) -> Result<Permit, PermitError> {
        self.check(readings, bytes)?;
        let readings = self.readings.clone().try_acquire_many_owned(readings);
        let bytes = self.bytes.clone().try_acquire_many_owned(bytes);
        match (readings, bytes) {
            (Ok(_readings), Ok(_bytes)) => Ok(Permit { _readings, _bytes }),
            _ => Err(PermitError::Busy),
        }
    }

    fn check(&self, readings: u32, bytes: u32) -> Result<(), PermitError> {
        if readings > self.share.readings || bytes > self.share.bytes {
            return Err(PermitError::TooLarge(self.share));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SHARE: Share = Share {
        readings: 10,
        bytes: 100,
    };

    #[test]
    fn room_is_given_back_on_drop() {
        let permits = Permits::new(SHARE);
        let first = permits.try_acquire(10, 1).unwrap();
        assert_eq!(permits.try_acquire(1, 1).unwrap_err(), PermitError::Busy);
        assert_eq!(permits.available(), 0);
        drop(first);
        let all = permits.try_acquire(10, 100).unwrap();
        for (readings, bytes) in [(1, 0), (0, 1)] {
            let more = permits.try_acquire(readings, bytes);
            assert_eq!(more.unwrap_err(), PermitError::Busy, "it was given back once");
        }
        drop(all);
    }

    #[test]
    fn bytes_count_as_well_and_a_failed_try_keeps_nothing() {
        let permits = Permits::new(SHARE);
        let first = permits.try_acquire(1, 60).unwrap();
        assert_eq!(permits.try_acquire(9, 41).unwrap_err(), PermitError::Busy);
        assert_eq!(permits.available(), 9);
        drop(first);
        assert!(permits.try_acquire(10, 100).is_ok());
    }

    #[test]
    fn more_than_the_share_can_never_be_had() {
        let permits = Permits::new(SHARE);
        for (readings, bytes) in [(11, 0), (0, 101)] {
            let tried = permits.try_acquire(readings, bytes);
            assert_eq!(tried.unwrap_err(), PermitError::TooLarge(SHARE));
            let waited = permits.acquire(readings, bytes).now_or_never();
            let waited = waited.expect("it does not wait for what never comes");
            assert_eq!(waited.unwrap_err(), PermitError::TooLarge(SHARE));
        }
    }

    #[tokio::test]
    async fn who_waits_gets_room_when_it_is_given_back() {
        let permits = Permits::new(SHARE);
        let first = permits.acquire(6, 10).await.unwrap();
        let waiting = tokio::spawn({
            let permits = permits.clone();
            async move { permits.acquire(5, 10).await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap());
    }
}
