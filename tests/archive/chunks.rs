//! What only PostgreSQL does: chunks that are compressed, chunks that are no day, readings that come while a chunk is dropped.

use std::time::Duration;

use sensorhive::domain::*;
use sensorhive::storage::archives::ArchiveState::*;
use sensorhive::storage::archives::Dropped;
use sensorhive::storage::*;
use sqlx::Connection;

use crate::postgres_server::{Database, Flavor, Server};
use crate::support::*;
use crate::world::*;

struct Chunked {
    database: Database,
    timescale: Timescale,
    interval: Duration,
}

impl Chunked {
    async fn new(flavor: Flavor, hours: u64) -> Option<Self> {
        Some(Self {
            database: Server::shared().await?.database(flavor).await?,
            timescale: match flavor {
                Flavor::Plain => Timescale::Off,
                Flavor::Timescale => Timescale::Required,
            },
            interval: Duration::from_secs(hours * 3_600),
        })
    }
}

impl Fixture for Chunked {
    type Store = PostgresStore;
    const CASES: u32 = 1;

    async fn new() -> Option<Self> {
        Self::new(Flavor::Plain, 24).await
    }

    async fn open_with(&self, outbox: Wanted) -> PostgresStore {
        let mut settings = PostgresSettings::from_url(self.database.url()).unwrap();
        settings.timescale = self.timescale;
        settings.chunk_interval = self.interval;
        settings.readers = 2;
        settings.outbox = outbox;
        PostgresStore::open(&settings).await.unwrap()
    }
}

#[tokio::test]
async fn compressed_chunks_are_archived_dropped_and_restored() {
    let Some(fixture) = Chunked::new(Flavor::Timescale, 24).await else {
        return;
    };
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 500, 0))]).await;
    let compress =
        "SELECT count(compress_chunk(c, if_not_compressed => true)) FROM show_chunks('readings') c";
    let compressed = "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'readings' AND is_compressed";
    let mut connection = fixture.database.connect().await;
    let ask = async |connection: &mut sqlx::PgConnection, sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
    };
    assert_eq!(ask(&mut connection, compress).await, 1);
    assert_eq!(ask(&mut connection, compressed).await, 1);
    let sum = checksum(&store, day).await;
    world.set(day, 2);
    world.run(&store).await;
    assert_eq!(ask(&mut connection, compressed).await, 1, "it stays as it was");
    // Late, into the compressed chunk.
    commit(&store, vec![settled(3, &[(0, day.start().0 + 7, 1.5)])]).await;
    let before = everything_stored(&store).await;
    world.set(day, 4);
    world.run(&store).await;
    assert_eq!(everything_stored(&store).await.len(), 3_001);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    let chunks = "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'readings'";
    assert_eq!(ask(&mut connection, chunks).await, 0);

    // Back, in two halves: the second goes into a chunk that was compressed meanwhile.
    let contents: Vec<_> = catalog(&store).await;
    assert_eq!(
        contents[1]
            .contents
            .map(|contents| (contents.rows, contents.checksum)),
        Some(sum)
    );
    world.restore(&store, (day, day), None, false).await.unwrap();
    assert_same!(everything_stored(&store).await, before);
    assert_eq!(ask(&mut connection, compress).await, 1);
    let again = world.restore(&store, (day, day), None, false).await.unwrap();
    assert_eq!(again.iter().map(|outcome| outcome.duplicates).sum::<u64>(), 3_001);
    assert_same!(everything_stored(&store).await, before);
    connection.close().await.unwrap();
}

