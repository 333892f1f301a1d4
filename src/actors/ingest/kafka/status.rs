//! What a Kafka source tells of itself, kept where its threads and whoever asks can reach it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::Statistics;

use super::partition::Partition;
use crate::actors::ingest::Intake;
use crate::domain::{SourceName, Timestamp};
use crate::metrics::Metrics;

/// The same error is logged again after so long, in µs.
const LOG_AGAIN: i64 = 60_000_000;
/// And so many different ones within that time: clients put times and counts into their words.
const MOST_LOGGED: usize = 10;

/// The part of a source's status that only Kafka has.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct KafkaStatus {
    /// How many partitions are assigned to this process.
    pub assigned: usize,
    /// Messages behind the ends of all its partitions, as far as they are known.
    pub lag: i64,
    pub rebalances: u64,
    /// Messages read, those that were read again included.
    pub messages: u64,
    pub messages_per_second: f64,
    pub bytes_per_second: f64,
    /// Messages that were gone before they were read.
    pub missed: u64,
    /// Times a partition was found to end before its position: its topic was made anew.
    pub recreated: u64,
    pub errors: u64,
    pub last_error: Option<KafkaTrouble>,
    pub partitions: Vec<KafkaPartition>,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct KafkaTrouble {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub message: String,
}

fn as_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct KafkaPartition {
    /// `topic/3`.
    pub partition: String,
    /// The next offset to be read, as it is stored. Absent before the first message is stored.
    pub position: Option<i64>,
    /// The offset after its last message, as far as it is known.
    pub end: Option<i64>,
    pub lag: Option<i64>,
    pub paused: bool,
}

/// The figures of one source.
pub(super) struct Shared {
    pub source: SourceName,
    metrics: Arc<Metrics>,
    intake: Intake,
    /// How many clients there are.
    clients: usize,
    figures: Mutex<Figures>,
}

#[derive(Default)]
struct Figures {
    status: KafkaStatus,
    partitions: BTreeMap<Partition, Seen>,
    /// Of the client of each thread.
    rates: BTreeMap<String, Rate>,
    /// Clients that have a broker and are no longer about to join their group.
    hearing: BTreeSet<String>,
    /// The source was told to read nothing.
    paused: bool,
    /// When each of the last errors was logged.
    logged: BTreeMap<String, Timestamp>,
    /// Members that wait for room.
    waiting: BTreeSet<u16>,
    under_way: usize,
    delivered: u64,
    retries: u64,
}

#[derive(Default)]
struct Seen {
    position: Option<i64>,
    end: Option<i64>,
    paused: bool,
}

#[derive(Default)]
struct Rate {
    at: i64,
    messages: i64,
    bytes: i64,
    messages_per_second: f64,
    bytes_per_second: f64,
}

/// What every kind of source counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub under_way: usize,
    pub delivered: u64,
    pub retries: u64,
}

impl Shared {
    pub fn new(intake: Intake, metrics: Arc<Metrics>, clients: u16) -> Self {
        Self {
            source: intake.source().clone(),
            metrics,
            intake,
            clients: usize::from(clients),
            figures: Mutex::default(),
        }
    }

    pub fn status(&self) -> KafkaStatus {
        let figures = self.figures.lock();
        let partitions: Vec<KafkaPartition> = figures
            .partitions
            .iter()
            .map(|(partition, seen)| KafkaPartition {
                partition: partition.to_string(),
                position: seen.position,
                end: seen.end,
                lag: seen.lag(),
                paused: seen.paused,
            })
            .collect();
        KafkaStatus {
            assigned: partitions.len(),
            lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
            messages_per_second: figures.rates.values().map(|rate| rate.messages_per_second).sum(),
            bytes_per_second: figures.rates.values().map(|rate| rate.bytes_per_second).sum(),
            partitions,
            ..figures.status.clone()
        }
    }

    pub fn counts(&self) -> Counts {
        let figures = self.figures.lock();
        Counts {
            under_way: figures.under_way,
            delivered: figures.delivered,
            retries: figures.retries,
        }
    }

