//! Several instances on one database: numbers, names, homes, who has what, who leads.

use sensorhive::core::windows::Aggregate;
use sensorhive::domain::*;
use sensorhive::storage::*;

use crate::support::*;

fn sensor(key: u32, id: &str, home: Option<&Home>) -> SensorDefinition {
    SensorDefinition {
        key: SensorKey(key),
        id: SensorId::parse(id).unwrap(),
        tags: Tags::new(),
        home: home.cloned(),
    }
}

fn series(id: u32, sensor: u32, metric: &str) -> SeriesDefinition {
    SeriesDefinition {
        id: SeriesId(id),
        sensor: SensorKey(sensor),
        metric: MetricName::parse(metric).unwrap(),
        unit: None,
    }
}

fn defining(number: u64, sensors: Vec<SensorDefinition>, series: Vec<SeriesDefinition>) -> CompleteBatch {
    CompleteBatch {
        sensors,
        series,
        ..batch(number, SliceOutcome::default())
    }
}

fn named(id: &str) -> Scope {
    Scope::Named(vec![SensorId::parse(id).unwrap()])
}

pub async fn numbers_are_never_given_twice<F: Fixture>(fixture: F) {
    let (ours, theirs) = (opened(&fixture, 2).await, fixture.open().await);
    let first = ours.reserve_numbers(100).await.unwrap();
    assert_eq!((first.sensors.len(), first.series.len()), (100, 100));
    let second = theirs.reserve_numbers(10).await.unwrap();
    assert!(second.sensors.start >= first.sensors.end && second.series.start >= first.series.end);
    // What came in another way is left alone, too.
    let key = second.sensors.end + 1_000;
    commit(
        &ours,
        vec![defining(2, vec![sensor(key, "restored", None)], Vec::new())],
    )
    .await;
    let third = theirs.reserve_numbers(1).await.unwrap();
    assert!(third.sensors.start > key);
    assert_eq!(third.series.start, second.series.end);
    let none_left = theirs.reserve_numbers(u32::MAX).await.unwrap_err();
    assert_eq!(none_left.class, ErrorClass::Refused);
}

pub async fn a_name_has_one_number<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    commit(
        &store,
        vec![defining(
            2,
            vec![sensor(50, "x", None)],
            vec![series(50, 50, "m")],
        )],
    )
    .await;
    for clash in [
        defining(3, vec![sensor(60, "x", None)], vec![series(60, 60, "n")]),
        defining(3, Vec::new(), vec![series(61, 50, "m")]),
    ] {
        let error = store.commit(&group(vec![clash])).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Moved, "{error}");
    }
    let (sensors, all) = store.load_registry(&named("x")).await.unwrap();
    assert_eq!(sensors, [sensor(50, "x", None)]);
    assert_eq!(all, [series(50, 50, "m")]);
}

pub async fn a_sensor_has_one_home_or_several<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let homes = [0, 1].map(|partition| Home::partition(&source(), &format!("t/{partition}")));
    let mut number = 1;
    for (given, kept) in [
        (None, None),
        (Some(&homes[0]), Some(homes[0].clone())),
        (None, Some(homes[0].clone())),
        (Some(&homes[0]), Some(homes[0].clone())),
        (Some(&homes[1]), Some(Home::several())),
        (Some(&homes[0]), Some(Home::several())),
        (None, Some(Home::several())),
    ] {
        number += 1;
        commit(
            &store,
            vec![defining(number, vec![sensor(50, "x", given)], Vec::new())],
        )
        .await;
        let (sensors, _) = store.load_registry(&named("x")).await.unwrap();
        assert_eq!(sensors[0].home, kept, "after {given:?}");
    }
}

/// Two instances, and a sensor 0 of which both have a part. Their ledgers are kept as entries: else the row of the sensor's ledger
/// would keep one from what the other does.
async fn apart<F: OnPostgres>(fixture: &F) -> [(PostgresStore, InstanceId); 2] {
    drop(opened(fixture, 2).await);
    let join = async |name: &str| {
        let mut settings = fixture.settings();
        settings.shared = true;
        settings.entries.sensors = 1;
        let store = PostgresStore::open(&settings).await.unwrap();
        let instance = InstanceId(name.into());
        store.claim_writer(&instance).await.unwrap();
        (store, instance)
    };
    let both = [join("ours").await, join("theirs").await];
    for (at, (store, instance)) in both.iter().enumerate() {
        let home = Home::partition(&source(), &format!("t/{at}"));
        let definition = sensor(0, "sensor 0", Some(&home));
        let batch = defining(2 + at as u64, vec![definition], Vec::new());
        store.commit(&of(instance, batch)).await.unwrap();
    }
    both
}

