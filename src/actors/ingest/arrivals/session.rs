//! The messages of an MQTT session that may be sent again.
//!
//! Invariants: a session is read before anything of it is noted, and there is one ring of it for all connections, for as long as
//! anybody holds a message of it. A batch brings the pages that its messages lie on, as they are when it departs; so what is stored of
//! a page only grows, and a page tells of every message of a reading that is stored. That it may tell of others too does no harm: they
//! get the same time when they come again. How it fails: without the database, a session that is not in memory cannot be opened.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::ring::{MessageId, Place, Ring, StoredPage};
use crate::domain::{Micros, SourceName, Timestamp};
use crate::storage::{ArrivalPage, Store, StoreError};

/// The sessions of a source that are in memory. Cheap to clone.
#[derive(Clone)]
pub struct SessionArrivals {
    source: SourceName,
    store: Arc<dyn Store>,
    open: OpenSessions,
}

type OpenSessions = Arc<Mutex<HashMap<SessionName, Weak<Inner>>>>;

/// Whose packet ids they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionName(String);

/// A session's memory. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
    kept: Micros,
}

struct Inner {
    source: SourceName,
    name: SessionName,
    ring: OnceCell<Mutex<Ring>>,
    open: OpenSessions,
}

/// A message that came, and the time that it has.
#[derive(Clone)]
pub struct Seen {
    session: Session,
    place: Place,
}

impl SessionArrivals {
    pub fn new(source: SourceName, store: Arc<dyn Store>) -> Self {
        Self {
            source,
            store,
            open: OpenSessions::default(),
        }
    }

    /// At least the last `window` messages of a session are remembered, for as long as `kept` after the last.
    pub async fn open(&self, name: SessionName, window: usize, kept: Micros) -> Result<Session, StoreError> {
        let inner = {
            let mut open = self.open.lock();
            let there = open.get(&name).and_then(Weak::upgrade);
            there.unwrap_or_else(|| {
                let inner = Arc::new(Inner {
                    source: self.source.clone(),
                    name: name.clone(),
                    ring: OnceCell::new(),
                    open: self.open.clone(),
                });
                open.insert(name, Arc::downgrade(&inner));
                inner
            })
        };
        let read = || async {
            let pages = self.store.arrivals(&inner.source, &inner.name.0).await?;
            let pages = pages.into_iter().map(|page| StoredPage {
                slot: page.slot,
                page: page.page,
                entries: page.entries,
            });
            Ok(Mutex::new(Ring::new(window, pages)))
        };
        inner.ring.get_or_try_init(read).await?;
        Ok(Session { inner, kept })
    }
}

impl Session {
    /// A connection begins, with the session that there was or with a new one.
    pub fn turn(&self, goes_on: bool) {
        self.with(|ring| ring.turn(goes_on));
    }

    /// A message of which nobody says that it was sent before.
    pub fn first(&self, message: MessageId, now: Timestamp) -> Seen {
        self.seen(self.with(|ring| ring.first(message, now)), now)
    }

    /// One that is said to be sent again. What came before `since` was another.
    pub fn again(&self, message: MessageId, since: Timestamp, now: Timestamp) -> Seen {
        self.seen(self.with(|ring| ring.again(message, since, now)), now)
    }

    /// Whether an earlier connection has left a message of this packet id without an acknowledgement.
    pub fn is_left(&self, packet: u16) -> bool {
        self.with(|ring| ring.is_left(packet)) == Some(true)
    }

    /// The sender is told that we have it.
    pub fn acknowledged(&self, packet: u16) {
        self.with(|ring| ring.acknowledged(packet));
    }

    /// `None` only for a session that was not read, of which nobody has a handle.
    fn with<T>(&self, what: impl FnOnce(&mut Ring) -> T) -> Option<T> {
        self.inner.ring.get().map(|ring| what(&mut ring.lock()))
    }

    fn seen(&self, place: Option<Place>, now: Timestamp) -> Seen {
        Seen {
            session: self.clone(),
            place: place.unwrap_or(Place { time: now, page: 0 }),
        }
    }
}

impl Seen {
    pub fn time(&self) -> Timestamp {
        self.place.time
    }
}

