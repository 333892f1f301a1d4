//! What comes when it is not expected any more.

use sensorhive::domain::*;
use sensorhive::storage::archives::ArchiveState::*;
use sensorhive::storage::*;

use crate::support::*;
use crate::world::*;

pub async fn readings_that_come_after_the_export_are_archived_too<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let mut world = World::new();
    let retention = world.limits.retention.take();
    let (old, new) = (day(45), day(20));
    for (number, day) in [(2, old), (3, new)] {
        commit(&store, vec![settled(number, &readings(day, 10, 0))]).await;
    }
    world.set(new, 2);
    world.run(&store).await;
    let late = [readings(old, 3, 5), readings(new, 4, 5)].concat();
    commit(&store, vec![settled(4, &late)]).await;
    let before = everything_stored(&store).await;

    world.limits.retention = retention;
    // What is to be dropped is looked at again; what came late is archived first, and nothing is gone by then.
    world.set(new, 4);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, before);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    let expected = [
        (old, 1, Dropped),
        (old, 2, Dropped),
        (new, 1, Dropped),
        (new, 2, Dropped),
    ];
    assert_eq!(states(&store).await, expected);
    let rows: Vec<u64> = catalog(&store)
        .await
        .iter()
        .map(|archive| archive.contents.unwrap().rows)
        .collect();
    assert_eq!(rows, [24, 60, 18, 60]);
    world.restore(&store, (old, new), None, false).await.unwrap();
    assert_same!(everything_stored(&store).await, before);
}

pub async fn readings_that_come_after_the_drop_are_archived_beside<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let (old, new) = (day(45), day(20));
    commit(
        &store,
        vec![settled(2, &[readings(old, 10, 0), readings(new, 10, 0)].concat())],
    )
    .await;
    let mut all = everything_stored(&store).await;
    world.set(new, 4);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    commit(
        &store,
        vec![settled(3, &[readings(old, 2, 9), readings(new, 2, 9)].concat())],
    )
    .await;
    all.extend(everything_stored(&store).await);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    let expected = [
        (old, 1, Dropped),
        (old, 2, Dropped),
        (new, 1, Dropped),
        (new, 2, Dropped),
    ];
    assert_eq!(states(&store).await, expected);
    world.restore(&store, (old, new), None, false).await.unwrap();
    let mut back = everything_stored(&store).await;
    back.sort_by_key(|row| (row.0, row.1));
    all.sort_by_key(|row| (row.0, row.1));
    assert_same!(back, all);
}

pub async fn a_window_of_a_day_that_is_gone_keeps_its_figures<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 24, 0))]).await;
    let recompute = |number: u64, offset: i64, value: f64| {
        let mut batch = settled(number, &[(0, day.start().0 + offset, value)]);
        batch.outcomes[0].recompute.push(WindowSpan {
            series: SeriesId(0),
            kind: WindowKind::Tumbling,
            size: 86_400_000_000,
            start: day.start(),
        });
        batch
    };
    let window = async || store.windows(SeriesId(0), &everything()).await.unwrap()[0];
    commit(&store, vec![recompute(3, 1, 1e6)]).await;
    let whole = window().await;
    assert_eq!((whole.count, whole.max, whole.revision), (25, 1e6, 0));
    world.set(day, 4);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    let report = commit(&store, vec![recompute(4, 2, 2e6)]).await;
    assert_eq!(window().await, whole);
    assert_eq!(report.batches[0].revised, [whole]);
    // With everything back it counts what came late, too.
    world.restore(&store, (day, day), None, false).await.unwrap();
    commit(&store, vec![recompute(5, 3, 3e6)]).await;
    let now = window().await;
    assert_eq!((now.count, now.max, now.revision), (27, 3e6, 1));
}

pub async fn a_sensor_that_is_behind_keeps_its_readings<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let (first, second, third) = (day(22), day(21), day(20));
    commit(&store, vec![settled(2, &readings(first, 10, 0))]).await;
    // Sensor 1 has no snapshot that holds these.
    commit(&store, vec![batch(3, rows(&[(2, second.start().0 + 5, 1.0)]))]).await;
    commit(&store, vec![batch(4, rows(&[(4, third.start().0 + 5, 1.0)]))]).await;
    let before = everything_stored(&store).await;
    world.set(third, 10);
    world.run(&store).await;
    assert_eq!(states(&store).await, [(first, 1, Dropped)]);
    assert_eq!(world.status.waiting(), Some(second));
    assert_same!(
        everything_stored(&store).await,
        [of_day(&before, second), of_day(&before, third)].concat()
    );
    let loaded = store.load_sensors(&[SensorKey(1)], 10).await.unwrap();
    assert_eq!(loaded.sensors[0].tail.len(), 1);
    commit(&store, vec![settled(5, &[])]).await;
    world.run(&store).await;
    assert_eq!(world.status.waiting(), None);
    assert_same!(everything_stored(&store).await, []);
    world.restore(&store, (first, third), None, false).await.unwrap();
    assert_same!(everything_stored(&store).await, before);
}

/// Readings never change, but somebody with a database client can.
pub async fn a_day_that_changed_behind_the_archive_is_archived_anew<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 10, 0))]).await;
    world.set(day, 2);
    world.run(&store).await;
    // A reading that its sensor finds poisonous later is flagged.
    let mut poison = settled(3, &[]);
    let (series, time, _) = readings(day, 10, 0)[13];
    poison.outcomes[0]
        .poison
        .push((SeriesId(series), Timestamp(time)));
    commit(&store, vec![poison]).await;
    let before = everything_stored(&store).await;
    assert_eq!(before.iter().filter(|row| row.4 == Flags::POISON.0).count(), 1);
    world.set(day, 4);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, before);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    assert_eq!(states(&store).await, [(day, 1, Dropped), (day, 2, Dropped)]);
    // The newer object alone brings everything back.
    world
        .restore_object(&store, &catalog(&store).await[0].object)
        .await;
    assert_same!(everything_stored(&store).await, before);
}
