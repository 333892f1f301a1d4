//! A server of Redis to write to: the newest reading of each series, streams, and channels.
//!
//! Newest readings are hashes, one a sensor, with a field for each metric. Invariants: a reading never takes the place of one with a newer
//! event time, which a script sees to in one step, whoever else writes; names are taken as they are, since keys are bytes. A record
//! is confirmed by the answers to all of its commands.
//!
//! How it fails: whatever is wrong ends the connection, and what was under way is sent again on the next one. A record is refused for
//! good where the key of its sensor holds something that is not a hash.

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, RedisResult, Value, cmd};
use rustc_hash::FxHashMap;

use super::{Kind, Message, Refusal, Sink, SinkError, Topics};
use crate::domain::{MetricName, SensorId};

/// Commands of one round trip.
const AT_ONCE: usize = 500;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// What the script answers where the key is taken.
const TAKEN: Value = Value::Int(-1);

/// Sets a field to a record unless it holds one with a newer `timestamp`. Times are RFC 3339 in UTC, with 0 to 6 digits after the
/// second, and are compared as text with all of them.
const NEWEST: &str = r"
local function at(text)
    local second, fraction = string.match(text, '^(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d)%.?(%d*)Z$')
    return second and second .. fraction .. string.rep('0', 6 - #fraction)
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then return -1 end
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
    local is_json, record = pcall(cjson.decode, held)
    if is_json and type(record) == 'table' and type(record.timestamp) == 'string' then
        local old, new = at(record.timestamp), at(ARGV[3])
        if old and new and old > new then return 0 end
    end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
";

/// Where and what to write.
#[derive(Debug, Clone)]
pub struct RedisTarget {
    pub client: Client,
    pub latest: Option<LatestKeys>,
    pub streams: Topics,
    /// About how many entries a stream keeps.
    pub max_entries: u64,
    pub channels: Topics,
}

/// The hashes of newest readings.
#[derive(Debug, Clone)]
pub struct LatestKeys {
    /// Comes before the name of the sensor.
    pub prefix: String,
    /// How long a hash is kept after its last change.
    pub ttl: Option<Duration>,
}

pub struct RedisSink {
    target: RedisTarget,
    link: Option<Link>,
}

struct Link {
    connection: MultiplexedConnection,
    /// What the server calls the script.
    newest: String,
}

impl RedisSink {
    pub fn new(target: RedisTarget) -> Self {
        Self { target, link: None }
    }

    async fn connect(&self) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let client = &self.target.client;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let newest = match self.target.latest {
            None => String::new(),
            Some(_) => {
                let mut load = cmd("SCRIPT");
                load.arg("LOAD").arg(NEWEST).query_async(&mut connection).await?
            }
        };
        tracing::info!(server = %client.get_connection_info().addr(), "an output is connected");
        Ok(Link { connection, newest })
    }

    async fn write(&mut self, messages: &[Message]) -> Result<Vec<Refusal>, RedisError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect().await?,
        };
        let commands = self.target.commands(messages, &link.newest);
        let mut refusals = Vec::new();
        for some in commands.chunks(AT_ONCE) {
            let mut pipe = redis::pipe();
            pipe.ignore_errors();
            for (_, command) in some {
                pipe.add_command(command.clone());
            }
            let answers: Vec<RedisResult<Value>> = pipe.query_async(&mut link.connection).await?;
            for ((place, _), answer) in some.iter().zip(answers) {
                if answer? == TAKEN {
                    refusals.push(Refusal {
                        place: *place,
                        why: "the key of its sensor holds something that is not a hash".to_owned(),
                    });
                }
            }
        }
        // Put back only if all went well.
        self.link = Some(link);
        Ok(refusals)
    }
}

impl RedisTarget {
    /// What is to be done, each with the message that it is for. Of the readings of a series only the newest is told as such.
    fn commands(&self, messages: &[Message], newest: &str) -> Vec<(usize, Cmd)> {
        let mut commands = Vec::with_capacity(messages.len());
        let mut latest: FxHashMap<(&SensorId, &MetricName), usize> = FxHashMap::default();
        for (place, message) in messages.iter().enumerate() {
            let (stream, channel) = (self.streams.of(message.kind), self.channels.of(message.kind));
            if !stream.is_empty() {
                let mut add = cmd("XADD");
                add.arg(stream)
                    .arg("MAXLEN")
                    .arg("~")
                    .arg(self.max_entries)
                    .arg("*");
                add.arg("id")
                    .arg(&message.id)
                    .arg("kind")
                    .arg(message.kind.as_str());
                add.arg("payload").arg(&message.json);
                commands.push((place, add));
            }
            if !channel.is_empty() {
                let mut publish = cmd("PUBLISH");
                publish.arg(channel).arg(&message.json);
                commands.push((place, publish));
            }
            if message.kind == Kind::Reading && self.latest.is_some() {
                let of = latest.entry((&message.sensor, &message.metric)).or_insert(place);
                if messages[*of].time <= message.time {
                    *of = place;
                }
            }
        }
        if let Some(keys) = &self.latest {
            let ttl = keys
                .ttl
                .map_or_else(String::new, |ttl| ttl.as_millis().to_string());
            let mut places: Vec<usize> = latest.into_values().collect();
            places.sort_unstable();
            for place in places {
                let message = &messages[place];
                let mut set = cmd("EVALSHA");
                set.arg(newest)
                    .arg(1)
                    .arg(format!("{}{}", keys.prefix, message.sensor.as_str()));
                set.arg(message.metric.as_str()).arg(&message.json);
                set.arg(message.time.to_rfc3339()).arg(&ttl);
                commands.push((place, set));
            }
        }
        commands
    }
}

#[async_trait(?Send)]
impl Sink for RedisSink {
    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Refusal>, SinkError> {
        self.write(messages)
            .await
            .map_err(|error| SinkError(error.to_string()))
    }

    fn reset(&mut self) {
        self.link = None;
    }
}
