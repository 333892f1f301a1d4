//! A sensor whose readings make it panic, among others that must not notice.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::Value;

use crate::api::{Api, number};
use crate::expected::{assert_windows, windows};
use crate::instance::{Instance, Place, report, until};
use crate::traffic::{item, reading, some_time_ago};

const WINDOW: i64 = 10_000_000;
const POISON: f64 = 2e6;
const SECOND: i64 = 1_000_000;
const SETTINGS: &str = "
    [[series]]
    match = { sensor = 'bad' }
    windows = ['10s']
    lateness = '0s'
    idle_after = '1h'
    detectors = [{ kind = 'fault', panic_above = 1e6 }]
    [[series]]
    match = {}
    windows = ['10s']
    lateness = '0s'
    idle_after = '1h'
";

/// What was sent, and to be found in windows.
struct Crowd {
    api: Api,
    start: i64,
    sensors: Vec<String>,
    healthy: HashMap<String, Vec<(i64, f64)>>,
}

impl Crowd {
    fn new(api: &Api, neighbors: usize) -> Self {
        let neighbors = (0..neighbors).map(|neighbor| format!("good-{neighbor}"));
        Self {
            api: api.clone(),
            start: some_time_ago(),
            sensors: neighbors.chain(["bad".to_owned()]).collect(),
            healthy: HashMap::new(),
        }
    }

    /// One reading of every sensor, `second` seconds after the start; that of the bad one is poison where told.
    async fn round(&mut self, second: i64, poison: bool) -> crate::api::Answer {
        let time = self.start + second * SECOND;
        let mut items = Vec::new();
        for sensor in &self.sensors {
            let (_, mut value) = reading(sensor, 0, second as u64);
            if poison && sensor == "bad" {
                value = POISON;
            } else {
                self.healthy
                    .entry(sensor.clone())
                    .or_default()
                    .push((time, value));
            }
            items.push(item(sensor, time, value));
        }
        self.api.ingest(&Value::Array(items)).await
    }

    /// Every sensor's windows are those of its healthy readings; how many there are.
    async fn assert_windows(&self) -> usize {
        let mut compared = 0;
        for sensor in &self.sensors {
            let readings = &self.healthy[sensor];
            let newest = readings.iter().map(|(time, _)| *time).max().unwrap();
            let expected = windows(readings, WINDOW, newest);
            let stored = self.api.windows(sensor).await;
            assert_windows(sensor, &stored, &expected);
            compared += stored.len();
        }
        compared
    }

    /// The sensors that have ever been restarted.
    async fn restarted(&self) -> Vec<String> {
        let all = self.api.all("/api/sensors").await;
        let touched = |sensor: &&Value| sensor["restarts"] != 0 || sensor["crashes"] != 0;
        let name = |sensor: &Value| sensor["sensor_id"].as_str().unwrap().to_owned();
        all.iter().filter(touched).map(name).collect()
    }
}

