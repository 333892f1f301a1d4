//! Channels: at most once, as Redis has it.
//!
//! Invariant: while a batch is on its way to the database messages are held up to a limit, and dropped and counted beyond it.

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::{FutureExt, Stream, StreamExt};
use redis::Msg;

use super::super::link::Link;
use super::{BATCH, BATCH_BYTES, End, Entry, RedisFetch, fill};
use crate::domain::Timestamp;

/// Messages that wait for the database.
const HELD: usize = 10_000;

impl RedisFetch {
    /// Goes on until something fails or it is told to stop.
    pub(super) async fn channels(&self, channels: &[String], link: &Link) -> Result<(), End> {
        let mut connection = tokio::time::timeout(super::CONNECT, self.options.client.get_async_pubsub())
            .await
            .map_err(|_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
        for channel in channels {
            if channel.contains(['*', '?', '[']) {
                connection.psubscribe(channel).await?;
            } else {
                connection.subscribe(channel).await?;
            }
        }
        self.connected();
        let mut messages = connection.into_on_message();
        let mut held: VecDeque<Entry> = VecDeque::new();
        let mut last = Timestamp::MIN;
        loop {
            if held.is_empty() {
                match link.unless_told(messages.next()).await {
                    Some(Some(message)) => self.hold(&message, &mut held, &mut last, link),
                    Some(None) => return Err(gone()),
                    None => {
                        link.go().await?;
                        // What was published meanwhile was not for us.
                        return Ok(());
                    }
                }
            }
            while held.len() < BATCH
                && let Some(message) = messages.next().now_or_never()
            {
                let message = message.ok_or_else(gone)?;
                self.hold(&message, &mut held, &mut last, link);
            }
            let entries: Vec<Entry> = held.drain(..held.len().min(BATCH)).collect();
            self.send(&entries, &mut messages, &mut held, &mut last, link)
                .await?;
        }
    }

    /// Stores some, and holds what comes meanwhile.
    async fn send(
        &self,
        entries: &[Entry],
        messages: &mut (impl Stream<Item = Msg> + Unpin),
        held: &mut VecDeque<Entry>,
        last: &mut Timestamp,
        link: &Link,
    ) -> Result<(), End> {
        let mut begin = 0;
        while begin < entries.len() {
            let rest = &entries[begin..];
            let now = link.intake.now();
            let count = fill(rest, now, self.options.max_payload, &link.intake).1;
            let bytes = rest[..count].iter().map(|entry| entry.payload.len()).sum();
            let storing = link.store(bytes, |intake| {
                (fill(rest, now, self.options.max_payload, intake).0, Vec::new())
            });
            let mut storing = pin!(storing);
            let mut open = true;
            loop {
                tokio::select! {
                    stored = &mut storing => break stored?,
                    message = messages.next(), if open => match message {
                        Some(message) => self.hold(&message, held, last, link),
                        None => open = false,
                    },
                }
            }
            self.taken(count);
            begin += count;
        }
        Ok(())
    }

    /// Each has a time of arrival of its own.
    fn hold(&self, message: &Msg, held: &mut VecDeque<Entry>, last: &mut Timestamp, link: &Link) {
        let payload = message.get_payload_bytes();
        let bytes: usize = held.iter().map(|entry| entry.payload.len()).sum();
        if held.len() >= HELD || bytes + payload.len() > 4 * BATCH_BYTES {
            self.status.borrow_mut().lost += 1;
            self.figures.lost.inc();
            return;
        }
        *last = link.intake.now().max(Timestamp(last.0.saturating_add(1)));
        held.push_back(Entry {
            payload: payload.to_vec(),
            arrival: Some(*last),
            place: message.get_channel_name().to_owned(),
        });
    }
}

fn gone() -> End {
    let error = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    End::Failed(error.into())
}
