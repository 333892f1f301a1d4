//! The database cannot be written for a while: no room in the file, and another process that holds the lock.
//!
//! Nothing is acknowledged, clients are told to come again, memory stays bounded, `/readyz` says why; afterwards it goes on by
//! itself, and everything that was ever acknowledged is there once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::api::number;
use crate::instance::{Instance, Place, report, until};
use crate::traffic::{Fleet, Load};

const LOCKED: Duration = Duration::from_secs(30);
/// What may be in flight is small, so that it is used up; what it takes in memory at most is far below the growth allowed.
const FLAGS: [&str; 3] = [
    "limits.readings_in_flight=40000",
    "limits.batch_readings=1000",
    "http.request_timeout=2s",
];
const GROWTH: u64 = 100 << 20;

/// What a test saw while the store was away.
struct Outage {
    instance: Instance,
    fleet: Fleet,
    before: u64,
    peak: u64,
    reasons: BTreeSet<String>,
}

impl Outage {
    async fn prepare(name: &str) -> Self {
        let instance = Instance::start(&Place::new("", &FLAGS)).await;
        let load = Load {
            clients: 12,
            sensors: 10,
            readings: 50,
            pause: Duration::from_millis(5),
        };
        let fleet = Fleet::start(&instance.api, name, &load);
        until("load", async || {
            (fleet.tally.of(|tally| &tally.acknowledged) > 100).then_some(())
        })
        .await;
        let before = instance.resident();
        Self {
            instance,
            fleet,
            before,
            peak: before,
            reasons: BTreeSet::new(),
        }
    }

    /// Looks at memory and readiness; whether clients were refused either way and `/readyz` says why.
    async fn watch(&mut self) -> bool {
        self.peak = self.peak.max(self.instance.resident());
        let ready = self.instance.api.try_get("/readyz").await.unwrap();
        let dependencies = &ready.body["dependencies"];
        for dependency in ["store", "writer"] {
            if let Some(because) = dependencies[dependency]["because"].as_str() {
                assert_eq!(ready.status, 503, "{}", ready.body);
                self.reasons.insert(because.to_owned());
            }
        }
        let tally = &self.fleet.tally;
        tally.of(|tally| &tally.unavailable) > 0
            && tally.of(|tally| &tally.busy) > 0
            && !self.reasons.is_empty()
    }

    /// The store is back: everything goes on and adds up. What it printed.
    async fn recover(self) -> String {
        let back = Instant::now();
        let (api, tally) = (&self.instance.api, self.fleet.tally.clone());
        let before = tally.of(|tally| &tally.acknowledged);
        until("it to go on by itself", async || {
            let ready = api.try_get("/readyz").await.unwrap().status == 200;
            (ready && tally.of(|tally| &tally.acknowledged) > before).then_some(())
        })
        .await;
        let went_on = back.elapsed();
        let mut rows = 0;
        for stream in self.fleet.finish().await {
            for sensor in &stream.sensors {
                let inputs = stream.readings(sensor);
                let ledger = api.caught_up(sensor).await;
                assert_eq!(
                    number(&ledger["stored"]),
                    inputs.len() as u64,
                    "{sensor}: {ledger}"
                );
                assert_eq!(ledger["rejected"], 0, "{sensor}: {ledger}");
                assert!(
                    api.readings(sensor).await == inputs,
                    "readings of {sensor} differ from what was sent"
                );
                rows += inputs.len();
            }
        }
        let total = api.total().await;
        assert!(
            self.peak < self.before + GROWTH,
            "memory grew from {} to {} bytes",
            self.before,
            self.peak
        );
        format!(
            "{} POSTs told 503 and {} told 429, /readyz says {:?}, memory {} MiB before and {} MiB at most, went on by itself \
             after {} ms, {rows} distinct readings = {rows} rows, ledger balances ({} received)",
            tally.of(|tally| &tally.unavailable),
            tally.of(|tally| &tally.busy),
            self.reasons,
            self.before >> 20,
            self.peak >> 20,
            went_on.as_millis(),
            total["received"],
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_in_the_file_it_waits_and_goes_on() {
    let mut outage = Outage::prepare("full").await;
    let log = outage.instance.place.database().with_extension("db-wal");
    let limit = std::fs::metadata(log).unwrap().len() + (64 << 10);
    outage.instance.limit_files(Some(limit));
    let began = Instant::now();
    until("clients to be refused", async || {
        outage.watch().await.then_some(())
    })
    .await;
    // A while longer, so that memory had time to grow.
    let tally = outage.fleet.tally.clone();
    let refused = || tally.of(|tally| &tally.busy);
    let enough = refused() + 500;
    until("more refusals", async || {
        outage.watch().await;
        (refused() >= enough).then_some(())
    })
    .await;
    outage.instance.limit_files(None);
    let lasted = began.elapsed();
    report(&format!(
        "no room in the file for {:.0} s: {}",
        lasted.as_secs_f64(),
        outage.recover().await
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_process_holds_the_lock_it_waits_and_goes_on() {
    let mut outage = Outage::prepare("locked").await;
    let mut other = outage.instance.place.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let began = Instant::now();
    let mut seen = false;
    while began.elapsed() < LOCKED || !seen {
        seen = outage.watch().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    drop(other);
    report(&format!(
        "another process held the write lock for {} s: {}",
        LOCKED.as_secs(),
        outage.recover().await
    ));
}
