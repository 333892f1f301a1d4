//! What a transaction does with readings: stored, duplicate, conflict; whole or not at all.

use sensorhive::domain::*;
use sensorhive::storage::history::Expiry;
use sensorhive::storage::*;

use crate::support::*;

pub async fn readings_are_stored_and_reported<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 4).await;
    let report = commit(
        &store,
        vec![
            batch(2, rows(&[(0, 100, 1.0), (1, 100, 2.0)])),
            batch(3, rows(&[(0, 200, 3.0)])),
        ],
    )
    .await;
    let counts: Vec<u64> = report.batches.iter().map(|batch| batch.stored).collect();
    assert_eq!(counts, [2, 1]);
    assert_eq!(stored(&store, 0).await, [(100, 1.0), (200, 3.0)]);
    assert_eq!(stored(&store, 1).await, [(100, 2.0)]);
    assert_eq!(store.last_batch(&instance()).await.unwrap(), Some(BatchNumber(3)));
}

pub async fn a_redelivered_batch_changes_nothing_but_its_count<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let readings: Vec<_> = (0..700)
        .map(|n| (n % 2, i64::from(n), 0.5 * f64::from(n)))
        .collect();
    commit(&store, vec![batch(2, rows(&readings))]).await;
    let before = (stored(&store, 0).await, stored(&store, 1).await);
    let mut again = readings.clone();
    again.push((0, 10_000, 1.0));
    let report = commit(&store, vec![batch(3, rows(&again))]).await;
    assert_eq!(report.batches[0].stored, 1);
    assert_eq!(report.batches[0].duplicates, (0..700).collect::<Vec<u32>>());
    assert!(report.batches[0].conflicts.is_empty());
    let mut after = before.clone();
    after.0.push((10_000, 1.0));
    assert_eq!((stored(&store, 0).await, stored(&store, 1).await), after);
    let ledger = store.sensor_ledger(SensorKey(0)).await.unwrap().ledger;
    assert_eq!(
        (ledger.received, ledger.stored, ledger.duplicate),
        (1401, 701, 700)
    );
    assert!(ledger.balances());
}

pub async fn a_conflict_goes_to_dead_letters<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let time = 1_730_332_800_123_000;
    commit(&store, vec![batch(2, rows(&[(0, time, 1.5)]))]).await;
    let report = commit(&store, vec![batch(3, rows(&[(1, time, 7.0), (0, time, 2.5)]))]).await;
    assert_eq!(report.batches[0].stored, 1);
    assert_eq!(
        report.batches[0].conflicts,
        [Conflict {
            index: 1,
            stored: 1.5
        }]
    );
    assert_eq!(stored(&store, 0).await, [(time, 1.5)]);

    let letters = store.dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.time, batch_time(3).now);
    assert_eq!(
        (letter.letter.reason, letter.letter.sensor),
        (RejectReason::Conflict, Some(SensorKey(0)))
    );
    assert!(
        letter.letter.detail.contains("2.5") && letter.letter.detail.contains("1.5"),
        "{letter:?}"
    );
    let payload: serde_json::Value = serde_json::from_slice(&letter.letter.payload).unwrap();
    let expected = serde_json::json!({
        "sensor_id": "sensor 0", "metric": "metric 0", "value": 2.5,
        "timestamp": 1_730_332_800_123_u64, "unit": "°C",
    });
    assert_eq!(payload, expected);
    let ledger = store.sensor_ledger(SensorKey(0)).await.unwrap().ledger;
    assert_eq!((ledger.received, ledger.stored, ledger.rejected), (3, 2, 1));
}

pub async fn doubles_within_a_group_are_judged_by_sequence<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    commit(&store, vec![batch(2, rows(&[(0, 5, 9.0)]))]).await;
    let report = commit(
        &store,
        vec![
            batch(
                3,
                rows(&[(0, 1, 1.0), (0, 1, 1.0), (0, 1, 2.0), (0, 5, 9.0), (0, 5, 8.0)]),
            ),
            batch(4, rows(&[(0, 1, 2.0), (0, 1, 1.0), (0, 2, 0.0), (0, 2, -0.0)])),
        ],
    )
    .await;
    let [first, second] = report.batches.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(
        (first.stored, first.duplicates.as_slice()),
        (1, [1, 3].as_slice())
    );
    assert_eq!(
        first.conflicts,
        [
            Conflict {
                index: 2,
                stored: 1.0
            },
            Conflict {
                index: 4,
                stored: 9.0
            }
        ]
    );
    assert_eq!(
        (second.stored, second.duplicates.as_slice()),
        (1, [1, 3].as_slice())
    );
    assert_eq!(
        second.conflicts,
        [Conflict {
            index: 0,
            stored: 1.0
        }]
    );
    assert_eq!(stored(&store, 0).await, [(1, 1.0), (2, 0.0), (5, 9.0)]);
    assert!(store.ledger_total().await.unwrap().balances());
}

/// What no database takes.
fn of_no_sensor() -> SeriesDefinition {
    SeriesDefinition {
        id: SeriesId(77),
        sensor: SensorKey(77),
        metric: MetricName::parse("m").unwrap(),
        unit: None,
    }
}