/// Chunks of 36 hours: three days share two of them.
async fn days_that_share_chunks_go_together(flavor: Flavor) {
    let Some(fixture) = Chunked::new(flavor, 36).await else {
        return;
    };
    let store = filled(&fixture).await;
    let world = World::new();
    let days: Vec<Day> = (0..9).map(|n| after(day(24), n)).collect();
    let all: Vec<_> = days.iter().flat_map(|day| readings(*day, 24, 0)).collect();
    commit(&store, vec![settled(2, &all)]).await;
    let before = everything_stored(&store).await;
    let archives = store.archives().unwrap();
    let groups = archives.droppable(&days).await.unwrap();
    // At the ends of what there is, fewer may share.
    let group = groups.iter().find(|group| group.len() == 3).unwrap();
    assert!(groups.iter().all(|group| group.len() <= 3), "{groups:?}");

    // Only the first two of three are past their time.
    world.set(group[1], 3);
    world.run(&store).await;
    let gone = |now: &[(u32, i64, f64, u64, u8)]| before.len() - now.len();
    let left = everything_stored(&store).await;
    assert_eq!(of_day(&left, group[0]).len() + of_day(&left, group[1]).len(), 288);
    world.set(group[2], 3);
    world.run(&store).await;
    let left = everything_stored(&store).await;
    for day in group {
        assert_eq!(of_day(&left, *day), []);
    }
    assert!(gone(&left) >= 3 * 144);
    for (day, _, state) in states(&store).await {
        let there = !of_day(&left, day).is_empty();
        assert_eq!(state == Verified, there, "{day} {state:?}");
    }
    world
        .restore(&store, (days[0], days[8]), None, false)
        .await
        .unwrap();
    assert_same!(everything_stored(&store).await, before);
}

#[tokio::test]
async fn days_that_share_partitions_go_together() {
    days_that_share_chunks_go_together(Flavor::Plain).await;
}

#[tokio::test]
async fn days_that_share_hypertable_chunks_go_together() {
    days_that_share_chunks_go_together(Flavor::Timescale).await;
}

/// Several chunks make a day.
async fn short_chunks_go_with_their_day(flavor: Flavor) {
    let Some(fixture) = Chunked::new(flavor, 5).await else {
        return;
    };
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 48, 0))]).await;
    let before = everything_stored(&store).await;
    world.set(day, 4);
    world.run(&store).await;
    assert_same!(everything_stored(&store).await, []);
    world.restore(&store, (day, day), None, false).await.unwrap();
    assert_same!(everything_stored(&store).await, before);
}

#[tokio::test]
async fn short_partitions_go_with_their_day() {
    short_chunks_go_with_their_day(Flavor::Plain).await;
}

#[tokio::test]
async fn short_hypertable_chunks_go_with_their_day() {
    short_chunks_go_with_their_day(Flavor::Timescale).await;
}

/// Between the look at a day and its drop somebody stores something.
async fn what_comes_at_the_last_moment_keeps_the_chunk(flavor: Flavor) {
    let Some(fixture) = Chunked::new(flavor, 24).await else {
        return;
    };
    let store = filled(&fixture).await;
    let world = World::new();
    let day = day(20);
    commit(&store, vec![settled(2, &readings(day, 10, 0))]).await;
    world.set(day, 2);
    world.run(&store).await;
    let archives = store.archives().unwrap();
    archives
        .advance(day, Verified, Dropping, Timestamp(0))
        .await
        .unwrap();
    commit(&store, vec![settled(3, &[(5, day.start().0 + 9, 9.0)])]).await;
    let before = everything_stored(&store).await;
    assert_eq!(
        archives.drop_days(&[day], Timestamp(0)).await.unwrap(),
        Dropped::Changed
    );
    assert_same!(everything_stored(&store).await, before);

    // Not yet committed, it holds the chunk.
    let mut other = fixture.database.connect().await;
    sqlx::raw_sql("BEGIN; INSERT INTO readings SELECT time + interval '1 microsecond', value, seq, series_id, flags FROM readings LIMIT 1")
        .execute(&mut other)
        .await
        .unwrap();
    let error = archives.drop_days(&[day], Timestamp(0)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    for _ in 0..3 {
        world.set(day, 4);
        world.run(&store).await;
    }
    assert_same!(everything_stored(&store).await, []);
    world.restore(&store, (day, day), None, false).await.unwrap();
    assert_same!(everything_stored(&store).await, before);
}

#[tokio::test]
async fn what_comes_at_the_last_moment_keeps_the_partition() {
    what_comes_at_the_last_moment_keeps_the_chunk(Flavor::Plain).await;
}

#[tokio::test]
async fn what_comes_at_the_last_moment_keeps_the_hypertable_chunk() {
    what_comes_at_the_last_moment_keeps_the_chunk(Flavor::Timescale).await;
}
