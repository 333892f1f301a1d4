//! Snapshots and the readings after them: what a sensor is brought back from.

use sensorhive::domain::*;
use sensorhive::storage::*;

use crate::support::*;

fn snapshot(sensor: u32, seq: Seq, complete: bool) -> Snapshot {
    Snapshot {
        sensor: SensorKey(sensor),
        seq,
        state: format!("state at {}", seq.0).into_bytes(),
        deadline: None,
        complete,
    }
}

fn with_snapshot(mut outcome: SliceOutcome, snapshot: Snapshot) -> SliceOutcome {
    outcome.snapshots.push(snapshot);
    outcome
}

async fn load(store: &impl Store, sensor: u32, max: usize) -> StoredSensor {
    let mut loaded = store.load_sensors(&[SensorKey(sensor)], max).await.unwrap();
    loaded.sensors.pop().unwrap()
}

/// (batch, index, series, time) of a tail.
fn tail(sensor: &StoredSensor) -> Vec<(u64, u32, u32, i64)> {
    let brief = |stored: &StoredReading| {
        let reading = &stored.reading;
        (
            stored.seq.batch().0,
            stored.seq.index(),
            reading.series.0,
            reading.time.0,
        )
    };
    sensor.tail.iter().map(brief).collect()
}

pub async fn a_sensor_without_snapshot_has_all_its_readings<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 4).await;
    commit(
        &store,
        vec![batch(2, rows(&[(1, 50, 1.0), (0, 60, 2.0), (2, 1, 0.0)]))],
    )
    .await;
    commit(&store, vec![batch(3, rows(&[(0, 10, 3.0)]))]).await;
    let asked = [SensorKey(1), SensorKey(7), SensorKey(0)];
    let loaded = store.load_sensors(&asked, 100).await.unwrap();
    assert_eq!(loaded.as_of, Some(BatchNumber(3)));
    assert_eq!(
        loaded
            .sensors
            .iter()
            .map(|sensor| sensor.sensor)
            .collect::<Vec<_>>(),
        asked
    );
    assert_eq!(tail(&loaded.sensors[0]), [(2, 2, 2, 1)]);
    assert!(loaded.sensors[1].tail.is_empty() && loaded.sensors[1].snapshot.is_none());
    assert_eq!(
        tail(&loaded.sensors[2]),
        [(2, 0, 1, 50), (2, 1, 0, 60), (3, 0, 0, 10)]
    );
    assert!(loaded.sensors.iter().all(|sensor| !sensor.more));
    let last = loaded.sensors[2].tail[2];
    assert_eq!((last.at, last.reading.value), (batch_time(3), 3.0));
    assert_eq!(
        store.sensors_behind(&Scope::All).await.unwrap(),
        [SensorKey(0), SensorKey(1)]
    );
}

pub async fn the_tail_begins_after_a_complete_snapshot<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    commit(&store, vec![batch(2, rows(&[(0, 100, 1.0)]))]).await;
    // The snapshot covers the row of its own batch, older in event time than all before.
    let seq = BatchNumber(3).end();
    let covered = with_snapshot(rows(&[(0, 5, 1.0)]), snapshot(0, seq, true));
    commit(&store, vec![batch(3, covered)]).await;
    let sensor = load(&store, 0, 100).await;
    assert_eq!(sensor.snapshot, Some((seq, snapshot(0, seq, true).state)));
    assert!(sensor.tail.is_empty());
    assert!(store.sensors_behind(&Scope::All).await.unwrap().is_empty());
    // A late one, and one between: both are after the snapshot, whatever their event time.
    commit(
        &store,
        vec![
            batch(4, rows(&[(0, 200, 1.0), (1, 3, 1.0)])),
            batch(5, rows(&[(0, 50, 1.0)])),
        ],
    )
    .await;
    assert_eq!(
        tail(&load(&store, 0, 100).await),
        [(4, 0, 0, 200), (4, 1, 1, 3), (5, 0, 0, 50)]
    );
    assert_eq!(store.sensors_behind(&Scope::All).await.unwrap(), [SensorKey(0)]);
}

