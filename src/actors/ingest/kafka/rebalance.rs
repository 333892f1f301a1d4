//! Partitions come and go.
//!
//! Coming: they are claimed in the database, which tells how far they are stored and fences whoever had them; then they are
//! read from there. Going: nothing more of them is taken, what is under way is stored, within a time; then they are given away.
//! One rebalance at a time: the group waits for the answer before it asks again.

use std::time::Instant;

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::client::Rebalance;
use super::partition::{Held, Partition, list as list_of};
use super::source::{Granted, Reset};
use super::worker::{Failure, Mark, Worker};
use crate::actors::registry::Tenure;

/// Partitions that were assigned to us and are not read yet.
pub(super) struct Joining {
    partitions: Vec<Partition>,
    claim: Claim,
    /// When the brokers are asked again for where to begin.
    not_before: Instant,
}

enum Claim {
    Asked(oneshot::Receiver<Vec<Granted>>),
    Ours(Vec<Granted>),
}

/// Partitions that were taken from us and are not given away yet.
pub(super) struct Leaving {
    /// What the group is to be answered; `None` where nobody asked, since we leave it.
    list: Option<TopicPartitionList>,
    partitions: Vec<Partition>,
    until: Instant,
    given: Option<oneshot::Receiver<()>>,
}

impl Worker<'_> {
    /// Hears of rebalances, and goes on with the one at hand.
    pub fn rebalance(&mut self) -> Result<(), Failure> {
        if self.joining.is_none()
            && self.leaving.is_none()
            && let Some(rebalance) = self.client.rebalance()
        {
            self.shared.note_rebalance();
            self.hear(rebalance)?;
        }
        self.join_up()?;
        self.leave()
    }

    fn hear(&mut self, rebalance: Rebalance) -> Result<(), Failure> {
        match rebalance {
            Rebalance::Assigned(list) if list.count() == 0 => self.client.assign(&list)?,
            Rebalance::Assigned(list) => {
                let partitions = Partition::all_of(&list);
                tracing::info!(
                    source = self.shared.source.as_str(),
                    partitions = %names(&partitions),
                    "partitions are assigned"
                );
                let claim = self
                    .desk
                    .claim(partitions.iter().map(Partition::to_string).collect());
                self.joining = Some(Joining {
                    partitions,
                    claim: Claim::Asked(claim),
                    not_before: Instant::now(),
                });
            }
            Rebalance::Revoked { list, lost } => {
                let partitions = Partition::all_of(&list);
                tracing::info!(
                    source = self.shared.source.as_str(),
                    partitions = %names(&partitions),
                    lost,
                    "partitions are revoked"
                );
                let ids = self.close(&partitions);
                self.drop_gathered(|id| ids.contains(&id));
                if lost {
                    // Somebody else may read them already; what is under way fails if he has claimed them.
                    self.desk.lost(self.tenures(&partitions));
                    self.part_with(Some(&list), &partitions)?;
                } else {
                    self.leaving = Some(self.leaving(Some(list), partitions));
                }
            }
        }
        Ok(())
    }

    fn join_up(&mut self) -> Result<(), Failure> {
        let Some(joining) = &mut self.joining else {
            return Ok(());
        };
        if let Claim::Asked(answer) = &mut joining.claim {
            match answer.try_recv() {
                Ok(claimed) => joining.claim = Claim::Ours(claimed),
                Err(oneshot::error::TryRecvError::Empty) => return Ok(()),
                Err(oneshot::error::TryRecvError::Closed) => return Err(Failure::Orphaned),
            }
        }
        let Some(joining) = self.joining.take() else {
            return Ok(());
        };
        let Claim::Ours(granted) = &joining.claim else {
            return Ok(());
        };
        if Instant::now() < joining.not_before {
            self.joining = Some(joining);
            return Ok(());
        }
        let begins = match self.begins(&joining.partitions, granted) {
            Ok(begins) => begins,
            Err(error) => {
                // The brokers are away; the claims stay ours meanwhile.
                self.shared
                    .note_error(&format!("positions of the group cannot be read: {error}"));
                self.joining = Some(Joining {
                    not_before: Instant::now() + std::time::Duration::from_secs(1),
                    ..joining
                });
                return Ok(());
            }
        };
        let mut assignment = TopicPartitionList::new();
        let mut unknown = Vec::new();
        for ((partition, granted), begin) in joining.partitions.into_iter().zip(granted).zip(begins) {
            let Granted { claimed, tenure } = *granted;
            assignment.add_partition_offset(&partition.topic, partition.number, begin)?;
            let id = self.next_id;
            self.next_id += 1;
            self.shared.gained(&partition, claimed.offset);
            let known = begin.to_raw().filter(|offset| *offset >= 0);
            if let (None, Some(next)) = (claimed.offset, known) {
                unknown.push(Mark { id, next });
            }
            self.held.push(Held {
                id,
                tenure,
                label: partition.to_string(),
                partition,
                epoch: Some(claimed.epoch),
                begin,
                next: known,
                stored: claimed.offset,
                fresh: true,
                paused: false,
                closed: false,
            });
        }
        self.client.assign(&assignment)?;
        // From now on the database knows where they began, so that nothing is skipped by a start that comes too soon. Without
        // room for that it is stored with the first message.
        if !unknown.is_empty() {
            self.depart_positions(unknown);
        }
        Ok(())
    }

    /// Where each partition is to be read from: as stored, else as the group knows, else as `reset` says.
    fn begins(&self, partitions: &[Partition], granted: &[Granted]) -> KafkaResult<Vec<Offset>> {
        let unknown: Vec<&Partition> = partitions
            .iter()
            .zip(granted)
            .filter_map(|(partition, granted)| granted.claimed.offset.is_none().then_some(partition))
            .collect();
        let of_group = if unknown.is_empty() {
            TopicPartitionList::new()
        } else {
            self.client.committed(list_of(unknown))?
        };
        let begin = |partition: &Partition, granted: &Granted| {
            if let Some(offset) = granted.claimed.offset {
                return Ok(Offset::Offset(offset));
            }
            let of_group = of_group.find_partition(&partition.topic, partition.number);
            match of_group.map(|element| (element.error(), element.offset())) {
                Some((Err(error), _)) => return Err(error),
                Some((Ok(()), Offset::Offset(offset))) => return Ok(Offset::Offset(offset)),
                _ => {}
            }
            match self.parts.reset {
                Reset::Earliest => Ok(Offset::Beginning),
                Reset::Latest => {
                    let (_, end) = self.client.ends(&partition.topic, partition.number)?;
                    Ok(Offset::Offset(end))
                }
            }
        };
        let all = partitions.iter().zip(granted);
        all.map(|(partition, granted)| begin(partition, granted))
            .collect::<Result<_, KafkaError>>()
    }

    /// Gives everything away before the group is left, so that nobody has to take it from us. Only where others can have it.
    pub fn leave_all(&mut self) {
        let partitions: Vec<Partition> = self.held.iter().map(|held| held.partition.clone()).collect();
        self.close(&partitions);
        self.leaving = Some(self.leaving(None, partitions));
    }

    fn leaving(&self, list: Option<TopicPartitionList>, partitions: Vec<Partition>) -> Leaving {
        Leaving {
            list,
            partitions,
            until: Instant::now() + self.parts.drain_timeout,
            given: None,
        }
    }

    fn leave(&mut self) -> Result<(), Failure> {
        let Some(leaving) = &self.leaving else {
            return Ok(());
        };
        let ids = self.ids(&leaving.partitions);
        let under_way = || {
            let mut marks = self.flights.iter().flat_map(|flight| &flight.marks);
            marks.any(|mark| ids.contains(&mark.id))
        };
        let late = Instant::now() >= leaving.until;
        if !late && (self.rewind.is_some() || under_way()) {
            return Ok(());
        }
        self.tell_group(true);
        let Some(leaving) = &mut self.leaving else {
            return Ok(());
        };
        let gave_up = match &mut leaving.given {
            None => {
                let labels = leaving.partitions.iter().map(Partition::to_string).collect();
                leaving.given = Some(self.desk.give(labels));
                return Ok(());
            }
            Some(given) => match given.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) if !late => return Ok(()),
                Err(oneshot::error::TryRecvError::Closed) => return Err(Failure::Orphaned),
                given => given.is_err(),
            },
        };
        let Some(Leaving { list, partitions, .. }) = self.leaving.take() else {
            return Ok(());
        };
        if gave_up {
            self.desk.lost(self.tenures(&partitions));
            tracing::warn!(
                source = self.shared.source.as_str(),
                "partitions are given away before all that was read of them is stored; their next reader reads it again"
            );
        }
        self.part_with(list.as_ref(), &partitions)
    }

    /// They are not ours any more.
    fn part_with(
        &mut self,
        list: Option<&TopicPartitionList>,
        partitions: &[Partition],
    ) -> Result<(), Failure> {
        if let Some(list) = list {
            // A pause outlives the assignment in the client: if they come back they would stand still.
            let paused = self.held.iter().filter(|held| held.paused);
            let paused: Vec<_> = paused
                .map(|held| &held.partition)
                .filter(|held| partitions.contains(held))
                .collect();
            if !paused.is_empty() {
                self.client.resume(&list_of(paused))?;
            }
            self.client.unassign(list)?;
        }
        self.held.retain(|held| !partitions.contains(&held.partition));
        for partition in partitions {
            self.shared.gave(partition);
        }
        Ok(())
    }

    /// Takes nothing more of them.
    fn close(&mut self, partitions: &[Partition]) -> Vec<u64> {
        for held in self
            .held
            .iter_mut()
            .filter(|held| partitions.contains(&held.partition))
        {
            held.closed = true;
        }
        self.ids(partitions)
    }

    fn tenures(&self, partitions: &[Partition]) -> Vec<Tenure> {
        let held = self
            .held
            .iter()
            .filter(|held| partitions.contains(&held.partition));
        held.filter_map(|held| held.tenure).collect()
    }

    fn ids(&self, partitions: &[Partition]) -> Vec<u64> {
        let held = self
            .held
            .iter()
            .filter(|held| partitions.contains(&held.partition));
        held.map(|held| held.id).collect()
    }
}

fn names(partitions: &[Partition]) -> String {
    let names: Vec<String> = partitions.iter().map(Partition::to_string).collect();
    names.join(", ")
}
