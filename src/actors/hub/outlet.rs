//! What waits to be sent to one client: a queue with a limit of bytes, between the hub's thread and the one of the connection.
//!
//! Invariants: to put something in never waits. What is queued is shared with all who get the same, so a client that stands still
//! costs its place in the queue and little else. Past the limit, or with nothing taken for too long, the client is too slow: its
//! queue is emptied and closed, for good. One message may be larger than the limit, if nothing waits before it.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use bytestring::ByteString;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A message: the beginning is of one subscription, the rest is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub head: ByteString,
    pub body: ByteString,
}

/// Why a connection is closed, as its client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    BadProtocol,
    Unauthorized,
    Forbidden,
    TooSlow,
    TooMany,
    GoingAway,
}

/// What there is for a connection to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    Message(Outgoing),
    /// The hub has forgotten everything: subscribe again.
    Renew,
    Close(Close),
}

/// What became of something that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Queued,
    /// The client was too slow, and is closed now.
    TooSlow,
    /// It was closed before.
    Closed,
}

pub struct Outlet {
    /// Never given twice.
    pub number: u64,
    limit: usize,
    inner: Mutex<Inner>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    renew: bool,
    /// Since when nothing was taken of what waits.
    waiting_since: Option<Instant>,
    close: Option<Close>,
}

impl Close {
    pub fn code(self) -> u16 {
        match self {
            Close::GoingAway => 1001,
            Close::BadProtocol => 4400,
            Close::Unauthorized => 4401,
            Close::Forbidden => 4403,
            Close::TooSlow => 4408,
            Close::TooMany => 4429,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Close::GoingAway => "going away",
            Close::BadProtocol => "bad protocol",
            Close::Unauthorized => "a token is needed",
            Close::Forbidden => "not allowed",
            Close::TooSlow => "too slow",
            Close::TooMany => "too many messages",
        }
    }
}

impl Outgoing {
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Outlet {
    pub fn new(number: u64, limit: usize) -> Self {
        Self {
            number,
            limit,
            inner: Mutex::default(),
            waker: AtomicWaker::new(),
        }
    }

    pub fn put(&self, message: Outgoing, now: Instant) -> Put {
        let mut inner = self.inner.lock();
        if inner.close.is_some() {
            return Put::Closed;
        }
        if inner.bytes > 0 && inner.bytes + message.len() > self.limit {
            inner.close_with(Close::TooSlow);
            drop(inner);
            self.waker.wake();
            return Put::TooSlow;
        }
        inner.bytes += message.len();
        inner.queue.push_back(message);
        inner.waiting_since.get_or_insert(now);
        drop(inner);
        self.waker.wake();
        Put::Queued
    }

    /// Has the client subscribe again to all it was subscribed to; what was to be sent of that is not sent any more.
    pub fn renew(&self) {
        let mut inner = self.inner.lock();
        if inner.close.is_none() {
            inner.empty();
            inner.renew = true;
        }
        drop(inner);
        self.waker.wake();
    }

    /// `false` where it was closed before.
    pub fn close(&self, close: Close) -> bool {
        let mut inner = self.inner.lock();
        let open = inner.close.is_none();
        if open {
            inner.close_with(close);
        }
        drop(inner);
        self.waker.wake();
        open
    }

    pub fn is_closed(&self) -> bool {
        self.inner.lock().close.is_some()
    }

    /// Whether something waits and nothing was taken for so long.
    pub fn stands_still(&self, now: Instant, patience: Duration) -> bool {
        let since = self.inner.lock().waiting_since;
        since.is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// Its client takes what it is given.
    pub fn moves(&self, now: Instant) {
        let mut inner = self.inner.lock();
        if inner.waiting_since.is_some() {
            inner.waiting_since = Some(now);
        }
    }

    pub fn poll_take(&self, task: &mut Context<'_>, now: Instant) -> Poll<Taken> {
        self.waker.register(task.waker());
        let mut inner = self.inner.lock();
        if let Some(close) = inner.close {
            return Poll::Ready(Taken::Close(close));
        }
        if std::mem::take(&mut inner.renew) {
            return Poll::Ready(Taken::Renew);
        }
        let Some(message) = inner.queue.pop_front() else {
            return Poll::Pending;
        };
        inner.bytes -= message.len();
        inner.waiting_since = (!inner.queue.is_empty()).then_some(now);
        Poll::Ready(Taken::Message(message))
    }
}

impl Inner {
    fn empty(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
        self.waiting_since = None;
    }

    fn close_with(&mut self, close: Close) {
        self.empty();
        self.close = Some(close);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn message(bytes: usize) -> Outgoing {
        Outgoing {
            head: ByteString::from_static("h"),
            body: "x".repeat(bytes - 1).into(),
        }
    }

    fn take(outlet: &Outlet, now: Instant) -> Poll<Taken> {
        outlet.poll_take(&mut Context::from_waker(Waker::noop()), now)
    }

    #[test]
    fn who_does_not_take_is_closed_and_holds_nothing() {
        let (outlet, now) = (Outlet::new(1, 100), Instant::now());
        assert_eq!(outlet.put(message(60), now), Put::Queued);
        assert_eq!(outlet.put(message(40), now), Put::Queued);
        assert_eq!(take(&outlet, now), Poll::Ready(Taken::Message(message(60))));
        assert_eq!(outlet.put(message(61), now), Put::TooSlow);
        assert_eq!(outlet.put(message(2), now), Put::Closed);
        assert_eq!(outlet.inner.lock().queue.capacity(), 0);
        for _ in 0..2 {
            assert_eq!(take(&outlet, now), Poll::Ready(Taken::Close(Close::TooSlow)));
        }
        assert!(!outlet.close(Close::GoingAway), "the first reason stays");
    }

    #[test]
    fn one_message_may_be_larger_than_the_limit() {
        let (outlet, now) = (Outlet::new(1, 100), Instant::now());
        assert_eq!(outlet.put(message(1_000), now), Put::Queued);
        assert_eq!(outlet.put(message(2), now), Put::TooSlow);
    }

    #[test]
    fn to_stand_still_is_to_take_nothing_of_what_waits() {
        let (outlet, begun) = (Outlet::new(1, 100), Instant::now());
        let patience = Duration::from_secs(10);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(!outlet.stands_still(at(100), patience), "nothing waits");
        outlet.put(message(2), at(100));
        outlet.put(message(2), at(105));
        assert!(!outlet.stands_still(at(109), patience));
        assert!(outlet.stands_still(at(110), patience));
        assert!(take(&outlet, at(110)).is_ready());
        assert!(!outlet.stands_still(at(119), patience));
        assert!(outlet.stands_still(at(120), patience));
        outlet.moves(at(120));
        assert!(!outlet.stands_still(at(121), patience));
        assert!(take(&outlet, at(121)).is_ready());
        assert!(!outlet.stands_still(at(999), patience));
    }

    #[test]
    fn a_hub_that_begins_anew_takes_back_what_waits() {
        let (outlet, now) = (Outlet::new(1, 100), Instant::now());
        outlet.put(message(2), now);
        outlet.renew();
        outlet.put(message(3), now);
        assert_eq!(take(&outlet, now), Poll::Ready(Taken::Renew));
        assert_eq!(take(&outlet, now), Poll::Ready(Taken::Message(message(3))));
        assert_eq!(take(&outlet, now), Poll::Pending);
    }
}
