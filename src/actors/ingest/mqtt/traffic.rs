//! What goes on on a connection: messages in, acknowledgements out, a ping now and then.
//!
//! Invariants: a message is acknowledged when its batch is settled, in the order in which messages came. Without room nothing
//! is read, so that the broker feels it, while pings go on. How it fails: with a [`LinkError`]; what was not acknowledged
//! comes again, except what came with QoS 0, which is counted as lost.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::batches::{Batches, Memory};
use super::frames::{Frame, Frames};
use super::message::Message;
use super::packets::{Malformed, Packet, Qos, Version};
use super::session::{LinkError, Session};
use super::source::Shared;
use super::transport::Transport;
use crate::actors::ingest::SourceState;
use crate::domain::Timestamp;

/// How often room is looked for that nothing of this connection will give back.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the last bytes may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pings that may be unanswered, two of them in each `keep_alive`.
const PATIENCE: u32 = 2;

pub(super) struct Traffic<'s> {
    shared: &'s Shared,
    batches: Batches<'s>,
    version: Version,
    out: BytesMut,
    flushed: bool,
    /// Pings since something came.
    unanswered: u32,
}

impl<'s> Traffic<'s> {
    pub fn new(shared: &'s Shared, memory: Memory) -> Self {
        Self {
            shared,
            batches: Batches::new(shared, memory),
            version: shared.options.version,
            out: BytesMut::new(),
            flushed: true,
            unanswered: 0,
        }
    }

    /// Until the connection ends; `Ok` when the source is paused or stopping and everything at hand is settled.
    pub async fn run(
        mut self,
        mut session: Session,
        subscribe: bool,
        state: &mut watch::Receiver<SourceState>,
    ) -> Result<(), LinkError> {
        if subscribe {
            let options = &self.shared.options;
            self.version
                .subscribe(&self.shared.filters(), options.qos, &mut self.out)?;
        }
        let period = session.keep_alive / 2;
        let ended = self
            .go_on(session.stream, &mut session.frames, period, state)
            .await;
        self.batches.give_up();
        ended
    }

    async fn go_on(
        &mut self,
        stream: Box<dyn Transport>,
        frames: &mut Frames,
        period: Duration,
        state: &mut watch::Receiver<SourceState>,
    ) -> Result<(), LinkError> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What came together with the answer to the first packet.
        self.take_all(frames)?;
        loop {
            self.batches.dispatch();
            let ending = matches!(*state.borrow(), SourceState::Paused | SourceState::Stopping);
            if ending && self.batches.are_idle() {
                self.version.goodbye(&mut self.out);
                write_last(writer, &self.out).await;
                return Ok(());
            }
            let reads = !ending && self.batches.have_room();
            let stalled = self.batches.are_stalled();
            tokio::select! {
                read = reader.read_buf(frames.buffer()), if reads => {
                    if read? == 0 {
                        return Err(LinkError::Closed);
                    }
                    self.unanswered = 0;
                    self.take_all(frames)?;
                }
                written = write(&mut writer, &mut self.out), if !self.flushed || !self.out.is_empty() => {
                    self.flushed = written?;
                }
                settled = self.batches.settled() => match settled {
                    Ok(messages) => for (qos, id) in messages {
                        self.version.acknowledge(qos, id, &mut self.out);
                    }
                    Err(error) => {
                        write_last(writer, &self.out).await;
                        return Err(error);
                    }
                },
                () = tokio::time::sleep(LOOK_AGAIN), if stalled => self.batches.unblock(),
                _ = ticks.tick() => self.tick(reads)?,
                changed = state.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Every packet that has come whole.
    fn take_all(&mut self, frames: &mut Frames) -> Result<(), LinkError> {
        let now = self.shared.intake.now();
        while let Some(frame) = frames.next()? {
            match frame {
                Frame::Oversized(oversized) => {
                    self.shared.figures.oversized.inc();
                    let arrival = self.batches.arrival(now);
                    self.batches.hold(Message::oversized(oversized, arrival));
                }
                Frame::Whole(frame) => self.take(self.version.read(frame)?, now)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, packet: Packet, now: Timestamp) -> Result<(), LinkError> {
        match packet {
            Packet::Message(mut published) => {
                // A slice of what was read would keep all of it.
                published.payload = Bytes::copy_from_slice(&published.payload);
                let arrival = self.batches.arrival(now);
                self.batches.hold(Message::new(published, arrival));
            }
            Packet::Release(id) => self.version.complete(id, &mut self.out),
            Packet::Pong => {}
            Packet::Subscribed(granted) => self.subscribed(&granted)?,
            Packet::Goodbye(why) => return Err(LinkError::Goodbye(why)),
            Packet::Accepted { .. } | Packet::Refused(_) | Packet::Acknowledged(..) => {
                return Err(Malformed("the connection was answered twice".to_owned()).into());
            }
        }
        Ok(())
    }

    fn subscribed(&self, granted: &[Result<Qos, String>]) -> Result<(), LinkError> {
        let options = &self.shared.options;
        let source = self.shared.intake.source().as_str();
        let filters = self.shared.filters();
        let mut refused = Vec::new();
        for (filter, granted) in filters.iter().zip(granted) {
            match granted {
                Ok(qos) if *qos < options.qos => {
                    tracing::warn!(
                        source,
                        filter,
                        ?qos,
                        "the broker grants a lower QoS than was asked for"
                    );
                }
                Ok(_) => {}
                Err(why) => {
                    tracing::warn!(source, filter, why, "the broker refuses a topic");
                    refused.push(format!("`{filter}`: {why}"));
                }
            }
        }
        let words = refused.join(", ");
        if refused.len() == filters.len() {
            return Err(LinkError::Unsubscribed(words));
        }
        if !refused.is_empty() {
            self.shared
                .complain(format!("the broker refuses some topics: {words}"));
        }
        Ok(())
    }

    fn tick(&mut self, reads: bool) -> Result<(), LinkError> {
        if reads && self.unanswered >= PATIENCE {
            return Err(LinkError::Silent);
        }
        // While nothing is read, answers to pings are not either.
        self.unanswered += u32::from(reads);
        self.version.ping(&mut self.out);
        Ok(())
    }
}

/// Before the connection is closed. What was acknowledged and does not get through comes again, and is known.
async fn write_last(mut writer: impl AsyncWriteExt + Unpin, out: &[u8]) {
    let writing = async {
        writer.write_all(out).await?;
        writer.shutdown().await
    };
    // There is nothing to be done about a failure.
    let _ = tokio::time::timeout(FAREWELL, writing).await;
}

/// Writes some of it, and flushes when there is no more; says whether it did. May be dropped at any time.
async fn write(writer: &mut (impl AsyncWriteExt + Unpin), out: &mut BytesMut) -> std::io::Result<bool> {
    match out.is_empty() {
        true => writer.flush().await.map(|()| true),
        false => match writer.write_buf(out).await? {
            0 => Err(std::io::ErrorKind::WriteZero.into()),
            _ => Ok(false),
        },
    }
}
