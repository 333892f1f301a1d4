//! The last messages of a session, and when each came first. Pure.
//!
//! A message is known by its packet id and a digest of the whole of it. Messages lie on pages, and a page is a row of the database: a
//! batch writes those that its messages lie on anew. Pages are few: the first is gone when there are too many, and the next takes over
//! its row.
//!
//! What is the same message:
//! - One that is said to be sent again is the last of that digest, if that came late enough.
//! - A packet id is of one message until we have acknowledged that. So what an earlier connection left without acknowledgement is known
//!   again even if nobody says that it is sent again.
//! - Anything else is new.
//!
//! How it fails: what has left the ring, or came before the time asked for, is taken for new when it is sent again.

use std::collections::{HashMap, VecDeque};

use crate::domain::Timestamp;

/// Messages of a page. With fewer there are more rows, with more each costs more to write.
const PAGE: usize = 32;
const ENTRY_BYTES: usize = 16;
/// No session has as many.
const MOST_PAGES: u64 = 1 << 62;

/// What a message and its redelivery have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId {
    pub packet: u16,
    /// Of packet id, topic and payload.
    pub digest: u64,
}

/// A message's first arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub time: Timestamp,
    /// The page that remembers it.
    pub page: u64,
}

/// A page as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPage {
    pub slot: u32,
    pub page: u64,
    pub entries: Vec<u8>,
}

#[derive(Debug)]
pub struct Ring {
    /// In the order of their numbers, none of which is empty.
    pages: VecDeque<Page>,
    most: u64,
    /// What every packet id is of that we have seen and not acknowledged.
    open: HashMap<u16, Open>,
    /// Counts connections.
    connection: u64,
}

#[derive(Debug)]
struct Page {
    number: u64,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    digest: u64,
    time: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    digest: u64,
    place: Place,
    connection: u64,
}

impl Ring {
    /// Remembers at least the last `window` messages, beginning with what is stored, in any order.
    pub fn new(window: usize, stored: impl IntoIterator<Item = StoredPage>) -> Self {
        let most = window.max(1).div_ceil(PAGE) as u64 + 1;
        let mut pages: Vec<Page> = stored.into_iter().map(Page::from).collect();
        pages.retain(|page| !page.entries.is_empty() && page.number < MOST_PAGES);
        // With another window, a page may have had another row: the one that was written last has the most.
        pages.sort_by_key(|page| (page.number, std::cmp::Reverse(page.entries.len())));
        pages.dedup_by_key(|page| page.number);
        let last = pages.last().map_or(0, |page| page.number);
        pages.retain(|page| page.number + most > last);
        Self {
            pages: pages.into(),
            most,
            open: HashMap::new(),
            connection: 0,
        }
    }

    /// A connection begins. Does the session that there was go on? If not, packet ids mean nothing any more.
    pub fn turn(&mut self, goes_on: bool) {
        self.connection += 1;
        if !goes_on {
            self.open.clear();
        }
    }

    /// Whether an earlier connection has left a message of this packet id open.
    pub fn is_left(&self, packet: u16) -> bool {
        let open = self.open.get(&packet);
        open.is_some_and(|open| open.connection < self.connection)
    }

    /// A message arrives of which nobody says that it was sent before.
    pub fn first(&mut self, message: MessageId, now: Timestamp) -> Place {
        let left = self.open.get(&message.packet);
        let left = left.filter(|open| open.digest == message.digest && self.is_left(message.packet));
        let place = left.map(|open| open.place);
        let place = place.unwrap_or_else(|| self.append(message.digest, now));
        self.opened(message, place)
    }

    /// A message arrives that is said to be sent again. What came before `since` was another.
    pub fn again(&mut self, message: MessageId, since: Timestamp, now: Timestamp) -> Place {
        let open = self.open.get(&message.packet);
        let open = open.filter(|open| open.digest == message.digest);
        let known = open.map(|open| open.place);
        let known = known.or_else(|| self.last(message.digest).filter(|place| place.time >= since));
        let place = match known {
            Some(place) if self.is_last(place.page) => place,
            // It may come yet another time, and must then be among the last as any other that comes now.
            Some(place) => self.append(message.digest, place.time),
            None => self.append(message.digest, now),
        };
        self.opened(message, place)
    }

