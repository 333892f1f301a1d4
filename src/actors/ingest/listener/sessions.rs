//! Sessions: what is kept of a device from one connection to the next.
//!
//! A session belongs to a client identifier and the user who logged in with it, so nobody takes over another's. It holds the
//! QoS 2 messages that are stored and not released yet, which a device may send again, and when the last messages came.
//!
//! Invariants: a session has at most one connection; a newer one ends the older. There are at most so many sessions without a
//! connection as were allowed; the one that was left first goes first.
//!
//! They are in memory. That there is one is stored too, with the first messages of each connection, because a device that is
//! told that there is none forgets what it has not delivered. After a restart it is told that there is one, and what it sends
//! again is recognized by its time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actors::ingest::Session;
use crate::domain::Timestamp;

/// Who a session belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub user: Option<String>,
    pub client: String,
}

/// How a connection begins its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    Anew,
    /// With what there is.
    Again,
    /// As [`Begin::Again`], and the database knows that there was one.
    Known,
}

/// Cheap to clone; clones are the same sessions.
#[derive(Clone)]
pub struct Sessions {
    most: usize,
    hasher: RandomState,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<Owner, Entry>,
    /// Counts connections.
    last: u64,
    /// Whoever has been here: of his session memory knows more than the database.
    seen: HashSet<u64>,
}

/// So many of those who have been here are known at most.
const MAX_SEEN: usize = 1 << 20;

struct Entry {
    state: Arc<Mutex<State>>,
    /// The connection that has it, and what ends that.
    connection: Option<(u64, oneshot::Sender<()>)>,
    /// When it was begun or left, and how long it is kept without a connection.
    left: Instant,
    kept: Duration,
}

/// What outlives a connection.
#[derive(Default)]
pub struct State {
    /// QoS 2 messages that are stored and not released.
    pub unreleased: HashSet<u16>,
    /// When its messages came first, once that is read.
    pub memory: Option<Session>,
    /// When the last messages arrived.
    recent: VecDeque<Timestamp>,
}

/// A connection's hold on its session. Dropping it leaves the session.
pub struct Lease {
    /// Whether there was a session already.
    pub present: bool,
    pub state: Arc<Mutex<State>>,
    /// Resolves when a newer connection has taken the session over.
    pub taken_over: oneshot::Receiver<()>,
    owner: Owner,
    connection: u64,
    sessions: Sessions,
}

impl Sessions {
    /// `most`: how many are kept that have no connection.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            hasher: RandomState::new(),
            inner: Arc::default(),
        }
    }

    /// Whether only the database can know of a session.
    pub fn is_new(&self, owner: &Owner) -> bool {
        let hash = self.hasher.hash_one(owner);
        !self.inner.lock().seen.contains(&hash)
    }

    /// Gives the session to a new connection, and takes it from the one that had it. It is `kept` for so long after the
    /// connection.
    pub fn open(&self, owner: Owner, begin: Begin, kept: Duration) -> Lease {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        if inner.seen.len() < MAX_SEEN {
            inner.seen.insert(self.hasher.hash_one(&owner));
        }
        inner.last += 1;
        let connection = inner.last;
        let (end, taken_over) = oneshot::channel();
        let earlier = inner.sessions.remove(&owner);
        let living = earlier.filter(|entry| entry.connection.is_some() || !entry.expired(now));
        let state = match living {
            // What ended the older connection is dropped with its entry, which ends it.
            Some(entry) if begin != Begin::Anew => Some(entry.state),
            _ => None,
        };
        let present = state.is_some() || begin == Begin::Known;
        let state = state.unwrap_or_default();
        let entry = Entry {
            state: state.clone(),
            connection: Some((connection, end)),
            left: now,
            kept,
        };
        inner.sessions.insert(owner.clone(), entry);
        Lease {
            present,
            state,
            taken_over,
            owner,
            connection,
            sessions: self.clone(),
        }
    }

    fn leave(&self, owner: &Owner, connection: u64) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let Some(entry) = inner.sessions.get_mut(owner) else {
            return;
        };
        let held = entry.connection.as_ref();
        if held.is_none_or(|(holder, _)| *holder != connection) {
            return;
        }
        if entry.kept.is_zero() {
            inner.sessions.remove(owner);
            return;
        }
        entry.connection = None;
        entry.left = now;
        inner.make_room(self.most, now);
    }
}

impl Inner {
    /// Forgets sessions without a connection, the expired ones and those left first, until there are at most so many.
    fn make_room(&mut self, most: usize, now: Instant) {
        if self.sessions.len() <= most {
            return;
        }
        let left = |entry: &Entry| entry.connection.is_none();
        self.sessions
            .retain(|_, entry| !left(entry) || !entry.expired(now));
        let idle = self.sessions.iter().filter(|(_, entry)| left(entry));
        let mut idle: Vec<(Instant, Owner)> =
            idle.map(|(owner, entry)| (entry.left, owner.clone())).collect();
        let excess = idle.len().saturating_sub(most);
        if excess > 0 {
            // A good many at once, so that it need not be done each time.
            let gone = (excess + most / 16).min(idle.len());
            idle.select_nth_unstable_by_key(gone - 1, |(left, _)| *left);
            for (_, owner) in &idle[..gone] {
                self.sessions.remove(owner);
            }
        }
    }
}

