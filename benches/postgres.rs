//! Readings a second into PostgreSQL, with TimescaleDB and without: whole groups through the store, beside a bare binary COPY of
//! the same rows into the same table of another database, and beside other ways that recognize what is there already. All take
//! turns in one run, so that whatever else the machine does hits all of them.
//!
//! `cargo bench --bench postgres -- [rows]`; the server is that of `SENSORHIVE_TEST_DATABASE_URL` or a private one.

#[path = "support/groups.rs"]
mod groups;
#[path = "../tests/support/postgres/mod.rs"]
mod postgres_server;

use std::time::{Duration, Instant};

use groups::{BATCH, GROUP, groups, prepare, rows_of};
use postgres_server::{Database, Flavor, Server};
use sensorhive::domain::*;
use sensorhive::storage::*;
use sqlx::{Executor, PgConnection};

/// Groups a turn.
const TURN: usize = 2;
const SERIES: [u32; 2] = [1_000, 100_000];

fn main() {
    let rows = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let Some(server) = Server::shared().await else {
            return;
        };
        println!(
            "rows are committed {} at a time; thousands of rows a second, and their ratio to the bare COPY",
            BATCH * GROUP
        );
        for flavor in [Flavor::Plain, Flavor::Timescale] {
            for series in SERIES {
                compare(server, flavor, series, rows).await;
            }
        }
    });
}

/// A way to write the rows of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    BareCopy,
    CopyUnderSavepoint,
    StagedInsert,
    Unnest,
    Store,
}

const WAYS: [Way; 5] = [
    Way::BareCopy,
    Way::CopyUnderSavepoint,
    Way::StagedInsert,
    Way::Unnest,
    Way::Store,
];

struct Lane {
    way: Way,
    database: Database,
    connection: PgConnection,
    store: PostgresStore,
    took: Duration,
}

async fn compare(server: &Server, flavor: Flavor, series: u32, rows: usize) {
    let groups = groups(series, rows);
    let mut lanes = Vec::new();
    for way in WAYS {
        let Some(database) = server.database(flavor).await else {
            return;
        };
        let mut settings = PostgresSettings::from_url(database.url()).unwrap();
        if flavor == Flavor::Plain {
            settings.timescale = Timescale::Off;
        }
        let store = PostgresStore::open(&settings).await.unwrap();
        prepare(&store, series).await;
        let mut connection = database.connect().await;
        connection
            .execute("CREATE TEMP TABLE staged (LIKE readings) ON COMMIT DELETE ROWS")
            .await
            .unwrap();
        lanes.push(Lane {
            way,
            database,
            connection,
            store,
            took: Duration::ZERO,
        });
    }
    // What the store makes as it needs it is made beforehand for all.
    for lane in &mut lanes {
        lane.store.commit(&warm_up(series)).await.unwrap();
        lane.connection.execute("DELETE FROM readings").await.unwrap();
    }
    for some in groups.chunks(TURN) {
        for lane in &mut lanes {
            let sorted: Vec<_> = some.iter().map(sorted).collect();
            let encoded: Vec<_> = sorted.iter().map(|rows| encode(rows)).collect();
            let began = Instant::now();
            match lane.way {
                Way::Store => {
                    for group in some {
                        lane.store.commit(group).await.unwrap();
                    }
                }
                way => {
                    for (rows, encoded) in sorted.iter().zip(&encoded) {
                        write(&mut lane.connection, way, rows, encoded).await;
                    }
                }
            }
            lane.took += began.elapsed();
        }
    }
    let rate = |took: Duration| rows as f64 / took.as_secs_f64() / 1e3;
    let bare = rate(lanes[0].took);
    for lane in &mut lanes {
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM readings")
            .fetch_one(&mut lane.connection)
            .await
            .unwrap();
        assert_eq!(stored as usize, rows, "{:?}", lane.way);
        let rate = rate(lane.took);
        println!(
            "{flavor:?}, {series:>6} series, {:<18} {rate:>5.0} k/s {:>4.0} %",
            format!("{:?}", lane.way),
            100.0 * rate / bare
        );
        lane.store.close().await;
    }
    drop(lanes.into_iter().map(|lane| lane.database).collect::<Vec<_>>());
}

