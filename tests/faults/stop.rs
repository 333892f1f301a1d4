//! Told to stop by SIGTERM while readings come in from all sides.

use std::time::{Duration, Instant};

use crate::api::number;
use crate::instance::{Instance, Place, report, until};
use crate::traffic::{Fleet, Load, reading};

const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
const SETTINGS: &str = "
    [sources.lab]
    kind = 'simulated'
    sensors = 50
    rate = 1000.0
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_under_load_it_loses_nothing_and_has_nothing_left_to_do() {
    let place = Place::new(SETTINGS, &[]);
    let mut instance = Instance::start(&place).await;
    let load = Load {
        clients: 6,
        sensors: 3,
        readings: 20,
        pause: Duration::ZERO,
    };
    let fleet = Fleet::start(&instance.api, "stopped", &load);
    until("load", async || {
        (fleet.tally.of(|tally| &tally.acknowledged) > 300).then_some(())
    })
    .await;
    let told = Instant::now();
    instance.sigterm();
    let status = instance.ended().await;
    let took = told.elapsed();
    assert_eq!(status.code(), Some(0), "{}", place.log());
    assert!(place.log().contains("drained=true"), "{}", place.log());
    assert!(took < DRAIN_TIMEOUT, "it took {took:?}");
    let tally = fleet.tally.clone();
    let streams = fleet.give_up().await;

    let mut database = place.connect().await;
    let count = async |sql: &'static str, database: &mut sqlx::SqliteConnection| -> u64 {
        let (count,): (i64,) = sqlx::query_as(sql).fetch_one(database).await.unwrap();
        count as u64
    };
    let rows = count("SELECT count(*) FROM readings", &mut database).await;
    let behind = "SELECT count(*) FROM sensor_ledger WHERE tail_from IS NOT NULL OR unprocessed > 0";
    assert_eq!(
        count(behind, &mut database).await,
        0,
        "sensors without a snapshot of all they had seen"
    );
    let simulated = "SELECT ifnull(sum(stored), 0) FROM sensor_ledger WHERE sensor_id IN
                     (SELECT id FROM sensors WHERE sensor_id NOT LIKE 'stopped-%' AND sensor_id <> 'sensorhive')";
    let simulated = count(simulated, &mut database).await;
    assert!(simulated > 0, "the simulated source had said nothing yet");
    drop(database);

    let instance = instance.again(&["sources.lab.enabled=false"]).await;
    // The service's own figures go on, and pass through for the moment in which their sensor comes back.
    instance.api.caught_up("sensorhive").await;
    let total = instance.api.total().await;
    let own = number(&instance.api.ledger("sensorhive").await["stored"]);
    assert_eq!(total["unprocessed"], 0, "{total}");
    assert!(
        (rows..=rows + own).contains(&number(&total["stored"])),
        "{total}, and {rows} rows before"
    );
    let (mut acknowledged, mut unanswered) = (0, 0);
    for stream in &streams {
        for sensor in &stream.sensors {
            let stored = instance.api.readings(sensor).await;
            let sent: Vec<_> = (0..stream.sent)
                .map(|index| reading(sensor, stream.start, index))
                .collect();
            assert!(
                stored.len() as u64 >= stream.acknowledged,
                "an acknowledged reading of {sensor} is lost"
            );
            assert!(
                stored == sent[..stored.len()],
                "readings of {sensor} differ from what was sent"
            );
            acknowledged += stream.acknowledged;
            unanswered += stored.len() as u64 - stream.acknowledged;
        }
    }
    report(&format!(
        "SIGTERM under load: exit 0 after {} ms, {acknowledged} acknowledged and {simulated} simulated readings all stored, {unanswered} \
         more whose answer was cut off, {} requests told to come again, {} cut off, unprocessed 0, every sensor has a snapshot of \
         its end, ledger balances after the restart",
        took.as_millis(),
        tally.of(|tally| &tally.unavailable),
        tally.of(|tally| &tally.cut),
    ));
}

/// Nobody may wait for ever for a database that another program holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_while_the_database_is_locked_it_gives_up_and_loses_nothing_acknowledged() {
    let place = Place::new("", &["pipeline.drain_timeout=2s"]);
    let mut instance = Instance::start(&place).await;
    let load = Load {
        clients: 4,
        sensors: 2,
        readings: 20,
        pause: Duration::ZERO,
    };
    let fleet = Fleet::start(&instance.api, "abandoned", &load);
    until("load", async || {
        (fleet.tally.of(|tally| &tally.acknowledged) > 50).then_some(())
    })
    .await;
    let mut other = place.connect().await;
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let told = Instant::now();
    instance.sigterm();
    let status = instance.ended().await;
    let took = told.elapsed();
    assert_eq!(status.code(), Some(1), "{}", place.log());
    let log = place.log();
    let error = log.lines().rfind(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains("the drain took longer"), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    drop(other);

    fleet.connect(None);
    let instance = instance.again(&[]).await;
    fleet.connect(Some(&instance.api));
    let mut rows = 0;
    for stream in fleet.finish().await {
        for sensor in &stream.sensors {
            instance.api.caught_up(sensor).await;
            assert!(
                instance.api.readings(sensor).await == stream.readings(sensor),
                "readings of {sensor}"
            );
            rows += stream.acknowledged;
        }
    }
    instance.api.total().await;
    report(&format!(
        "SIGTERM while another process holds the lock, drain_timeout 2 s: exit 1 after {} ms ({error}); after the restart \
         {rows} distinct readings = {rows} rows, ledger balances",
        took.as_millis(),
    ));
}
