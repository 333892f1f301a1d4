//! Topics of a test's own, and what is in them.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::broker::Broker;

const PATIENCE: Duration = Duration::from_secs(60);

/// A topic that nobody else uses.
pub struct Topic {
    pub name: String,
    partitions: i32,
    config: ClientConfig,
    producer: BaseProducer,
}

/// A record as it was read, or is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Broker {
    /// A new topic, whose name begins with `prefix`.
    pub async fn topic(&self, prefix: &str, partitions: i32) -> Topic {
        let name = format!("{prefix}-{:016x}", getrandom::u64().unwrap());
        let topic = Topic {
            producer: producer(self),
            config: self.config(),
            name,
            partitions,
        };
        topic.create().await;
        topic
    }

    /// The offset that a group has committed.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let mut config = self.config();
        config.set("group.id", group);
        let consumer: BaseConsumer = config.create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let answer = consumer.committed_offsets(asked, PATIENCE).unwrap();
        match answer.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

impl Topic {
    /// Writes values in order, each to the partition said, and waits until the broker has them all.
    pub fn produce<'a>(&self, records: impl IntoIterator<Item = (i32, &'a str)>) {
        self.produce_records(records.into_iter().map(|(partition, payload)| Record {
            partition,
            payload: Some(payload.as_bytes().to_vec()),
            ..Record::default()
        }));
    }

    /// As [`produce`](Self::produce), with keys, or without values.
    pub fn produce_records(&self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            let mut written = BaseRecord::<[u8], [u8]>::to(&self.name).partition(record.partition);
            if let Some(key) = &record.key {
                written = written.key(key.as_slice());
            }
            if let Some(payload) = &record.payload {
                written = written.payload(payload.as_slice());
            }
            loop {
                match self.producer.send(written) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                        self.producer.poll(Duration::from_millis(10));
                        written = back;
                    }
                    // It has not heard of the partition yet.
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition), back)) => {
                        self.producer.poll(Duration::from_millis(10));
                        written = back;
                    }
                    Err((error, _)) => panic!("cannot produce: {error}"),
                }
            }
            self.producer.poll(Duration::ZERO);
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    /// Everything in it, partition by partition.
    pub fn read(&self) -> Vec<Record> {
        let mut config = self.config.clone();
        config
            .set("group.id", "reader")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut read = Vec::new();
        for partition in 0..self.partitions {
            let (low, high) = consumer
                .fetch_watermarks(&self.name, partition, PATIENCE)
                .unwrap();
            let mut next = low;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.name, partition, Offset::Offset(low))
                .unwrap();
            consumer.assign(&list).unwrap();
            while next < high {
                let message = consumer
                    .poll(PATIENCE)
                    .expect("a record that is there is read")
                    .unwrap();
                next = message.offset() + 1;
                read.push(Record {
                    partition,
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    payload: message.payload().map(<[u8]>::to_vec),
                    headers: message
                        .headers()
                        .into_iter()
                        .flat_map(|headers| headers.iter())
                        .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                        .collect(),
                });
            }
        }
        read
    }

    /// Takes it away with all that is in it, and makes it anew.
    pub async fn recreate(&self) {
        let deleted = self
            .admin()
            .delete_topics(&[&self.name], &AdminOptions::new())
            .await;
        deleted.unwrap()[0].as_ref().unwrap();
        self.create().await;
    }

    /// Takes away what is before `offset`, as retention does.
    pub async fn truncate(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset))
            .unwrap();
        self.admin()
            .delete_records(&list, &AdminOptions::new())
            .await
            .unwrap();
    }

    pub async fn add_partitions(&mut self, total: i32) {
        let more = NewPartitions::new(&self.name, total as usize);
        let made = self
            .admin()
            .create_partitions(&[more], &AdminOptions::new())
            .await
            .unwrap();
        made[0].as_ref().unwrap();
        self.partitions = total;
    }

    async fn create(&self) {
        let topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(1));
        let begun = std::time::Instant::now();
        loop {
            let made = self
                .admin()
                .create_topics([&topic], &AdminOptions::new())
                .await
                .unwrap();
            match &made[0] {
                Ok(_) => break,
                // One that is being deleted is there for a moment.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("no topic: {error:?}"),
            }
        }
        // The broker learns of it from the controller.
        while self
            .producer
            .client()
            .fetch_watermarks(&self.name, self.partitions - 1, Duration::from_secs(1))
            .is_err()
        {
            assert!(begun.elapsed() < PATIENCE, "the topic does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config.create().unwrap()
    }
}

fn producer(broker: &Broker) -> BaseProducer {
    let mut config = broker.config();
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("topic.metadata.refresh.interval.ms", "200")
        .set("queue.buffering.max.messages", "200000")
        .set("message.max.bytes", "8388608");
    config.create().unwrap()
}