    /// What has this packet id is acknowledged: it may be given to another message now.
    pub fn acknowledged(&mut self, packet: u16) {
        self.open.remove(&packet);
    }

    /// A page as it is to be stored; `None` if it is gone.
    pub fn page(&self, number: u64) -> Option<StoredPage> {
        let found = self.pages.iter().rev().find(|page| page.number == number)?;
        let mut entries = Vec::with_capacity(found.entries.len() * ENTRY_BYTES);
        for entry in &found.entries {
            entries.extend(entry.digest.to_le_bytes());
            entries.extend(entry.time.0.to_le_bytes());
        }
        Some(StoredPage {
            slot: (number % self.most) as u32,
            page: number,
            entries,
        })
    }

    fn last(&self, digest: u64) -> Option<Place> {
        self.pages.iter().rev().find_map(|page| {
            let found = page.entries.iter().rev().find(|entry| entry.digest == digest)?;
            Some(Place {
                time: found.time,
                page: page.number,
            })
        })
    }

    fn is_last(&self, number: u64) -> bool {
        self.pages.back().is_some_and(|page| page.number == number)
    }

    fn opened(&mut self, message: MessageId, place: Place) -> Place {
        let open = Open {
            digest: message.digest,
            place,
            connection: self.connection,
        };
        self.open.insert(message.packet, open);
        place
    }

    fn append(&mut self, digest: u64, time: Timestamp) -> Place {
        let number = match self.pages.back() {
            Some(page) if page.entries.len() < PAGE => page.number,
            Some(page) => page.number + 1,
            None => 0,
        };
        let entry = Entry { digest, time };
        match self.pages.back_mut() {
            Some(page) if page.number == number => page.entries.push(entry),
            _ => self.pages.push_back(Page {
                number,
                entries: vec![entry],
            }),
        }
        while self
            .pages
            .front()
            .is_some_and(|first| first.number + self.most <= number)
        {
            self.pages.pop_front();
        }
        Place { time, page: number }
    }
}

