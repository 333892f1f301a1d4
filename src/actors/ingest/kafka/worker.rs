//! One member of the group: a thread that polls the client, sends off what comes, and keeps account of its partitions.
//!
//! It goes round and round: orders, what the client has, rebalances, what became of batches, and what follows from all that.
//! Nothing in the round waits longer than a question to a broker. Without room it waits a short while, and then pauses its
//! partitions, so that the client goes on being polled and holds nothing.
//!
//! Invariant: a batch departs only in the epoch in which everything before it is on its way or stored; see
//! [`Intake::try_deliver_in`](crate::actors::ingest::Intake::try_deliver_in).

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::client::GroupConsumer;
use super::gather::Gathered;
use super::letters::LetterTopic;
use super::partition::{Held, Partition, list};
use super::rebalance::{Joining, Leaving};
use super::seek::Seeking;
use super::source::{Desk, KafkaParts};
use super::status::Shared;
use crate::actors::batch::Delivery;
use crate::actors::ingest::{Seek, SeekError, SeekedTo};
use crate::actors::storage::retry;
use crate::actors::supervision::{Crash, contain};
use crate::domain::DeadLetter;

/// How long the client is waited for where nothing else is going on.
const QUIET: Duration = Duration::from_millis(100);
/// The same where something is: what becomes of batches is looked at this often.
const BUSY: Duration = Duration::from_millis(2);
/// How long room is waited for before the partitions are paused, which throws away what was fetched of them.
const PATIENCE: Duration = Duration::from_secs(2);
/// Undelivered batches in a row after which the member begins anew.
const MOST_RETRIES: u32 = 5;
/// How often the group is told of positions.
const TELL_GROUP: Duration = Duration::from_secs(1);

pub(super) enum Order {
    Pause,
    Resume,
    /// To store what is under way, take nothing more, and leave the group.
    Stop,
    Seek(Seek, oneshot::Sender<Result<Vec<SeekedTo>, SeekError>>),
}

/// Why a member cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the Kafka client failed: {0}")]
    Client(#[from] KafkaError),
    #[error("the actor of the source has gone")]
    Orphaned,
    /// Somebody else may have claimed our partitions: what is still ours is found out by joining anew.
    #[error("{0} batches in a row were not stored")]
    Undelivered(u32),
}

/// Lives until it is told to end, or fails, which is told.
pub(super) fn run(
    parts: &KafkaParts,
    shared: &std::sync::Arc<Shared>,
    desk: &Desk,
    orders: &Receiver<Order>,
    letters: Option<&LetterTopic>,
    index: u16,
) -> Option<Crash> {
    let lived = contain(|| {
        let mut config = parts.client.clone();
        // A static member needs a name of its own.
        if let Some(instance) = parts
            .client
            .get("group.instance.id")
            .filter(|_| parts.consumers > 1)
        {
            config.set("group.instance.id", format!("{instance}-{index}"));
        }
        let client = GroupConsumer::join(&config, &parts.topics, shared.clone())?;
        let mut worker = Worker::new(parts, shared, &client, desk, orders, letters, index);
        let lived = contain(|| worker.live());
        // What is under way must not come after what the next member claims.
        let settled = contain(|| worker.settle());
        for _ in worker.flights.drain(..) {
            shared.arrived(false);
        }
        lived
            .and_then(|lived| settled.map(|()| lived))
            .unwrap_or_else(|crash| Err(Death::Panic(crash)))
    });
    shared.set_waiting(index, false);
    match lived {
        Ok(Ok(()) | Err(Death::Failure(Failure::Orphaned))) => None,
        Ok(Err(Death::Failure(failure))) => Some(Crash::new(failure.to_string())),
        Ok(Err(Death::Panic(crash))) | Err(crash) => Some(crash),
    }
}

enum Death {
    Failure(Failure),
    Panic(Crash),
}

impl From<KafkaError> for Death {
    fn from(error: KafkaError) -> Self {
        Death::Failure(Failure::Client(error))
    }
}

impl From<Failure> for Death {
    fn from(failure: Failure) -> Self {
        Death::Failure(failure)
    }
}

pub(super) struct Worker<'c> {
    pub parts: &'c KafkaParts,
    pub shared: &'c Shared,
    pub client: &'c GroupConsumer,
    pub desk: &'c Desk,
    orders: &'c Receiver<Order>,
    letters: Option<&'c LetterTopic>,
    index: u16,
    pub held: Vec<Held>,
    /// Which of them the last message was of.
    pub last: usize,
    pub next_id: u64,
    pub gathered: VecDeque<Gathered<'c>>,
    pub gathered_bytes: usize,
    pub flights: VecDeque<Flight>,
    /// Of the last departure.
    epoch: u64,
    paused: bool,
    pub stopping: bool,
    pub blocked: Option<Blocked>,
    pub joining: Option<Joining>,
    pub leaving: Option<Leaving>,
    pub seeking: Option<Seeking>,
    pub rewind: Option<Rewind>,
    /// Undelivered batches in a row.
    retries: u32,
    /// Positions that the group has not been told of.
    untold: BTreeMap<Partition, i64>,
    told: Instant,
    letters_waiting: VecDeque<DeadLetter>,
}