/// A group at the times of the others, with readings of nobody.
fn warm_up(series: u32) -> CommitGroup {
    let mut group = groups(series, 1).remove(0);
    group.batches[0].number = BatchNumber(2);
    group.batches[0].outcomes[0].ledger.clear();
    group
}

async fn write(connection: &mut PgConnection, way: Way, rows: &[(Seq, Reading)], encoded: &[u8]) {
    connection.execute("BEGIN").await.unwrap();
    match way {
        Way::BareCopy => copy(connection, "readings", encoded).await,
        Way::CopyUnderSavepoint => {
            connection.execute("SAVEPOINT copying").await.unwrap();
            copy(connection, "readings", encoded).await;
            connection.execute("RELEASE SAVEPOINT copying").await.unwrap();
        }
        Way::StagedInsert => {
            copy(connection, "staged", encoded).await;
            let insert = "INSERT INTO readings SELECT * FROM staged ON CONFLICT (series_id, time) DO NOTHING";
            connection.execute(insert).await.unwrap();
        }
        Way::Unnest => unnest(connection, rows).await,
        Way::Store => unreachable!("the store has connections of its own"),
    }
    connection.execute("COMMIT").await.unwrap();
}

async fn copy(connection: &mut PgConnection, table: &str, encoded: &[u8]) {
    let statement = format!("COPY {table} (time, value, seq, series_id, flags) FROM STDIN (FORMAT binary)");
    let mut copy = connection.copy_in_raw(&statement).await.unwrap();
    for chunk in encoded.chunks(512 << 10) {
        copy.send(chunk).await.unwrap();
    }
    copy.finish().await.unwrap();
}

async fn unnest(connection: &mut PgConnection, rows: &[(Seq, Reading)]) {
    for rows in rows.chunks(20_000) {
        let column = |of: fn(&(Seq, Reading)) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
        sqlx::query(
            "INSERT INTO readings (series_id, time, value, seq, flags)
             SELECT s, timestamptz 'epoch' + t * interval '1 microsecond', v, q, 0
             FROM unnest($1::bigint[], $2::bigint[], $3::float8[], $4::bigint[]) AS r (s, t, v, q)
             ON CONFLICT (series_id, time) DO NOTHING",
        )
        .bind(column(|(_, reading)| i64::from(reading.series.0)))
        .bind(column(|(_, reading)| reading.time.0))
        .bind(rows.iter().map(|(_, reading)| reading.value).collect::<Vec<_>>())
        .bind(column(|(seq, _)| seq.0 as i64))
        .execute(&mut *connection)
        .await
        .unwrap();
    }
}

/// In the order of the key, as the store writes them.
fn sorted(group: &CommitGroup) -> Vec<(Seq, Reading)> {
    let mut rows: Vec<_> = rows_of(group).collect();
    rows.sort_unstable_by_key(|(_, reading)| (reading.series.0, reading.time));
    rows
}

/// Ready to be sent: what is measured is the server.
fn encode(rows: &[(Seq, Reading)]) -> Vec<u8> {
    /// 2000-01-01, from which PostgreSQL counts.
    const EPOCH: i64 = 946_684_800_000_000;
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for (seq, reading) in rows {
        bytes.extend_from_slice(&5_i16.to_be_bytes());
        for column in [
            &(reading.time.0 - EPOCH).to_be_bytes()[..],
            &reading.value.to_be_bytes(),
            &seq.0.to_be_bytes(),
            &(reading.series.0 as i32).to_be_bytes(),
            &0_i16.to_be_bytes(),
        ] {
            bytes.extend_from_slice(&(column.len() as i32).to_be_bytes());
            bytes.extend_from_slice(column);
        }
    }
    bytes.extend_from_slice(&[0xff, 0xff]);
    bytes
}
