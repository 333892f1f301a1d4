//! What each command does to a sensor in each mode, and how it comes back.

use std::time::Duration;

use sensorhive::actors::sensor::Inspect;
use sensorhive::actors::shard::env::Mode;
use sensorhive::actors::shard::messages::{Command, Find, SensorStatus};
use sensorhive::domain::SensorKey;

use super::bench::{Bench, stored};
use super::faulty::Faults;
use super::world::POISON;

#[test]
fn each_command_in_each_mode() {
    use Command::{Pause, Reset, Restart, Resume};
    use Mode::{Paused, Quarantined, Running};
    let cases = [
        (Running, Restart, Running),
        (Running, Reset, Running),
        (Running, Pause, Paused),
        (Running, Resume, Running),
        (Paused, Restart, Paused),
        (Paused, Reset, Paused),
        (Paused, Pause, Paused),
        (Paused, Resume, Running),
        (Quarantined, Restart, Running),
        (Quarantined, Reset, Running),
        (Quarantined, Pause, Paused),
        (Quarantined, Resume, Running),
    ];
    for (from, command, to) in cases {
        println!("{command:?} while {from:?}");
        actix::System::new().block_on(async {
            let mut bench = Bench::new(false, true).await;
            bench.bring_to(from).await;
            bench.command(command).await;
            bench.settle().await;
            bench.comes_to(to).await;
            if to == Paused {
                // Whatever it was paused in.
                bench.command(Resume).await;
            }
            bench.works().await;
            bench.service.end().await;
        });
    }
}

#[test]
fn a_sensor_that_is_not_in_memory_comes_back_and_says_who_asked() {
    actix::System::new().block_on(async {
        let bench = Bench::new(true, true).await;
        bench.comes_to(Mode::Passive).await;
        bench.command(Command::Restart).await;
        bench.comes_to(Mode::Running).await;
        let rows = bench.restarts().await;
        assert!(
            rows.iter()
                .any(|row| row.reason == "admin" && row.by.as_deref() == Some("operator")),
            "{rows:?}"
        );
        bench.service.end().await;
    });
}

/// A message carries 256 readings, and a snapshot is due after 20.
#[test]
fn a_batch_of_several_messages_is_known_whole_or_not_at_all() {
    actix::System::new().block_on(async {
        let mut bench = Bench::new(false, false).await;
        let values: Vec<f64> = (0..266).map(f64::from).collect();
        bench.send_all(&values).await;
        bench.command(Command::Restart).await;
        bench.settle().await;
        bench.comes_to(Mode::Running).await;
        let find = Find(bench.key);
        let sensor = bench.service.pipeline().shards[0]
            .send(find)
            .await
            .unwrap()
            .unwrap();
        let series = sensor.send(Inspect).await.unwrap().state.series.pop().unwrap();
        assert_eq!((series.newest_value, series.newest_time.0), (265.0, bench.time));
        bench.service.end().await;
    });
}

#[test]
fn however_much_poison_there_is_the_others_have_their_turn() {
    const POISONOUS: u64 = 100;
    actix::System::new().block_on(async {
        let mut bench = Bench::new(false, false).await;
        bench.command(Command::Pause).await;
        bench.comes_to(Mode::Paused).await;
        bench.send_all(&vec![POISON * 2.0; POISONOUS as usize]).await;
        bench.command(Command::Resume).await;
        bench.comes_to(Mode::Running).await;
        let status = bench.status().await.unwrap();
        assert_eq!(u64::from(status.crashes), POISONOUS.div_ceil(8), "a crash a step");
        let pipeline = bench.service.pipeline();
        pipeline.settle().await;
        let letters = pipeline.store.dead_letters(None, 1_000).await.unwrap();
        assert_eq!(letters.len() as u64, POISONOUS);
        let ledger = pipeline.store.sensor_ledger(bench.key).await.unwrap().ledger;
        assert_eq!((ledger.stored, ledger.unprocessed), (POISONOUS + 1, 0));
        drop(pipeline);
        bench.service.end().await;
    });
}

/// Sensors leave memory after 300 ms.
#[test]
fn a_sensor_stays_until_what_it_saw_is_stored() {
    actix::System::new().block_on(async {
        let mut bench = Bench::new(true, false).await;
        bench.key = SensorKey(2);
        bench.shared.set(Faults {
            transient: 1000,
            ..Faults::NONE
        });
        let payload = |time| format!(r#"{{"sensor_id":"s1","metric":"m","value":1,"timestamp":{time}}}"#);
        let time = bench.time;
        let first = stored(bench.service.intake(0), payload(time));
        let second = async {
            tokio::time::sleep(Duration::from_millis(800)).await;
            assert_eq!(
                bench.status().await.map(|status| status.mode),
                Some(Mode::Running)
            );
            let heal = async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                bench.shared.set(Faults::NONE);
            };
            futures_util::join!(stored(bench.service.intake(1), payload(time + 1_000)), heal);
        };
        futures_util::join!(first, second);
        let find = Find(bench.key);
        let sensor = bench.service.pipeline().shards[0]
            .send(find)
            .await
            .unwrap()
            .unwrap();
        let series = sensor.send(Inspect).await.unwrap().state.series.pop().unwrap();
        assert_eq!(series.remembered, 2);
        bench.comes_to(Mode::Passive).await;
        bench.service.end().await;
    });
}

#[test]
fn what_happened_to_a_sensor_is_known_when_it_has_left_memory_and_come_back() {
    actix::System::new().block_on(async {
        let mut bench = Bench::new(true, false).await;
        let told = |status: SensorStatus| (status.restarts, status.crashes);
        let before = Some((1, 1));
        bench.crash().await;
        while bench.status().await.map(told) != before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.comes_to(Mode::Passive).await;
        assert_eq!(bench.status().await.map(told), before);
        bench.send(1.0).await;
        bench.comes_to(Mode::Running).await;
        assert_eq!(bench.status().await.map(told), before);
        bench.service.end().await;
    });
}
