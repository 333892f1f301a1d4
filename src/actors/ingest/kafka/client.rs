//! The client of Kafka: a member of a consumer group whose rebalances are answered when we are ready.
//!
//! librdkafka tells of a rebalance by an event, and waits for the answer while it goes on with heartbeats. So positions can
//! be claimed from the database, and what is under way can be stored, while the consumer is polled as ever. Invariant: every
//! rebalance is answered exactly once, at the latest when the client is dropped, or the group would wait for us.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use super::status::Shared;

/// How long a question to a broker may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the word that we leave may take.
const LEAVE: Duration = Duration::from_millis(100);

pub(super) struct GroupConsumer {
    consumer: BaseConsumer<Events>,
}

/// What the group wants of us. To be answered by [`GroupConsumer::assign`] or [`GroupConsumer::unassign`].
#[derive(Debug, Clone)]
pub(super) enum Rebalance {
    Assigned(TopicPartitionList),
    /// `lost`: others may own them already.
    Revoked {
        list: TopicPartitionList,
        lost: bool,
    },
}

impl GroupConsumer {
    /// Joins the group. Brokers that cannot be reached are no error: they are tried for ever.
    pub fn join(config: &ClientConfig, topics: &[String], shared: Arc<Shared>) -> KafkaResult<Self> {
        let consumer: BaseConsumer<Events> = config.create_with_context(Events {
            shared,
            waiting: Mutex::default(),
            open: Mutex::default(),
            closing: AtomicBool::new(false),
        })?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(Self { consumer })
    }

    /// The next message, if there is one within `patience`. Serves everything else, too; `None` after a rebalance.
    pub fn poll(&self, patience: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(patience)
    }

    /// The next that must be answered, after the one before.
    pub fn rebalance(&self) -> Option<Rebalance> {
        let events = self.consumer.context();
        let next = events.waiting.lock().pop_front()?;
        *events.open.lock() = Some(next.clone());
        Some(next)
    }

    /// Answers that partitions were assigned; each is read from the offset that the list says.
    pub fn assign(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer.context().open.lock().take();
        assign(&self.consumer, list)
    }

    /// Answers that partitions were revoked.
    pub fn unassign(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer.context().open.lock().take();
        unassign(&self.consumer, list)
    }

    pub fn pause(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer.pause(list)
    }

    pub fn resume(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer.resume(list)
    }

    /// Goes on reading elsewhere. What was fetched and not read is thrown away.
    pub fn seek(&self, list: TopicPartitionList) -> KafkaResult<()> {
        let moved = self.consumer.seek_partitions(list, ANSWER)?;
        moved.elements().iter().try_for_each(|element| element.error())
    }

    /// Tells the group how far we are. Nobody waits for it.
    pub fn commit(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.consumer.commit(list, CommitMode::Async)
    }

    /// Where the group is, for partitions of which we know nothing.
    pub fn committed(&self, list: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
        self.consumer.committed_offsets(list, ANSWER)
    }

    /// The first offset of a partition, and the one after its last.
    pub fn ends(&self, topic: &str, partition: i32) -> KafkaResult<(i64, i64)> {
        self.consumer.fetch_watermarks(topic, partition, ANSWER)
    }

    /// The first offset at or after a time, in milliseconds since 1970; the end where there is none.
    pub fn at_time(&self, topic: &str, partition: i32, millis: i64) -> KafkaResult<i64> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset(topic, partition, Offset::Offset(millis))?;
        let answer = self.consumer.offsets_for_times(asked, ANSWER)?;
        match answer
            .elements()
            .first()
            .map(|element| (element.error(), element.offset()))
        {
            Some((Err(error), _)) => Err(error),
            Some((Ok(()), Offset::Offset(offset))) => Ok(offset),
            _ => Ok(self.ends(topic, partition)?.1),
        }
    }
}

impl Drop for GroupConsumer {
    /// Leaves the group. The client polls until that is done, and what it hears meanwhile is answered at once.
    fn drop(&mut self) {
        let events = self.consumer.context();
        events.closing.store(true, Ordering::Release);
        let open = events.open.lock().take();
        let waiting = std::mem::take(&mut *events.waiting.lock());
        for rebalance in open.into_iter().chain(waiting) {
            answer(&self.consumer, &rebalance);
        }
        // A member without partitions that only closes does not leave (librdkafka 2.12), and the group waits for it.
        self.consumer.unsubscribe();
        let _ = self.consumer.poll(LEAVE);
    }
}

fn assign(consumer: &BaseConsumer<Events>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
}

fn unassign(consumer: &BaseConsumer<Events>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

/// As somebody does who is about to leave.
fn answer(consumer: &BaseConsumer<Events>, rebalance: &Rebalance) {
    let answered = match rebalance {
        Rebalance::Assigned(list) => assign(consumer, list),
        Rebalance::Revoked { list, .. } => unassign(consumer, list),
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "a rebalance could not be answered while leaving the group");
    }
}

/// What the client calls back with, on the thread that polls it.
struct Events {
    shared: Arc<Shared>,
    waiting: Mutex<VecDeque<Rebalance>>,
    /// The one that is being answered.
    open: Mutex<Option<Rebalance>>,
    closing: AtomicBool,
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, _: &str, message: &str) {
        let source = self.shared.source.as_str();
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(source, message, "kafka client"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(source, message, "kafka client")
            }
            RDKafkaLogLevel::Debug => tracing::debug!(source, message, "kafka client"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.shared.note_statistics(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.shared.note_error(&format!("{error}: {reason}"));
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let rebalance = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(list.clone()),
            _ => Rebalance::Revoked {
                list: list.clone(),
                lost: consumer.assignment_lost(),
            },
        };
        if self.closing.load(Ordering::Acquire) {
            answer(consumer, &rebalance);
        } else {
            self.waiting.lock().push_back(rebalance);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // The database knows the positions; the group is told again with the next ones.
            tracing::debug!(source = self.shared.source.as_str(), %error, "the group was not told of positions");
        }
    }
}
