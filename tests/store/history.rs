//! What people ask of a store.

use sensorhive::domain::*;
use sensorhive::storage::history::*;
use sensorhive::storage::*;

use crate::support::*;

fn page(from: i64, to: i64, limit: usize, newest_first: bool) -> Page {
    Page {
        from: Timestamp(from),
        to: Timestamp(to),
        limit,
        newest_first,
    }
}

pub async fn readings_come_by_the_page<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let readings: Vec<_> = (0..10).map(|n| (0, n * 10, n as f64)).collect();
    commit(&store, vec![batch(2, rows(&readings))]).await;
    let times = async |page: Page| -> Vec<i64> {
        let points = store.readings(SeriesId(0), &page).await.unwrap();
        points.iter().map(|point| point.time.0).collect()
    };
    assert_eq!(times(page(20, 50, 10, false)).await, [20, 30, 40]);
    assert_eq!(times(page(20, 90, 2, false)).await, [20, 30]);
    assert_eq!(times(page(20, 90, 2, true)).await, [80, 70]);
    assert!(times(page(50, 20, 2, true)).await.is_empty());
    let point = store
        .readings(SeriesId(0), &page(30, 31, 1, false))
        .await
        .unwrap()[0];
    let expected = StoredPoint {
        time: Timestamp(30),
        value: 3.0,
        seq: Seq::new(BatchNumber(2), 3),
        flags: Flags::NONE,
    };
    assert_eq!(point, expected);
}

pub async fn the_latest_value_is_the_newest_by_event_time<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 6).await;
    commit(
        &store,
        vec![batch(2, rows(&[(0, 9, 1.0), (0, 5, 2.0), (3, -7, 3.0)]))],
    )
    .await;
    let asked: Vec<_> = (0..6).map(SeriesId).collect();
    let latest = store.latest(&asked).await.unwrap();
    let brief: Vec<_> = latest
        .iter()
        .map(|(series, point)| (series.0, point.time.0, point.value))
        .collect();
    assert_eq!(brief, [(0, 9, 1.0), (3, -7, 3.0)]);
}

pub async fn buckets_are_aligned_to_the_epoch<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let readings = [
        (0, -11, 1.0),
        (0, -10, 2.0),
        (0, -1, 3.0),
        (0, 0, 9.0),
        (0, 9, -4.0),
        (0, 5, 2.0),
        (0, 1_000, 7.0),
        (0, 1_001, 8.0),
    ];
    commit(&store, vec![batch(2, rows(&readings))]).await;
    let bucket =
        |start, count, min, max, sum, (first, first_time): (f64, i64), (last, last_time): (f64, i64)| {
            Bucket {
                start: Timestamp(start),
                count,
                min,
                max,
                sum,
                first,
                last,
                first_time: Timestamp(first_time),
                last_time: Timestamp(last_time),
            }
        };
    let expected = [
        bucket(-20, 1, 1.0, 1.0, 1.0, (1.0, -11), (1.0, -11)),
        bucket(-10, 2, 2.0, 3.0, 5.0, (2.0, -10), (3.0, -1)),
        bucket(0, 3, -4.0, 9.0, 7.0, (9.0, 0), (-4.0, 9)),
        bucket(1_000, 2, 7.0, 8.0, 15.0, (7.0, 1_000), (8.0, 1_001)),
    ];
    let ask = async |page: Page| store.buckets(SeriesId(0), &page, 10).await.unwrap();
    assert_eq!(ask(everything()).await, expected);
    assert_eq!(ask(page(-100, 100, 2, false)).await, expected[..2]);
    let mut newest = expected[1..].to_vec();
    newest.reverse();
    assert_eq!(ask(page(-10, 2_000, 3, true)).await, newest);
    // The ends of the range cut the buckets in which they lie.
    assert_eq!(
        ask(page(1, 1_001, 9, false)).await,
        [
            bucket(0, 2, -4.0, 2.0, -2.0, (2.0, 5), (-4.0, 9)),
            bucket(1_000, 1, 7.0, 7.0, 7.0, (7.0, 1_000), (7.0, 1_000))
        ]
    );
    assert_eq!(
        store
            .buckets(SeriesId(0), &everything(), 0)
            .await
            .unwrap_err()
            .class,
        ErrorClass::Refused
    );
    assert_eq!(store.buckets(SeriesId(1), &everything(), 10).await.unwrap(), []);
}

pub async fn windows_of_one_time_stay_on_one_page<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let mut outcome = SliceOutcome::default();
    for (start, size) in [(0, 10), (0, 20), (10, 10), (20, 10), (20, 20)] {
        outcome.windows.push(WindowResult {
            span: WindowSpan {
                series: SeriesId(0),
                kind: WindowKind::Tumbling,
                size,
                start: Timestamp(start),
            },
            count: 1,
            min: 1.0,
            max: 1.0,
            mean: 1.0,
            stddev: 0.0,
            first: 1.0,
            last: 1.0,
            revision: 0,
        });
    }
    commit(&store, vec![batch(2, outcome)]).await;
    let ask = async |page: Page| -> Vec<(i64, i64)> {
        let windows = store.windows(SeriesId(0), &page).await.unwrap();
        windows
            .iter()
            .map(|window| (window.span.start.0, window.span.size))
            .collect()
    };
    assert_eq!(ask(page(0, 100, 1, false)).await, [(0, 10), (0, 20)]);
    assert_eq!(ask(page(1, 100, 2, false)).await, [(10, 10), (20, 10), (20, 20)]);
    assert_eq!(ask(page(0, 20, 1, true)).await, [(10, 10)]);
    assert_eq!(ask(page(0, 20, 0, true)).await, []);
}

