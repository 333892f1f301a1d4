//! Out and back.

use sensorhive::archive::restore::Outcome;
use sensorhive::domain::*;
use sensorhive::storage::archives::ArchiveState::*;
use sensorhive::storage::*;

use crate::support::*;
use crate::world::*;

pub async fn what_was_archived_and_dropped_comes_back_as_it_was<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    // One of them in what was the past already when the database was made.
    let (old, new, fresh) = (day(45), day(20), day(19));
    let mut flagged = settled(2, &[readings(old, 24, 1), readings(new, 30, 2)].concat());
    for (n, row) in flagged.outcomes[0].rows.iter_mut().enumerate() {
        row.reading.flags = Flags([0, 1, 4, 64][n % 4]);
    }
    commit(&store, vec![flagged, settled(3, &readings(fresh, 10, 3))]).await;
    let before = everything_stored(&store).await;
    let (old_sum, new_sum) = (checksum(&store, old).await, checksum(&store, new).await);

    world.set(new, 3);
    world.run(&store).await;
    let left = everything_stored(&store).await;
    assert_same!(left, of_day(&before, fresh));
    assert_eq!(
        states(&store).await,
        [(old, 1, Dropped), (new, 1, Dropped), (fresh, 1, Verified)]
    );
    for (archive, sum) in catalog(&store).await.iter().rev().zip([old_sum, new_sum]) {
        let contents = archive.contents.unwrap();
        assert_eq!((contents.rows, contents.checksum), sum);
        assert_eq!(
            archive.dropped_at,
            Some(sensorhive::clock::Clock::now(&world.clock))
        );
    }

    let outcomes = world.restore(&store, (old, new), None, false).await.unwrap();
    let came = |rows| Outcome {
        rows,
        stored: rows,
        ..Outcome::default()
    };
    assert_eq!(outcomes, [came(24 * 6), came(30 * 6)]);
    assert_same!(everything_stored(&store).await, before);
    assert_eq!(
        (checksum(&store, old).await, checksum(&store, new).await),
        (old_sum, new_sum)
    );

    let line = format!(
        "archive test: {}: {} rows before = {} rows after a round trip, checksums equal: {:?}\n",
        store.describe().split(" (").next().unwrap_or_default(),
        before.len(),
        everything_stored(&store).await.len(),
        [old_sum.1, new_sum.1].map(|sum| format!("{:032x}", sum.0))
    );
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());

    // Once more changes nothing.
    for outcome in world.restore(&store, (old, new), None, false).await.unwrap() {
        assert_eq!((outcome.stored, outcome.duplicates), (0, outcome.rows));
    }
    assert_same!(everything_stored(&store).await, before);

    // And they stay, until they are released, and go again by the object that there is.
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, before);
    let archives = store.archives().unwrap();
    for day in [old, new] {
        assert_eq!(
            archives
                .advance(day, Restored, Verified, Timestamp(0))
                .await
                .unwrap(),
            1
        );
    }
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, of_day(&before, fresh));
    assert_eq!(
        states(&store).await,
        [(old, 1, Dropped), (new, 1, Dropped), (fresh, 1, Verified)]
    );
}

pub async fn a_copy_is_kept_beside_readings_that_stay<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let mut world = World::new();
    world.limits.retention = None;
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 9, 0))]).await;
    let before = everything_stored(&store).await;
    world.set(day, 0);
    world.run(&store).await;
    assert_eq!(states(&store).await, [], "it is too young");
    world.set(day, 1_000);
    world.run(&store).await;
    world.run(&store).await;
    assert_eq!(states(&store).await, [(day, 1, Verified)]);
    assert_same!(everything_stored(&store).await, before);
    assert_eq!((world.status.rows.get(), world.status.days.get()), (54, 1));
    assert_eq!(world.status.trouble(), None);
}

pub async fn a_large_day_is_cut_into_objects<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 50, 0))]).await;
    let before = everything_stored(&store).await;
    let archiver = world.archiver().sizes(sensorhive::archive::Sizes {
        group: 16,
        rows: 60,
        bytes: 1 << 20,
    });
    world.set(day, 4);
    archiver
        .run(store.archives().unwrap(), &world.clock)
        .await
        .unwrap();
    let rows: Vec<u64> = catalog(&store)
        .await
        .iter()
        .map(|archive| archive.contents.unwrap().rows)
        .collect();
    assert_eq!(rows, [44, 64, 64, 64, 64]);
    assert_same!(everything_stored(&store).await, []);
    assert_eq!(
        world
            .restore(&store, (day, day), None, false)
            .await
            .unwrap()
            .len(),
        5
    );
    assert_same!(everything_stored(&store).await, before);
}

