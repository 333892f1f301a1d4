//! `simulate`: made-up readings, as JSON lines, sent to a running instance, or published to a broker.
//!
//! Invariants: the same flags give the same readings in the same order. What is sent is sent until it is answered with 2xx, or
//! with a 4xx other than 429, which no repetition would change; what is published is published until the broker has taken it.

mod mqtt;

use std::io::Write;
use std::iter::Peekable;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use secrecy::ExposeSecret;

use super::args::SimulateArgs;
use super::commands::print;
use super::exit::{CommandError, ExitCode};
use crate::clock::{Clock, SystemClock};
use crate::domain::Timestamp;
use crate::simulate::{SimulatedReading, Simulator};

/// Readings in one request at most.
const REQUEST_READINGS: usize = 1_000;
const TICK: Duration = Duration::from_millis(100);
const MQTT_TOPIC: &str = "sensorhive/{sensor_id}";
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(5);

pub fn simulate(args: &SimulateArgs) -> Result<(), CommandError> {
    let start = SystemClock.now();
    let simulator = Simulator::new(args.settings(), start)
        .map_err(|error| CommandError::new(ExitCode::Usage, error))?
        .peekable();
    if let Some(brokers) = &args.kafka {
        return super::produce::produce(args, brokers, end(args, start), simulator);
    }
    let target = match (&args.url, &args.mqtt) {
        (Some(url), _) => Target::Instance(reqwest::Client::new(), url.clone()),
        (None, Some(broker)) => {
            let topic = args.topic.clone().unwrap_or_else(|| MQTT_TOPIC.to_owned());
            let publisher = mqtt::Publisher::new(broker.clone(), topic, login(args)?);
            Target::Broker(Box::new(publisher))
        }
        (None, None) => return write_lines(args, start, simulator),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::new(ExitCode::Failed, error))?;
    runtime.block_on(send(args, target, start, simulator))
}

/// With a limit, printed at once; without one, when each reading is due.
fn write_lines(
    args: &SimulateArgs,
    start: Timestamp,
    mut simulator: Peekable<Simulator>,
) -> Result<(), CommandError> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let end = end(args, start);
    let at_once = args.count.is_some() || args.duration.is_some();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut line = Vec::new();
    while left > 0 {
        let Some(reading) = simulator.next_if(|reading| reading.due < end) else {
            break;
        };
        if !at_once {
            wait_until(reading.due, &mut out)?;
        }
        line.clear();
        reading.encode(false, &mut line);
        line.push(b'\n');
        match out.write_all(&line) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.map_err(failed)?,
        }
        left -= 1;
    }
    match out.flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only thread of a command that prints"
)]
fn wait_until(due: Timestamp, out: &mut impl Write) -> Result<(), CommandError> {
    let wait = due.since(SystemClock.now());
    if wait > 0 {
        out.flush().map_err(failed)?;
        std::thread::sleep(Duration::from_micros(wait.unsigned_abs()));
    }
    Ok(())
}

/// Where readings are sent.
enum Target {
    /// With its address.
    Instance(reqwest::Client, String),
    Broker(Box<mqtt::Publisher>),
}

impl Target {
    async fn take(&mut self, args: &SimulateArgs, batch: &[SimulatedReading]) -> Result<Sent, CommandError> {
        match self {
            Target::Instance(client, url) => post(client, args, url, batch).await,
            Target::Broker(publisher) => {
                publisher.publish(batch).await?;
                Ok(Sent {
                    sent: batch.len() as u64,
                    ..Sent::default()
                })
            }
        }
    }

    async fn idle(&mut self, time: Duration) {
        match self {
            Target::Instance(..) => tokio::time::sleep(time).await,
            Target::Broker(publisher) => publisher.idle(time).await,
        }
    }

    fn tell(&self, sent: &Sent) -> String {
        match self {
            Target::Instance(..) => sent.to_string(),
            Target::Broker(_) => format!("{} published, and taken by the broker", sent.sent),
        }
    }
}

