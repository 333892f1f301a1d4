//! Redis as a source: `kind = "redis"`: a list that is a queue, a stream read by a group, or channels.
//!
//! Batches of lists and streams are numbered, and what is taken for a batch is kept in Redis in one of two places by turns: that of even
//! numbers and that of odd ones. The number of the last batch is stored with its readings. So after a crash it is known of either
//! place whether what it holds is stored: one is thrown away, the other one read first, and nothing is lost or repeated. Invariants:
//! one batch is under way at a time; Redis is told only after the commit. Channels have no memory: what is published while we are
//! away or have no room is lost, and of the latter it is counted. How it fails: any error of Redis ends the connection, and the
//! next one begins with what is stored.

mod channels;
mod list;
mod stream;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};

use super::link::{Fetch, Link, Stopped};
use super::{DraftBatch, Filling, Intake, Payload, Place, SourceDetail};
use crate::actors::storage::retry;
use crate::decode::Hints;
use crate::domain::{RejectReason, Timestamp};
use crate::metrics::RedisFigures;

/// Entries of one batch.
const BATCH: usize = 1_000;
/// Bytes of one batch, about.
const BATCH_BYTES: usize = 4 << 20;
/// How long Redis is waited for where there is nothing, in seconds.
const BLOCK: u64 = 1;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// How often it is looked how much waits.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub struct RedisOptions {
    pub client: Client,
    pub what: RedisInput,
    pub max_payload: usize,
}

#[derive(Debug, Clone)]
pub enum RedisInput {
    List {
        key: String,
        /// Whether the oldest entry is at the left end.
        from_left: bool,
    },
    Stream {
        key: String,
        group: String,
        /// The field that holds a payload; an entry without it is one itself.
        field: String,
        /// Whether a group that is new begins at the end.
        at_end: bool,
        /// How long another consumer of the group may be silent before what it has taken is taken from it.
        claim_after: Duration,
    },
    /// Names, or patterns where they have `*`, `?` or `[`.
    Channels(Vec<String>),
}

/// What is shown of it.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct RedisStatus {
    pub connected: bool,
    /// Entries and messages that were taken.
    pub taken: u64,
    /// Messages of channels for which there was no room.
    pub lost: u64,
    /// Entries that were taken over from other consumers.
    pub claimed: u64,
    pub errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

pub struct RedisFetch {
    options: RedisOptions,
    status: RefCell<RedisStatus>,
    figures: RedisFigures,
    looked_at: Cell<Option<Instant>>,
}

/// An entry of a batch.
struct Entry {
    payload: Vec<u8>,
    /// What stands in for its time; `None` is now.
    arrival: Option<Timestamp>,
    /// As dead letters tell it.
    place: String,
}

/// Why a connection has ended.
enum End {
    Stopped,
    Failed(RedisError),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        End::Stopped
    }
}

impl From<RedisError> for End {
    fn from(error: RedisError) -> Self {
        End::Failed(error)
    }
}

/// How far batches are stored.
struct Progress {
    /// What its positions are called.
    name: String,
    /// The last batch that is stored whole; `None` where none ever was.
    last: Option<i64>,
    /// How many entries of the next one are stored.
    done: usize,
    last_arrival: Timestamp,
}

impl Progress {
    async fn load(link: &Link, name: String) -> Result<Self, Stopped> {
        let last = link.insist_position(&format!("{name}/batch")).await?;
        let done = link.insist_position(&format!("{name}/done")).await?;
        Ok(Self {
            name,
            last,
            done: done.and_then(|done| usize::try_from(done).ok()).unwrap_or(0),
            last_arrival: Timestamp::MIN,
        })
    }

    /// Which of the two places the next batch is in; the other one is that of the last.
    fn next(&self) -> i64 {
        (self.last.unwrap_or(0) + 1) % 2
    }

    fn other(&self) -> i64 {
        1 - self.next()
    }

