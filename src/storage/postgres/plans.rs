//! What PostgreSQL makes of the questions that are asked all the time: whatever the tables hold, they walk the key, and leave alone
//! what lies outside of their time.

use std::collections::BTreeMap;

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::resolution::{DAY, HOUR, MINUTE, Resolution};
use super::time::Time;
use super::{PostgresSettings, PostgresStore, Timescale, buckets, restore, series};
use crate::domain::*;
use crate::storage::*;

#[path = "../../../tests/support/postgres/mod.rs"]
mod installed;

use installed::{Flavor, Server};

const DAYS: i64 = 10;
/// A midnight in days that have partitions of their own.
const BEGIN: i64 = 30_000 * DAY;
const END: i64 = BEGIN + DAYS * DAY;
const SERIES: i32 = 40;

/// Ten days of forty series, a reading every two minutes.
async fn filled(url: &str, timescale: Timescale) -> PostgresStore {
    let mut settings = PostgresSettings::from_url(url).unwrap();
    settings.timescale = timescale;
    settings.compress_after = None;
    let store = PostgresStore::open(&settings).await.unwrap();
    let instance = InstanceId("test".into());
    store.claim_writer(&instance).await.unwrap();
    let row = |n: i64| Row {
        sensor: SensorKey(0),
        reading: Reading {
            series: SeriesId(0),
            time: Timestamp(n),
            value: 1.0,
            index: (n / DAY - BEGIN / DAY) as u32,
            flags: Flags::NONE,
        },
    };
    let outcome = SliceOutcome {
        rows: (0..DAYS).map(|day| row(BEGIN + day * DAY + 1)).collect(),
        ..Default::default()
    };
    let batch = CompleteBatch {
        number: BatchNumber(1),
        at: BatchTime {
            now: Timestamp(END),
            active: ActiveTime(0),
        },
        source: SourceName::parse("http").unwrap(),
        sensors: Vec::new(),
        series: Vec::new(),
        positions: Vec::new(),
        arrivals: Vec::new(),
        source_ledger: LedgerDelta::default(),
        dead_letters: Vec::new(),
        outcomes: vec![outcome],
    };
    let batches = vec![batch];
    store.commit(&CommitGroup { instance, batches }).await.unwrap();
    let mut side = store.servers.connect().await.unwrap();
    let fill = format!(
        "INSERT INTO sensors (id, sensor_id) SELECT n, n FROM generate_series(0, {SERIES}) n;
         INSERT INTO series (id, sensor_id, metric) SELECT n, n, 'm' FROM generate_series(0, {SERIES}) n;
         INSERT INTO readings (series_id, time, value, seq, flags)
             SELECT s, timestamptz 'epoch' + t * interval '1 microsecond', s, (1 << 20) + t / {MINUTE}, 0
             FROM generate_series({BEGIN}::bigint, {END}::bigint - 1, 2::bigint * {MINUTE}) t, generate_series(1, {SERIES}) s;
         DELETE FROM sensor_ledger;
         INSERT INTO sensor_ledger (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed, last_seq, tail_from)
             SELECT n, 1, 1, 0, 0, 0, 0, 0, 1 << 30, timestamptz 'epoch' + ({END} - {HOUR}) * interval '1 microsecond'
             FROM generate_series(0, {SERIES}) n"
    );
    sqlx::raw_sql(AssertSqlSafe(fill))
        .execute(&mut side)
        .await
        .unwrap();
    store.maintain(Timestamp(END)).await.unwrap();
    sqlx::raw_sql("ANALYZE").execute(&mut side).await.unwrap();
    store
}

/// The beginnings of the partitions and chunks, by name.
async fn parts(store: &PostgresStore, connection: &mut PgConnection) -> BTreeMap<String, i64> {
    let sql = match &store.layout {
        super::Layout::Partitions(_) => "SELECT name, start FROM partitions WHERE parent = 'readings'",
        super::Layout::Hypertables { .. } => {
            "SELECT chunk_name::text, range_start FROM timescaledb_information.chunks WHERE hypertable_name = 'readings'"
        }
    };
    let parts: Vec<(String, Time)> = sqlx::query_as(sql).fetch_all(connection).await.unwrap();
    assert!(parts.len() >= DAYS as usize);
    parts
        .into_iter()
        .map(|(name, Time(start))| (name, start.0))
        .collect()
}