pub async fn a_refused_group_leaves_nothing<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    commit(&store, vec![batch(2, rows(&[(0, 1, 1.0)]))]).await;
    let ledger = store.ledger_total().await.unwrap();
    let mut bad = batch(4, rows(&[(0, 3, 3.0)]));
    bad.positions.push(Position {
        source: source(),
        partition: "p".into(),
        offset: 9,
        epoch: None,
    });
    bad.series.push(of_no_sensor());
    let error = store
        .commit(&group(vec![batch(3, rows(&[(0, 2, 2.0)])), bad]))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Refused, "{error}");
    assert_eq!(stored(&store, 0).await, [(1, 1.0)]);
    assert_eq!(store.ledger_total().await.unwrap(), ledger);
    assert_eq!(store.position(&source(), "p").await.unwrap(), None);
    assert_eq!(store.last_batch(&instance()).await.unwrap(), Some(BatchNumber(2)));
    commit(&store, vec![batch(3, rows(&[(0, 2, 2.0)]))]).await;
    assert_eq!(stored(&store, 0).await, [(1, 1.0), (2, 2.0)]);
}

pub async fn a_rehearsal_says_what_a_commit_would_and_leaves_nothing<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let good = batch(2, rows(&[(0, 1, 1.0)]));
    let mut bad = good.clone();
    bad.series.push(of_no_sensor());
    let ledger = store.ledger_total().await.unwrap();
    let error = store.rehearse(&group(vec![bad])).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Refused, "{error}");
    store.rehearse(&group(vec![good.clone()])).await.unwrap();
    assert_eq!(stored(&store, 0).await, []);
    assert_eq!(store.ledger_total().await.unwrap(), ledger);
    assert_eq!(store.last_batch(&instance()).await.unwrap(), Some(BatchNumber(1)));
    commit(&store, vec![good.clone()]).await;
    assert_eq!(stored(&store, 0).await, [(1, 1.0)]);
    let new = fixture.open().await;
    new.claim_writer(&instance()).await.unwrap();
    let error = store
        .rehearse(&group(vec![batch(3, rows(&[]))]))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Fenced, "{error}");
}

pub async fn an_older_process_is_fenced<F: Fixture>(fixture: F) {
    let old = opened(&fixture, 2).await;
    commit(&old, vec![batch(2, rows(&[(0, 1, 1.0)]))]).await;
    let new = fixture.open().await;
    let unclaimed = new
        .commit(&group(vec![batch(3, rows(&[(0, 2, 2.0)]))]))
        .await
        .unwrap_err();
    assert_eq!(unclaimed.class, ErrorClass::Fenced);
    let state = new.claim_writer(&instance()).await.unwrap();
    assert_eq!(state.last_batch, Some(BatchNumber(2)));
    assert_eq!(state.active, batch_time(2).active);
    let fenced = old
        .commit(&group(vec![batch(3, rows(&[(0, 2, 2.0)]))]))
        .await
        .unwrap_err();
    assert_eq!(fenced.class, ErrorClass::Fenced, "{fenced}");
    commit(&new, vec![batch(3, rows(&[(0, 3, 3.0)]))]).await;
    assert_eq!(stored(&new, 0).await, [(1, 1.0), (3, 3.0)]);
}

/// Whoever lost the answer asks for the last batch; were the group repeated all the same, it would be told so, and ask then.
pub async fn a_group_is_never_counted_twice<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    commit(&store, vec![batch(2, rows(&[(0, 1, 1.0)]))]).await;
    let lost = group(vec![
        batch(3, rows(&[(0, 1, 1.0), (0, 1, 2.0), (0, 2, 2.0)])),
        batch(4, rows(&[(0, 2, 2.0), (1, 2, 2.0), (0, 2, 3.0)])),
    ]);
    let report = store.commit(&lost).await.unwrap();
    assert_eq!(store.last_batch(&instance()).await.unwrap(), Some(BatchNumber(4)));
    let recalled = store.recall(&lost).await.unwrap();
    assert_eq!(recalled, report);
    let error = store.commit(&lost).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unknown, "{error}");
    assert_eq!(store.ledger_total().await.unwrap().received, 7);
}

pub async fn batch_numbers_are_never_given_twice<F: Fixture>(fixture: F) {
    let store = fixture.open().await;
    let first = store.reserve_batches(100).await.unwrap();
    let second = store.reserve_batches(1).await.unwrap();
    assert!(first >= BatchNumber(1) && second.0 >= first.0 + 100);
    store.close().await;
    let third = fixture.open().await.reserve_batches(5).await.unwrap();
    assert!(third > second);
    let none_left = fixture.open().await.reserve_batches(u64::MAX).await.unwrap_err();
    assert_eq!(none_left.class, ErrorClass::Refused);
}

