//! The outbox: what was stored and nothing else, in order, until every output has sent it.

use sensorhive::core::windows::Aggregate;
use sensorhive::domain::*;
use sensorhive::storage::outbox::{Counts, Outbox, Record};
use sensorhive::storage::*;

use crate::support::*;

const OUT: &str = "out";

fn outbox(store: &impl Store) -> &dyn Outbox {
    store.outbox().unwrap()
}

async fn open<F: Fixture>(fixture: &F, outputs: &[&str]) -> (F::Store, Vec<i64>) {
    drop(opened(fixture, 4).await);
    let wanted = Wanted {
        readings: true,
        windows: true,
        anomalies: true,
        alerts: true,
    };
    let store = fixture.open_with(wanted).await;
    store.claim_writer(&instance()).await.unwrap();
    let (cursors, _) = outbox(&store).open_outputs(&instance(), outputs).await.unwrap();
    (store, cursors)
}

/// Everything after a row, as ids, each with the time of its batch in seconds.
async fn ids(store: &impl Store, after: i64) -> Vec<String> {
    let rows = outbox(store)
        .outbox_rows(&instance(), after, 1 << 30)
        .await
        .unwrap();
    assert!(rows.is_sorted_by(|a, b| a.id < b.id));
    let records = rows.iter().flat_map(|row| row.records().unwrap());
    records.map(|sendable| sendable.record.id()).collect()
}

async fn last(store: &impl Store) -> i64 {
    let rows = outbox(store).outbox_rows(&instance(), 0, 1 << 30).await.unwrap();
    rows.last().map_or(0, |row| row.id)
}

fn r(batch: u64, index: u32) -> String {
    format!("r-{}", Seq::new(BatchNumber(batch), index).0)
}

fn span(start: i64) -> WindowSpan {
    WindowSpan {
        series: SeriesId(0),
        kind: WindowKind::Tumbling,
        size: 60,
        start: Timestamp(start),
    }
}

fn anomaly(time: i64) -> Anomaly {
    Anomaly {
        series: SeriesId(1),
        time: Timestamp(time),
        value: 99.5,
        detector: DetectorKind::Jump,
        level: Level::Warning,
        score: 0.5,
        expected: None,
        band: Band::default(),
        explanation: "up".to_owned(),
    }
}

pub async fn only_what_was_stored_is_in_it<F: Fixture>(fixture: F) {
    let (store, cursors) = open(&fixture, &[OUT]).await;
    commit(
        &store,
        vec![batch(2, rows(&[(2, 5, 1.0), (0, 9, 2.0), (0, 3, 3.0)]))],
    )
    .await;
    assert_eq!(ids(&store, cursors[0]).await, [r(2, 0), r(2, 1), r(2, 2)]);
    let read = outbox(&store)
        .outbox_rows(&instance(), cursors[0], 1)
        .await
        .unwrap();
    let records = read[0].records().unwrap();
    assert_eq!(records[0].processed_at, batch_time(2).now);
    assert_eq!(
        records[0].record,
        Record::Reading {
            series: SeriesId(2),
            time: Timestamp(5),
            value: 1.0,
            seq: Seq::new(BatchNumber(2), 0),
            flags: Flags::NONE,
        }
    );
    let after = last(&store).await;
    // A duplicate, a conflict, doubles within the group; and new ones among them.
    let again = rows(&[(2, 5, 1.0), (0, 9, 7.0), (0, 11, 4.0), (0, 11, 4.0)]);
    commit(
        &store,
        vec![batch(3, again), batch(4, rows(&[(0, 11, 4.0), (0, 12, 1.0)]))],
    )
    .await;
    assert_eq!(ids(&store, after).await, [r(3, 2), r(4, 1)]);
    // Nothing new: no row.
    let before = last(&store).await;
    commit(&store, vec![batch(5, rows(&[(0, 11, 4.0)]))]).await;
    assert_eq!(last(&store).await, before);
    // What is rehearsed or refused leaves nothing.
    let late = group(vec![batch(6, rows(&[(0, 20, 1.0)]))]);
    store.rehearse(&late).await.unwrap();
    assert_eq!(last(&store).await, before);
}

pub async fn windows_and_anomalies_are_in_it_once_and_revisions_too<F: Fixture>(fixture: F) {
    let (store, cursors) = open(&fixture, &[OUT]).await;
    let readings = [(1, 1.0), (30, 4.0)].map(|(time, value)| (Timestamp(time), value));
    let closed = Aggregate::from_rows(readings).unwrap().result(span(0), 0);
    let mut outcome = rows(&[(0, 1, 1.0), (0, 30, 4.0)]);
    outcome.windows.extend([closed, closed]);
    outcome.anomalies.extend([anomaly(30), anomaly(30)]);
    commit(&store, vec![batch(2, outcome.clone())]).await;
    let window = |revision| format!("w-0-tumbling-60-0-{revision}");
    let found = |time| format!("a-1-{time}-jump-warning");
    assert_eq!(
        ids(&store, cursors[0]).await,
        [r(2, 0), r(2, 1), found(30), window(0)]
    );
    // A replay finds the same again, and something new.
    let after = last(&store).await;
    let mut replay = SliceOutcome::default();
    replay.windows.push(closed);
    replay.anomalies.extend([anomaly(30), anomaly(31)]);
    commit(&store, vec![batch(3, replay)]).await;
    assert_eq!(ids(&store, after).await, [found(31)]);
    // A late reading revises the window; asked again, it stays as it is.
    let after = last(&store).await;
    let mut late = rows(&[(0, 10, -3.0)]);
    late.recompute.push(span(0));
    commit(&store, vec![batch(4, late)]).await;
    let mut idle = SliceOutcome::default();
    idle.recompute.push(span(0));
    commit(&store, vec![batch(5, idle)]).await;
    assert_eq!(ids(&store, after).await, [r(4, 0), window(1)]);
    let rows = outbox(&store)
        .outbox_rows(&instance(), after, 1 << 30)
        .await
        .unwrap();
    let records = rows[0].records().unwrap();
    let Record::Window(revised) = &records[1].record else {
        panic!("{records:?}")
    };
    assert_eq!((revised.count, revised.min, revised.revision), (3, -3.0, 1));
}

