//! The real binary on a real PostgreSQL server that fails: killed, stopped, frozen, restarted, full, cut off at the moment of a
//! commit; and readings that come again, or late into what is compressed.
//!
//! Each test has a server, a database and an instance of its own. Clients post all the while, and repeat what was not
//! acknowledged. Each ends by comparing every row with what was sent, and by checking every ledger. Where PostgreSQL is not
//! installed they say so and pass.

mod away;
mod commits;
mod failover;
mod late;
mod refused;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::number;
use crate::instance::{Instance, Place, until};
use crate::postgres_server::{Database, Flavor, Options, Private, Proxy};
use crate::traffic::{Fleet, Load};

/// What may be in flight is small, so that it is used up; what it takes in memory at most is far below the growth allowed.
const FLAGS: [&str; 3] = [
    "limits.readings_in_flight=40000",
    "limits.batch_readings=1000",
    "storage.write_timeout=3s",
];
/// How long a request may take: until clients are refused while the database is away, or until they have their answer.
const REFUSALS: &str = "http.request_timeout=2s";
const ANSWERS: &str = "http.request_timeout=100s";
const GROWTH: u64 = 100 << 20;

fn flavor_of(server: &Private) -> Flavor {
    match server.timescale() {
        Some(_) => Flavor::Timescale,
        None => Flavor::Plain,
    }
}

pub struct Outage {
    pub instance: Instance,
    pub fleet: Fleet,
    pub proxy: Proxy,
    // Dropped before its server.
    pub database: Database,
    pub server: Private,
    pub flavor: Flavor,
    before: u64,
    peak: u64,
    reasons: BTreeSet<String>,
}

impl Outage {
    /// With TimescaleDB where it is installed. `None` where there is no PostgreSQL.
    pub async fn prepare(name: &str, options: &Options) -> Option<Self> {
        let server = Private::with(options).await?;
        let flavor = flavor_of(&server);
        Self::on(server, flavor, name).await
    }

    /// As [`Self::prepare`], for a test that needs the answer to each of its own requests, however long it takes.
    pub async fn with_answers(name: &str, options: &Options) -> Option<Self> {
        let server = Private::with(options).await?;
        let flavor = flavor_of(&server);
        Self::set_up(server, flavor, name, &[], ANSWERS).await
    }

    pub async fn on(server: Private, flavor: Flavor, name: &str) -> Option<Self> {
        Self::set_up(server, flavor, name, &[], REFUSALS).await
    }

    /// The service knows `others`, too, as servers of the same cluster.
    pub async fn on_any(server: Private, others: &[SocketAddr], flavor: Flavor, name: &str) -> Option<Self> {
        Self::set_up(server, flavor, name, others, REFUSALS).await
    }

