//! Two services of one group on one PostgreSQL, while everything around them fails: what is stored at the end is what one service
//! alone, left in peace, would have made of the topic.
//!
//! That is not asked of a second service but computed here from what was written (see [`traffic`]): it costs less, and it does not
//! share the mistakes of what is under test.

pub mod database;
mod pair;
mod traffic;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::{Signal, kill_process};
use sqlx::PgConnection;

pub use self::pair::Pair;
use self::pair::{HEARTBEAT, SESSION};
pub use self::traffic::{Message, Window, series};
use self::traffic::{PARTITIONS, Series, Written};

use crate::instance::{Instance, PATIENCE, until};
use crate::kafka::Broker;
use crate::plant;

/// What happens, each while there is something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// One dies and is back at once, before the group has noticed.
    KillAndStart,
    /// One dies, and is back when the other one has all partitions.
    KillForLong,
    RestartBroker,
    /// Somebody else joins the group, and leaves.
    Guest,
    /// One ends as it is asked to, and starts again.
    Stop,
    /// One stands still for longer than its session, and goes on.
    Freeze,
}

const EVENTS: [Event; 14] = {
    use Event::*;
    [
        KillAndStart,
        KillForLong,
        Guest,
        KillAndStart,
        KillForLong,
        Freeze,
        KillAndStart,
        KillForLong,
        RestartBroker,
        KillAndStart,
        KillForLong,
        Stop,
        KillAndStart,
        KillForLong,
    ]
};

/// What the instances counted, over all their lives. Of one that is killed, as it was shortly before.
#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    in_the_middle: u64,
    messages: u64,
    rebalances: u64,
    rewinds: u64,
}

impl Figures {
    async fn add(&mut self, instance: &Instance) {
        let text = instance.api.text("/metrics").await;
        let figure = |name: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            values.sum::<u64>()
        };
        self.messages += figure("sensorhive_kafka_messages_total");
        self.rebalances += figure("sensorhive_kafka_rebalances_total");
        self.rewinds += figure("sensorhive_rewinds_total");
    }
}

