//! Messages that are not keyed by their sensor, so that each sensor comes through two partitions and two instances.

use std::collections::BTreeMap;

use crate::fleet::{Message, Pair, Window, compare_windows, database, say, series};
use crate::instance::until;
use crate::kafka::Record;
use crate::plant::START;

const SENSORS: u64 = 20;
const READINGS: u64 = 6_000;

/// The partitions take turns, for each sensor.
fn records(from: u64, to: u64) -> impl Iterator<Item = Record> {
    (from..to).map(|index| {
        let (sensor, step) = (index % SENSORS, index / SENSORS);
        let payload = serde_json::json!({
            "sensor_id": format!("f{sensor}"), "metric": "m", "value": step as f64,
            "timestamp": START + step as i64 * 1_000_000,
        });
        Record {
            partition: (step % 2) as i32,
            payload: Some(payload.to_string().into_bytes()),
            ..Record::default()
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_keyed_is_stored_once_all_the_same_and_somebody_is_told() {
    let Some(broker) = crate::kafka::Broker::shared().await else {
        return;
    };
    let Some(mut pair) = Pair::start(broker, 2, [1, 1]).await else {
        return;
    };
    let mut connection = pair.database.connect().await;
    for name in ["a", "b"] {
        until("each to have a partition", async || {
            (database::owned(&mut connection, name).await == 1).then_some(())
        })
        .await;
    }
    pair.topic.produce_records(records(0, READINGS / 2));
    until("some progress", async || {
        (database::sum(&mut connection).await > READINGS as i64 / 8).then_some(())
    })
    .await;
    pair.b.kill9();
    pair.topic.produce_records(records(READINGS / 2, READINGS));
    pair.start_b().await;
    until("all to be read", async || {
        (database::sum(&mut connection).await == READINGS as i64).then_some(())
    })
    .await;
    let readings = database::readings(&mut connection).await;
    let each = (READINGS / SENSORS) as i64;
    assert_eq!(readings.len() as u64, SENSORS);
    assert!(
        readings
            .values()
            .all(|&(rows, distinct, ..)| (rows, distinct) == (each, each)),
        "{readings:?}"
    );
    let ledger = database::ledger(&mut connection).await;
    assert_eq!(
        (ledger.received, ledger.stored, ledger.duplicate, ledger.rejected),
        (READINGS as i64, READINGS as i64, 0, 0),
        "{ledger:?}"
    );
    let homes: Vec<Option<String>> =
        sqlx::query_scalar("SELECT DISTINCT home FROM sensors WHERE sensor_id ~ '^f[0-9]+$'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(
        homes,
        [Some(sensorhive::domain::Home::several().as_str().to_owned())]
    );
    let log = pair.places[0].log() + &pair.places[1].log();
    assert!(
        log.contains("a sensor comes through more than one partition"),
        "{log}"
    );
    let expected = series((0..READINGS / SENSORS).map(|step| Message {
        sensor: 0,
        metric: 0,
        time: START + step as i64 * 1_000_000,
        value: step as f64,
    }));
    // Each of the two has every other reading of a window.
    let mut windows = BTreeMap::new();
    until("both to have closed all windows", async || {
        windows = database::windows(&mut connection).await;
        for of_series in windows.values_mut() {
            // One that is open still may be there as well.
            of_series.retain(|start, _| expected.windows.contains_key(start));
        }
        let full = |windows: &BTreeMap<i64, Window>| {
            windows.len() == expected.windows.len() && windows.values().all(|window| window.count == 10)
        };
        (windows.len() as u64 == SENSORS && windows.values().all(full)).then_some(())
    })
    .await;
    let mut revised = 0;
    for (series, windows) in &mut windows {
        for window in windows.values_mut() {
            revised += usize::from(window.revision > 0);
            // How often depends on who was first.
            window.revision = 0;
        }
        compare_windows(series, windows, &expected.windows);
    }
    say(&format!(
        "unkeyed: {READINGS} readings of {SENSORS} sensors through two instances, one of them killed: all stored once; {} windows, \
         {revised} of them revised, all as expected of one instance",
        windows.len() * expected.windows.len()
    ));
}
