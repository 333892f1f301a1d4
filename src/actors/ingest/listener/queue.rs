//! The answers that a connection owes, in the order in which its messages came. Pure but for the waiting.
//!
//! Invariant: answers go out in the order of arrival [MQTT-4.6.0-2, 4.6.0-3]: what is decided early waits for what came before
//! it.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::answers::Acknowledge;
use super::collector::Fate;

#[derive(Default)]
pub struct Queue {
    owed: VecDeque<Owed>,
    bytes: usize,
}

struct Owed {
    id: u16,
    with: Acknowledge,
    bytes: usize,
    fate: oneshot::Receiver<Fate>,
}

/// A message whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub id: u16,
    pub with: Acknowledge,
    pub fate: Fate,
}

impl Queue {
    pub fn push(&mut self, id: u16, with: Acknowledge, bytes: usize, fate: oneshot::Receiver<Fate>) {
        self.bytes += bytes;
        self.owed.push_back(Owed {
            id,
            with,
            bytes,
            fate,
        });
    }

    pub fn len(&self) -> usize {
        self.owed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Of all messages that are not answered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a QoS 2 message of this id is not answered yet.
    pub fn holds(&self, id: u16) -> bool {
        let pubrec = |owed: &Owed| owed.id == id && owed.with == Acknowledge::Pubrec;
        self.owed.iter().any(pubrec)
    }

    /// Waits for the fate of the first, for ever if there is none. May be given up and begun again.
    pub async fn next(&mut self) -> Settled {
        let Some(first) = self.owed.front_mut() else {
            return std::future::pending().await;
        };
        // Who should have said it has panicked.
        let fate = (&mut first.fate).await.unwrap_or(Fate::Undelivered);
        self.take(fate)
    }

    /// The first, if its fate is known.
    pub fn ready(&mut self) -> Option<Settled> {
        let fate = match self.owed.front_mut()?.fate.try_recv() {
            Ok(fate) => fate,
            Err(oneshot::error::TryRecvError::Empty) => return None,
            Err(oneshot::error::TryRecvError::Closed) => Fate::Undelivered,
        };
        Some(self.take(fate))
    }

    fn take(&mut self, fate: Fate) -> Settled {
        match self.owed.pop_front() {
            Some(owed) => {
                self.bytes -= owed.bytes;
                Settled {
                    id: owed.id,
                    with: owed.with,
                    fate,
                }
            }
            None => unreachable!("the first was looked at just before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::super::answers::Verdict;
    use super::*;

    const STORED: Fate = Fate::Decided(Verdict::Stored);

    #[test]
    fn answers_wait_for_those_before_them() {
        let mut queue = Queue::default();
        let mut senders = Vec::new();
        for id in [7, 3, 9] {
            let (tx, rx) = oneshot::channel();
            queue.push(id, Acknowledge::Puback, 10, rx);
            senders.push(tx);
        }
        let (third, second, first) = (
            senders.pop().unwrap(),
            senders.pop().unwrap(),
            senders.pop().unwrap(),
        );
        third.send(STORED).unwrap();
        assert_eq!((queue.ready(), queue.next().now_or_never()), (None, None));
        first.send(STORED).unwrap();
        let settled = |id, fate| Settled {
            id,
            with: Acknowledge::Puback,
            fate,
        };
        assert_eq!(queue.next().now_or_never(), Some(settled(7, STORED)));
        assert_eq!((queue.len(), queue.bytes()), (2, 20));
        drop(second);
        assert_eq!(queue.ready(), Some(settled(3, Fate::Undelivered)));
        assert_eq!(queue.ready(), Some(settled(9, STORED)));
        assert!(queue.is_empty() && queue.bytes() == 0);
    }
}