pub async fn a_row_stays_until_every_output_has_sent_it<F: Fixture>(fixture: F) {
    let (store, _) = open(&fixture, &["a", "b"]).await;
    for number in 2..5 {
        commit(&store, vec![batch(number, rows(&[(0, number as i64, 1.0)]))]).await;
    }
    let all = outbox(&store).outbox_rows(&instance(), 0, 1 << 30).await.unwrap();
    assert_eq!(all.len(), 3);
    // So few bytes that one row is too many: there is one all the same.
    assert_eq!(
        outbox(&store).outbox_rows(&instance(), 0, 1).await.unwrap(),
        all[..1]
    );
    let sent = async |output, up_to| {
        outbox(&store)
            .outbox_sent(&instance(), output, up_to)
            .await
            .unwrap()
    };
    sent("a", all[2].id).await;
    assert_eq!(ids(&store, 0).await.len(), 3);
    sent("b", all[0].id).await;
    assert_eq!(ids(&store, 0).await, [r(3, 0), r(4, 0)]);
    // A cursor never goes back.
    sent("a", all[0].id).await;
    let waiting = outbox(&store)
        .outbox_waiting(&instance(), all[1].id)
        .await
        .unwrap();
    assert_eq!((waiting.rows, waiting.records.readings), (1, 1));
    assert_eq!(waiting.since, Some(batch_time(4).now));
    let other = InstanceId("other".into());
    assert_eq!(outbox(&store).outbox_rows(&other, 0, 1 << 30).await.unwrap(), []);

    // `b` is not there any more, `c` is new: it begins with what comes, and what `b` alone had not sent goes.
    let (cursors, forgotten) = outbox(&store)
        .open_outputs(&instance(), &["c", "a"])
        .await
        .unwrap();
    assert_eq!(cursors, [all[2].id, all[2].id]);
    assert_eq!(
        forgotten,
        Counts {
            readings: 2,
            ..Counts::default()
        }
    );
    assert_eq!(ids(&store, 0).await.len(), 0);
    commit(&store, vec![batch(5, rows(&[(0, 50, 1.0)]))]).await;
    assert_eq!(ids(&store, cursors[0]).await, [r(5, 0)]);
}

pub async fn what_is_too_old_or_too_much_is_found<F: Fixture>(fixture: F) {
    let (store, _) = open(&fixture, &[OUT]).await;
    for number in 2..6 {
        commit(&store, vec![batch(number, rows(&[(0, number as i64, 1.0)]))]).await;
    }
    let all = outbox(&store).outbox_rows(&instance(), 0, 1 << 30).await.unwrap();
    let overdue = async |after, before: u64, bytes| {
        let (instance, before) = (instance(), batch_time(before).now);
        let found = outbox(&store).outbox_overdue(&instance, after, before, bytes);
        let found = found.await.unwrap();
        (found.up_to, found.records.readings)
    };
    assert_eq!(overdue(0, 2, 1 << 30).await, (None, 0));
    assert_eq!(overdue(0, 4, 1 << 30).await, (Some(all[1].id), 2));
    assert_eq!(overdue(all[0].id, 4, 1 << 30).await, (Some(all[1].id), 1));
    let size = all[3].payload.len() as u64;
    assert_eq!(overdue(0, 2, size).await, (Some(all[2].id), 3));
    assert_eq!(overdue(0, 2, 0).await, (Some(all[3].id), 4));
}

pub async fn a_big_group_has_several_rows_and_a_reading_takes_little<F: Fixture>(fixture: F) {
    let (store, cursors) = open(&fixture, &[OUT]).await;
    let now = batch_time(2).now.0;
    let many: Vec<_> = (0..9_000)
        .map(|n| (n % 4, now - 1_000_000 + i64::from(n), 20.5))
        .collect();
    commit(
        &store,
        vec![batch(2, rows(&many)), batch(3, rows(&[(0, 1, 1.0)]))],
    )
    .await;
    let found = outbox(&store)
        .outbox_rows(&instance(), cursors[0], 1 << 30)
        .await
        .unwrap();
    assert_eq!(found.len(), 3);
    let bytes: usize = found.iter().map(|row| row.payload.len()).sum();
    assert!(bytes < 20 * 9_001, "{bytes} bytes");
    let mut expected: Vec<_> = (0..9_000).map(|index| r(2, index)).collect();
    expected.push(r(3, 0));
    assert_eq!(ids(&store, cursors[0]).await, expected);
}

pub async fn without_outputs_nothing_is_written<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 4).await;
    commit(&store, vec![batch(2, rows(&[(0, 1, 1.0)]))]).await;
    assert_eq!(last(&store).await, 0);
}