fn of(instance: &InstanceId, batch: CompleteBatch) -> CommitGroup {
    CommitGroup {
        instance: instance.clone(),
        batches: vec![batch],
    }
}

/// Rows of the sensor 0, by one that knows of the other.
fn known(readings: &[(u32, i64, f64)]) -> SliceOutcome {
    SliceOutcome {
        scattered: vec![SensorKey(0)],
        ..rows(readings)
    }
}

/// Of the series 0.
fn minute(start: i64) -> WindowSpan {
    WindowSpan {
        series: SeriesId(0),
        kind: WindowKind::Tumbling,
        size: 60,
        start: Timestamp(start),
    }
}

pub async fn windows_of_a_scattered_sensor_are_those_of_all_rows<F: OnPostgres>(fixture: F) {
    let [(ours, us), (theirs, they)] = apart(&fixture).await;
    let window = |start, readings: &[(i64, f64)]| {
        let readings = readings.iter().map(|&(time, value)| (Timestamp(time), value));
        Aggregate::from_rows(readings).unwrap().result(minute(start), 0)
    };
    let stored = async || ours.windows(SeriesId(0), &everything()).await.unwrap();

    let ignorant = of(&they, batch(9, rows(&[(0, 2, 2.0)])));
    assert_eq!(
        theirs.commit(&ignorant).await.unwrap_err().class,
        ErrorClass::Moved
    );

    // Each closes it with what it knows.
    let theirs_first = of(&they, batch(10, known(&[(0, 2, 2.0)])));
    theirs.commit(&theirs_first).await.unwrap();
    let mut closing = known(&[(0, 1, 1.0)]);
    closing.windows.push(window(0, &[(1, 1.0)]));
    ours.commit(&of(&us, batch(11, closing))).await.unwrap();
    assert_eq!(stored().await, [window(0, &[(1, 1.0), (2, 2.0)])]);

    // What comes after it was closed revises it; what is not stored yet is left to whoever closes it.
    let mut late = known(&[(0, 3, 9.0), (0, 70, 7.0)]);
    late.revise = vec![minute(0), minute(60)];
    let report = theirs.commit(&of(&they, batch(12, late))).await.unwrap();
    let revised = WindowResult {
        revision: 1,
        ..window(0, &[(1, 1.0), (2, 2.0), (3, 9.0)])
    };
    assert_eq!(report.batches[0].revised, [revised]);
    assert_eq!(stored().await, [revised]);
}

/// Neither sees the rows of the other until it has committed.
pub async fn windows_that_two_compute_at_once_lack_nothing<F: OnPostgres>(fixture: F) {
    let [(ours, us), (theirs, they)] = apart(&fixture).await;
    const ROUNDS: i64 = 50;
    for round in 0..ROUNDS {
        let start = round * 60;
        let number = 10 + 2 * round as u64;
        let outcome = |time: i64| {
            let mut outcome = known(&[(0, start + time, time as f64)]);
            outcome.recompute.push(minute(start));
            outcome.revise.push(minute(start));
            outcome
        };
        let mine = of(&us, batch(number, outcome(1)));
        let other = of(&they, batch(number + 1, outcome(2)));
        let (mine, other) = tokio::join!(ours.commit(&mine), theirs.commit(&other));
        mine.unwrap();
        other.unwrap();
    }
    let windows = ours.windows(SeriesId(0), &everything()).await.unwrap();
    let counts: Vec<u64> = windows.iter().map(|window| window.count).collect();
    assert_eq!(counts, [2; ROUNDS as usize]);
}

