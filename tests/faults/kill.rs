//! Power cuts, as far as a process can have them: kill -9 while requests are under way.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::{Api, number};
use crate::expected::{assert_same_windows, assert_windows, windows};
use crate::instance::{Instance, Place, Starting, report, until};
use crate::traffic::{Fleet, Load, Random, Stream, item, payload};

const KILLS: u32 = 50;
/// Another one falls while the service comes up, after so many.
const STARTS_KILLED_EVERY: u32 = 5;
const WINDOW: i64 = 10_000_000;
const SETTINGS: &str = "
    [storage]
    snapshot_tail = 100
    snapshot_interval = '1s'
    [[series]]
    match = {}
    windows = ['10s']
    lateness = '2s'
    idle_after = '1h'
    detectors = [{ kind = 'jump', threshold = 12.0 }]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_fifty_times_it_has_everything_acknowledged_exactly_once() {
    let began = Instant::now();
    let place = Place::new(SETTINGS, &[]);
    let mut instance = Instance::start(&place).await;
    let load = Load {
        clients: 4,
        sensors: 2,
        readings: 30,
        pause: Duration::from_millis(2),
    };
    let fleet = Fleet::start(&instance.api, "killed", &load);
    let mut random = Random(1);
    let mut early = 0;
    for kill in 0..KILLS {
        let before = fleet.tally.of(|tally| &tally.acknowledged);
        until("a request to be answered", async || {
            (fleet.tally.of(|tally| &tally.acknowledged) > before).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.below(150))).await;
        instance.kill9();
        fleet.connect(None);
        if kill % STARTS_KILLED_EVERY == 0 {
            let starting = Starting::new(&place, &[]);
            tokio::time::sleep(Duration::from_millis(random.below(150))).await;
            starting.kill9();
            early += 1;
        }
        instance = instance.again(&[]).await;
        fleet.connect(Some(&instance.api));
    }
    let tally = fleet.tally.clone();
    let streams = fleet.finish().await;
    let killing = began.elapsed();
    for stream in &streams {
        close_windows(&instance.api, stream).await;
    }

    let calm = Instance::start(&Place::new(SETTINGS, &[])).await;
    for stream in &streams {
        for begin in (0..stream.acknowledged).step_by(500) {
            let range = begin..stream.acknowledged.min(begin + 500);
            let answer = calm
                .api
                .ingest(&payload(&stream.sensors, stream.start, range))
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        close_windows(&calm.api, stream).await;
    }

    let (mut rows, mut compared, mut duplicates) = (0, 0, 0);
    for stream in &streams {
        for sensor in &stream.sensors {
            let mut inputs = stream.readings(sensor);
            let last = closing(stream);
            let expected = windows(&inputs, WINDOW, last.0 - 2_000_000);
            inputs.push(last);
            let ledger = instance.api.caught_up(sensor).await;
            assert_eq!(
                number(&ledger["stored"]),
                inputs.len() as u64,
                "{sensor}: {ledger}"
            );
            assert_eq!(ledger["rejected"], 0, "{sensor}: {ledger}");
            assert!(
                instance.api.readings(sensor).await == inputs,
                "readings of {sensor} differ from what was sent"
            );
            calm.api.caught_up(sensor).await;
            let (left, right) = (instance.api.windows(sensor).await, calm.api.windows(sensor).await);
            assert_same_windows(sensor, &left, &right);
            assert_windows(sensor, &left, &expected);
            let (left_state, right_state) =
                (state(&instance.api, sensor).await, state(&calm.api, sensor).await);
            assert_eq!(left_state, right_state, "state of {sensor}");
            rows += inputs.len();
            compared += left.len();
            duplicates += number(&ledger["duplicate"]);
        }
    }
    let total = instance.api.total().await;
    let (acknowledged, cut) = (
        tally.of(|tally| &tally.acknowledged),
        tally.of(|tally| &tally.cut),
    );
    assert!(cut > 0, "no request was under way when it was killed");
    report(&format!(
        "{KILLS} x kill -9 under load, {early} more at starts: {acknowledged} requests acknowledged, {cut} cut off, {rows} distinct \
         readings = {rows} rows, {duplicates} duplicates recognized, {compared} windows equal those of an uninterrupted run, \
         ledger balances ({} received), {:.0} s of kills, {:.0} s in all",
        total["received"],
        killing.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    ));
}

/// A reading so far ahead that all windows before it close.
fn closing(stream: &Stream) -> (i64, f64) {
    (stream.start + 25 * 3_600_000_000, 20.0)
}

async fn close_windows(api: &Api, stream: &Stream) {
    let (time, value) = closing(stream);
    let items = stream.sensors.iter().map(|sensor| item(sensor, time, value));
    let answer = api.ingest(&items.collect()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Windows, detectors and history, without where the clock of each instance stood.
async fn state(api: &Api, sensor: &str) -> Value {
    let mut state = api.state(sensor).await;
    state.as_object_mut().unwrap().remove("next_deadline");
    for series in state["series"].as_array_mut().unwrap() {
        series.as_object_mut().unwrap().remove("heard_at");
    }
    state
}