    async fn set_up(
        server: Private,
        flavor: Flavor,
        name: &str,
        others: &[SocketAddr],
        request_timeout: &str,
    ) -> Option<Self> {
        let database = server.database(flavor).await?;
        let proxy = Proxy::before(server.address()).await;
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        flags.push(request_timeout.to_owned());
        let hosts: Vec<String> = [proxy.address()]
            .iter()
            .chain(others)
            .map(ToString::to_string)
            .collect();
        flags.push(format!(
            "storage.url=postgres://sensorhive@{}/{}",
            hosts.join(","),
            database.name()
        ));
        if flavor == Flavor::Plain {
            flags.push("storage.timescaledb=off".to_owned());
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let instance = Instance::start(&Place::new("", &flags)).await;
        let load = Load {
            clients: 8,
            sensors: 10,
            readings: 50,
            pause: Duration::from_millis(20),
        };
        let fleet = Fleet::start(&instance.api, name, &load);
        let outage = Self {
            before: 0,
            peak: 0,
            reasons: BTreeSet::new(),
            instance,
            fleet,
            proxy,
            database,
            server,
            flavor,
        };
        outage.progress(60).await;
        Some(Self {
            before: outage.instance.resident(),
            ..outage
        })
    }

    /// Waits until so many more requests were acknowledged.
    pub async fn progress(&self, more: u64) {
        let tally = &self.fleet.tally;
        let enough = tally.of(|tally| &tally.acknowledged) + more;
        until("more acknowledged requests", async || {
            (tally.of(|tally| &tally.acknowledged) >= enough).then_some(())
        })
        .await;
    }

    /// Looks at memory and readiness; whether clients were refused and `/readyz` says why.
    pub async fn watch(&mut self) -> bool {
        self.peak = self.peak.max(self.instance.resident());
        let ready = self.instance.api.try_get("/readyz").await.unwrap();
        for dependency in ["store", "writer"] {
            if let Some(because) = ready.body["dependencies"][dependency]["because"].as_str() {
                assert_eq!(ready.status, 503, "{}", ready.body);
                self.reasons.insert(because.to_owned());
            }
        }
        let tally = &self.fleet.tally;
        let refused = tally.of(|tally| &tally.unavailable) + tally.of(|tally| &tally.busy);
        refused > 0 && !self.reasons.is_empty()
    }

    /// Watches for so long, and until clients were refused and `/readyz` said why.
    pub async fn last(&mut self, time: Duration) {
        let began = Instant::now();
        let mut seen = false;
        while began.elapsed() < time || !seen {
            seen |= self.watch().await;
            assert!(
                began.elapsed() < time + crate::instance::PATIENCE,
                "nobody noticed: {:?} {}",
                self.reasons,
                self.instance.place.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `/readyz` says so; where it never does, what it said last and the end of the log tell why.
    async fn ready(&self) {
        let began = Instant::now();
        loop {
            let said = self.instance.api.try_get("/readyz").await.unwrap();
            if said.status == 200 {
                return;
            }
            if began.elapsed() > crate::instance::PATIENCE {
                let log = self.instance.place.log();
                let end: Vec<&str> = log.lines().rev().take(200).collect();
                let end: Vec<&str> = end.into_iter().rev().collect();
                panic!("it is never ready: {}\n{}", said.body, end.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The database is back: everything goes on by itself and adds up. What it printed.
    pub async fn recover(self) -> String {
        let back = Instant::now();
        let tally = self.fleet.tally.clone();
        self.ready().await;
        self.progress(8).await;
        let went_on = back.elapsed();
        let (rows, rejected) = compare(&self.instance, self.fleet).await;
        let peak = self.peak.max(self.instance.resident());
        assert!(
            peak < self.before + GROWTH,
            "memory grew from {} to {} bytes",
            self.before,
            self.peak
        );
        assert_eq!(rejected, 0);
        format!(
            "{:?}: {} POSTs told 503, {} told 429, {} cut; memory {} MiB before and {} MiB at most; went on by itself after {} ms; \
             {rows} distinct readings = {rows} rows, ledgers balance; /readyz said {:?}",
            self.flavor,
            tally.of(|tally| &tally.unavailable),
            tally.of(|tally| &tally.busy),
            tally.of(|tally| &tally.cut),
            self.before >> 20,
            peak >> 20,
            went_on.as_millis(),
            self.reasons,
        )
    }
}

/// Lets the clients come to an end, and compares every reading of every sensor, in value and count, with what was sent. Returns
/// the rows, and how many were rejected.
pub async fn compare(instance: &Instance, fleet: Fleet) -> (usize, u64) {
    let api = &instance.api;
    let (mut rows, mut rejected) = (0, 0);
    for stream in fleet.finish().await {
        for sensor in &stream.sensors {
            let inputs = stream.readings(sensor);
            let ledger = api.caught_up(sensor).await;
            assert_eq!(
                number(&ledger["stored"]),
                inputs.len() as u64,
                "{sensor}: {ledger}"
            );
            rejected += number(&ledger["rejected"]);
            assert!(
                api.readings(sensor).await == inputs,
                "readings of {sensor} differ from what was sent"
            );
            rows += inputs.len();
        }
    }
    api.total().await;
    (rows, rejected)
}