/// Name and password for the broker.
fn login(args: &SimulateArgs) -> Result<Option<(String, String)>, CommandError> {
    let Some(name) = args.username.clone() else {
        return Ok(None);
    };
    let password = match &args.password_file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            CommandError::new(ExitCode::Failed, format!("reading {}: {error}", path.display()))
        })?,
    };
    Ok(Some((name, password.trim_end_matches(['\r', '\n']).to_owned())))
}

async fn send(
    args: &SimulateArgs,
    mut target: Target,
    start: Timestamp,
    mut simulator: Peekable<Simulator>,
) -> Result<(), CommandError> {
    let end = end(args, start);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut sent = Sent::default();
    let mut told = Instant::now();
    while left > 0 && simulator.peek().is_some_and(|reading| reading.due < end) {
        let now = SystemClock.now();
        let mut batch: Vec<SimulatedReading> = Vec::new();
        while (batch.len() as u64) < left
            && batch.len() < REQUEST_READINGS
            && let Some(reading) = simulator.next_if(|reading| reading.due <= now && reading.due < end)
        {
            batch.push(reading);
        }
        if batch.is_empty() {
            target.idle(TICK).await;
            continue;
        }
        left -= batch.len() as u64;
        sent.add(target.take(args, &batch).await?);
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            eprintln!("{}", target.tell(&sent));
        }
    }
    print(&target.tell(&sent))
}

/// Posts until it is answered for good.
async fn post(
    client: &reqwest::Client,
    args: &SimulateArgs,
    url: &str,
    batch: &[SimulatedReading],
) -> Result<Sent, CommandError> {
    let mut payload = Vec::new();
    for reading in batch {
        payload.push(if payload.is_empty() { b'[' } else { b',' });
        reading.encode(false, &mut payload);
    }
    payload.push(b']');
    let mut wait = Duration::from_millis(100);
    loop {
        let mut request = client
            .post(format!("{url}/api/ingest"))
            .header("content-type", "application/json")
            .body(payload.clone());
        if let Some(token) = &args.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let trouble = match request.send().await {
            Ok(answer)
                if answer.status().is_success() || answer.status() == StatusCode::UNPROCESSABLE_ENTITY =>
            {
                let body: serde_json::Value = answer.json().await.unwrap_or_default();
                return Ok(Sent::of(batch.len() as u64, &body));
            }
            Ok(answer)
                if answer.status().is_client_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS =>
            {
                let status = answer.status();
                let body = answer.text().await.unwrap_or_default();
                return Err(CommandError::new(
                    ExitCode::Failed,
                    format!("{url} answered {status}: {body}"),
                ));
            }
            Ok(answer) => answer.status().to_string(),
            Err(error) => error.to_string(),
        };
        eprintln!("not stored yet ({trouble}), sending it again in {wait:?}");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

/// What became of the readings sent.
#[derive(Default)]
struct Sent {
    sent: u64,
    stored: u64,
    duplicates: u64,
    rejected: u64,
}

impl Sent {
    fn of(sent: u64, answer: &serde_json::Value) -> Self {
        let count = |name: &str| {
            answer
                .get(name)
                .and_then(serde_json::Value::as_u64)
                .unwrap_or_default()
        };
        Self {
            sent,
            stored: count("stored"),
            duplicates: count("duplicates"),
            rejected: count("rejected"),
        }
    }

    fn add(&mut self, other: Sent) {
        self.sent += other.sent;
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
    }
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sent {
            sent,
            stored,
            duplicates,
            rejected,
        } = self;
        write!(
            f,
            "{sent} sent: {stored} stored, {duplicates} duplicates, {rejected} rejected"
        )
    }
}

fn end(args: &SimulateArgs, start: Timestamp) -> Timestamp {
    args.duration.map_or(Timestamp::MAX, |duration| {
        start.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    })
}

fn failed(error: std::io::Error) -> CommandError {
    CommandError::new(ExitCode::Failed, format!("cannot write: {error}"))
}