macro_rules! with {
    ($($argument:expr),+) => {{
        let mut arguments = PgArguments::default();
        $(arguments.add($argument).unwrap();)+
        arguments
    }};
}

/// The steps that were done, as text.
async fn explain(connection: &mut PgConnection, sql: &str, arguments: PgArguments) -> Vec<String> {
    let sql = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}");
    let rows = sqlx::query_scalar_with(AssertSqlSafe(sql), arguments);
    let lines: Vec<String> = rows.fetch_all(connection).await.unwrap();
    lines
        .into_iter()
        .filter(|line| !line.contains("(never executed)"))
        .collect()
}

async fn check(flavor: Flavor, timescale: Timescale) {
    let Some(server) = Server::shared().await else {
        return;
    };
    let Some(database) = server.database(flavor).await else {
        return;
    };
    let store = filled(database.url(), timescale).await;
    let mut reader = store.reader().await.unwrap();
    let connection = reader.connection();
    let parts = parts(&store, connection).await;
    let at = |time: i64| Time(Timestamp(time));
    let everything = [at(i64::MIN), at(i64::MAX)];
    let hour = [at(END - HOUR), at(END)];
    let old_hour = [at(BEGIN + 3 * DAY + HOUR), at(BEGIN + 3 * DAY + 2 * HOUR)];
    // What is asked, and the days that may be looked into.
    let last_day = END - DAY..i64::MAX;
    let old_day = BEGIN + 3 * DAY..BEGIN + 4 * DAY;
    let all: Vec<i32> = (1..=SERIES).collect();
    for (span, days) in [(hour, &last_day), (old_hour, &old_day)] {
        for sql in [series::READINGS, series::NEWEST_READINGS] {
            let asked = with!(7, span[0], span[1], 100_i64);
            assert_by_key(&explain(connection, sql, asked).await, &parts, days);
        }
        for sql in [buckets::FORWARD, buckets::BACKWARD] {
            let asked = with!(7, span[0], span[1], 7 * MINUTE, 100_i64, series::poison());
            assert_by_key(&explain(connection, sql, asked).await, &parts, days);
        }
    }
    let (from, after) = (vec![hour[0]; all.len()], vec![-1_i64; all.len()]);
    for (sql, asked) in [
        (
            series::NEWEST_READINGS,
            with!(7, everything[0], everything[1], 100_i64),
        ),
        (series::LATEST, with!(all.clone())),
        (
            restore::TAILS,
            with!(all.clone(), 1_000_i64, hour[0], from, after),
        ),
        (restore::TAIL_START, with!(7, 1_000_i64, hour[0], -1_i64)),
        (restore::RECENT, with!(7, 100_i64)),
    ] {
        assert_by_key(&explain(connection, sql, asked).await, &parts, &last_day);
    }
    for of in Resolution::ALL {
        for newest_first in [false, true] {
            let sql = buckets::rolled_up(store.layout.relation(of), newest_first);
            let asked = with!(7, at(BEGIN), at(END), of.span(), 100_i64, 100_i64);
            let steps = explain(connection, &sql, asked).await;
            // A table of some pages, as that of days, is read as fast without its key.
            let seq = steps.iter().any(|step| step.contains("Seq Scan"));
            assert!(!seq || of == Resolution::Day, "{steps:#?}");
        }
    }
    drop(reader);
    store.close().await;
}

/// That readings were found by their key, and only in what begins within `days`.
fn assert_by_key(steps: &[String], parts: &BTreeMap<String, i64>, days: &std::ops::Range<i64>) {
    assert!(steps.iter().any(|step| step.contains("Index")), "{steps:#?}");
    for step in steps {
        let words = || step.split([' ', '"']);
        let part = words().filter_map(|word| parts.get(word)).next();
        assert!(
            part.is_none_or(|start| days.contains(start)),
            "{step} in {steps:#?}"
        );
        // One that is empty may be read whole.
        let whole = step.contains("Seq Scan") && (step.contains(" on readings") || part.is_some());
        assert!(
            !whole || part.is_some_and(|start| *start >= END),
            "{step} in {steps:#?}"
        );
    }
}

#[tokio::test]
async fn hot_questions_walk_the_key_in_partitions() {
    check(Flavor::Plain, Timescale::Off).await;
}

#[tokio::test]
async fn hot_questions_walk_the_key_in_chunks() {
    check(Flavor::Timescale, Timescale::Required).await;
}