pub async fn dead_letters_are_kept_until_they_expire<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let letter = |payload: Vec<u8>| DeadLetter {
        source: source(),
        position: "orders/3@1734".into(),
        key: Some("a\u{e4}".into()),
        sensor: None,
        payload,
        reason: RejectReason::Undecodable,
        detail: "payload is no JSON".into(),
    };
    let mut batches = Vec::new();
    for number in 2..=4 {
        let mut batch = batch(number, SliceOutcome::default());
        batch.dead_letters.push(letter(vec![0xff; number as usize]));
        batch.source_ledger.received = 1;
        batch.source_ledger.rejected = 1;
        batches.push(batch);
    }
    batches[2].outcomes[0]
        .dead_letters
        .push(letter(vec![7; DeadLetter::MAX_PAYLOAD + 1]));
    commit(&store, batches).await;
    let all = store.dead_letters(None, 10).await.unwrap();
    let sizes: Vec<_> = all.iter().map(|letter| letter.letter.payload.len()).collect();
    assert_eq!(sizes, [DeadLetter::MAX_PAYLOAD, 4, 3, 2]);
    assert_eq!(all[3].letter, letter(vec![0xff; 2]));
    let next = store.dead_letters(Some(all[1].id), 1).await.unwrap();
    assert_eq!(next, all[2..3]);
    assert!(store.mark_replayed(all[2].id, Timestamp(5)).await.unwrap());
    assert!(!store.mark_replayed(9_999, Timestamp(5)).await.unwrap());
    let marked = store.dead_letter(all[2].id).await.unwrap().unwrap();
    assert_eq!(marked.replayed_at, Some(Timestamp(5)));
    assert_eq!(store.dead_letter(9_999).await.unwrap(), None);
    let expiry = Expiry {
        dead_letters_before: Some(batch_time(4).now),
        ..Default::default()
    };
    assert_eq!(store.expire(&expiry).await.unwrap(), 2);
    assert_eq!(store.dead_letters(None, 10).await.unwrap(), all[..2]);
    let [(name, ledger)] = store.source_ledgers().await.unwrap().try_into().unwrap();
    assert_eq!((name, ledger.received, ledger.rejected), (source(), 3, 3));
    assert_eq!(store.ledger_total().await.unwrap(), ledger);
}

/// Whole days go: that is what chunks and partitions can do, too.
pub async fn old_readings_expire_in_every_series<F: Fixture>(fixture: F) {
    const STEP: i64 = 600_000_000;
    const DAY: i64 = 86_400_000_000;
    let store = opened(&fixture, 40).await;
    let readings: Vec<_> = (0..12_000_u32)
        .map(|n| (n % 40, i64::from(n) * STEP, f64::from(n)))
        .collect();
    commit(&store, vec![batch(2, rows(&readings))]).await;
    let expiry = Expiry {
        readings_before: Some(Timestamp(60 * DAY)),
        ..Default::default()
    };
    assert_ne!(store.expire(&expiry).await.unwrap(), 0);
    for series in 0..40 {
        let left = stored(&store, series).await;
        assert_eq!((left.len(), left[0].0 >= 60 * DAY), (84, true));
    }
    assert_eq!(store.expire(&expiry).await.unwrap(), 0);
}

pub async fn restarts_audit_and_tokens_are_kept<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let restart = |time, actor: &str| RestartRow {
        time: Timestamp(time),
        actor: actor.into(),
        reason: "panic".into(),
        detail: "at src/x.rs:1".into(),
        by: None,
        took_us: Some(3),
    };
    let first = [restart(1, "sensor/a"), restart(2, "sensor/b")];
    store.record_restarts(&first).await.unwrap();
    store.record_restarts(&[restart(3, "sensor/a")]).await.unwrap();
    store.record_restarts(&[]).await.unwrap();
    assert_eq!(
        store.restarts(Some("sensor/a"), 9).await.unwrap(),
        [restart(3, "sensor/a"), restart(1, "sensor/a")]
    );
    assert_eq!(
        store.restarts(None, 2).await.unwrap(),
        [restart(3, "sensor/a"), restart(2, "sensor/b")]
    );
    let expiry = Expiry {
        restarts_before: Some(Timestamp(3)),
        ..Default::default()
    };
    assert_eq!(store.expire(&expiry).await.unwrap(), 2);

    let entry = AuditRow {
        time: Timestamp(4),
        who: "admin".into(),
        what: "restart".into(),
        target: "sensor/a".into(),
        detail: "'); DROP TABLE sensors; --".into(),
    };
    store.record_audit(&entry).await.unwrap();
    assert_eq!(store.audit_log(5).await.unwrap(), [entry]);

    let token = TokenRow {
        id: "t1".into(),
        name: "first".into(),
        role: "admin".into(),
        hash: vec![1, 2, 3],
        created_at: Timestamp(5),
    };
    store.add_token(&token).await.unwrap();
    assert_eq!(
        store.add_token(&token).await.unwrap_err().class,
        ErrorClass::Refused
    );
    assert_eq!(store.tokens().await.unwrap(), [token]);
    assert!(store.revoke_token("t1").await.unwrap());
    assert!(!store.revoke_token("t1").await.unwrap());
}

pub async fn a_pause_outlives_the_process<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 4).await;
    store.set_paused(SensorKey(1), true).await.unwrap();
    assert_eq!(
        store.set_paused(SensorKey(5), true).await.unwrap_err().class,
        ErrorClass::Refused
    );
    store.close().await;
    let store = fixture.open().await;
    assert_eq!(store.paused().await.unwrap(), [SensorKey(1)]);
    store.set_paused(SensorKey(1), false).await.unwrap();
    assert!(store.paused().await.unwrap().is_empty());
}
