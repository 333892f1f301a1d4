//! What becomes of a sensor whose stored rows nobody can read, and of those that come back with it.

use std::time::Duration;

use sensorhive::actors::shard::env::Mode;
use sensorhive::actors::shard::messages::{Command, ListSensors};
use sensorhive::domain::{RejectReason, SensorKey, SeriesId};

use super::Schedule;
use super::bench::{Bench, stored};
use super::check;
use super::faulty::Faults;
use super::world::{POISON, WINDOW};

const SENSORS: u32 = 8;

async fn modes(bench: &Bench) -> Vec<(SensorKey, Mode)> {
    let ask = ListSensors {
        sensors: (1..=SENSORS).map(SensorKey).collect(),
        limit: SENSORS as usize,
    };
    let status = bench.service.pipeline().shards[0].send(ask).await.unwrap();
    status.iter().map(|status| (status.sensor, status.mode)).collect()
}

async fn come_to(bench: &Bench, wanted: &[(SensorKey, Mode)]) {
    let mut last = Vec::new();
    for _ in 0..2_000 {
        last = modes(bench).await;
        if last == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("they do not come to {wanted:?}: {last:?}");
}

/// The first sensor alone is in quarantine.
fn all_but_one() -> Vec<(SensorKey, Mode)> {
    let mode = |number| {
        if number == 1 {
            Mode::Quarantined
        } else {
            Mode::Running
        }
    };
    (1..=SENSORS)
        .map(|number| (SensorKey(number), mode(number)))
        .collect()
}

/// The damage has to leave every sensor with readings after its snapshot or a deadline, so that a start brings it back.
async fn with(damage: &'static str, repair: &'static str, said: &str) {
    let mut bench = Bench::new(false, true).await;
    for number in 1..SENSORS {
        let time = bench.time;
        let item = format!(r#"{{"sensor_id":"s{number}","metric":"m","value":1,"timestamp":{time}}}"#);
        stored(bench.service.intake(0), item).await;
    }
    bench.service.restart_after(damage).await;
    come_to(&bench, &all_but_one()).await;
    let rows = bench.restarts().await;
    assert!(
        rows.iter()
            .any(|row| row.reason == "quarantine" && row.detail.contains(said)),
        "{rows:?}"
    );
    // What it sends is stored, and trying again changes nothing.
    bench.send(2.0).await;
    bench.command(Command::Resume).await;
    bench.settle().await;
    come_to(&bench, &all_but_one()).await;

    bench.service.sql(repair).await;
    bench.command(Command::Resume).await;
    bench.works().await;
    bench.service.end().await;
}

#[test]
fn a_reading_that_cannot_be_read_keeps_only_its_sensor_from_coming_back() {
    let damage = "DELETE FROM sensor_snapshots; UPDATE sensor_ledger SET tail_from = 0;
         UPDATE readings SET flags = 'torn' WHERE series_id = 1";
    let repair = "UPDATE readings SET flags = 0 WHERE flags = 'torn'";
    actix::System::new().block_on(with(
        damage,
        repair,
        "cannot be read: loading sensors: reading of series 1 at ",
    ));
}

#[test]
fn a_snapshot_that_cannot_be_read_keeps_only_its_sensor_from_coming_back() {
    let damage = "DELETE FROM sensor_snapshots; UPDATE sensor_ledger SET tail_from = 0;
         INSERT INTO sensor_snapshots (sensor_id, seq, deadline, state) VALUES (1, 'torn', 0, x'')";
    let repair = "DELETE FROM sensor_snapshots WHERE seq = 'torn'";
    actix::System::new().block_on(with(
        damage,
        repair,
        "cannot be read: loading sensors: snapshot of sensor 1: ",
    ));
}

/// A reset does not look at what it forgets. A sensor that is rebuilt from its readings afterwards does, and finds poison that a
/// window was computed from.
#[test]
fn no_window_is_left_of_what_is_found_to_be_poison_later() {
    actix::System::new().block_on(async {
        let mut bench = Bench::with(Schedule {
            calm: true,
            ..Schedule::of(0)
        })
        .await;
        bench.command(Command::Pause).await;
        bench.comes_to(Mode::Paused).await;
        for value in [POISON * 2.0, 2.0, 3.0] {
            bench.time += 2 * WINDOW;
            bench.send(value).await;
        }
        bench.command(Command::Reset).await;
        bench.command(Command::Resume).await;
        bench.comes_to(Mode::Running).await;
        bench.settle().await;
        let pipeline = bench.service.pipeline();
        let store = pipeline.store.as_ref();
        let windows = async || store.windows(SeriesId(1), &check::EVER).await.unwrap();
        let values: Vec<f64> = windows().await.iter().map(|window| window.max).collect();
        assert_eq!(values, [1.0, POISON * 2.0, 2.0]);

        bench.shared.set(Faults {
            unreadable: 1000,
            ..Faults::NONE
        });
        bench.command(Command::Restart).await;
        while store.dead_letters(None, 10).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.shared.set(Faults::NONE);
        bench.comes_to(Mode::Running).await;
        // Closes the window of the last one, too.
        bench.time += 2 * WINDOW;
        bench.send(4.0).await;
        bench.settle().await;
        let letters = store.dead_letters(None, 10).await.unwrap();
        assert_eq!(
            (letters.len(), letters[0].letter.reason),
            (1, RejectReason::Panic)
        );
        let mut rows = store.readings(SeriesId(1), &check::EVER).await.unwrap();
        assert_eq!(rows.len(), 5);
        rows.pop();
        check::closed_windows(store, SeriesId(1), &rows, 0).await;
        drop(pipeline);
        bench.service.end().await;
    });
}