/// What is to be stored with the readings of these messages.
pub fn pages<'s>(seen: impl IntoIterator<Item = &'s Seen>, now: Timestamp) -> Vec<ArrivalPage> {
    let mut written = BTreeSet::new();
    let mut pages = Vec::new();
    for Seen { session, place } in seen {
        let Session { inner, kept } = session;
        if !written.insert((Arc::as_ptr(inner), place.page)) {
            continue;
        }
        let page = session.with(|ring| ring.page(place.page)).flatten();
        pages.extend(page.map(|page| ArrivalPage {
            source: inner.source.clone(),
            session: inner.name.0.clone(),
            slot: page.slot,
            page: page.page,
            kept_until: now.saturating_add(*kept),
            entries: page.entries,
        }));
    }
    pages
}

impl SessionName {
    /// Of a device that connects to us.
    pub fn device(user: Option<&str>, client: &str) -> Self {
        let anonymous = [u8::from(user.is_none())];
        Self::digest(&[&anonymous, user.unwrap_or_default().as_bytes(), client.as_bytes()])
    }

    /// Ours, at a broker that knows us by this name.
    pub fn client(client: &str) -> Self {
        Self::digest(&[client.as_bytes()])
    }

    fn digest(parts: &[&[u8]]) -> Self {
        Self(super::digest(parts))
    }
}

impl MessageId {
    pub fn new(packet: u16, topic: &str, payload: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(packet.to_le_bytes());
        hash.update((topic.len() as u64).to_le_bytes());
        hash.update(topic);
        hash.update(payload);
        let first = hash
            .finalize()
            .iter()
            .take(8)
            .fold(0, |digest, byte| digest << 8 | u64::from(*byte));
        Self {
            packet,
            digest: first,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if open
            .get(&self.name)
            .is_some_and(|there| there.strong_count() == 0)
        {
            open.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::NullStore;

    const KEPT: Micros = 100;

    async fn open(arrivals: &SessionArrivals, client: &str) -> Session {
        arrivals
            .open(SessionName::client(client), 10, KEPT)
            .await
            .unwrap()
    }

    fn arrivals() -> SessionArrivals {
        SessionArrivals::new(SourceName::parse("devices").unwrap(), Arc::new(NullStore::new()))
    }

    #[tokio::test]
    async fn a_session_is_one_for_as_long_as_a_message_of_it_is_held() {
        let arrivals = arrivals();
        let message = MessageId::new(1, "t", b"1");
        let seen = open(&arrivals, "a").await.first(message, Timestamp(1));
        let again = open(&arrivals, "a")
            .await
            .again(message, Timestamp(0), Timestamp(2));
        assert_eq!((seen.time(), again.time()), (Timestamp(1), Timestamp(1)));
        assert_eq!(
            open(&arrivals, "b")
                .await
                .again(message, Timestamp(0), Timestamp(3))
                .time(),
            Timestamp(3)
        );
        drop((seen, again));
        assert!(arrivals.open.lock().is_empty());
        // It was not stored.
        assert_eq!(
            open(&arrivals, "a")
                .await
                .again(message, Timestamp(0), Timestamp(4))
                .time(),
            Timestamp(4)
        );
    }

    #[tokio::test]
    async fn a_batch_brings_each_page_once() {
        let arrivals = arrivals();
        let (a, b) = (open(&arrivals, "a").await, open(&arrivals, "b").await);
        let mut seen = Vec::new();
        for packet in 1..=40 {
            seen.push(a.first(MessageId::new(packet, "t", b"1"), Timestamp(packet.into())));
            seen.push(b.first(MessageId::new(packet, "t", b"1"), Timestamp(packet.into())));
        }
        let pages = pages(&seen, Timestamp(1_000));
        let mut found: Vec<_> = pages
            .iter()
            .map(|page| (page.session.as_str(), page.page, page.entries.len()))
            .collect();
        found.sort_unstable();
        let (a, b) = (SessionName::client("a").0, SessionName::client("b").0);
        let mut expected = vec![
            (a.as_str(), 0, 512),
            (a.as_str(), 1, 128),
            (b.as_str(), 0, 512),
            (b.as_str(), 1, 128),
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert!(
            pages
                .iter()
                .all(|page| page.kept_until == Timestamp(1_000 + KEPT))
        );
    }

    #[test]
    fn messages_and_sessions_differ_in_each_of_their_parts() {
        let messages = [
            MessageId::new(7, "t", b"1"),
            MessageId::new(7, "", b"t1"),
            MessageId::new(8, "t", b"1"),
            MessageId::new(7, "t", b"2"),
        ];
        let distinct: std::collections::HashSet<_> = messages.iter().map(|message| message.digest).collect();
        assert_eq!(distinct.len(), messages.len());
        let names = [
            SessionName::device(None, "c"),
            SessionName::device(Some(""), "c"),
            SessionName::device(Some("c"), ""),
            SessionName::client("c"),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