/// A batch under way.
pub(super) struct Flight {
    pub delivery: Pin<Box<dyn Future<Output = Delivery> + Send>>,
    pub marks: Vec<Mark>,
    pub letters: Vec<DeadLetter>,
}

/// How far a batch brings a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub id: u64,
    pub next: i64,
}

/// There was no room for what was gathered.
pub(super) struct Blocked {
    since: Instant,
    tried: Instant,
    /// Readings that need room.
    readings: usize,
}

/// Something is undelivered: what is gathered is thrown away, and reading goes back to what is stored.
pub(super) struct Rewind {
    not_before: Instant,
    asked: Option<Asked>,
}

/// Of which assignments the stored positions were asked.
struct Asked {
    ids: Vec<u64>,
    positions: oneshot::Receiver<Vec<Option<i64>>>,
}

/// Whether the round goes on.
#[derive(PartialEq, Eq)]
enum Life {
    GoesOn,
    Ends,
}

impl<'c> Worker<'c> {
    fn new(
        parts: &'c KafkaParts,
        shared: &'c Shared,
        client: &'c GroupConsumer,
        desk: &'c Desk,
        orders: &'c Receiver<Order>,
        letters: Option<&'c LetterTopic>,
        index: u16,
    ) -> Self {
        Self {
            parts,
            shared,
            client,
            desk,
            orders,
            letters,
            index,
            held: Vec::new(),
            last: 0,
            next_id: 0,
            gathered: VecDeque::new(),
            gathered_bytes: 0,
            flights: VecDeque::new(),
            epoch: 0,
            paused: false,
            stopping: false,
            blocked: None,
            joining: None,
            leaving: None,
            seeking: None,
            rewind: None,
            retries: 0,
            untold: BTreeMap::new(),
            told: Instant::now(),
            letters_waiting: VecDeque::new(),
        }
    }

    fn live(&mut self) -> Result<(), Death> {
        while self.obey() == Life::GoesOn {
            self.receive()?;
            self.rebalance()?;
            self.take_deliveries();
            if self.retries > MOST_RETRIES {
                return Err(Failure::Undelivered(self.retries).into());
            }
            self.go_back()?;
            self.seek()?;
            self.send_off();
            self.pause_and_resume()?;
            self.tell_group(false);
            self.write_letters();
        }
        Ok(())
    }

    /// Waits for what is under way, within reason, while it stays a member of the group.
    fn settle(&mut self) {
        let until = Instant::now() + self.parts.drain_timeout;
        for held in &mut self.held {
            held.closed = true;
        }
        self.drop_gathered(|_| true);
        let _ = self.pause_and_resume();
        while !self.flights.is_empty() && Instant::now() < until {
            let _ = self.client.poll(BUSY);
            self.take_deliveries();
        }
        self.tell_group(true);
        self.write_letters();
    }

