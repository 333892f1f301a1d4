//! First arrivals: what is sent again gets the time that it was given first.
//!
//! A reading without a time gets that of its arrival. A redelivery must get the same, or it would be another reading. So the
//! arrival is remembered, and stored with the readings:
//!
//! - What comes seldom has a row of its own, here: requests with a key, retained messages, sessions. It is remembered under a key
//!   that the redelivery has as well: in memory while its readings are under way, and as a position among them once they are
//!   stored. Such positions are deleted by their age; see `Expiry::idempotency_before`.
//! - The messages of an MQTT session share a few rows, which are written over in turn; see [`session`] and [`ring`].
//!
//! Invariants: an arrival is noted in memory before the database is asked, so that one whose readings are stored meanwhile is
//! seen here or there; it is kept until the [`Arrival`] is dropped, so hold that until the readings' fate is known. What
//! was undelivered leaves nothing. How it fails: without the database only what is known to be new can begin.

mod ring;
mod session;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::domain::{Micros, SourceName, Timestamp};
use crate::storage::{Position, Store, StoreError};

pub use ring::MessageId;
use session::SessionArrivals;
pub use session::{Seen, Session, SessionName, pages};

/// Positions of this kind are arrivals; those of no other begin like this. The databases' expiry knows it.
const PREFIX: &str = "idempotency/";

/// The arrivals of one source. Cheap to clone; clones share what is under way.
#[derive(Clone)]
pub struct Arrivals {
    source: SourceName,
    store: Arc<dyn Store>,
    under_way: UnderWay,
    sessions: SessionArrivals,
}

/// What a delivery and its redelivery have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArrivalKey(String);

/// The time that stands in for times that are not given, remembered for as long as this is held.
pub struct Arrival {
    pub time: Timestamp,
    source: SourceName,
    key: ArrivalKey,
    under_way: UnderWay,
}

/// The arrivals of what is on its way.
type UnderWay = Arc<Mutex<HashMap<ArrivalKey, Noted>>>;

struct Noted {
    time: Timestamp,
    /// It was not sent before, so what is stored under its key was something else.
    fresh: bool,
    deliveries: usize,
}

impl Arrivals {
    pub fn new(source: SourceName, store: Arc<dyn Store>) -> Self {
        Self {
            sessions: SessionArrivals::new(source.clone(), store.clone()),
            source,
            store,
            under_way: UnderWay::default(),
        }
    }

    /// Something that was not sent before arrives, even if its key was used for something else.
    pub fn first(&self, key: ArrivalKey, now: Timestamp) -> Arrival {
        self.note(key, now, true).0
    }

    /// Something arrives that may have been sent before. What was stored from before `since` was something else.
    pub async fn again(
        &self,
        key: ArrivalKey,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Arrival, StoreError> {
        let (mut arrival, fresh) = self.note(key, now, false);
        if !fresh {
            let same = self.stored(&arrival.key).await?.filter(|time| *time >= since);
            arrival.time = same.unwrap_or(arrival.time);
        }
        Ok(arrival)
    }

    /// The memory of an MQTT session: of at least the last `window` messages, for as long as `kept` after the last.
    pub async fn session(
        &self,
        name: SessionName,
        window: usize,
        kept: Micros,
    ) -> Result<Session, StoreError> {
        self.sessions.open(name, window, kept).await
    }

    /// When what has this key came last, as far as that is stored.
    pub async fn stored(&self, key: &ArrivalKey) -> Result<Option<Timestamp>, StoreError> {
        let stored = self.store.position(&self.source, &key.0).await?;
        Ok(stored.map(Timestamp))
    }

    /// Also tells whether memory knows the arrival for sure.
    fn note(&self, key: ArrivalKey, now: Timestamp, fresh: bool) -> (Arrival, bool) {
        let mut under_way = self.under_way.lock();
        let noted = under_way.entry(key.clone()).or_insert(Noted {
            time: now,
            fresh,
            deliveries: 0,
        });
        if fresh {
            (noted.time, noted.fresh) = (now, true);
        }
        noted.deliveries += 1;
        let arrival = Arrival {
            time: noted.time,
            source: self.source.clone(),
            key,
            under_way: self.under_way.clone(),
        };
        (arrival, noted.fresh)
    }
}

impl ArrivalKey {
    /// The sender says himself what is the same.
    pub fn given(key: &str) -> Self {
        Self(format!("{PREFIX}{key}"))
    }

    /// A retained message, which comes with each subscription.
    pub fn retained(client: &str, topic: &str, payload: &[u8]) -> Self {
        Self::digest(&[client.as_bytes(), topic.as_bytes(), &[0, 0], payload])
    }

    /// An MQTT session.
    pub fn mqtt_session(user: Option<&str>, client: &str) -> Self {
        let anonymous = [u8::from(user.is_none())];
        Self::digest(&[&anonymous, user.unwrap_or_default().as_bytes(), client.as_bytes()])
    }

    fn digest(parts: &[&[u8]]) -> Self {
        Self(format!("{PREFIX}{}", digest(parts)))
    }
}

/// A name for what has these parts.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    data_encoding::BASE64URL_NOPAD.encode(&hash.finalize()[..16])
}

impl Arrival {
    /// What remembers it; to be stored with the readings.
    pub fn position(&self) -> Position {
        Position {
            source: self.source.clone(),
            partition: self.key.0.clone(),
            offset: self.time.0,
            epoch: None,
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        if let Some(noted) = under_way.get_mut(&self.key) {
            noted.deliveries -= 1;
            if noted.deliveries == 0 {
                under_way.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::NullStore;

    const EARLY: Timestamp = Timestamp(10);
    const LATE: Timestamp = Timestamp(20);

    fn arrivals() -> Arrivals {
        let source = SourceName::parse("devices").unwrap();
        Arrivals::new(source, Arc::new(NullStore::new()))
    }

    fn message(payload: &[u8]) -> ArrivalKey {
        ArrivalKey::retained("c", "t", payload)
    }

    #[tokio::test]
    async fn what_is_sent_again_gets_the_first_time_until_that_is_undelivered() {
        let arrivals = arrivals();
        let first = arrivals.first(message(b"1"), EARLY);
        let again = arrivals.again(message(b"1"), EARLY, LATE).await.unwrap();
        assert_eq!((again.time, again.position()), (EARLY, first.position()));
        drop((first, again));
        let later = arrivals.again(message(b"1"), EARLY, LATE).await.unwrap();
        assert_eq!(later.time, LATE);
    }

    #[test]
    fn a_new_message_with_the_same_key_gets_its_own_time() {
        let arrivals = arrivals();
        let _earlier = arrivals.first(message(b"1"), EARLY);
        assert_eq!(arrivals.first(message(b"1"), LATE).time, LATE);
        assert_eq!(arrivals.under_way.lock().len(), 1);
    }

    #[test]
    fn keys_differ_in_each_of_their_parts() {
        let keys = [
            ArrivalKey::retained("c", "t", b"1"),
            ArrivalKey::retained("ct", "", b"1"),
            ArrivalKey::retained("c", "t", b"2"),
            ArrivalKey::mqtt_session(None, "c"),
            ArrivalKey::mqtt_session(Some(""), "c"),
            ArrivalKey::given("c"),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert!(keys.iter().all(|key| key.0.starts_with(PREFIX)));
    }
}