pub async fn positions_and_definitions_follow_the_last_batch<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let mut batches = Vec::new();
    for (number, offset) in [(2, 10), (3, 20)] {
        let mut batch = batch(number, SliceOutcome::default());
        batch.positions.push(Position {
            source: source(),
            partition: "topic/1".into(),
            offset,
            epoch: None,
        });
        batch.sensors.push(SensorDefinition {
            key: SensorKey(0),
            id: SensorId::parse("sensor 0").unwrap(),
            tags: Tags::from([("site".to_owned(), format!("\"{offset}'"))]),
            home: None,
        });
        batch.series.push(SeriesDefinition {
            id: SeriesId(0),
            sensor: SensorKey(0),
            metric: MetricName::parse("metric 0").unwrap(),
            unit: Some("K".into()),
        });
        batches.push(batch);
    }
    let last = batches[1].clone();
    commit(&store, batches).await;
    assert_eq!(store.position(&source(), "topic/1").await.unwrap(), Some(20));
    assert_eq!(store.position(&source(), "topic/2").await.unwrap(), None);
    let (sensors, series) = store.load_registry(&Scope::All).await.unwrap();
    assert_eq!(sensors, last.sensors);
    assert_eq!(series[0], last.series[0]);
    assert_eq!(series[1].unit, None);
}

/// An idempotency key is a position whose offset is the arrival that it remembers.
pub async fn old_idempotency_keys_expire_and_positions_do_not<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 1).await;
    let mut keys = batch(2, SliceOutcome::default());
    for (partition, offset) in [
        ("idempotency/old", 10),
        ("idempotency/new", 20),
        ("idempotency0", 1),
        ("topic/1", 1),
    ] {
        keys.positions.push(Position {
            source: source(),
            partition: partition.into(),
            offset,
            epoch: None,
        });
    }
    commit(&store, vec![keys]).await;
    let expiry = Expiry {
        idempotency_before: Some(Timestamp(20)),
        ..Default::default()
    };
    assert_eq!(store.expire(&expiry).await.unwrap(), 1);
    for (partition, offset) in [
        ("idempotency/old", None),
        ("idempotency/new", Some(20)),
        ("idempotency0", Some(1)),
        ("topic/1", Some(1)),
    ] {
        assert_eq!(
            store.position(&source(), partition).await.unwrap(),
            offset,
            "{partition}"
        );
    }
}

/// A session has as many rows as slots, each with what was written last.
pub async fn arrivals_are_written_over_and_expire<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 1).await;
    let page = |session: &str, slot, page, kept_until, content: u8| ArrivalPage {
        source: source(),
        session: session.into(),
        slot,
        page,
        kept_until: Timestamp(kept_until),
        entries: vec![content; 40],
    };
    let with = |number, arrivals: Vec<ArrivalPage>| CompleteBatch {
        arrivals,
        ..batch(number, SliceOutcome::default())
    };
    let (old, newer, other) = (
        page("a", 0, 0, 10, 1),
        page("a", 1, 1, 20, 2),
        page("b", 0, 7, 10, 3),
    );
    let first = with(2, vec![page("a", 0, 0, 5, 0)]);
    commit(
        &store,
        vec![first, with(3, vec![old.clone(), newer.clone(), other.clone()])],
    )
    .await;
    let read = async |session: &str| {
        let mut pages = store.arrivals(&source(), session).await.unwrap();
        pages.sort_by_key(|page| page.slot);
        pages
    };
    assert_eq!(read("a").await, [old, newer.clone()]);
    let over = page("a", 0, 2, 30, 4);
    commit(&store, vec![with(4, vec![over.clone()])]).await;
    assert_eq!(read("a").await, [over.clone(), newer]);
    assert_eq!(read("b").await, [other]);
    assert!(
        store
            .arrivals(&SourceName::parse("else").unwrap(), "a")
            .await
            .unwrap()
            .is_empty()
    );
    let expiry = Expiry {
        arrivals_before: Some(Timestamp(30)),
        ..Default::default()
    };
    assert_eq!(store.expire(&expiry).await.unwrap(), 2);
    assert_eq!(read("a").await, [over]);
    assert!(read("b").await.is_empty());
}

/// A caller that goes away in the middle leaves the group out or in, never half, and nothing locked.
pub async fn a_dropped_commit_leaves_nothing_open<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let readings: Vec<_> = (0..20_000).map(|n| (n % 2, i64::from(n), 1.0)).collect();
    let mut next = 2;
    for polls in 1..40 {
        let big = group(vec![batch(next, rows(&readings))]);
        let mut commit = Box::pin(store.commit(&big));
        for _ in 0..polls {
            if futures_util::poll!(&mut commit).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        drop(commit);
        let small = group(vec![batch(next + 1, rows(&[(0, -1 - polls, 1.0)]))]);
        store.commit(&small).await.unwrap();
        let total = store.ledger_total().await.unwrap();
        assert!(total.balances());
        let rows = stored(&store, 0).await.len() + stored(&store, 1).await.len();
        assert_eq!(total.stored, rows as u64);
        assert!(
            rows as i64 == polls || rows as i64 == polls + 20_000,
            "{rows} after {polls}"
        );
        next += 2;
    }
}
