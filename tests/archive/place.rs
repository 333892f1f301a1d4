//! Places that fail, and objects that are not what they were.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use sensorhive::archive::{ArchiveError, ArchiveStatus, Archiver, Location};
use sensorhive::storage::archives::ArchiveState::*;
use sensorhive::storage::*;

use crate::support::*;
use crate::world::*;

pub async fn a_damaged_object_is_noticed_and_nothing_is_dropped<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let (first, second) = (day(21), day(20));
    commit(
        &store,
        vec![settled(
            2,
            &[readings(first, 5, 0), readings(second, 5, 0)].concat(),
        )],
    )
    .await;
    let before = everything_stored(&store).await;
    world.set(second, 4);
    world.place.damages_reads.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let error = world.try_run(&store).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
        // Each day has been tried, and neither counts.
        assert_eq!(
            states(&store).await,
            [(first, 1, Uploaded), (second, 1, Uploaded)]
        );
        assert_same!(everything_stored(&store).await, before);
    }
    let trouble = world.status.trouble().unwrap();
    assert!(
        trouble.message.contains("is damaged: its SHA-256"),
        "{}",
        trouble.message
    );
    assert_eq!((world.status.failures.get(), world.status.rows.get()), (2, 0));
    world.place.damages_reads.store(false, Ordering::Relaxed);
    world.run(&store).await;
    assert_eq!(states(&store).await, [(first, 1, Dropped), (second, 1, Dropped)]);
    assert_eq!(world.status.trouble(), None);
}

pub async fn a_place_that_fails_drops_nothing_and_goes_on_later<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 5, 0))]).await;
    let before = everything_stored(&store).await;
    world.set(day, 4);
    world.place.refuses_writes.store(true, Ordering::Relaxed);
    let error = world.try_run(&store).await.unwrap_err();
    assert!(error.to_string().contains("writing readings/"), "{error}");
    assert_eq!(states(&store).await, [(day, 1, Exporting)]);
    assert_same!(everything_stored(&store).await, before);

    // A directory whose path is taken by a file; then it is not any more.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive");
    std::fs::write(&path, "in the way").unwrap();
    let status = Arc::new(ArchiveStatus::default());
    let archiver = Archiver::new(Location::Directory(path.clone()), world.limits, status.clone());
    let archives = store.archives().unwrap();
    let error = archiver.run(archives, &world.clock).await.unwrap_err();
    assert!(error.to_string().contains("opening the archive at"), "{error}");
    assert_same!(everything_stored(&store).await, before);
    std::fs::remove_file(&path).unwrap();
    archiver.run(archives, &world.clock).await.unwrap();
    assert_same!(everything_stored(&store).await, []);
    assert_eq!(status.trouble(), None);
    let object = path.join(&catalog(&store).await[0].object);
    assert_eq!(std::fs::metadata(object).unwrap().len(), status.bytes.get());
}

pub async fn an_object_of_somebody_else_is_never_written_over<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    let foreign = format!("readings/{}-1.parquet", day.to_string().replace('-', "/"));
    world
        .objects()
        .put(&foreign, Bytes::from_static(b"somebody else's"))
        .await
        .unwrap();
    commit(&store, vec![settled(2, &readings(day, 5, 0))]).await;
    world.set(day, 4);
    world.run(&store).await;
    assert_eq!(states(&store).await, [(day, 2, Dropped)]);
    assert_eq!(world.objects().get(&foreign).await.unwrap(), "somebody else's");
}

pub async fn a_damaged_object_is_not_restored<F: Fixture>(fixture: F) {
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 5, 0))]).await;
    world.set(day, 4);
    world.run(&store).await;
    world.place.damages_reads.store(true, Ordering::Relaxed);
    let why = world.restore(&store, (day, day), None, false).await.unwrap_err();
    assert!(why.contains("its SHA-256 is"), "{why}");
    assert_eq!(states(&store).await, [(day, 1, Dropped)]);
    assert_same!(everything_stored(&store).await, []);
    world.place.damages_reads.store(false, Ordering::Relaxed);
    // Good by itself, but not the one that was archived.
    let name = &catalog(&store).await[0].object;
    let mut writer = sensorhive::archive::ObjectWriter::new(day, 1).unwrap();
    writer.push(&sensorhive::archive::Rows::default()).unwrap();
    world
        .objects()
        .put(name, writer.finish().unwrap().0)
        .await
        .unwrap();
    let why = world.restore(&store, (day, day), None, false).await.unwrap_err();
    assert!(why.contains("the catalog has"), "{why}");
}