pub async fn a_snapshot_within_a_group_covers_what_came_before_it<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let seq = BatchNumber(3).end();
    commit(
        &store,
        vec![
            batch(2, rows(&[(0, 1, 1.0)])),
            batch(3, with_snapshot(rows(&[(0, 2, 1.0)]), snapshot(0, seq, true))),
            batch(4, rows(&[(0, 30, 1.0), (0, 20, 1.0)])),
        ],
    )
    .await;
    assert_eq!(tail(&load(&store, 0, 100).await), [(4, 0, 0, 30), (4, 1, 0, 20)]);
}

pub async fn an_incomplete_snapshot_leaves_the_rest_of_the_tail<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    commit(
        &store,
        vec![batch(2, rows(&[(0, 300, 1.0), (0, 100, 2.0), (0, 200, 3.0)]))],
    )
    .await;
    // A step of a catch-up: as of the first reading, whose event time is the largest.
    let step = with_snapshot(rows(&[]), snapshot(0, Seq::new(BatchNumber(2), 0), false));
    commit(&store, vec![batch(3, step)]).await;
    assert_eq!(
        tail(&load(&store, 0, 100).await),
        [(2, 1, 0, 100), (2, 2, 0, 200)]
    );
    let done = with_snapshot(rows(&[]), snapshot(0, BatchNumber(4).end(), true));
    commit(&store, vec![batch(4, done)]).await;
    assert!(load(&store, 0, 100).await.tail.is_empty());
    // The snapshot of an older sequence comes back after a reset: the tail is what is after it.
    commit(&store, vec![batch(5, rows(&[(0, 1, 1.0)]))]).await;
    assert_eq!(tail(&load(&store, 0, 100).await), [(5, 0, 0, 1)]);
}

pub async fn a_cut_tail_is_a_prefix_by_sequence<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 6).await;
    // Event times fall as sequences grow, over two series.
    let readings: Vec<_> = (0..100_u32).map(|n| (n % 2, 1_000 - i64::from(n), 1.0)).collect();
    commit(
        &store,
        vec![
            batch(2, rows(&readings)),
            batch(3, rows(&[(2, 1, 1.0), (4, 1, 1.0)])),
        ],
    )
    .await;
    let asked = [SensorKey(1), SensorKey(0), SensorKey(2)];
    let loaded = store.load_sensors(&asked, 41).await.unwrap();
    assert_eq!((loaded.sensors[0].tail.len(), loaded.sensors[0].more), (1, false));
    let expected: Vec<_> = (0..40_u32).map(|n| (2, n, n % 2, 1_000 - i64::from(n))).collect();
    assert_eq!(tail(&loaded.sensors[1]), expected);
    assert!(loaded.sensors[1].more);
    assert!(loaded.sensors[2].tail.is_empty() && loaded.sensors[2].more);

    // Going on from a snapshot as of the last one read, it comes to an end.
    let mut seen = 0;
    let mut number = 4;
    loop {
        let step = load(&store, 0, 30).await;
        seen += step.tail.len();
        let Some(last) = step.tail.last() else { break };
        let snapshot = with_snapshot(rows(&[]), snapshot(0, last.seq, !step.more));
        commit(&store, vec![batch(number, snapshot)]).await;
        number += 1;
    }
    assert_eq!((seen, number), (100, 8));
    let exact = load(&store, 1, 1).await;
    assert_eq!((exact.tail.len(), exact.more), (1, false));
}

pub async fn a_reading_whose_batch_expired_keeps_its_own_time<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    commit(&store, vec![batch(2, rows(&[(0, 77, 1.0)]))]).await;
    commit(&store, vec![batch(3, rows(&[(0, 78, 1.0)]))]).await;
    let expiry = history::Expiry {
        batches_before: Some(batch_time(3).now),
        ..Default::default()
    };
    assert_eq!(store.expire(&expiry).await.unwrap(), 2);
    let times: Vec<_> = load(&store, 0, 10)
        .await
        .tail
        .iter()
        .map(|reading| reading.at)
        .collect();
    let own = BatchTime {
        now: Timestamp(77),
        active: ActiveTime(0),
    };
    assert_eq!(times, [own, batch_time(3)]);
}