    /// Whether no more may be under way.
    pub fn waits(&self) -> bool {
        !self.figures.lock().waiting.is_empty()
    }

    pub fn set_waiting(&self, member: u16, waits: bool) {
        let waiting = &mut self.figures.lock().waiting;
        if waits {
            waiting.insert(member);
        } else {
            waiting.remove(&member);
        }
    }

    /// The source reads nothing until it is told to.
    pub fn pause(&self, paused: bool) {
        let mut figures = self.figures.lock();
        figures.paused = paused;
        self.tell_whether_deaf(&figures);
    }

    fn tell_whether_deaf(&self, figures: &Figures) {
        let hears = !figures.paused && figures.hearing.len() >= self.clients;
        self.intake.set_deaf(!hears);
    }

    /// A batch was sent off.
    pub fn departed(&self) {
        self.figures.lock().under_way += 1;
    }

    /// Something came of a batch.
    pub fn arrived(&self, stored: bool) {
        let mut figures = self.figures.lock();
        figures.under_way = figures.under_way.saturating_sub(1);
        if stored {
            figures.delivered += 1;
        } else {
            figures.retries += 1;
        }
    }

    pub fn note_messages(&self, count: u64) {
        self.figures.lock().status.messages += count;
        self.metrics.kafka.messages(&self.source, count);
    }

    pub fn note_position(&self, partition: &Partition, position: Option<i64>) {
        if let Some(seen) = self.figures.lock().partitions.get_mut(partition) {
            seen.position = position;
            self.metrics
                .kafka
                .lag(&self.source, &partition.to_string(), seen.lag());
        }
    }

    pub fn note_paused(&self, partition: &Partition, paused: bool) {
        if let Some(seen) = self.figures.lock().partitions.get_mut(partition) {
            seen.paused = paused;
        }
    }

    pub fn gained(&self, partition: &Partition, position: Option<i64>) {
        let seen = Seen {
            position,
            ..Seen::default()
        };
        let mut figures = self.figures.lock();
        figures.partitions.insert(partition.clone(), seen);
        self.metrics
            .kafka
            .assigned(&self.source, figures.partitions.len());
    }

    pub fn gave(&self, partition: &Partition) {
        let mut figures = self.figures.lock();
        figures.partitions.remove(partition);
        self.metrics.kafka.gave(&self.source, &partition.to_string());
        self.metrics
            .kafka
            .assigned(&self.source, figures.partitions.len());
    }

    /// All its threads have ended.
    pub fn gave_all(&self) {
        let mut figures = self.figures.lock();
        for partition in std::mem::take(&mut figures.partitions).into_keys() {
            self.metrics.kafka.gave(&self.source, &partition.to_string());
        }
        figures.rates.clear();
        figures.hearing.clear();
        self.tell_whether_deaf(&figures);
        figures.under_way = 0;
        self.metrics.kafka.assigned(&self.source, 0);
    }

    pub fn note_rebalance(&self) {
        self.figures.lock().status.rebalances += 1;
        self.metrics.kafka.rebalanced(&self.source);
    }

    pub fn note_missed(&self, messages: u64) {
        self.figures.lock().status.missed += messages;
        self.metrics.kafka.missed(&self.source, messages);
    }

    pub fn note_recreated(&self) {
        self.figures.lock().status.recreated += 1;
    }

    /// Counts it, and logs it where it is news.
    pub fn note_error(&self, message: &str) {
        let at = self.intake.now();
        let mut figures = self.figures.lock();
        figures.status.errors += 1;
        self.metrics.kafka.error(&self.source);
        if is_news(&mut figures.logged, message, at) {
            tracing::warn!(
                source = self.source.as_str(),
                error = message,
                "kafka is in trouble"
            );
        }
        figures.status.last_error = Some(KafkaTrouble {
            at,
            message: message.to_owned(),
        });
    }

