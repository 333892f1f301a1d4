//! The end: snapshots, the journal, and a database that does not let go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sensorhive::domain::Timestamp;
use sensorhive::storage::history::{History, RestartRow};
use sensorhive::storage::{Scope, Store};
use sqlx::Connection;

use super::Schedule;
use super::bench::{Bench, stored};

#[test]
fn the_last_snapshots_come_some_at_a_time() {
    const SENSORS: u64 = 400;
    actix::System::new().block_on(async {
        let bench = Bench::with(Schedule {
            calm: true,
            ..Schedule::of(0)
        })
        .await;
        let item = |number| {
            let time = bench.time;
            format!(r#"{{"sensor_id":"n{number}","metric":"m","value":1,"timestamp":{time}}}"#)
        };
        let items: Vec<String> = (0..SENSORS).map(item).collect();
        stored(bench.service.intake(0), format!("[{}]", items.join(","))).await;
        let pipeline = bench.service.pipeline();
        pipeline.settle().await;
        let most = &bench.shared.injected.most_snapshots;
        most.store(0, Ordering::Relaxed);
        pipeline.drain().await;
        assert_eq!(pipeline.store.sensors_behind(&Scope::All).await.unwrap(), []);
        let most = most.load(Ordering::Relaxed);
        assert!(
            (1..SENSORS / 8).contains(&most),
            "{most} of {SENSORS} in one batch"
        );
        drop(pipeline);
        bench.service.end().await;
    });
}

fn row(time: i64) -> RestartRow {
    RestartRow {
        time: Timestamp(time),
        actor: "test".to_owned(),
        reason: "admin".to_owned(),
        detail: String::new(),
        by: None,
        took_us: None,
    }
}

#[test]
fn what_the_journal_holds_at_the_end_is_written() {
    const ROWS: usize = 9_000;
    actix::System::new().block_on(async {
        let bench = Bench::new(false, false).await;
        let pipeline = bench.service.take();
        (0..ROWS).for_each(|time| pipeline.journal.record(row(time as i64)));
        assert!(pipeline.stop(Duration::from_secs(60)).await);
        let store = bench.service.open().await;
        assert_eq!(store.restarts(Some("test"), 2 * ROWS).await.unwrap().len(), ROWS);
        store.close().await;
    });
}

#[test]
fn a_database_that_does_not_let_go_keeps_nobody_longer_than_allowed() {
    actix::System::new().block_on(async {
        let bench = Bench::new(false, false).await;
        let mut other = bench.service.connect().await;
        sqlx::raw_sql("BEGIN IMMEDIATE")
            .execute(&mut other)
            .await
            .unwrap();
        let pipeline = bench.service.take();
        pipeline.journal.record(row(0));
        assert!(
            !pipeline.stop(Duration::from_millis(50)).await,
            "the journal waits"
        );
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
    });
}
