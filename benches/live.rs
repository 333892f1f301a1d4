//! The live wire under load: how soon a reading that is posted is on the screens of those who watch its sensor, what clients
//! that stand still do to the others, and what a thousand that come back together cost.
//!
//! `cargo bench --bench live -- [clients] [stalled] [seconds]`, 1,000, 10 and 60 by default: `make bench-live`. It runs the service as a
//! process of its own on SQLite in the system's temporary directory; clients, sender and service share the machine. 5,000 readings a
//! second of 2,500 sensors, so that every series is slower than `max_hz`. Of the clients that read one in ten watches the overview, and the
//! others a sensor each. The value of a reading is the time at which it was made, in µs of this process; a client that gets it looks at
//! the clock. What is printed are times from there to there: request, decoding, sensor, hub, frame, and the client's own reading.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

const SENSORS: usize = 2_500;
const RATE: usize = 5_000;
/// Readings of a request.
const BATCH: usize = 50;
/// One client in so many watches the overview.
const OVERVIEW: usize = 10;
/// How often a client that stands still wants the overview, so that the buffers of its connection are full soon.
const STANDING: usize = 16;

type Client = WebSocketStream<TcpStream>;

struct Service {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        // Whatever becomes of it, the directory goes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let settings = format!(
            "[http]\nlisten = '{address}'\nrequests_per_second = 0\n[storage]\nurl = 'sqlite:{}'\n[mqtt_listener]\nenabled = false\n\
             [sources.host]\nkind = 'host'\nenabled = false\n[log]\nlevel = 'warn'\n",
            directory.path().join("live.db").display()
        );
        let file = directory.path().join("sensorhive.toml");
        std::fs::write(&file, settings).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sensorhive"))
            .args(["run", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let service = Self {
            child,
            address,
            _directory: directory,
        };
        while reqwest::get(service.url("/readyz")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        service
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Resident memory, in MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Seconds of processors that it has used.
    fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11..13]
            .iter()
            .map(|ticks| ticks.parse::<f64>().unwrap())
            .sum();
        ticks / 100.0
    }

    async fn metric(&self, name: &str) -> f64 {
        let page = reqwest::get(self.url("/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .fold(0.0, |sum, value| sum + value)
    }

    /// Snapshots and deltas written, and questions to the database.
    async fn written_and_asked(&self) -> (f64, f64) {
        let written = self.metric("sensorhive_live_rendered_total").await;
        (written, self.metric("sensorhive_store_reads_total").await)
    }

    async fn connect(&self, narrow: bool) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        if narrow {
            socket.set_recv_buffer_size(4 << 10).unwrap();
        }
        let stream = socket.connect(self.address.parse().unwrap()).await.unwrap();
        let url = format!("ws://{}/ws/realtime", self.address);
        client_async(url, stream).await.unwrap().0
    }
}

fn topic(client: usize) -> String {
    match client % OVERVIEW {
        0 => "overview".to_owned(),
        _ => format!("sensor/s{}", client * 7 % SENSORS),
    }
}

async fn subscribe(client: &mut Client, id: usize, topic: &str) {
    let message = json!({"type": "subscribe", "id": id.to_string(), "topic": topic});
    client.send(Message::text(message.to_string())).await.unwrap();
}

/// Waits for the snapshot.
async fn begin(client: &mut Client) {
    while let Some(message) = client.next().await {
        if let Message::Text(text) = message.unwrap()
            && text.starts_with("{\"type\":\"snapshot\"")
        {
            return;
        }
    }
    panic!("it was closed");
}

/// Reads to the end of time; for each value, how old it is.
async fn read(
    mut client: Client,
    begun: Instant,
    ages: tokio::sync::mpsc::UnboundedSender<(bool, u64)>,
    overview: bool,
) {
    while let Some(Ok(message)) = client.next().await {
        let Message::Text(text) = message else { continue };
        let now = begun.elapsed().as_micros() as u64;
        if !text.starts_with("{\"type\":\"delta\"") {
            continue;
        }
        let Ok(message) = serde_json::from_str::<Value>(&text) else {
            continue;
        };
        let mut values = Vec::new();
        let told = &message["data"]["values"];
        match overview {
            true => told
                .as_object()
                .into_iter()
                .flatten()
                .for_each(|(_, metrics)| values.push(&metrics["t"]["value"])),
            false => values.push(&told["t"]["value"]),
        }
        for made in values.into_iter().filter_map(Value::as_f64) {
            if ages.send((overview, now.saturating_sub(made as u64))).is_err() {
                return;
            }
        }
    }
}

async fn send(url: String, begun: Instant, sent: Arc<AtomicU64>) {
    let client = reqwest::Client::new();
    let mut every = tokio::time::interval(Duration::from_secs(1) * BATCH as u32 / RATE as u32);
    for round in 0.. {
        every.tick().await;
        let items: Vec<_> = (0..BATCH)
            .map(|n| {
                let sensor = (round * BATCH + n) % SENSORS;
                json!({"sensor_id": format!("s{sensor}"), "metric": "t", "value": begun.elapsed().as_micros() as u64})
            })
            .collect();
        let request = client.post(&url).json(&items);
        let sent = sent.clone();
        tokio::spawn(async move {
            if request
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                sent.fetch_add(BATCH as u64, Ordering::Relaxed);
            }
        });
    }
}

