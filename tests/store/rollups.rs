//! Whatever is rolled up, and when: buckets are those of the stored readings.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sensorhive::domain::*;
use sensorhive::storage::history::*;
use sensorhive::storage::*;

use crate::support::*;

const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
/// 2023-11-14, 22:13:20.
const BEGIN: i64 = 1_700_000_000 * SECOND;
const SERIES: u32 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Readings by series and time since the beginning, and whether the next batch flags them.
    Store(Vec<(u32, i64, i32, bool)>),
    Maintain {
        later: i64,
    },
    Ask {
        series: u32,
        from: i64,
        length: i64,
        step: i64,
        limit: usize,
        newest_first: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let any_time = || {
        prop_oneof![
            -3 * DAY..HOUR,
            -3 * HOUR..HOUR,
            (-70_i64..60).prop_map(|n| n * HOUR + 1)
        ]
    };
    let reading = (0..SERIES, any_time(), -9..9_i32, prop::bool::weighted(0.1));
    let lengths = prop_oneof![0..4 * DAY, 0..2 * HOUR, Just(i64::MAX)];
    let steps = prop::sample::select(vec![
        MINUTE,
        5 * MINUTE,
        7 * MINUTE,
        HOUR,
        36 * HOUR,
        DAY,
        2 * DAY,
        30 * SECOND,
        90 * SECOND,
        WHOLE,
    ]);
    let ask = (
        0..SERIES,
        any_time(),
        lengths,
        steps,
        prop::sample::select(vec![1, 2, 7, 1_000]),
        any::<bool>(),
    );
    prop_oneof![
        3 => prop::collection::vec(reading, 1..40).prop_map(Step::Store),
        2 => (0..3 * HOUR).prop_map(|later| Step::Maintain { later }),
        8 => ask.prop_map(|(series, from, length, step, limit, newest_first)| Step::Ask {
            series, from, length, step, limit, newest_first
        }),
    ]
}

type Stored = BTreeMap<(u32, i64), f64>;

/// The buckets of the readings, one after the other.
fn expected(stored: &Stored, series: u32, page: &Page, step: i64) -> Vec<Bucket> {
    let mut all: Vec<Bucket> = Vec::new();
    if page.from < page.to {
        for (&(_, time), &value) in stored.range((series, page.from.0)..(series, page.to.0)) {
            let start = Timestamp(time - time.rem_euclid(step));
            let one = Bucket {
                start,
                count: 1,
                min: value,
                max: value,
                sum: value,
                first: value,
                last: value,
                first_time: Timestamp(time),
                last_time: Timestamp(time),
            };
            match all.last_mut() {
                Some(last) if last.start == start => *last = last.join(&one),
                _ => all.push(one),
            }
        }
    }
    if page.newest_first {
        all.reverse();
    }
    all.truncate(page.limit);
    all
}

async fn check<F: Fixture>(steps: &[Step]) {
    let Some(fixture) = F::new().await else { return };
    let store = opened(&fixture, SERIES).await;
    let (mut now, mut number) = (BEGIN, 2);
    let mut stored = Stored::new();
    let mut flagged = BTreeSet::new();
    let mut to_flag = Vec::new();
    for step in steps {
        match step {
            Step::Store(readings) => {
                let mut fresh = Vec::new();
                let mut outcome_poison = std::mem::take(&mut to_flag);
                for &(series, since, value, poison) in readings {
                    let (time, value) = (now + since, f64::from(value));
                    if flagged.contains(&(series, time)) || stored.contains_key(&(series, time)) {
                        continue;
                    }
                    stored.insert((series, time), value);
                    fresh.push((series, time, value));
                    if poison {
                        to_flag.push((SeriesId(series), Timestamp(time)));
                    }
                }
                for (series, time) in &outcome_poison {
                    stored.remove(&(series.0, time.0));
                    flagged.insert((series.0, time.0));
                }
                let mut outcome = rows(&fresh);
                outcome.poison.append(&mut outcome_poison);
                let mut batch = batch(number, outcome);
                batch.at.now = Timestamp(now);
                number += 1;
                commit(&store, vec![batch]).await;
            }
            Step::Maintain { later } => {
                now += later;
                store.maintain(Timestamp(now)).await.unwrap();
            }
            &Step::Ask {
                series,
                from,
                length,
                step,
                limit,
                newest_first,
            } => {
                let (from, to) = match length {
                    i64::MAX => (i64::MIN, i64::MAX),
                    length => (now + from, now + from + length),
                };
                let page = Page {
                    from: Timestamp(from),
                    to: Timestamp(to),
                    limit,
                    newest_first,
                };
                let found = store.buckets(SeriesId(series), &page, step).await.unwrap();
                assert_eq!(
                    found,
                    expected(&stored, series, &page, step),
                    "{page:?} by {step}"
                );
            }
        }
    }
    store.close().await;
}

