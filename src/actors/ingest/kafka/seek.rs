//! An operator has partitions read from elsewhere.
//!
//! The new position goes the way of all positions: behind what is under way, in a batch that holds nothing else. Only when it
//! is stored does the client move, so that a crash at any moment leaves the old position or the new one.

use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::partition::{Held, Partition};
use super::worker::{Failure, Mark, Worker};
use crate::actors::ingest::{Seek, SeekError, SeekTo, SeekedTo};

pub(super) struct Seeking {
    targets: Vec<Mark>,
    /// Whether the new positions are on their way to the database.
    departed: bool,
    answer: oneshot::Sender<Result<Vec<SeekedTo>, SeekError>>,
}

impl Worker<'_> {
    pub fn begin_seek(&mut self, seek: &Seek, answer: oneshot::Sender<Result<Vec<SeekedTo>, SeekError>>) {
        match self.targets(seek) {
            Ok(targets) => {
                for held in &mut self.held {
                    held.closed |= targets.iter().any(|target| target.id == held.id);
                }
                self.drop_gathered(|id| targets.iter().any(|target| target.id == id));
                self.seeking = Some(Seeking {
                    targets,
                    departed: false,
                    answer,
                });
            }
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    /// Goes on with the seek at hand, when what was read before is stored.
    pub fn seek(&mut self) -> Result<(), Failure> {
        let Some(seeking) = &self.seeking else {
            return Ok(());
        };
        let ours = |target: &Mark| self.held.iter().any(|held| held.id == target.id);
        if !seeking.targets.iter().all(ours) {
            return self.give_up("a partition went to another consumer");
        }
        if !self.flights.is_empty() {
            return Ok(());
        }
        if self.rewind.is_some() {
            // Reading goes on from what is stored, whether that is the old position or the new one.
            return match seeking.departed {
                true => self.give_up("the database did not take the position"),
                false => Ok(()),
            };
        }
        if !seeking.departed {
            let targets = seeking.targets.clone();
            let departed = self.depart_positions(targets);
            if let Some(seeking) = &mut self.seeking {
                seeking.departed = departed;
            }
            return Ok(());
        }
        let Some(seeking) = self.seeking.take() else {
            return Ok(());
        };
        let mut list = TopicPartitionList::new();
        let mut moved = Vec::with_capacity(seeking.targets.len());
        for target in &seeking.targets {
            let Some(held) = self.held.iter_mut().find(|held| held.id == target.id) else {
                continue;
            };
            let Partition { topic, number } = &held.partition;
            list.add_partition_offset(topic, *number, Offset::Offset(target.next))?;
            held.next = Some(target.next);
            held.fresh = true;
            held.closed = false;
            moved.push(SeekedTo {
                partition: held.label.clone(),
                offset: target.next,
            });
        }
        self.client.seek(list)?;
        tracing::info!(
            source = self.shared.source.as_str(),
            partitions = moved.len(),
            "partitions are read from elsewhere"
        );
        let _ = seeking.answer.send(Ok(moved));
        Ok(())
    }

    fn give_up(&mut self, why: &str) -> Result<(), Failure> {
        let Some(seeking) = self.seeking.take() else {
            return Ok(());
        };
        let leaving = self.leaving.is_some();
        let mut back = TopicPartitionList::new();
        for held in &mut self.held {
            let is_target = seeking.targets.iter().any(|target| target.id == held.id);
            if is_target && !leaving {
                held.closed = false;
                held.fresh = true;
                let offset = held.stored.map_or(held.begin, Offset::Offset);
                back.add_partition_offset(&held.partition.topic, held.partition.number, offset)?;
            }
        }
        // What was gathered of them was thrown away.
        if self.rewind.is_none() && back.count() > 0 {
            self.client.seek(back)?;
        }
        let _ = seeking.answer.send(Err(SeekError::Failed(why.to_owned())));
        Ok(())
    }

    fn targets(&self, seek: &Seek) -> Result<Vec<Mark>, SeekError> {
        if self.seeking.is_some() {
            return Err(SeekError::Busy);
        }
        let wanted = match &seek.partition {
            None => None,
            Some(text) => {
                let not_assigned = || SeekError::NotAssigned(text.clone());
                Some(Partition::parse(text).ok_or_else(not_assigned)?)
            }
        };
        let is_wanted = |held: &&Held| wanted.as_ref().is_none_or(|wanted| held.partition == *wanted);
        let targets = self.held.iter().filter(|held| !held.closed).filter(is_wanted);
        let target = |held: &Held| {
            Ok(Mark {
                id: held.id,
                next: self.target(&held.partition, seek.to)?,
            })
        };
        let targets: KafkaResult<Vec<Mark>> = targets.map(target).collect();
        match targets {
            Ok(targets) if targets.is_empty() => {
                let which = seek.partition.clone();
                Err(SeekError::NotAssigned(
                    which.unwrap_or_else(|| "any partition".to_owned()),
                ))
            }
            Ok(targets) => Ok(targets),
            Err(error) => Err(SeekError::Failed(format!(
                "the brokers do not say where that is: {error}"
            ))),
        }
    }

    fn target(&self, partition: &Partition, to: SeekTo) -> KafkaResult<i64> {
        let (topic, number) = (&partition.topic, partition.number);
        let (first, end) = self.client.ends(topic, number)?;
        Ok(match to {
            SeekTo::Earliest => first,
            SeekTo::Latest => end,
            // What is not there cannot be read.
            SeekTo::Offset(offset) => offset.clamp(first, end),
            SeekTo::Time(time) => self.client.at_time(topic, number, time.0.div_euclid(1_000))?,
        })
    }
}
