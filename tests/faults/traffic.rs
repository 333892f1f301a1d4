//! Clients that post while something goes wrong.
//!
//! Each client owns its sensors, sends their readings in order, and sends what was not answered with 2xx again until it is. What
//! a sensor says is a function of its name and an index, so that all that was sent can be told afterwards.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sensorhive::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{Answer, Api, number};

const HOUR: i64 = 3_600_000_000;
/// From one reading of a sensor to its next.
pub const STEP: i64 = 100_000;

/// An hour of some time ago: far enough in the past for any test to send what comes after it.
pub fn some_time_ago() -> i64 {
    (SystemClock.now().0 / HOUR - 30) * HOUR
}

/// The `index`th reading of a sensor: time in µs, and value.
pub fn reading(sensor: &str, start: i64, index: u64) -> (i64, f64) {
    let seed = sensor
        .bytes()
        .fold(index, |seed, byte| mix(seed ^ u64::from(byte)));
    let noise = (mix(seed) % 4_000) as f64 / 1_000.0 - 2.0;
    let spike = if seed.is_multiple_of(50) { 15.0 } else { 0.0 };
    (start + index as i64 * STEP, 20.0 + noise + spike)
}

/// Readings of all these sensors. Neighbors in time are swapped now and then, well within the allowed lateness.
pub fn payload(sensors: &[String], start: i64, range: Range<u64>) -> Value {
    let mut items = Vec::new();
    for index in range.clone() {
        let twin = index ^ 1;
        let index = if index % 8 < 2 && range.contains(&twin) {
            twin
        } else {
            index
        };
        for sensor in sensors {
            let (time, value) = reading(sensor, start, index);
            items.push(item(sensor, time, value));
        }
    }
    Value::Array(items)
}

pub fn item(sensor: &str, time: i64, value: f64) -> Value {
    json!({"sensor_id": sensor, "metric": "temperature", "value": value, "timestamp": time})
}

/// Numbers that look random, the same each time (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % limit
    }
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What all clients came across.
#[derive(Default)]
pub struct Tally {
    /// Requests answered with 2xx.
    pub acknowledged: AtomicU64,
    /// Requests that were sent and got no answer.
    pub cut: AtomicU64,
    /// Answers of 503 and 429.
    pub unavailable: AtomicU64,
    pub busy: AtomicU64,
}

impl Tally {
    pub fn of(&self, counter: impl Fn(&Self) -> &AtomicU64) -> u64 {
        counter(self).load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
pub struct Load {
    pub clients: usize,
    pub sensors: usize,
    /// Readings of each sensor in a request.
    pub readings: u64,
    pub pause: Duration,
}

/// Clients at work.
pub struct Fleet {
    pub tally: Arc<Tally>,
    line: watch::Sender<Option<Api>>,
    enough: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Stream>>,
}

/// What one client has sent.
pub struct Stream {
    pub sensors: Vec<String>,
    pub start: i64,
    /// Every index below it was acknowledged.
    pub acknowledged: u64,
    /// No index from it on was ever sent.
    pub sent: u64,
}

impl Stream {
    pub fn readings(&self, sensor: &str) -> Vec<(i64, f64)> {
        let all = 0..self.acknowledged;
        all.map(|index| reading(sensor, self.start, index)).collect()
    }
}

impl Fleet {
    pub fn start(api: &Api, name: &str, load: &Load) -> Self {
        let start = some_time_ago();
        let tally = Arc::<Tally>::default();
        let enough = Arc::<AtomicBool>::default();
        let (line, present) = watch::channel(Some(api.clone()));
        let clients = (0..load.clients).map(|client| {
            let client = Client {
                stream: Stream {
                    sensors: (0..load.sensors)
                        .map(|sensor| format!("{name}-{client}-{sensor}"))
                        .collect(),
                    start,
                    acknowledged: 0,
                    sent: 0,
                },
                load: load.clone(),
                tally: tally.clone(),
                line: present.clone(),
                enough: enough.clone(),
            };
            tokio::spawn(client.run())
        });
        let clients = clients.collect();
        Self {
            tally,
            clients,
            line,
            enough,
        }
    }

    /// Tells where the service is now.
    pub fn connect(&self, api: Option<&Api>) {
        self.line.send_replace(api.cloned());
    }

    /// Lets each client come to an acknowledged end.
    pub async fn finish(self) -> Vec<Stream> {
        self.enough.store(true, Ordering::Relaxed);
        Self::gather(self.clients).await
    }

    /// The service is gone for good: whoever waits for an answer gives up.
    pub async fn give_up(self) -> Vec<Stream> {
        self.enough.store(true, Ordering::Relaxed);
        self.line.send_replace(None);
        drop(self.line);
        Self::gather(self.clients).await
    }

    async fn gather(clients: Vec<JoinHandle<Stream>>) -> Vec<Stream> {
        let mut streams = Vec::new();
        for client in clients {
            streams.push(client.await.unwrap());
        }
        streams
    }
}

struct Client {
    stream: Stream,
    load: Load,
    tally: Arc<Tally>,
    line: watch::Receiver<Option<Api>>,
    enough: Arc<AtomicBool>,
}

impl Client {
    async fn run(mut self) -> Stream {
        let mut random = Random(self.stream.start as u64);
        let mut rounds = 0;
        while !self.enough.load(Ordering::Relaxed) {
            let begin = self.stream.acknowledged;
            let end = begin + self.load.readings;
            self.stream.sent = end;
            if self.deliver(begin..end).await.is_none() {
                break;
            }
            self.stream.acknowledged = end;
            rounds += 1;
            if rounds % 7 == 0 {
                // A device that lost the answer says it all again.
                let begin = random.below(rounds) * self.load.readings;
                let Some(answer) = self.deliver(begin..begin + self.load.readings).await else {
                    break;
                };
                assert_eq!(answer.body["stored"], 0, "stored twice: {}", answer.body);
            }
            tokio::time::sleep(self.load.pause).await;
        }
        self.stream
    }

    /// Sends until it is acknowledged; `None` when there is nobody left to send to.
    async fn deliver(&mut self, range: Range<u64>) -> Option<Answer> {
        let readings = (range.end - range.start) * self.stream.sensors.len() as u64;
        let payload = payload(&self.stream.sensors, self.stream.start, range);
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        loop {
            let api = self.line.wait_for(Option::is_some).await.ok()?.clone()?;
            match api.try_ingest(&payload).await {
                Ok(answer) if answer.status == 200 => {
                    count(&self.tally.acknowledged);
                    let body = &answer.body;
                    assert_eq!(
                        number(&body["stored"]) + number(&body["duplicates"]),
                        readings,
                        "{body}"
                    );
                    return Some(answer);
                }
                Ok(answer) => {
                    assert!(answer.retry_after.is_some(), "no Retry-After: {answer:?}");
                    match answer.status {
                        503 => count(&self.tally.unavailable),
                        429 => count(&self.tally.busy),
                        _ => panic!("{answer:?}"),
                    };
                }
                Err(error) if error.is_connect() => {}
                Err(_) => drop(count(&self.tally.cut)),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