impl Entry {
    fn expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.left) >= self.kept
    }
}

impl State {
    /// Notes the arrival of a message; only so many are kept.
    pub fn arrived(&mut self, at: Timestamp, most: usize) {
        while self.recent.len() >= most.max(1) {
            self.recent.pop_front();
        }
        self.recent.push_back(at);
    }

    /// When the oldest of the last `most` messages arrived; `None` where that many are not known of.
    pub fn window(&self, most: usize) -> Option<Timestamp> {
        let full = self.recent.len() >= most.max(1);
        self.recent.front().copied().filter(|_| full)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.sessions.leave(&self.owner, self.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(60);

    fn owner(client: &str) -> Owner {
        Owner {
            user: None,
            client: client.to_owned(),
        }
    }

    /// Whether it has been told to end.
    fn ended(lease: &mut Lease) -> bool {
        lease.taken_over.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[tokio::test]
    async fn a_session_goes_on_with_the_next_connection_unless_it_is_to_begin_anew() {
        let sessions = Sessions::new(9);
        let first = sessions.open(owner("a"), Begin::Again, KEPT);
        assert!(!first.present);
        first.state.lock().unreleased.insert(7);
        drop(first);
        let second = sessions.open(owner("a"), Begin::Again, KEPT);
        assert!(second.present && second.state.lock().unreleased.contains(&7));
        drop(second);
        let third = sessions.open(owner("a"), Begin::Anew, KEPT);
        assert!(!third.present && third.state.lock().unreleased.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_past_its_time_is_gone() {
        let sessions = Sessions::new(9);
        drop(sessions.open(owner("a"), Begin::Again, KEPT));
        drop(sessions.open(owner("b"), Begin::Again, Duration::ZERO));
        assert!(!sessions.open(owner("b"), Begin::Again, KEPT).present);
        tokio::time::advance(KEPT).await;
        assert!(!sessions.open(owner("a"), Begin::Again, KEPT).present);
    }

    #[tokio::test]
    async fn a_newer_connection_ends_the_older_whose_leaving_changes_nothing() {
        let sessions = Sessions::new(9);
        let mut older = sessions.open(owner("a"), Begin::Again, Duration::ZERO);
        assert!(!ended(&mut older));
        let mut newer = sessions.open(owner("a"), Begin::Again, KEPT);
        assert!(newer.present, "it takes over what the older one had");
        assert!(ended(&mut older));
        drop(older);
        assert!(!ended(&mut newer));
        drop(newer);
        assert!(sessions.open(owner("a"), Begin::Again, KEPT).present);
    }

    #[tokio::test]
    async fn users_do_not_take_over_each_others_sessions() {
        let sessions = Sessions::new(9);
        let mut mine = sessions.open(owner("a"), Begin::Again, KEPT);
        let other = Owner {
            user: Some("eve".to_owned()),
            client: "a".to_owned(),
        };
        assert!(!sessions.open(other, Begin::Again, KEPT).present);
        assert!(!ended(&mut mine));
    }

    #[tokio::test(start_paused = true)]
    async fn the_session_that_was_left_first_makes_room() {
        let sessions = Sessions::new(2);
        let _connected = sessions.open(owner("connected"), Begin::Again, KEPT);
        let leases = ["b", "a", "c"].map(|name| sessions.open(owner(name), Begin::Again, KEPT));
        for lease in leases {
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(lease);
        }
        let again = ["connected", "a", "b", "c"].map(|name| sessions.open(owner(name), Begin::Again, KEPT));
        assert_eq!(again.map(|lease| lease.present), [true, true, false, true]);
    }

    #[test]
    fn a_session_that_the_database_knows_is_there_without_what_it_held() {
        let sessions = Sessions::new(2);
        assert!(sessions.is_new(&owner("a")));
        let lease = sessions.open(owner("a"), Begin::Known, KEPT);
        assert!(lease.present && lease.state.lock().unreleased.is_empty());
        assert!(!sessions.is_new(&owner("a")) && sessions.is_new(&owner("b")));
    }

    #[test]
    fn the_window_is_known_when_it_is_full() {
        let mut state = State::default();
        for at in 1..=3 {
            assert_eq!(state.window(3), None);
            state.arrived(Timestamp(at), 3);
        }
        assert_eq!(state.window(3), Some(Timestamp(1)));
        state.arrived(Timestamp(4), 3);
        assert_eq!(state.window(3), Some(Timestamp(2)));
    }
}
