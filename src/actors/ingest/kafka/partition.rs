//! A partition of a topic, and what is known of one that we read.

use std::fmt;
use std::sync::Arc;

use rdkafka::{Offset, TopicPartitionList};

use crate::actors::registry::Tenure;

/// Written `topic/3`: so it is called among the source's positions and by operators.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Partition {
    pub topic: Arc<str>,
    pub number: i32,
}

/// A partition that was assigned to us, from its claim on.
#[derive(Debug)]
pub(super) struct Held {
    /// Never used again for another assignment, of the same partition neither.
    pub id: u64,
    pub partition: Partition,
    /// `topic/3`.
    pub label: String,
    /// What its sensors have for a home, and since when it is ours; `None` where one instance has everything.
    pub tenure: Option<Tenure>,
    /// Says which owner's commits count; `None` where the store does not tell owners apart.
    pub epoch: Option<i64>,
    /// Where reading began when it was assigned.
    pub begin: Offset,
    /// Where to read on, once it was read from or a position was known.
    pub next: Option<i64>,
    /// What the database knows: the next offset to read.
    pub stored: Option<i64>,
    /// No message came since it was assigned or moved: the next one may be elsewhere than asked for.
    pub fresh: bool,
    /// As the client was told.
    pub paused: bool,
    /// Nothing more of it is taken: it goes to another consumer, or is being moved.
    pub closed: bool,
}

impl Partition {
    pub fn all_of(list: &TopicPartitionList) -> Vec<Self> {
        let elements = list.elements();
        elements
            .iter()
            .map(|element| Self {
                topic: Arc::from(element.topic()),
                number: element.partition(),
            })
            .collect()
    }

    /// As it is written: the topic, a slash, the number.
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, number) = text.rsplit_once('/')?;
        let number = number.parse().ok().filter(|number| *number >= 0)?;
        (!topic.is_empty()).then(|| Self {
            topic: Arc::from(topic),
            number,
        })
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// The list that the client takes.
pub(super) fn list<'p>(partitions: impl IntoIterator<Item = &'p Partition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.number);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        let partition = Partition::parse("plant.a/17").unwrap();
        assert_eq!((&*partition.topic, partition.number), ("plant.a", 17));
        assert_eq!(partition.to_string(), "plant.a/17");
        for text in [
            "",
            "plant",
            "plant/",
            "/3",
            "plant/-1",
            "plant/x",
            "plant/99999999999",
        ] {
            assert_eq!(Partition::parse(text), None, "{text}");
        }
    }
}