async fn panic_letters(api: &Api) -> Vec<Value> {
    let mut letters = api.all("/api/admin/dead-letters").await;
    letters.retain(|letter| letter["reason"] == "panic");
    for letter in &letters {
        assert_eq!(letter["sensor_id"], "bad", "{letter}");
        let detail = letter["detail"].as_str().unwrap();
        assert!(
            detail.contains("2000000") && detail.contains("fault.rs:"),
            "{letter}"
        );
        assert!(
            letter["payload"].as_str().unwrap().contains("2000000"),
            "{letter}"
        );
    }
    letters
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panicking_sensor_among_a_thousand_harms_only_itself() {
    let began = Instant::now();
    let place = Place::new(SETTINGS, &["supervision.backoff_base=10ms"]);
    let instance = Instance::start(&place).await;
    let mut crowd = Crowd::new(&instance.api, 999);
    for second in 0..65 {
        let poison = [7, 33].contains(&second);
        let answer = crowd.round(second, poison).await;
        if poison {
            assert_eq!(answer.status, 207, "{answer:?}");
            assert_eq!(answer.body["stored"], 999, "{answer:?}");
            let errors = answer.body["errors"].as_array().unwrap();
            assert_eq!(errors.len(), 1, "{answer:?}");
            assert_eq!(
                (&errors[0]["index"], &errors[0]["kind"]),
                (&999.into(), &"panic".into()),
                "{answer:?}"
            );
            // So that the next one is not taken out by the catch-up, which has a test of its own.
            instance.api.caught_up("bad").await;
        } else {
            assert_eq!(
                (answer.status, &answer.body["stored"]),
                (200, &1000.into()),
                "{answer:?}"
            );
        }
    }
    let ledger = instance.api.caught_up("bad").await;
    assert_eq!(
        (
            number(&ledger["received"]),
            number(&ledger["stored"]),
            number(&ledger["rejected"])
        ),
        (65, 63, 2)
    );
    let compared = crowd.assert_windows().await;
    assert_eq!(crowd.restarted().await, ["bad"]);
    assert_eq!(panic_letters(&instance.api).await.len(), 2);
    let restarts = instance.api.all("/api/sensors/bad/restarts").await;
    assert_eq!(restarts.len(), 2, "{restarts:?}");
    for restart in &restarts {
        assert_eq!(restart["reason"], "panic", "{restart}");
        assert!(
            restart["detail"].as_str().unwrap().contains("fault.rs:"),
            "{restart}"
        );
    }
    let total = instance.api.total().await;
    assert_eq!(
        (&total["rejected"], &total["unprocessed"]),
        (&2.into(), &0.into()),
        "{total}"
    );
    report(&format!(
        "2 panics of 1 sensor among 1,000: 999 undisturbed, 2 dead letters with message and place, {compared} windows as computed, \
         caught up after {} and {} ms, ledger balances ({} received), {:.0} s",
        restarts[1]["took_ms"],
        restarts[0]["took_ms"],
        total["received"],
        began.elapsed().as_secs_f64(),
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_ends_in_quarantine_and_resume_catches_up() {
    let began = Instant::now();
    let place = Place::new(
        SETTINGS,
        &["supervision.crashes=3", "supervision.backoff_base=10ms"],
    );
    let instance = Instance::start(&place).await;
    let api = &instance.api;
    let mut crowd = Crowd::new(api, 20);
    let mut second = 0;
    let mut poisoned = 0;
    for _ in 0..15 {
        assert_eq!(crowd.round(second, false).await.status, 200);
        second += 1;
    }
    until("the quarantine", async || {
        let answer = crowd.round(second, true).await;
        assert!([200, 207].contains(&answer.status), "{answer:?}");
        second += 1;
        poisoned += 1;
        (api.mode("bad").await == "quarantined").then_some(())
    })
    .await;
    // Batches commit in order: once this one has, so has what the sensor did last.
    assert_eq!(crowd.round(second, false).await.status, 200);
    second += 1;
    let letters = panic_letters(api).await.len();
    let unprocessed_before = number(&api.ledger("bad").await["unprocessed"]);
    for _ in 0..30 {
        assert_eq!(
            crowd.round(second, false).await.status,
            200,
            "readings of one in quarantine are stored"
        );
        second += 1;
    }
    let state = api.get("/api/sensors/bad/state").await;
    assert_eq!(state["mode"], "quarantined");
    assert!(
        state["last_crash"]["message"]
            .as_str()
            .unwrap()
            .contains("2000000"),
        "{state}"
    );
    let ledger = api.ledger("bad").await;
    let waiting = number(&ledger["unprocessed"]);
    assert_eq!(waiting, unprocessed_before + 30, "{ledger}");
    assert_eq!(crowd.restarted().await, ["bad"]);
    let ready = api.try_get("/readyz").await.unwrap();
    assert_eq!(
        ready.status, 200,
        "one bad sensor does not make the service unready: {}",
        ready.body
    );

    api.command("bad", "resume", "the poison has stopped").await;
    let ledger = api.caught_up("bad").await;
    assert_eq!(
        number(&ledger["stored"]) + number(&ledger["rejected"]),
        second as u64,
        "{ledger}"
    );
    for _ in 0..15 {
        assert_eq!(crowd.round(second, false).await.status, 200);
        second += 1;
    }
    let compared = crowd.assert_windows().await;
    assert_eq!(
        panic_letters(api).await.len(),
        poisoned,
        "each poisonous reading has one dead letter"
    );
    let restarts = api.all("/api/sensors/bad/restarts").await;
    let reasons: Vec<&str> = restarts
        .iter()
        .map(|restart| restart["reason"].as_str().unwrap())
        .collect();
    assert!(reasons.contains(&"quarantine"), "{restarts:?}");
    assert_eq!(reasons[0], "revive", "{restarts:?}");
    assert_eq!(restarts[0]["by"], "first start", "{restarts:?}");
    assert_eq!(restarts[0]["detail"], "the poison has stopped", "{restarts:?}");
    let total = api.total().await;
    assert_eq!(total["unprocessed"], 0, "{total}");
    report(&format!(
        "crash loop: quarantined after {poisoned} poisonous readings ({letters} dead letters by then), {waiting} stored unprocessed, \
         20 neighbors undisturbed; resumed: {compared} windows as computed, unprocessed 0, ledger balances ({} received), {:.0} s",
        total["received"],
        began.elapsed().as_secs_f64(),
    ));
}