pub async fn buckets_are_those_of_the_readings<F: Fixture>(fixture: F) {
    drop(fixture);
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        let mut runner = TestRunner::new(Config {
            cases: F::CASES,
            failure_persistence: None,
            max_shrink_iters: 64,
            ..Config::default()
        });
        let result = runner.run(&prop::collection::vec(step(), 10..60), |steps| {
            runtime.block_on(check::<F>(&steps));
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

/// Values whose sum is beyond all numbers are answered, and do not keep others from being rolled up.
pub async fn huge_values_do_no_harm<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let readings = [(0, BEGIN, 1.7e308), (0, BEGIN + SECOND, 1.7e308), (1, BEGIN, 5.0)];
    commit(&store, vec![batch(2, rows(&readings))]).await;
    for _ in 0..2 {
        let huge = store.buckets(SeriesId(0), &everything(), DAY).await.unwrap();
        assert_eq!(
            (huge[0].count, huge[0].max, huge[0].sum),
            (2, 1.7e308, f64::INFINITY)
        );
        let other = store
            .summary(SeriesId(1), Timestamp::MIN, Timestamp::MAX)
            .await
            .unwrap();
        assert_eq!(other.unwrap().sum, 5.0);
        store.maintain(Timestamp(BEGIN + 2 * DAY)).await.unwrap();
    }
}

/// What is asked of readings alone.
async fn days(store: &impl Store, series: u32) -> Vec<(i64, u64)> {
    let found = store.buckets(SeriesId(series), &everything(), DAY).await.unwrap();
    found
        .iter()
        .map(|bucket| (bucket.start.0 / DAY, bucket.count))
        .collect()
}

pub async fn rollups_outlive_their_readings<F: OnPostgres>(fixture: F) {
    const FIRST: i64 = 20_000;
    let store = opened(&fixture, 2).await;
    let readings: Vec<_> = (0..40 * 24)
        .map(|hour| (0, FIRST * DAY + hour * HOUR + 1, hour as f64))
        .collect();
    commit(&store, vec![batch(2, rows(&readings))]).await;
    let now = Timestamp((FIRST + 40) * DAY + 10 * MINUTE);
    store.maintain(now).await.unwrap();
    let whole: Vec<_> = (FIRST..FIRST + 40).map(|day| (day, 24)).collect();
    assert_eq!(days(&store, 0).await, whole);
    let before = Timestamp((FIRST + 35) * DAY);
    let expiry = Expiry {
        readings_before: Some(before),
        ..Default::default()
    };
    store.expire(&expiry).await.unwrap();
    assert!(stored(&store, 0).await.len() < readings.len());
    assert_eq!(days(&store, 0).await, whole);
    // What comes late for a day that has expired must not make anew what is no longer whole.
    commit(
        &store,
        vec![batch(
            3,
            rows(&[(0, FIRST * DAY + 5, 1.0), (1, (FIRST + 1) * DAY, 1.0)]),
        )],
    )
    .await;
    store.maintain(now.saturating_add(HOUR)).await.unwrap();
    assert_eq!(days(&store, 0).await, whole);
    store.expire(&expiry).await.unwrap();
    store.maintain(now.saturating_add(2 * HOUR)).await.unwrap();
    assert_eq!(days(&store, 0).await, whole);
}

/// As after a crash between the work and its note.
pub async fn rolling_up_again_changes_nothing<F: OnPostgres>(fixture: F) {
    let store = opened(&fixture, 1).await;
    let readings: Vec<_> = (0..3_000).map(|n| (0, BEGIN + n * MINUTE, n as f64)).collect();
    commit(&store, vec![batch(2, rows(&readings))]).await;
    let now = Timestamp(BEGIN + 3_000 * MINUTE);
    store.maintain(now).await.unwrap();
    let ask = async || store.buckets(SeriesId(0), &everything(), HOUR).await.unwrap();
    let before = ask().await;
    let mut side = fixture.database().connect().await;
    sqlx::query("UPDATE rollup_state SET until = until - interval '1 day' WHERE name = 'done'")
        .execute(&mut side)
        .await
        .unwrap();
    assert_eq!(ask().await, before);
    store.maintain(now).await.unwrap();
    assert_eq!(ask().await, before);
}

/// A transaction that began before readings were claimed is waited for.
pub async fn a_claim_waits_for_the_writer<F: OnPostgres>(fixture: F) {
    let store = opened(&fixture, 1).await;
    commit(&store, vec![batch(2, rows(&[(0, BEGIN, 1.0)]))]).await;
    let (mut writer, mut watcher) = (
        fixture.database().connect().await,
        fixture.database().connect().await,
    );
    let read = "BEGIN; SELECT until FROM rollup_state WHERE name = 'claimed' FOR SHARE";
    sqlx::raw_sql(read).execute(&mut writer).await.unwrap();
    let maintain = store.maintain(Timestamp(BEGIN + 2 * DAY));
    let write = async {
        loop {
            let waiting: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
            )
            .fetch_one(&mut watcher)
            .await
            .unwrap();
            if waiting {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let late = "INSERT INTO readings (series_id, time, value, seq, flags) VALUES (0, to_timestamp(1700000001), 2, 0, 0)";
        sqlx::raw_sql(late).execute(&mut writer).await.unwrap();
        sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    };
    let (maintained, ()) = tokio::join!(maintain, write);
    maintained.unwrap();
    let found = store.buckets(SeriesId(0), &everything(), DAY).await.unwrap();
    assert_eq!((found[0].count, found[0].sum), (2, 3.0));
}

/// A question whose asker has left ends on the server, too.
pub async fn a_dropped_question_ends<F: OnPostgres>(fixture: F) {
    let store = opened(&fixture, 1).await;
    let (mut side, mut watcher) = (
        fixture.database().connect().await,
        fixture.database().connect().await,
    );
    sqlx::raw_sql("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        .execute(&mut side)
        .await
        .unwrap();
    let mut asking = async || -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                 AND query LIKE '%readings%'",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap()
    };
    let page = everything();
    let question = store.readings(SeriesId(0), &page);
    let asked = async {
        while asking().await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        answer = question => panic!("nothing can be read: {answer:?}"),
        () = asked => {}
    }
    while asking().await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut side).await.unwrap();
    assert!(store.readings(SeriesId(0), &page).await.unwrap().is_empty());
}

/// Two instances commit, also into what is being rolled up, while it is.
pub async fn two_writers_at_once_leave_nothing_out<F: OnPostgres>(fixture: F) {
    const BATCHES: u64 = 60;
    let store = opened(&fixture, 4).await;
    let write = async |name: &'static str, series: u32, first: u64| {
        let (store, instance) = fixture.join(name).await;
        for number in first..first + BATCHES {
            let n = (number - first) as i64;
            // Every other one is late by hours.
            let time = BEGIN + n * MINUTE - if n % 2 == 1 { 5 * HOUR } else { 0 };
            let readings = [(series, time, 1.0), (series, time + SECOND, 2.0)];
            let group = CommitGroup {
                instance: instance.clone(),
                batches: vec![batch(number, rows(&readings))],
            };
            store.commit(&group).await.unwrap();
        }
        store.close().await;
    };
    let keep = async {
        for n in 0..30 {
            store.maintain(Timestamp(BEGIN + 2 * n * MINUTE)).await.unwrap();
        }
    };
    tokio::join!(write("a", 0, 1_000), write("b", 2, 5_000), keep);
    store.maintain(Timestamp(BEGIN + DAY)).await.unwrap();
    for series in [0, 2] {
        for step in [MINUTE, HOUR, DAY] {
            let found = store
                .buckets(SeriesId(series), &everything(), step)
                .await
                .unwrap();
            let count: u64 = found.iter().map(|bucket| bucket.count).sum();
            let sum: f64 = found.iter().map(|bucket| bucket.sum).sum();
            assert_eq!(
                (count, sum),
                (2 * BATCHES, 3.0 * BATCHES as f64),
                "series {series} by {step}"
            );
        }
    }
}