fn messages() -> u64 {
    let asked = std::env::var("SENSORHIVE_TEST_MESSAGES");
    asked.map_or(200_000, |text| {
        text.parse().expect("SENSORHIVE_TEST_MESSAGES is a number")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_a_group_store_each_message_once_whatever_happens() {
    let Some(broker) = crate::kafka::Broker::private().await else {
        return;
    };
    let begun = Instant::now();
    let Some(mut pair) = Pair::start(&broker, PARTITIONS, [1, 2]).await else {
        return;
    };
    let mut connection = pair.database.connect().await;
    let refused = pair
        .a
        .api
        .ingest(&serde_json::json!({"sensor_id": "f0", "value": 1}))
        .await;
    assert_eq!(refused.status, 409, "{refused:?}");

    let (total, mut figures) = (messages(), Figures::default());
    let share = total / (EVENTS.len() as u64 + 1);
    let mut produced = 0;
    for (number, event) in EVENTS.into_iter().enumerate() {
        for name in ["a", "b"] {
            until(&format!("{name} to have its part"), async || {
                (database::owned(&mut connection, name).await > 0).then_some(())
            })
            .await;
        }
        let before = Written::up_to(produced).records();
        let (from, to) = (produced, produced + share);
        let mut writing = tokio::task::spawn_blocking({
            let topic = pair.topic.clone();
            move || topic.produce_records(traffic::records(from, to))
        });
        produced = to;
        // At another place each time.
        let enough = before + (share as i64 / 32) * (1 + number as i64 % 8);
        until("some progress", async || {
            (database::sum(&mut connection).await >= enough).then_some(())
        })
        .await;
        say(&format!(
            "{number}: {event:?} at {} of {produced} after {:?}",
            database::sum(&mut connection).await,
            begun.elapsed()
        ));
        match event {
            Event::KillAndStart | Event::KillForLong => {
                figures.add(&pair.b).await;
                pair.b.kill9();
                figures.kills += 1;
                let left = database::sum(&mut connection).await < Written::up_to(produced).records();
                figures.in_the_middle += u64::from(left);
                if event == Event::KillForLong {
                    has_all(&mut connection, "a").await;
                }
                pair.start_b().await;
            }
            Event::RestartBroker => {
                // Whether what the producer has sent arrives is not the question.
                (&mut writing).await.unwrap();
                broker.kill();
                broker.start().await;
            }
            Event::Guest => visit(&broker, &pair).await,
            Event::Stop => {
                figures.add(&pair.a).await;
                pair.a.sigterm();
                assert!(pair.a.ended().await.success(), "{}", pair.places[0].log());
                assert_eq!(
                    database::owned(&mut connection, "a").await,
                    0,
                    "it gave back what it had"
                );
                has_all(&mut connection, "b").await;
                pair.start_a().await;
            }
            Event::Freeze => {
                kill_process(pair.a.pid(), Signal::STOP).unwrap();
                has_all(&mut connection, "b").await;
                kill_process(pair.a.pid(), Signal::CONT).unwrap();
            }
        }
        if event != Event::RestartBroker {
            writing.await.unwrap();
        }
    }
    let (from, rest) = (produced, pair.topic.clone());
    tokio::task::spawn_blocking(move || rest.produce_records(traffic::records(from, total)))
        .await
        .unwrap();
    let written = Written::up_to(total);
    all_read(&mut connection, written.records()).await;
    let ledger = processed(&mut connection).await;
    figures.add(&pair.a).await;
    figures.add(&pair.b).await;

    let expected_positions: BTreeMap<String, i64> = (0..)
        .zip(written.ends)
        .map(|(number, end)| (format!("{}/{number}", pair.topic.name), end))
        .collect();
    assert_eq!(database::positions(&mut connection).await, expected_positions);
    assert_eq!(
        (
            ledger.received,
            ledger.stored,
            ledger.duplicate,
            ledger.rejected,
            ledger.filtered
        ),
        (
            written.records(),
            written.readings,
            written.again,
            written.poison,
            0
        ),
        "{ledger:?} {written:?}"
    );
    assert_eq!(database::letters(&mut connection).await, written.poison);
    let compared = compare(&mut connection, total).await;
    assert!(
        figures.in_the_middle > 0,
        "it was never killed while messages were left"
    );
    for place in &pair.places {
        let log = place.log();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    say(&format!(
        "{} messages, {PARTITIONS} partitions, two instances: {} x kill -9, {} of them in the middle, 1 restart of the broker, 1 guest, \
         1 SIGTERM, 1 freeze; {} rebalances, {} rewinds, at least {} messages read again; {} rows, {} duplicates of {} sent twice, {} dead \
         letters of {}; {compared}; {:.0?}",
        written.records(),
        figures.kills,
        figures.in_the_middle,
        figures.rebalances,
        figures.rewinds,
        figures.messages.saturating_sub(written.records() as u64),
        ledger.stored,
        ledger.duplicate,
        written.again,
        ledger.rejected,
        written.poison,
        begun.elapsed(),
    ));
}

async fn has_all(connection: &mut PgConnection, name: &str) {
    until(&format!("{name} to have all partitions"), async || {
        (database::owned(connection, name).await == i64::from(PARTITIONS)).then_some(())
    })
    .await;
}

/// A consumer that stores nothing takes a part of the partitions, and gives it back.
async fn visit(broker: &Broker, pair: &Pair) {
    let Pair { a, b, topic, .. } = pair;
    let mut config = broker.config();
    config
        .set("group.id", plant::group(topic))
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", SESSION)
        .set("heartbeat.interval.ms", HEARTBEAT)
        .set("partition.assignment.strategy", "cooperative-sticky");
    let guest: BaseConsumer = config.create().unwrap();
    guest.subscribe(&[&topic.name]).unwrap();
    let guest = Arc::new(guest);
    let stays = Arc::new(AtomicBool::new(true));
    let visit = std::thread::spawn({
        let (guest, stays) = (guest.clone(), stays.clone());
        move || {
            while stays.load(Ordering::Relaxed) {
                let _ = guest.poll(Duration::from_millis(50));
            }
            guest.unsubscribe();
            let _ = guest.poll(Duration::from_millis(500));
        }
    });
    until("the guest to have his share", async || {
        let mut ours = 0;
        for instance in [a, b] {
            ours += plant::detail(&instance.api).await["assigned"].as_i64()?;
        }
        let his = guest.assignment().unwrap().count() as i64;
        (his > 0 && his + ours == i64::from(PARTITIONS)).then_some(())
    })
    .await;
    stays.store(false, Ordering::Relaxed);
    tokio::task::spawn_blocking(|| visit.join().unwrap())
        .await
        .unwrap();
}

/// Waits for as long as there is some progress.
async fn all_read(connection: &mut PgConnection, records: i64) {
    let (mut last, mut since) = (-1, Instant::now());
    loop {
        let now = database::sum(connection).await;
        if now >= records {
            return;
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(
            since.elapsed() < PATIENCE,
            "it stands still at {now} of {records}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the sensors have seen all that is stored; the ledger then.
async fn processed(connection: &mut PgConnection) -> database::Ledger {
    until("the sensors to have seen everything", async || {
        let ledger = database::ledger(connection).await;
        (ledger.unprocessed == 0).then_some(ledger)
    })
    .await
}

/// Readings, windows and anomalies, row by row. Says how many there were.
async fn compare(connection: &mut PgConnection, total: u64) -> String {
    let expected = traffic::expected(total);
    let readings = database::readings(connection).await;
    let windows = database::windows(connection).await;
    let steps = database::steps(connection).await;
    let none = BTreeMap::new();
    let (mut closed, mut revised, mut found) = (0, 0, 0);
    for (series, expected) in &expected {
        let count = expected.readings.len() as i64;
        // Sums of sixteenths are exact.
        let sums = (
            count,
            count,
            expected.readings.keys().sum(),
            expected.readings.values().sum(),
        );
        assert_eq!(readings.get(series), Some(&sums), "readings of {series:?}");
        let stored = windows.get(series).unwrap_or(&none);
        compare_windows(series, stored, &expected.windows);
        closed += stored.len();
        revised += stored.values().filter(|window| window.revision > 0).count();
        let stored = steps.get(series).cloned().unwrap_or_default();
        assert_eq!(stored, expected.steps, "anomalies of {series:?}");
        found += stored.len();
    }
    assert!(
        readings
            .keys()
            .chain(windows.keys())
            .chain(steps.keys())
            .all(|series| expected.contains_key(series))
    );
    assert!(revised > 0 && found > 0, "nothing was late, or nothing was found");
    format!("{closed} windows, {revised} of them revised, and {found} anomalies as expected")
}

pub fn compare_windows(series: &Series, stored: &BTreeMap<i64, Window>, expected: &BTreeMap<i64, Window>) {
    let starts = |windows: &BTreeMap<i64, Window>| windows.keys().copied().collect::<Vec<_>>();
    assert_eq!(starts(stored), starts(expected), "windows of {series:?}");
    for ((start, stored), expected) in stored.iter().zip(expected.values()) {
        let near = |left: f64, right: f64| (left - right).abs() <= 1e-9 * right.abs().max(1e-3);
        let rounded = Window {
            mean: stored.mean,
            stddev: stored.stddev,
            revision: stored.revision,
            ..*expected
        };
        assert!(
            *stored == rounded && near(stored.mean, expected.mean) && near(stored.stddev, expected.stddev),
            "window at {start} of {series:?}: {stored:?} is not {expected:?}"
        );
        // Late readings that are stored together make one revision.
        assert!(
            stored.revision <= expected.revision,
            "window at {start} of {series:?}: {stored:?}, {expected:?}"
        );
    }
}

/// Prints a line that `cargo test` does not capture.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "kafka test: {line}");
}