/// What the overview asks for when its page is loaded, all at once.
async fn load_pages(service: &Service, clients: usize) {
    let client = reqwest::Client::new();
    let asked = service.written_and_asked().await.1;
    let at = Instant::now();
    let paths = [
        "/api/statistics/summary",
        "/api/sources",
        "/api/sensors?limit=1000",
        "/api/sensors/cells",
    ];
    let page = || async {
        for path in paths {
            let answer = client.get(service.url(path)).send().await.unwrap();
            let answer = answer.error_for_status().unwrap();
            answer.bytes().await.unwrap();
        }
    };
    futures_util::future::join_all((0..clients).map(|_| page())).await;
    let took = at.elapsed().as_secs_f64();
    let asked = service.written_and_asked().await.1 - asked;
    println!("{clients} overviews loaded together in {took:.1} s: the database was asked {asked} times");
}

fn percentile(sorted: &[u64], part: f64) -> f64 {
    let at = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |micros| *micros as f64 / 1e3)
}

async fn run(clients: usize, stalled: usize, seconds: u64) {
    sensorhive::tls::install_provider();
    let service = Service::start().await;
    let begun = Instant::now();
    let sent = Arc::new(AtomicU64::new(0));
    let sender = tokio::spawn(send(service.url("/api/ingest"), begun, sent.clone()));
    // Every sensor is known.
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "memory with {SENSORS} sensors and no client: {:.1} MiB",
        service.memory()
    );

    let mut standing = Vec::new();
    for _ in 0..stalled {
        let mut client = service.connect(true).await;
        for id in 0..STANDING {
            subscribe(&mut client, id, "overview").await;
        }
        standing.push(client);
    }
    let (ages, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut readers = Vec::new();
    for n in 0..clients - stalled {
        let mut client = service.connect(false).await;
        let topic = topic(n);
        subscribe(&mut client, 0, &topic).await;
        begin(&mut client).await;
        readers.push(tokio::spawn(read(
            client,
            begun,
            ages.clone(),
            topic == "overview",
        )));
    }
    println!("memory with {clients} clients: {:.1} MiB", service.memory());
    // What came while they connected does not count.
    tokio::time::sleep(Duration::from_secs(2)).await;
    while heard.try_recv().is_ok() {}
    let (before, used, at) = (sent.load(Ordering::Relaxed), service.processor(), Instant::now());
    for quarter in 1..=4 {
        tokio::time::sleep(Duration::from_secs(seconds) / 4).await;
        println!(
            "memory after {} s: {:.1} MiB",
            seconds * quarter / 4,
            service.memory()
        );
    }
    let took = at.elapsed().as_secs_f64();
    let rate = (sent.load(Ordering::Relaxed) - before) as f64 / took;
    println!(
        "sent and stored: {rate:.0} readings a second; the service used {:.2} cores",
        (service.processor() - used) / took
    );
    let mut all = [Vec::new(), Vec::new()];
    while let Ok((overview, age)) = heard.try_recv() {
        all[usize::from(overview)].push(age);
    }
    for (name, ages) in ["a sensor", "the overview"].into_iter().zip(&mut all) {
        ages.sort_unstable();
        println!(
            "posted to told, {name}: {} values, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            ages.len(),
            percentile(ages, 0.5),
            percentile(ages, 0.99),
            percentile(ages, 1.0)
        );
    }
    let closed = service.metric("sensorhive_live_closed_total").await;
    println!("closed as too slow: {closed} of {stalled} that read nothing");

    for reader in &readers {
        reader.abort();
    }
    sender.abort();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (rendered, asked) = service.written_and_asked().await;
    let at = Instant::now();
    let together = (0..clients).map(|_| async {
        let mut client = service.connect(false).await;
        subscribe(&mut client, 0, "overview").await;
        begin(&mut client).await;
        client
    });
    let back = futures_util::future::join_all(together).await;
    let took = at.elapsed().as_secs_f64() * 1e3;
    let (now_rendered, now_asked) = service.written_and_asked().await;
    println!(
        "{} clients back together: all have their snapshot after {took:.0} ms, for which {} snapshots and deltas were \
         written and the database was asked {} times",
        back.len(),
        now_rendered - rendered,
        now_asked - asked
    );
    load_pages(&service, clients).await;
    println!("memory with them: {:.1} MiB", service.memory());
}

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let number = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(number(0, 1_000), number(1, 10), number(2, 60) as u64));
}