    /// Stores a batch in as many transactions as it takes, each with how far it is then.
    async fn store(&mut self, entries: &[Entry], max_payload: usize, link: &Link) -> Result<(), Stopped> {
        let number = self.last.unwrap_or(0) + 1;
        while self.done < entries.len() {
            let arrival = link
                .intake
                .now()
                .max(Timestamp(self.last_arrival.0.saturating_add(1)));
            let rest = &entries[self.done..];
            let count = fill(rest, arrival, max_payload, &link.intake).1;
            let whole = count == rest.len();
            let (last, done) = if whole {
                (number, 0)
            } else {
                (number - 1, self.done + count)
            };
            let bytes = rest[..count].iter().map(|entry| entry.payload.len()).sum();
            link.store(bytes, |intake| {
                let positions = [("batch", last), ("done", done as i64)];
                let positions =
                    positions.map(|(what, offset)| link.stored_at(format!("{}/{what}", self.name), offset));
                (fill(rest, arrival, max_payload, intake).0, positions.to_vec())
            })
            .await?;
            self.last_arrival = Timestamp(arrival.0.saturating_add(count as i64));
            if whole {
                break;
            }
            self.done = done;
        }
        (self.last, self.done) = (Some(number), 0);
        Ok(())
    }
}

/// As many entries as a batch takes, and how many those are. The same each time.
fn fill<'i>(
    entries: &[Entry],
    arrival: Timestamp,
    max_payload: usize,
    intake: &'i Intake,
) -> (DraftBatch<'i>, usize) {
    let limit = u64::from(intake.settings().batch_readings);
    let mut filling = intake.fill();
    let mut count = 0;
    for entry in entries {
        // No item takes less than two bytes.
        let at_most = 1 + entry.payload.len() as u64 / 2;
        if count > 0 && filling.received() + at_most > limit {
            break;
        }
        add(
            entry,
            Timestamp(arrival.0.saturating_add(count as i64)),
            max_payload,
            &mut filling,
        );
        count += 1;
    }
    (filling.finish(), count)
}

fn add<'i: 'p, 'p>(entry: &'p Entry, now: Timestamp, max_payload: usize, filling: &mut Filling<'i, 'p>) {
    let payload = Payload {
        bytes: &entry.payload,
        arrival: entry.arrival.unwrap_or(now),
        place: Place {
            label: &entry.place,
            offset: None,
            key: None,
        },
        hints: Hints::default(),
    };
    if entry.payload.len() > max_payload {
        let reason = format!(
            "is {} bytes long, at most {max_payload} are allowed",
            entry.payload.len()
        );
        filling.refuse(payload, RejectReason::LimitReached, reason);
    } else {
        filling.add(payload);
    }
}

impl RedisFetch {
    pub fn new(options: RedisOptions, figures: RedisFigures) -> Self {
        Self {
            options,
            status: RefCell::default(),
            figures,
            looked_at: Cell::default(),
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        self.options
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    async fn live(&self, link: &Link) -> Result<(), End> {
        let input = &self.options.what;
        match input {
            RedisInput::List { key, from_left } => self.list(key, *from_left, link).await,
            RedisInput::Stream { .. } => self.stream(input, link).await,
            RedisInput::Channels(channels) => self.channels(channels, link).await,
        }
    }

    fn connected(&self) {
        let mut status = self.status.borrow_mut();
        (status.connected, status.last_error) = (true, None);
        self.figures.connected.set(1);
    }

    fn taken(&self, count: usize) {
        self.status.borrow_mut().taken += count as u64;
        self.figures.entries.inc_by(count as u64);
    }

    /// Whether it is time to look how much waits.
    fn is_to_look(&self) -> bool {
        let due = self.looked_at.get().is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if due {
            self.looked_at.set(Some(Instant::now()));
        }
        due
    }
}

impl Fetch for RedisFetch {
    fn run(self: Rc<Self>, link: Rc<Link>) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let mut failures: u32 = 0;
            loop {
                if link.go().await.is_err() {
                    return;
                }
                let ended = self.live(&link).await;
                let was_connected = std::mem::take(&mut self.status.borrow_mut().connected);
                self.figures.connected.set(0);
                if was_connected {
                    failures = 0;
                }
                let error = match ended {
                    Ok(()) => continue,
                    Err(End::Stopped) => return,
                    Err(End::Failed(error)) => error,
                };
                if failures == 0 || failures.is_power_of_two() {
                    tracing::warn!(source = link.intake.source().as_str(), %error, failures, "no connection to redis, trying again");
                }
                {
                    let mut status = self.status.borrow_mut();
                    status.errors += 1;
                    self.figures.errors.inc();
                    status.last_error = Some(error.to_string());
                }
                link.rest(retry::pause(failures)).await;
                failures = failures.saturating_add(1);
            }
        })
    }

    fn detail(&self) -> SourceDetail {
        SourceDetail::Redis(self.status.borrow().clone())
    }
}
