//! What is read while the chunks it lies in are compressed, or no longer compressed.

use std::time::Duration;

use sensorhive::domain::*;
use sensorhive::storage::history::History;
use sensorhive::storage::*;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::*;

const COMPRESS: &str = "SELECT compress_chunk(c, if_not_compressed => true) FROM show_chunks('readings') c";
const DECOMPRESS: &str = "SELECT decompress_chunk(c, if_compressed => true) FROM show_chunks('readings') c";
/// Chunks that are compressed, and those of them with late readings beside.
const COMPRESSED: &str =
    "SELECT count(*) FILTER (WHERE status & 1 <> 0), count(*) FILTER (WHERE status & 8 <> 0)
    FROM _timescaledb_catalog.chunk";
/// Where the second chunk of readings has its compressed rows.
const SECOND_CHUNK: &str = "SELECT format('%I.%I', z.schema_name, z.table_name)
    FROM timescaledb_information.chunks i JOIN _timescaledb_catalog.chunk c ON c.table_name = i.chunk_name
    JOIN _timescaledb_catalog.chunk z ON z.id = c.compressed_chunk_id
    WHERE i.hypertable_name = 'readings' ORDER BY i.range_start OFFSET 1";

/// Readings of series 0 in the chunks before and after 1970, three of them late, and a way to change how they lie.
struct Scene {
    store: PostgresStore,
    /// Keeps a question waiting.
    holder: PgConnection,
    side: PgConnection,
}

const TIMES: [i64; 5] = [-8, -6, -4, 4, 6];

impl Scene {
    /// Without the server's own job, which would compress at any moment.
    async fn new(fixture: &TimescalePostgres) -> Self {
        let mut settings = fixture.settings();
        settings.compress_after = None;
        let store = PostgresStore::open(&settings).await.unwrap();
        begin(&store, 2).await;
        let mut side = fixture.database().connect().await;
        commit(&store, vec![batch(2, rows(&[(0, -6, 1.0), (0, 4, 1.0)]))]).await;
        run(&mut side, COMPRESS).await;
        commit(
            &store,
            vec![batch(3, rows(&[(0, -8, 1.0), (0, -4, 1.0), (0, 6, 1.0)]))],
        )
        .await;
        let (compressed, late): (i64, i64) = sqlx::query_as(COMPRESSED).fetch_one(&mut side).await.unwrap();
        assert_eq!((compressed, late), (2, 2));
        let holder = fixture.database().connect().await;
        Self { store, holder, side }
    }

    /// What `question` is answered when it has to wait for `table`, and `change` is made meanwhile.
    async fn changed<T>(
        &mut self,
        table: &str,
        question: impl AsyncFnOnce(&PostgresStore) -> T,
        change: impl AsyncFnOnce(&PostgresStore, &mut PgConnection),
    ) -> T {
        let hold = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        run(&mut self.holder, &hold).await;
        let (store, holder, side) = (&self.store, &mut self.holder, &mut self.side);
        let changing = async {
            while waiting(side).await == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            change(store, side).await;
            run(holder, "COMMIT").await;
        };
        tokio::join!(question(store), changing).0
    }
}

async fn run(connection: &mut PgConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn waiting(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// The times in the tail of sensor 0, all of them of batches up to which it was loaded.
async fn tail(store: &PostgresStore) -> Vec<i64> {
    let loaded = store.load_sensors(&[SensorKey(0)], 100).await.unwrap();
    let tail = &loaded.sensors[0].tail;
    assert!(tail.iter().all(|stored| Some(stored.seq.batch()) <= loaded.as_of));
    let mut times: Vec<_> = tail.iter().map(|stored| stored.reading.time.0).collect();
    times.sort_unstable();
    times
}

pub async fn a_load_sees_readings_that_are_compressed_meanwhile(fixture: TimescalePostgres) {
    let mut scene = Scene::new(&fixture).await;
    let to_and_fro = format!("{COMPRESS}; {DECOMPRESS}");
    for change in [COMPRESS, DECOMPRESS, &to_and_fro] {
        let found = scene.changed("sensor_snapshots", tail, async |_, side| run(side, change).await);
        assert_eq!(found.await, TIMES, "{change}");
    }
    // Compressed rows would be seen at once, and then be given to the sensor twice.
    let both = async |store: &PostgresStore, side: &mut PgConnection| {
        commit(store, vec![batch(4, rows(&[(0, 7, 1.0)]))]).await;
        run(side, COMPRESS).await;
    };
    let found = scene.changed("sensor_snapshots", tail, both).await;
    assert_eq!(found, [&TIMES[..], &[7]].concat());
    scene.store.close().await;
}

pub async fn buckets_count_readings_that_are_compressed_meanwhile(fixture: TimescalePostgres) {
    let mut scene = Scene::new(&fixture).await;
    let count = async |store: &PostgresStore| -> u64 {
        let buckets = store
            .buckets(SeriesId(0), &everything(), 60_000_000)
            .await
            .unwrap();
        buckets.iter().map(|bucket| bucket.count).sum()
    };
    for change in [COMPRESS, DECOMPRESS] {
        let counted = scene.changed("rollup_state", count, async |_, side| run(side, change).await);
        assert_eq!(counted.await, TIMES.len() as u64, "{change}");
    }
    scene.store.close().await;
}

pub async fn a_page_has_readings_that_are_changed_while_it_is_planned(fixture: TimescalePostgres) {
    let mut scene = Scene::new(&fixture).await;
    run(&mut scene.side, COMPRESS).await;
    let second: String = sqlx::query_scalar(SECOND_CHUNK)
        .fetch_one(&mut scene.side)
        .await
        .unwrap();
    // As poison is noted. It takes the neighbors out of the compressed rows, too.
    let flag = "UPDATE readings SET flags = 4 WHERE series_id = 0 AND time = timestamptz '1969-12-31 23:59:59.999992Z'";
    let times = async |store: &PostgresStore| -> Vec<i64> {
        let found = stored(store, 0).await;
        found.into_iter().map(|(time, _)| time).collect()
    };
    let found = scene.changed(&second, times, async |_, side| run(side, flag).await);
    assert_eq!(found.await, TIMES);
    scene.store.close().await;
}