pub async fn another_database_takes_an_archive_in<F: Fixture>(fixture: F) {
    let world = World::new();
    let day = day(20);
    let from = filled(&fixture).await;
    commit(&from, vec![settled(700, &readings(day, 10, 0))]).await;
    world.set(day, 2);
    world.run(&from).await;
    let sum = checksum(&from, day).await;

    // It knows one of the sensors, by another number, and has seen fewer batches.
    let other = Sqlite::new().await.unwrap();
    let store = other.open().await;
    store.claim_writer(&instance()).await.unwrap();
    let mut first = settled(1, &[]);
    for (key, id) in [(0, "somebody else"), (1, "sensor 2")] {
        first.sensors.push(SensorDefinition {
            key: SensorKey(key),
            id: SensorId::parse(id).unwrap(),
            tags: Tags::new(),
            home: None,
        });
    }
    first.outcomes[0].snapshots.clear();
    commit(&store, vec![first]).await;

    let refused = world.restore(&store, (day, day), None, false).await.unwrap_err();
    assert!(refused.contains("does not know"), "{refused}");
    assert_eq!((states(&store).await, checksum(&store, day).await.0), (vec![], 0));
    world.restore(&store, (day, day), None, true).await.unwrap();
    assert_eq!(checksum(&store, day).await, sum);
    assert_eq!(states(&store).await, [(day, 1, Restored)]);
    let (sensors, series) = store.load_registry(&Scope::All).await.unwrap();
    assert_eq!((sensors.len(), series.len()), (4, 6));
    let units = |series: &[SeriesDefinition]| series.iter().filter(|series| series.unit.is_some()).count();
    assert_eq!(units(&series), 3);
    assert!(store.reserve_batches(1).await.unwrap() > BatchNumber(700));
    // What is known by now needs nobody to be alone.
    world.restore(&store, (day, day), None, false).await.unwrap();
}

pub async fn a_stored_reading_is_never_overwritten<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    let all = readings(day, 10, 0);
    commit(&store, vec![settled(2, &all)]).await;
    world.set(day, 4);
    world.run(&store).await;
    let (series, time, value) = all[7];
    let (same_series, same_time, same) = all[8];
    commit(
        &store,
        vec![settled(
            3,
            &[(series, time, value + 1.0), (same_series, same_time, same)],
        )],
    )
    .await;
    let outcome = &world.restore(&store, (day, day), None, false).await.unwrap()[0];
    assert_eq!(
        (
            outcome.rows,
            outcome.stored,
            outcome.duplicates,
            outcome.conflicts
        ),
        (60, 58, 1, 1)
    );
    let conflict = &outcome.examples[0];
    assert_eq!(
        (conflict.time, conflict.archived, conflict.stored),
        (Timestamp(time), value, value + 1.0)
    );
    assert_eq!(conflict.series.sensor.as_str(), format!("sensor {}", series / 2));
    assert!(stored(&store, series).await.contains(&(time, value + 1.0)));
    assert_eq!(everything_stored(&store).await.len(), 60);
}

pub async fn a_restored_day_stays_for_as_long_as_asked<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 10, 0))]).await;
    let before = everything_stored(&store).await;
    world.set(day, 4);
    world.run(&store).await;
    world.restore(&store, (day, day), Some(5), false).await.unwrap();
    world.set(day, 8);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, before);
    assert_eq!(states(&store).await, [(day, 1, Restored)]);
    world.set(day, 9);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    assert_eq!(states(&store).await, [(day, 1, Dropped)]);
}

pub async fn a_day_of_which_a_part_is_restored_stays_whole<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let mut world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 10, 0))]).await;
    world.set(day, 4);
    world.run(&store).await;
    let first = catalog(&store).await[0].object.clone();
    let retention = world.limits.retention.take();
    commit(&store, vec![settled(3, &readings(day, 2, 9))]).await;
    world.run(&store).await;
    assert_eq!(states(&store).await, [(day, 1, Dropped), (day, 2, Verified)]);
    assert_eq!(world.restore_object(&store, &first).await.stored, 60);
    world.limits.retention = retention;
    for _ in 0..2 {
        world.run(&store).await;
        assert_eq!(states(&store).await, [(day, 1, Restored), (day, 2, Verified)]);
        assert_eq!(everything_stored(&store).await.len(), 72);
    }
    let archives = store.archives().unwrap();
    archives
        .advance(day, Restored, Verified, Timestamp(0))
        .await
        .unwrap();
    world.run(&store).await;
    assert_eq!(states(&store).await, [(day, 1, Dropped), (day, 2, Dropped)]);
    assert_eq!(everything_stored(&store).await.len(), 0);
}