pub async fn a_question_may_be_about_some<F: Fixture>(fixture: F) {
    let store = opened(&fixture, 2).await;
    let homes = [0, 1].map(|partition| Home::partition(&source(), &format!("t/{partition}")));
    let mut first = defining(
        2,
        vec![
            sensor(50, "a", Some(&homes[0])),
            sensor(51, "b", Some(&homes[1])),
            sensor(52, "c", None),
        ],
        vec![series(100, 50, "m"), series(102, 51, "m"), series(104, 52, "m")],
    );
    first.outcomes = vec![rows(&[(100, 1, 1.0), (102, 1, 1.0), (104, 1, 1.0)])];
    commit(&store, vec![first]).await;
    let mut snapshots = SliceOutcome::default();
    for key in 50..53 {
        snapshots.snapshots.push(Snapshot {
            sensor: SensorKey(key),
            seq: BatchNumber(2).end(),
            state: vec![1],
            deadline: Some(ActiveTime(i64::from(key))),
            complete: true,
        });
    }
    commit(&store, vec![batch(3, snapshots)]).await;
    let mut late = batch(4, SliceOutcome::default());
    late.outcomes = vec![rows(&[(100, 2, 2.0), (102, 2, 2.0), (104, 2, 2.0)])];
    commit(&store, vec![late]).await;

    for (scope, keys) in [
        (Scope::Homes(vec![homes[0].clone()]), vec![50]),
        (Scope::Homes(homes.to_vec()), vec![50, 51]),
        (Scope::Homes(Vec::new()), vec![]),
        (named("c"), vec![52]),
        (named("nobody"), vec![]),
        (Scope::All, vec![0, 50, 51, 52]),
    ] {
        let keys: Vec<SensorKey> = keys.into_iter().map(SensorKey).collect();
        let made: Vec<SensorKey> = keys.iter().copied().filter(|key| key.0 > 0).collect();
        let (sensors, series) = store.load_registry(&scope).await.unwrap();
        assert_eq!(
            sensors.iter().map(|sensor| sensor.key).collect::<Vec<_>>(),
            keys,
            "{scope:?}"
        );
        assert!(
            series.iter().all(|series| keys.contains(&series.sensor)),
            "{scope:?}"
        );
        let deadlines = store.deadlines(&scope).await.unwrap();
        assert_eq!(
            deadlines.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            made,
            "{scope:?}"
        );
        let mut behind = store.sensors_behind(&scope).await.unwrap();
        behind.sort_unstable();
        assert_eq!(behind, made, "{scope:?}");
    }
}

fn by(instance: &InstanceId, batches: Vec<CompleteBatch>) -> CommitGroup {
    CommitGroup {
        instance: instance.clone(),
        batches,
    }
}

pub async fn whose_partitions_are_taken_is_told_at_its_next_commit<F: OnPostgres>(fixture: F) {
    opened(&fixture, 2).await;
    let ((a, a_name), (b, b_name)) = (fixture.join("a").await, fixture.join("b").await);
    let partitions = ["t/0".to_owned(), "t/1".to_owned()];
    a.claim_positions(&source(), &partitions).await.unwrap();
    let owned = |partitions: &[&str]| -> Vec<(SourceName, String)> {
        partitions
            .iter()
            .map(|partition| (source(), (*partition).to_owned()))
            .collect()
    };
    assert_eq!(a.owned_positions().await.unwrap(), owned(&["t/0", "t/1"]));
    a.commit(&by(&a_name, vec![batch(10, rows(&[(0, 1, 1.0)]))]))
        .await
        .unwrap();

    // Taken: nothing that it does by itself commits any more, until it has looked what is still its own.
    b.claim_positions(&source(), &partitions[..1]).await.unwrap();
    let internal = by(&a_name, vec![batch(11, rows(&[(0, 2, 1.0)]))]);
    for told in [a.commit(&internal).await.map(drop), a.rehearse(&internal).await] {
        let error = told.unwrap_err();
        assert_eq!(error.class, ErrorClass::Moved, "{error}");
    }
    b.commit(&by(&b_name, vec![batch(20, rows(&[(0, 3, 1.0)]))]))
        .await
        .unwrap();
    a.claim_writer(&a_name).await.unwrap();
    assert_eq!(a.owned_positions().await.unwrap(), owned(&["t/1"]));
    a.commit(&internal).await.unwrap();

    // Given back: whoever claims it next disturbs nobody.
    a.release_positions(&source(), &partitions).await.unwrap();
    assert_eq!(a.owned_positions().await.unwrap(), []);
    assert_eq!(
        b.owned_positions().await.unwrap(),
        owned(&["t/0"]),
        "what is not ours is not given back"
    );
    b.claim_positions(&source(), &partitions).await.unwrap();
    a.commit(&by(&a_name, vec![batch(12, rows(&[(0, 4, 1.0)]))]))
        .await
        .unwrap();
    // Nor does one that claims its own again.
    b.claim_positions(&source(), &partitions).await.unwrap();
    b.commit(&by(&b_name, vec![batch(21, rows(&[(0, 5, 1.0)]))]))
        .await
        .unwrap();
    assert_eq!(stored(&a, 0).await.len(), 5);
}