    pub fn note_statistics(&self, statistics: &Statistics) {
        let mut figures = self.figures.lock();
        let rate = figures.rates.entry(statistics.name.clone()).or_default();
        let seconds = (statistics.ts - rate.at) as f64 / 1e6;
        if rate.at != 0 && seconds > 0.0 {
            rate.messages_per_second = (statistics.rxmsgs - rate.messages) as f64 / seconds;
            rate.bytes_per_second = (statistics.rxmsg_bytes - rate.bytes) as f64 / seconds;
        }
        (rate.at, rate.messages, rate.bytes) = (statistics.ts, statistics.rxmsgs, statistics.rxmsg_bytes);
        if hears(statistics) {
            figures.hearing.insert(statistics.name.clone());
        } else {
            figures.hearing.remove(&statistics.name);
        }
        self.tell_whether_deaf(&figures);
        for (topic, of_topic) in &statistics.topics {
            for (number, of_partition) in &of_topic.partitions {
                let partition = Partition {
                    topic: Arc::from(topic.as_str()),
                    number: *number,
                };
                let known = of_partition.hi_offset >= 0;
                if let Some(seen) = figures.partitions.get_mut(&partition).filter(|_| known) {
                    seen.end = Some(of_partition.hi_offset);
                    self.metrics
                        .kafka
                        .lag(&self.source, &partition.to_string(), seen.lag());
                }
            }
        }
    }
}

impl Seen {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.position?).max(0))
    }
}

/// Whether a client has a broker. One that waits for its group has none of its partitions; one whose topics are not there yet is not
/// in it, and waits for nothing.
fn hears(statistics: &Statistics) -> bool {
    let up = |broker: &rdkafka::statistics::Broker| matches!(broker.state.as_str(), "UP" | "UPDATE");
    let joins = |group: &rdkafka::statistics::ConsumerGroup| group.join_state.starts_with("wait");
    statistics.brokers.values().any(up) && !statistics.cgrp.as_ref().is_some_and(joins)
}

/// Whether an error is to be logged, which is noted then.
fn is_news(logged: &mut BTreeMap<String, Timestamp>, message: &str, at: Timestamp) -> bool {
    logged.retain(|_, logged| at.since(*logged) < LOG_AGAIN);
    let news = logged.len() < MOST_LOGGED && !logged.contains_key(message);
    if news {
        logged.insert(message.to_owned(), at);
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_take_turns_are_each_logged_once_in_a_while() {
        let mut logged = BTreeMap::new();
        let mut news =
            |message: &str, second: i64| is_news(&mut logged, message, Timestamp(second * 1_000_000));
        let turns: Vec<bool> = (0..6)
            .map(|second| news(["a", "b"][second as usize % 2], second))
            .collect();
        assert_eq!(turns, [true, true, false, false, false, false]);
        assert!(news("a", 60) && !news("b", 60) && news("b", 61));
        let many = (0..100)
            .filter(|number| news(&format!("after {number} ms"), 62))
            .count();
        assert_eq!(many, MOST_LOGGED - 2);
    }

    #[test]
    fn who_has_no_broker_or_waits_for_his_group_hears_nothing() {
        let statistics = |broker: &str, group: &str| {
            let (state, join_state) = (broker.to_owned(), group.to_owned());
            let broker = rdkafka::statistics::Broker {
                state,
                ..Default::default()
            };
            let cgrp = rdkafka::statistics::ConsumerGroup {
                join_state,
                ..Default::default()
            };
            Statistics {
                brokers: [("one".to_owned(), broker)].into(),
                cgrp: Some(cgrp),
                ..Default::default()
            }
        };
        for (broker, group, expected) in [
            ("UP", "steady", true),
            ("UP", "init", true),
            ("UP", "wait-sync", false),
            ("DOWN", "steady", false),
            ("CONNECT", "init", false),
        ] {
            assert_eq!(hears(&statistics(broker, group)), expected, "{broker} {group}");
        }
        assert!(!hears(&Statistics::default()));
    }
}