impl From<StoredPage> for Page {
    fn from(stored: StoredPage) -> Self {
        let (entries, _) = stored.entries.as_chunks::<ENTRY_BYTES>();
        let entry = |bytes: &[u8; ENTRY_BYTES]| {
            let (digest, time) = bytes.split_at(8);
            let eight = |half: &[u8]| {
                half.iter()
                    .rfold(0, |number, byte| number << 8 | u64::from(*byte))
            };
            Entry {
                digest: eight(digest),
                time: Timestamp(eight(time) as i64),
            }
        };
        Page {
            number: stored.page,
            entries: entries.iter().map(entry).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: usize = 100;

    fn message(packet: u16, payload: u64) -> MessageId {
        MessageId {
            packet,
            digest: u64::from(packet) << 32 | payload,
        }
    }

    /// What a database keeps: the last content of each row.
    #[derive(Default, Clone)]
    struct Rows(HashMap<u32, StoredPage>);

    impl Rows {
        fn store(&mut self, ring: &Ring, place: Place) {
            let page = ring.page(place.page).unwrap();
            self.0.insert(page.slot, page);
        }

        fn read(&self, window: usize) -> Ring {
            Ring::new(window, self.0.values().cloned())
        }
    }

    #[test]
    fn rows_are_as_few_as_the_window_needs_however_many_messages_come() {
        let (mut ring, mut rows) = (Ring::new(WINDOW, []), Rows::default());
        for number in 0..10_000_u32 {
            let packet = (number % 65_535) as u16 + 1;
            let place = ring.first(message(packet, number.into()), Timestamp(number.into()));
            rows.store(&ring, place);
            ring.acknowledged(packet);
        }
        assert_eq!(rows.0.len(), WINDOW.div_ceil(PAGE) + 1);
        assert!(
            rows.0
                .values()
                .all(|page| page.entries.len() <= PAGE * ENTRY_BYTES)
        );
        // The window is known again from them, with another window too.
        for window in [WINDOW, 40, 1_000] {
            let mut again = rows.read(window);
            for number in (10_000 - window.min(WINDOW) as u32)..10_000 {
                let packet = (number % 65_535) as u16 + 1;
                let place = again.again(message(packet, number.into()), Timestamp(0), Timestamp(99_999));
                assert_eq!(place.time, Timestamp(number.into()), "of {window}");
            }
        }
    }

    #[test]
    fn a_packet_id_with_another_payload_is_another_message() {
        let mut ring = Ring::new(WINDOW, []);
        ring.first(message(7, 1), Timestamp(1));
        let other = ring.again(message(7, 2), Timestamp(0), Timestamp(2));
        assert_eq!(other.time, Timestamp(2));
        // The first one was acknowledged, or its packet id would not be used: what comes now is a third.
        assert_eq!(ring.first(message(7, 1), Timestamp(3)).time, Timestamp(3));
        assert_eq!(
            ring.again(message(7, 1), Timestamp(0), Timestamp(4)).time,
            Timestamp(3)
        );
    }

    #[test]
    fn what_was_acknowledged_is_new_unless_it_is_said_to_be_sent_again() {
        let mut ring = Ring::new(WINDOW, []);
        ring.first(message(7, 1), Timestamp(1));
        ring.acknowledged(7);
        ring.turn(true);
        assert_eq!(
            ring.again(message(7, 1), Timestamp(0), Timestamp(2)).time,
            Timestamp(1)
        );
        ring.acknowledged(7);
        assert_eq!(ring.first(message(7, 1), Timestamp(3)).time, Timestamp(3));
        assert_eq!(
            ring.again(message(7, 1), Timestamp(4), Timestamp(5)).time,
            Timestamp(3),
            "it is open"
        );
        ring.acknowledged(7);
        assert_eq!(
            ring.again(message(7, 1), Timestamp(4), Timestamp(5)).time,
            Timestamp(5)
        );
    }

    #[test]
    fn what_an_earlier_connection_left_open_is_known_without_being_told() {
        let mut ring = Ring::new(WINDOW, []);
        ring.first(message(7, 1), Timestamp(1));
        // On one connection nothing is sent again, so whoever does this means two.
        assert_eq!(ring.first(message(7, 1), Timestamp(2)).time, Timestamp(2));
        ring.turn(true);
        assert_eq!(ring.first(message(7, 1), Timestamp(3)).time, Timestamp(2));
        // In a new session packet ids begin anew.
        ring.turn(false);
        assert_eq!(ring.first(message(7, 1), Timestamp(4)).time, Timestamp(4));
    }

    #[test]
    fn what_comes_again_and_again_is_not_forgotten_meanwhile() {
        let (mut ring, mut rows) = (Ring::new(WINDOW, []), Rows::default());
        let first = ring.first(message(1, 1), Timestamp(1));
        rows.store(&ring, first);
        for number in 0..1_000 {
            let place = ring.first(message(2, number), Timestamp(10 + number as i64));
            rows.store(&ring, place);
            ring.acknowledged(2);
            if number % 50 == 0 {
                let place = ring.again(message(1, 1), Timestamp(0), Timestamp(5_000));
                assert_eq!(place.time, Timestamp(1));
                rows.store(&ring, place);
                ring = rows.read(WINDOW);
            }
        }
    }

    #[test]
    fn rows_that_nobody_wrote_do_no_harm() {
        let page = |page, entries: &[u8]| StoredPage {
            slot: 0,
            page,
            entries: entries.to_vec(),
        };
        let rows = [page(u64::MAX, &[1; 20]), page(3, &[]), page(2, &[0xFF; 4_000])];
        let mut ring = Ring::new(WINDOW, rows);
        for number in 0..200 {
            let place = ring.first(message(1, number), Timestamp(5));
            assert!(ring.page(place.page).is_some());
        }
    }

    /// What a sender does.
    #[derive(Debug, Clone)]
    enum Step {
        /// Sends new messages, with these values.
        Send(Vec<u8>),
        /// Has the answers to so many of those that were sent.
        Answered(usize),
        /// The connection breaks; the service has answered so many more. What is open is sent again, flagged or not.
        Break { lost: usize, flagged: bool },
        /// As before, and the service was killed. All that was sent and arrived is sent again, flagged.
        Kill { lost: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        let lost = 0_usize..8;
        prop_oneof![
            4 => prop::collection::vec(0_u8..3, 1..8).prop_map(Step::Send),
            4 => (1_usize..8).prop_map(Step::Answered),
            1 => (lost.clone(), any::<bool>()).prop_map(|(lost, flagged)| Step::Break { lost, flagged }),
            1 => lost.prop_map(|lost| Step::Kill { lost }),
        ]
    }

    proptest! {
        /// The oracle knows each message by a number of its own. The sender has at most so many open, and gives out packet ids in turn,
        /// so that what it uses again has left the window; values are few, so that messages are often alike but for that.
        #[test]
        fn every_message_has_one_time_however_often_it_comes(steps in prop::collection::vec(step(), 1..120)) {
            const OPEN: usize = 20;
            const IDS: usize = 64;
            let (mut ring, mut rows) = (Ring::new(OPEN, []), Rows::default());
            ring.turn(true);
            let (mut now, mut sent) = (0, 0);
            // Messages that the sender has no answer to: number, packet id, value, and whether we have answered.
            let mut open: VecDeque<(usize, u16, u8, bool)> = VecDeque::new();
            let mut times: HashMap<usize, Timestamp> = HashMap::new();
            // Since when what is sent again may have come.
            let mut recent: VecDeque<Timestamp> = VecDeque::new();
            for step in steps {
                let mut again = None;
                match step {
                    Step::Send(values) => for value in values {
                        if open.len() == OPEN {
                            break;
                        }
                        now += 1;
                        let packet = (sent % IDS) as u16 + 1;
                        let place = ring.first(message(packet, value.into()), Timestamp(now));
                        prop_assert_eq!(place.time, Timestamp(now), "a new message is new");
                        rows.store(&ring, place);
                        times.insert(sent, place.time);
                        recent.push_back(place.time);
                        open.push_back((sent, packet, value, false));
                        sent += 1;
                    },
                    Step::Answered(count) => for _ in 0..count {
                        if let Some((_, packet, ..)) = open.pop_front() {
                            ring.acknowledged(packet);
                        }
                    },
                    Step::Break { lost, flagged } => again = Some((lost, flagged)),
                    Step::Kill { lost } => {
                        ring = rows.read(OPEN);
                        again = Some((lost, true));
                    }
                }
                let Some((lost, flagged)) = again else { continue };
                for (_, packet, _, answered) in open.iter_mut().take(lost) {
                    ring.acknowledged(*packet);
                    *answered = true;
                }
                ring.turn(true);
                while recent.len() > OPEN {
                    recent.pop_front();
                }
                let since = recent.front().copied().unwrap_or(Timestamp(0));
                for (number, packet, value, answered) in &mut open {
                    now += 1;
                    // Only what we have not answered is known without being told.
                    let place = match flagged || *answered {
                        true => ring.again(message(*packet, (*value).into()), since, Timestamp(now)),
                        false => ring.first(message(*packet, (*value).into()), Timestamp(now)),
                    };
                    prop_assert_eq!(place.time, times[number], "message {} comes again", number);
                    rows.store(&ring, place);
                    *answered = false;
                }
            }
            prop_assert!(rows.0.len() as u64 <= ring.most);
        }
    }
}