pub async fn a_snapshot_names_its_deadline<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 6).await;
    let mut outcome = SliceOutcome::default();
    for (sensor, deadline) in [(0, Some(500)), (1, None), (2, Some(-3))] {
        let mut taken = snapshot(sensor, BatchNumber(2).end(), true);
        taken.deadline = deadline.map(ActiveTime);
        outcome.snapshots.push(taken);
    }
    commit(&store, vec![batch(2, outcome)]).await;
    let deadlines = store.deadlines(&Scope::All).await.unwrap();
    assert_eq!(
        deadlines,
        [(SensorKey(0), ActiveTime(500)), (SensorKey(2), ActiveTime(-3))]
    );
    let taken = snapshot(0, BatchNumber(3).end(), true);
    commit(&store, vec![batch(3, with_snapshot(rows(&[]), taken))]).await;
    assert_eq!(
        store.deadlines(&Scope::All).await.unwrap(),
        [(SensorKey(2), ActiveTime(-3))]
    );
}

pub async fn the_newest_readings_rebuild_a_state<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let readings = [
        (0, 100, 1.0),
        (1, 90, 1.0),
        (0, 80, 1.0),
        (1, 120, 1.0),
        (0, 70, 1.0),
    ];
    let taken = snapshot(0, BatchNumber(2).end(), true);
    commit(&store, vec![batch(2, with_snapshot(rows(&readings), taken))]).await;
    let loaded = store.load_recent(SensorKey(0), 3).await.unwrap();
    assert_eq!(loaded.as_of, Some(BatchNumber(2)));
    assert_eq!(
        tail(&loaded.sensors[0]),
        [(2, 0, 0, 100), (2, 1, 1, 90), (2, 3, 1, 120)]
    );
    assert_eq!(
        loaded.sensors[0].snapshot,
        Some((BatchNumber(2).end(), Vec::new()))
    );
    let all = store.load_recent(SensorKey(0), 100).await.unwrap();
    assert_eq!(all.sensors[0].tail.len(), 5);
    assert!(
        store.load_recent(SensorKey(9), 100).await.unwrap().sensors[0]
            .tail
            .is_empty()
    );
}

pub async fn unprocessed_readings_are_counted_until_a_complete_snapshot<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let marked = |readings: &[(u32, i64, f64)]| {
        let mut outcome = rows(readings);
        for row in &mut outcome.rows {
            row.reading.flags = Flags::UNPROCESSED.with(Flags::LATE);
        }
        outcome
    };
    commit(
        &store,
        vec![batch(2, marked(&[(0, 1, 1.0), (0, 2, 1.0), (0, 2, 1.0)]))],
    )
    .await;
    let record = store.sensor_ledger(SensorKey(0)).await.unwrap();
    assert_eq!(
        (
            record.ledger.stored,
            record.ledger.unprocessed,
            record.ledger.late
        ),
        (2, 2, 2)
    );
    assert_eq!(
        (record.last_time, record.last_seq),
        (Some(Timestamp(2)), Some(Seq::new(BatchNumber(2), 1)))
    );
    let step = with_snapshot(
        marked(&[(0, 3, 1.0)]),
        snapshot(0, Seq::new(BatchNumber(2), 0), false),
    );
    commit(&store, vec![batch(3, step)]).await;
    assert_eq!(
        store
            .sensor_ledger(SensorKey(0))
            .await
            .unwrap()
            .ledger
            .unprocessed,
        3
    );
    let done = with_snapshot(marked(&[(0, 4, 1.0)]), snapshot(0, BatchNumber(4).end(), true));
    commit(&store, vec![batch(4, done), batch(5, marked(&[(0, 5, 1.0)]))]).await;
    let record = store.sensor_ledger(SensorKey(0)).await.unwrap();
    assert_eq!(
        (
            record.ledger.stored,
            record.ledger.unprocessed,
            record.ledger.late
        ),
        (5, 1, 5)
    );
    assert_eq!(record.snapshot_seq, Some(BatchNumber(4).end()));
    assert_eq!(
        record.snapshot_bytes,
        Some(snapshot(0, BatchNumber(4).end(), true).state.len() as u64)
    );
}
