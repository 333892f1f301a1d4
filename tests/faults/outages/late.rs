//! Late readings for a chunk that is compressed already.

use serde_json::{Value, json};
use sqlx::Executor;

use super::{ANSWERS, Outage};
use crate::api::{Api, number};
use crate::instance::{report, until};
use crate::postgres_server::{Flavor, Options, Private};

const DAY: i64 = 86_400_000_000;
const SENSOR: &str = "late";

fn readings(start: i64, indices: impl Iterator<Item = i64>, value: impl Fn(i64) -> f64) -> Value {
    let item = |n: i64| json!({"sensor_id": SENSOR, "metric": "level", "timestamp": start + n * 1_000_000, "value": value(n)});
    Value::Array(indices.map(item).collect())
}

fn value(n: i64) -> f64 {
    n as f64
}

/// Returns how many were stored, and how many were there already.
async fn send(api: &Api, start: i64, indices: impl Iterator<Item = i64>) -> (u64, u64) {
    let (mut stored, mut duplicates) = (0, 0);
    for some in indices.collect::<Vec<_>>().chunks(900) {
        let answer = api.ingest(&readings(start, some.iter().copied(), value)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        stored += number(&answer.body["stored"]);
        duplicates += number(&answer.body["duplicates"]);
    }
    (stored, duplicates)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_readings_reach_a_compressed_chunk() {
    let Some(server) = Private::with(&Options::default()).await else {
        return;
    };
    // Says so where the extension is missing.
    let Some(outage) = Outage::set_up(server, Flavor::Timescale, "others", &[], ANSWERS).await else {
        return;
    };
    let api = outage.instance.api.clone();
    let start = (crate::traffic::some_time_ago() / DAY - 20) * DAY;
    // The even seconds of an hour; a newer reading so that what follows is late.
    let even = send(&api, start, (0..3600).step_by(2)).await;
    assert_eq!(even, (1_800, 0));
    api.ingest(&readings(start, 90_000..90_001, value)).await;

    let mut connection = outage.database.connect().await;
    let compress =
        "SELECT compress_chunk(c) FROM show_chunks('readings', older_than => now() - interval '10 days') c";
    let compressed = connection.fetch_all(compress).await.unwrap().len();
    assert!(compressed >= 1);

    // The odd ones, the even ones again, and some that contradict.
    let odd = send(&api, start, (0..3600).filter(|n| n % 2 == 1)).await;
    assert_eq!(odd, (1_800, 0));
    let even = send(&api, start, (0..3600).step_by(2)).await;
    assert_eq!(even, (0, 1_800));
    let other = api.ingest(&readings(start, 0..10, |n| value(n) + 0.5)).await;
    assert_eq!(other.status, 422, "{other:?}");

    let ledger = api.caught_up(SENSOR).await;
    assert_eq!(
        [
            &ledger["stored"],
            &ledger["duplicate"],
            &ledger["rejected"],
            &ledger["late"]
        ]
        .map(number),
        [3_601, 1_800, 10, 1_800],
        "{ledger}"
    );
    let expected: Vec<(i64, f64)> = (0..3600)
        .chain([90_000])
        .map(|n| (start + n * 1_000_000, value(n)))
        .collect();
    assert!(api.readings(SENSOR).await == expected, "readings differ");
    // Its windows were computed again from all of them.
    until("the windows to be revised", async || {
        let windows = api.windows(SENSOR).await;
        let whole = windows.iter().filter(|window| window["count"] == 60).count();
        (whole == 60).then_some(())
    })
    .await;
    report(&format!(
        "1,800 late readings into {compressed} compressed chunk(s), 1,800 duplicates, 10 conflicts: {}",
        outage.recover().await
    ));
}
