//! A stream, read as two consumers of a group by turns: what is pending of one is the batch that is stored, of the other the next.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamInfoGroupsReply, StreamReadReply};
use redis::{RedisError, Value, cmd};
use serde_json::Map;

use super::super::link::Link;
use super::{BATCH, BLOCK, End, Entry, Progress, RedisFetch, RedisInput};
use crate::domain::Timestamp;

/// A group, and who we are in it.
struct Group<'s> {
    connection: MultiplexedConnection,
    key: &'s str,
    group: &'s str,
    source: &'s str,
}

impl RedisFetch {
    /// Goes on until something fails or it is told to stop.
    pub(super) async fn stream(&self, input: &RedisInput, link: &Link) -> Result<(), End> {
        let RedisInput::Stream {
            key,
            group,
            field,
            at_end,
            claim_after,
        } = input
        else {
            return Ok(());
        };
        let mut progress = Progress::load(link, format!("redis/stream/{group}/{key}")).await?;
        let connection = self.connect().await?;
        let mut group = Group {
            connection,
            key,
            group,
            source: link.intake.source().as_str(),
        };
        group.create(*at_end).await?;
        self.connected();
        let before = group.pending(progress.other()).await?;
        if progress.last.is_some() {
            // They are stored.
            group.acknowledge(&before).await?;
        } else {
            group.take_over(&before, progress.next()).await?;
        }
        let mut taken = group.pending(progress.next()).await?;
        let mut claimed_at: Option<Instant> = None;
        loop {
            link.go().await?;
            if self.is_to_look() {
                // Who may not ask goes without the figure; what else is wrong the next command tells.
                let lag = group.lag().await.ok().flatten().unwrap_or(0);
                self.figures.waiting.set(i64::try_from(lag).unwrap_or(i64::MAX));
            }
            if taken.is_empty() && claimed_at.is_none_or(|at| at.elapsed() >= *claim_after / 2) {
                claimed_at = Some(Instant::now());
                taken = group.claim(progress.next(), *claim_after).await?;
                self.status.borrow_mut().claimed += taken.len() as u64;
                self.figures.claimed.inc_by(taken.len() as u64);
            }
            if taken.is_empty() {
                taken = group.new_ones(progress.next()).await?;
            }
            if taken.is_empty() {
                continue;
            }
            // As they would be found again.
            taken.sort_by_key(|entry| number(&entry.id));
            let entries: Vec<Entry> = taken.iter().map(|id| entry(id, key, field)).collect();
            progress.store(&entries, self.options.max_payload, link).await?;
            self.taken(entries.len());
            group.acknowledge(&std::mem::take(&mut taken)).await?;
        }
    }
}

impl Group<'_> {
    fn consumer(&self, turn: i64) -> String {
        format!("sensorhive-{}-{turn}", self.source)
    }

    async fn create(&mut self, at_end: bool) -> Result<(), RedisError> {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(self.key).arg(self.group);
        create.arg(if at_end { "$" } else { "0" }).arg("MKSTREAM");
        match create.query_async::<()>(&mut self.connection).await {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
            _ => Ok(()),
        }
    }

    /// What a consumer was given and has not acknowledged.
    async fn pending(&mut self, turn: i64) -> Result<Vec<StreamId>, RedisError> {
        let mut all: Vec<StreamId> = Vec::new();
        loop {
            let after = all.last().map_or("0", |entry| entry.id.as_str()).to_owned();
            let more = self.read(turn, &after, false).await?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    async fn new_ones(&mut self, turn: i64) -> Result<Vec<StreamId>, RedisError> {
        self.read(turn, ">", true).await
    }

    async fn read(&mut self, turn: i64, after: &str, wait: bool) -> Result<Vec<StreamId>, RedisError> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(self.group).arg(self.consumer(turn));
        read.arg("COUNT").arg(BATCH);
        if wait {
            read.arg("BLOCK").arg(BLOCK * 1000);
        }
        read.arg("STREAMS").arg(self.key).arg(after);
        let reply: Option<StreamReadReply> = read.query_async(&mut self.connection).await?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        Ok(keys.into_iter().flat_map(|key| key.ids).collect())
    }

    /// Entries that no consumer was given; `None` where the server cannot tell: before Redis 7, and where entries were deleted.
    async fn lag(&mut self) -> Result<Option<usize>, RedisError> {
        let mut info = cmd("XINFO");
        info.arg("GROUPS").arg(self.key);
        let reply: StreamInfoGroupsReply = info.query_async(&mut self.connection).await?;
        let ours = reply.groups.into_iter().find(|group| group.name == self.group);
        Ok(ours.and_then(|group| group.lag))
    }

    /// What others have taken and been silent about.
    async fn claim(&mut self, turn: i64, idle: Duration) -> Result<Vec<StreamId>, RedisError> {
        let mut claim = cmd("XAUTOCLAIM");
        claim.arg(self.key).arg(self.group).arg(self.consumer(turn));
        claim
            .arg(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX))
            .arg("0-0");
        claim.arg("COUNT").arg(BATCH);
        let reply: StreamAutoClaimReply = claim.query_async(&mut self.connection).await?;
        Ok(reply.claimed)
    }

    async fn take_over(&mut self, entries: &[StreamId], turn: i64) -> Result<(), RedisError> {
        for some in entries.chunks(BATCH) {
            let mut claim = cmd("XCLAIM");
            claim
                .arg(self.key)
                .arg(self.group)
                .arg(self.consumer(turn))
                .arg(0);
            for entry in some {
                claim.arg(&entry.id);
            }
            claim
                .arg("JUSTID")
                .query_async::<Value>(&mut self.connection)
                .await?;
        }
        Ok(())
    }

    async fn acknowledge(&mut self, entries: &[StreamId]) -> Result<(), RedisError> {
        for some in entries.chunks(BATCH) {
            let mut done = cmd("XACK");
            done.arg(self.key).arg(self.group);
            for entry in some {
                done.arg(&entry.id);
            }
            done.query_async::<i64>(&mut self.connection).await?;
        }
        Ok(())
    }
}

/// Milliseconds and sequence of an id.
fn number(id: &str) -> (u64, u64) {
    let (millis, sequence) = id.split_once('-').unwrap_or((id, "0"));
    (millis.parse().unwrap_or(0), sequence.parse().unwrap_or(0))
}

/// A payload in a field of its own, or the fields as an object. Its time is that of its id, so that it is the same whenever it comes.
fn entry(id: &StreamId, key: &str, field: &str) -> Entry {
    let payload = match id.map.get(field).and_then(bytes) {
        Some(payload) => payload,
        None => {
            let mut object = Map::new();
            for (name, value) in &id.map {
                let text = bytes(value).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let names = ["sensor_id", "metric", "unit", "quality"].contains(&name.as_str());
                let number = serde_json::from_str(&text)
                    .ok()
                    .filter(|value: &serde_json::Value| !names && (value.is_number() || value.is_boolean()));
                object.insert(name.clone(), number.unwrap_or_else(|| text.into()));
            }
            serde_json::Value::Object(object).to_string().into_bytes()
        }
    };
    let (millis, sequence) = number(&id.id);
    let micros = millis.saturating_mul(1_000).saturating_add(sequence.min(999));
    Entry {
        payload,
        arrival: i64::try_from(micros).ok().map(Timestamp),
        place: format!("{key}@{}", id.id),
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes.clone()),
        Value::SimpleString(text) => Some(text.clone().into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}