    fn obey(&mut self) -> Life {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Pause) => self.paused = true,
                Ok(Order::Resume) => self.paused = false,
                Ok(Order::Stop) => self.stop(),
                Ok(Order::Seek(seek, answer)) => self.begin_seek(&seek, answer),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Life::Ends,
            }
        }
        if !self.stopping || !self.flights.is_empty() || self.leaving.is_some() {
            return Life::GoesOn;
        }
        // What was not read from need not be given away in order.
        self.joining = None;
        if !self.held.iter().any(|held| held.tenure.is_some()) {
            return Life::Ends;
        }
        self.leave_all();
        Life::GoesOn
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.drop_gathered(|_| true);
    }

    /// How long the client may be waited for.
    pub fn patience(&self) -> Duration {
        let at_rest = self.flights.is_empty()
            && self.gathered.is_empty()
            && self.joining.is_none()
            && self.leaving.is_none()
            && self.seeking.is_none()
            && self.rewind.is_none()
            && self.letters_waiting.is_empty();
        if at_rest { QUIET } else { BUSY }
    }

    /// Whether room is waited for with the client's queue as it is.
    pub fn waits_shortly(&self) -> bool {
        self.blocked
            .as_ref()
            .is_some_and(|blocked| blocked.since.elapsed() < PATIENCE)
    }

    fn holds_back(&self) -> bool {
        self.blocked.is_some() && !self.waits_shortly()
    }

    pub fn take_deliveries(&mut self) {
        while let Some(flight) = self.flights.front_mut()
            && let Some(delivery) = (&mut flight.delivery).now_or_never()
        {
            let Some(flight) = self.flights.pop_front() else {
                return;
            };
            let stored = matches!(delivery, Delivery::Stored(_));
            self.shared.arrived(stored);
            if stored {
                self.retries = 0;
                self.stored(flight);
            } else if self.rewind.is_none() {
                self.drop_gathered(|_| true);
                let not_before = Instant::now() + retry::pause(self.retries);
                self.retries = self.retries.saturating_add(1);
                self.rewind = Some(Rewind {
                    not_before,
                    asked: None,
                });
            }
        }
    }

    fn stored(&mut self, flight: Flight) {
        for mark in &flight.marks {
            if let Some(held) = self.held.iter_mut().find(|held| held.id == mark.id) {
                held.stored = Some(mark.next);
                self.untold.insert(held.partition.clone(), mark.next);
                self.shared.note_position(&held.partition, held.stored);
            }
        }
        if self.letters.is_some() {
            self.letters_waiting.extend(flight.letters);
        }
    }

    /// After something was undelivered: when nothing is under way any more, reads on from what is stored.
    fn go_back(&mut self) -> Result<(), Failure> {
        let Some(rewind) = &mut self.rewind else {
            return Ok(());
        };
        if !self.flights.is_empty() || Instant::now() < rewind.not_before {
            return Ok(());
        }
        let (ids, answer) = match &mut rewind.asked {
            Some(asked) => (&asked.ids, &mut asked.positions),
            None => {
                let ids = self.held.iter().map(|held| held.id).collect();
                let labels = self.held.iter().map(|held| held.label.clone()).collect();
                let positions = self.desk.positions(labels);
                rewind.asked = Some(Asked { ids, positions });
                return Ok(());
            }
        };
        let positions = match answer.try_recv() {
            Ok(positions) => positions,
            Err(oneshot::error::TryRecvError::Empty) => return Ok(()),
            Err(oneshot::error::TryRecvError::Closed) => return Err(Failure::Orphaned),
        };
        let mut back = TopicPartitionList::new();
        for (id, position) in ids.iter().zip(positions) {
            // Those that went meanwhile are nobody's here.
            let Some(held) = self.held.iter_mut().find(|held| held.id == *id) else {
                continue;
            };
            held.stored = position;
            held.next = position.or(held.begin.to_raw().filter(|offset| *offset >= 0));
            held.fresh = true;
            let offset = position.map_or(held.begin, Offset::Offset);
            back.add_partition_offset(&held.partition.topic, held.partition.number, offset)?;
        }
        self.rewind = None;
        if back.count() > 0 {
            self.client.seek(back)?;
        }
        Ok(())
    }

    /// Sends off what was gathered, as long as there is room.
    fn send_off(&mut self) {
        while self.rewind.is_none() && !self.gathered.is_empty() {
            if let Some(blocked) = &self.blocked {
                let every = if self.waits_shortly() { BUSY } else { QUIET };
                if blocked.tried.elapsed() < every || self.parts.intake.room() < blocked.readings {
                    break;
                }
            }
            let load = self.load();
            let readings = load.readings;
            let sent = self.depart(load);
            if !sent {
                let now = Instant::now();
                let since = self.blocked.as_ref().map_or(now, |blocked| blocked.since);
                self.blocked = Some(Blocked {
                    since,
                    tried: now,
                    readings,
                });
                break;
            }
            self.blocked = None;
        }
        if self.gathered.is_empty() {
            self.blocked = None;
        }
        self.shared.set_waiting(self.index, self.blocked.is_some());
    }

    /// In which epoch the next batch may depart.
    pub fn epoch(&mut self) -> u64 {
        if self.flights.is_empty() {
            // Nothing is on its way that could be undelivered.
            self.epoch = self.parts.intake.epoch();
        }
        self.epoch
    }

    /// Brings the client to what is wanted of each partition.
    fn pause_and_resume(&mut self) -> Result<(), Failure> {
        let all = self.paused || self.stopping || self.rewind.is_some() || self.holds_back();
        let changed = |wanted: bool, held: &mut Held| {
            let change = (all || held.closed) == wanted && held.paused != wanted;
            if change {
                held.paused = wanted;
            }
            change.then(|| held.partition.clone())
        };
        for wanted in [true, false] {
            let some: Vec<Partition> = self
                .held
                .iter_mut()
                .filter_map(|held| changed(wanted, held))
                .collect();
            if some.is_empty() {
                continue;
            }
            for partition in &some {
                self.shared.note_paused(partition, wanted);
            }
            let some = list(&some);
            if wanted {
                self.client.pause(&some)?;
            } else {
                self.client.resume(&some)?;
            }
        }
        Ok(())
    }

    /// Tells the group how far we are, for whoever watches its lag.
    pub fn tell_group(&mut self, now: bool) {
        if self.untold.is_empty() || !(now || self.told.elapsed() >= TELL_GROUP) {
            return;
        }
        self.told = Instant::now();
        let mut positions = TopicPartitionList::new();
        for (partition, next) in std::mem::take(&mut self.untold) {
            let ours = self.held.iter().any(|held| held.partition == partition);
            let offset = Offset::Offset(next);
            if ours
                && positions
                    .add_partition_offset(&partition.topic, partition.number, offset)
                    .is_err()
            {
                continue;
            }
        }
        if positions.count() > 0
            && let Err(error) = self.client.commit(&positions)
        {
            tracing::debug!(%error, "the group was not told of positions");
        }
    }

    fn write_letters(&mut self) {
        if let Some(letters) = self.letters {
            letters.write(&mut self.letters_waiting);
        }
    }
}