pub async fn one_leads_and_another_takes_over<F: OnPostgres>(fixture: F) {
    let ((a, _), (b, _)) = (fixture.join("a").await, fixture.join("b").await);
    assert!(a.lead().await.unwrap());
    assert!(!b.lead().await.unwrap());
    assert!(a.lead().await.unwrap(), "it goes on leading");
    a.close().await;
    let mut leads = false;
    for _ in 0..1_000 {
        leads = b.lead().await.unwrap();
        if leads {
            break;
        }
        // The server may take a moment to see that the session is gone.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(leads);
    assert!(!fixture.join("c").await.0.lead().await.unwrap());
}

pub async fn a_load_is_as_of_our_own_commits<F: OnPostgres>(fixture: F) {
    opened(&fixture, 2).await;
    let ((a, a_name), (b, b_name)) = (fixture.join("a").await, fixture.join("b").await);
    a.commit(&by(&a_name, vec![batch(10, rows(&[(0, 1, 1.0)]))]))
        .await
        .unwrap();
    b.commit(&by(&b_name, vec![batch(2_000, rows(&[(1, 2, 1.0)]))]))
        .await
        .unwrap();
    let as_of = |store: PostgresStore| async move {
        let loaded = store.load_sensors(&[SensorKey(0)], 10).await.unwrap();
        let recent = store.load_recent(SensorKey(0), 10).await.unwrap();
        assert_eq!(loaded.sensors[0].tail.len(), 2);
        assert_eq!(loaded.as_of, recent.as_of);
        (store, loaded.as_of)
    };
    let (a, ours) = as_of(a).await;
    let (_, theirs) = as_of(b).await;
    assert_eq!((ours, theirs), (Some(BatchNumber(10)), Some(BatchNumber(2_000))));
    // The clock is that of whoever is furthest.
    let furthest = batch_time(2_000).active;
    assert_eq!(a.active_clock().await.unwrap(), furthest);
    assert_eq!(a.claim_writer(&a_name).await.unwrap().active, furthest);
    assert_eq!(a.last_batch(&a_name).await.unwrap(), Some(BatchNumber(10)));
}

pub async fn a_partition_that_another_instance_dropped_is_made_again<F: OnPostgres>(fixture: F) {
    opened(&fixture, 2).await;
    let ((a, a_name), (b, b_name)) = (fixture.join("a").await, fixture.join("b").await);
    let now = Timestamp(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64);
    let old = now.saturating_sub(10 * 86_400_000_000);
    for (store, name, number) in [(&a, &a_name, 10), (&b, &b_name, 20)] {
        let reading = (0, old.0 + number as i64, 1.0);
        store
            .commit(&by(name, vec![batch(number, rows(&[reading]))]))
            .await
            .unwrap();
    }
    let expiry = sensorhive::storage::history::Expiry {
        readings_before: Some(now.saturating_sub(5 * 86_400_000_000)),
        ..Default::default()
    };
    b.expire(&expiry).await.unwrap();
    assert_eq!(stored(&a, 0).await, []);
    let late = by(&a_name, vec![batch(11, rows(&[(0, old.0, 1.0)]))]);
    if let Err(error) = a.commit(&late).await {
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        a.commit(&late).await.unwrap();
    }
    assert_eq!(stored(&a, 0).await, [(old.0, 1.0)]);
    // Each may be the one that drops.
    a.expire(&expiry).await.unwrap();
    b.expire(&expiry).await.unwrap();
}

pub async fn nobody_runs_beside_one_that_runs_alone<F: OnPostgres>(fixture: F) {
    use sensorhive::storage::postgres::SessionLock;
    let settings = fixture.settings();
    let take = async |name: Option<&str>| {
        let instance = name.map(|name| InstanceId(name.into()));
        SessionLock::take(&settings, instance.as_ref()).await
    };
    let refused = |taken: Result<SessionLock, StoreError>, word: &str| {
        let error = taken.unwrap_err();
        assert_eq!(error.class, ErrorClass::Unusable);
        assert!(error.to_string().contains(word), "{error}");
    };
    let (a, b) = (take(Some("a")).await.unwrap(), take(Some("b")).await.unwrap());
    refused(take(Some("a")).await, "storage.instance");
    refused(take(None).await, "storage.url");
    drop((a, b));
    let mut alone = take(None).await;
    for _ in 0..1_000 {
        if alone.is_ok() {
            break;
        }
        // The server may take a moment to see that the sessions are gone.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        alone = take(None).await;
    }
    alone.as_ref().unwrap();
    refused(take(Some("a")).await, "without storage.shared");
    refused(take(None).await, "storage.url");
}
