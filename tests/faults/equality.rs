//! A sensor that nobody feeds is the same after whatever brings it back, while others are under load.

use std::time::Duration;

use serde_json::Value;

use crate::instance::{Instance, Place, report, until};
use crate::traffic::{Fleet, Load, payload, some_time_ago};

const SETTINGS: &str = "
    [storage]
    snapshot_tail = 100
    [[series]]
    match = {}
    windows = ['10s', '1h']
    lateness = '2s'
    idle_after = '1h'
    detectors = [
        { kind = 'jump', threshold = 3.0 },
        { kind = 'threshold', above = 21.0 },
        { kind = 'silence', after = '1h' },
    ]
";
const STILL: &str = "still";

/// Everything of the sensor that must not change: its state, and what is stored of it.
async fn look(instance: &Instance) -> (Value, Value) {
    let api = &instance.api;
    let state = api.state(STILL).await;
    let stored = serde_json::json!({
        "readings": api.readings(STILL).await,
        "windows": api.windows(STILL).await,
        "anomalies": api.all(&format!("/api/sensors/{STILL}/anomalies?order=asc")).await,
        "ledger": { "total": api.ledger(STILL).await["stored"], "unprocessed": api.ledger(STILL).await["unprocessed"] },
    });
    (state, stored)
}

async fn restarts(instance: &Instance) -> Vec<Value> {
    instance.api.all(&format!("/api/sensors/{STILL}/restarts")).await
}

/// Waits for its newest restart to be a new one, of that reason.
async fn restarted(instance: &Instance, known: usize, reason: &str) -> Value {
    until(&format!("a restart: {reason}"), async || {
        let all = restarts(instance).await;
        (all.len() > known && all[0]["reason"] == reason).then(|| all[0].clone())
    })
    .await
}

fn assert_by_admin(restart: &Value, why: &str) {
    assert_eq!(
        (&restart["by"], &restart["detail"]),
        (&"first start".into(), &why.into()),
        "{restart}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_brings_a_sensor_back_it_is_the_same() {
    let place = Place::new(SETTINGS, &[]);
    let mut instance = Instance::start(&place).await;
    let load = Load {
        clients: 4,
        sensors: 10,
        readings: 10,
        pause: Duration::from_millis(5),
    };
    let fleet = Fleet::start(&instance.api, "busy", &load);
    // Not a multiple of the tail: the last snapshot is older than the last reading.
    let sent = 1_234;
    for begin in (0..sent).step_by(10) {
        let items = payload(&[STILL.to_owned()], some_time_ago(), begin..sent.min(begin + 10));
        assert_eq!(instance.api.ingest(&items).await.status, 200);
    }
    let before = look(&instance).await;
    let series = &before.0["series"][0];
    assert_eq!(series["windows"].as_array().unwrap().len(), 2, "{series}");
    assert_eq!(
        before.0["anomalies"].as_array().unwrap().len(),
        64,
        "the history is not full"
    );
    let anomalies = before.1["anomalies"].as_array().unwrap().len();
    let windows = before.1["windows"].as_array().unwrap().len();
    let mut took = Vec::new();
    let mut note = |what: &str, restart: &Value| took.push(format!("{what} {} ms", restart["took_ms"]));

    instance
        .api
        .command(STILL, "restart", "to see that nothing changes")
        .await;
    let restart = restarted(&instance, 0, "admin").await;
    assert_by_admin(&restart, "to see that nothing changes");
    assert_eq!(look(&instance).await, before, "after an admin's restart");
    note("restart", &restart);

    instance.kill9();
    fleet.connect(None);
    instance = instance.again(&[]).await;
    fleet.connect(Some(&instance.api));
    assert_eq!(look(&instance).await, before, "after kill -9");

    instance.api.command(STILL, "pause", "a while").await;
    until("the pause", async || {
        (instance.api.mode(STILL).await == "paused").then_some(())
    })
    .await;
    let known = restarts(&instance).await.len();
    instance.api.command(STILL, "resume", "long enough").await;
    let resume = restarted(&instance, known, "resume").await;
    assert_by_admin(&resume, "long enough");
    assert_eq!(look(&instance).await, before, "after pause and resume");
    note("resume", &resume);

    // Paused when the process is killed, it stays so until somebody resumes it.
    instance
        .api
        .command(STILL, "pause", "over a restart of the process")
        .await;
    until("the pause", async || {
        (instance.api.mode(STILL).await == "paused").then_some(())
    })
    .await;
    instance.kill9();
    fleet.connect(None);
    instance = instance.again(&["supervision.passivate_after=1s"]).await;
    fleet.connect(Some(&instance.api));
    let inside = instance.api.get(&format!("/api/sensors/{STILL}/state")).await;
    assert_eq!(inside["mode"], "paused", "{inside}");
    let known = restarts(&instance).await.len();
    instance.api.command(STILL, "resume", "now").await;
    restarted(&instance, known, "resume").await;
    assert_eq!(
        look(&instance).await,
        before,
        "after a pause that outlived the process"
    );

    let passive = async || (instance.api.mode(STILL).await == "passive").then_some(());
    until("the passivation", passive).await;
    assert_eq!(look(&instance).await, before, "after a passivation");
    until("the passivation", passive).await;
    let known = restarts(&instance).await.len();
    instance.api.command(STILL, "restart", "although it sleeps").await;
    let restart = restarted(&instance, known, "admin").await;
    assert_by_admin(&restart, "although it sleeps");
    assert_eq!(
        look(&instance).await,
        before,
        "after the restart of a passive one"
    );
    note("restart when passive", &restart);

    let tally = fleet.tally.clone();
    for stream in fleet.finish().await {
        for sensor in &stream.sensors {
            instance.api.caught_up(sensor).await;
            assert!(
                instance.api.readings(sensor).await == stream.readings(sensor),
                "readings of {sensor}"
            );
        }
    }
    instance.api.total().await;
    report(&format!(
        "one still sensor while 40 others are fed ({} requests): {sent} readings, {windows} windows, {anomalies} anomalies, state, \
         detectors and history equal after restart, kill -9, pause, a pause over kill -9, passivation; {}",
        tally.of(|tally| &tally.acknowledged),
        took.join(", "),
    ));
}
