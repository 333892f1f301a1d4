//! What only the embedded store does: its file, its locks, its query plans.

use std::time::Duration;

use sensorhive::domain::*;
use sensorhive::storage::*;
use sqlx::{Connection, SqliteConnection};

use crate::support::*;

async fn raw(fixture: &Sqlite) -> SqliteConnection {
    let url = format!("sqlite://{}", fixture.settings().path.display());
    SqliteConnection::connect(&url).await.unwrap()
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn open_error(settings: &SqliteSettings) -> StoreError {
    match SqliteStore::open(settings).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let fixture = Sqlite::new().await.unwrap();
    fixture.open().await.close().await;
    let mut connection = raw(&fixture).await;
    run(
        &mut connection,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'future', TRUE, x'00', 0)",
    )
    .await;
    connection.close().await.unwrap();
    let error = open_error(&fixture.settings()).await;
    assert_eq!(error.class, ErrorClass::TooNew, "{error}");
    assert!(error.to_string().contains("9000"), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn what_is_no_database_is_unusable_and_stays_as_it_was() {
    let fixture = Sqlite::new().await.unwrap();
    let path = fixture.settings().path;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = "this is a letter, not a database\n".repeat(200);
    std::fs::write(&path, &text).unwrap();
    let error = open_error(&fixture.settings()).await;
    assert_eq!(error.class, ErrorClass::Unusable, "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_path_that_cannot_be_made_is_unusable() {
    let fixture = Sqlite::new().await.unwrap();
    let file = fixture.directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let below_a_file = open_error(&SqliteSettings::new(file.join("data/sensorhive.db"))).await;
    assert_eq!(below_a_file.class, ErrorClass::Unusable, "{below_a_file}");
    let a_directory = open_error(&SqliteSettings::new(fixture.directory.path())).await;
    assert_eq!(a_directory.class, ErrorClass::Unusable, "{a_directory}");
}

#[tokio::test]
async fn the_file_is_in_wal_mode_and_durable() {
    let fixture = Sqlite::new().await.unwrap();
    let store = opened(&fixture, 2).await;
    assert!(store.describe().contains("sensorhive.db"));
    store.ping().await.unwrap();
    let mut connection = raw(&fixture).await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
    assert_eq!(SqliteSettings::new("x").synchronous, Synchronous::Full);
}

#[tokio::test]
async fn urls_name_files() {
    for (url, path) in [
        ("sqlite:data/sensorhive.db", Some("data/sensorhive.db")),
        ("sqlite:///var/lib/x.db", Some("/var/lib/x.db")),
        ("sqlite:", None),
        ("sqlite::memory:", None),
        ("postgres://localhost/x", None),
    ] {
        assert_eq!(
            SqliteSettings::from_url(url).map(|settings| settings.path),
            path.map(Into::into),
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_lock_held_elsewhere_is_waited_out() {
    let fixture = Sqlite::new().await.unwrap();
    let store = opened(&fixture, 2).await;
    let mut other = raw(&fixture).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let second = group(vec![batch(2, rows(&[(0, 1, 1.0)]))]);
    let error = store.commit(&second).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert_eq!(
        store.reserve_batches(1).await.unwrap_err().class,
        ErrorClass::Transient
    );
    // Reading goes on meanwhile.
    store.ping().await.unwrap();
    assert!(stored(&store, 0).await.is_empty());
    run(&mut other, "ROLLBACK").await;
    assert_eq!(store.commit(&second).await.unwrap().batches[0].stored, 1);
}

/// A process that dies in the middle of a transaction leaves its connection as if it were dropped.
#[tokio::test]
async fn a_process_killed_in_a_transaction_leaves_neither_rows_nor_lock() {
    let fixture = Sqlite::new().await.unwrap();
    let store = opened(&fixture, 2).await;
    let mut dying = raw(&fixture).await;
    run(
        &mut dying,
        "BEGIN IMMEDIATE; INSERT INTO readings VALUES (0, 1, 1.0, 99, 0); UPDATE writers SET last_batch = 99",
    )
    .await;
    drop(dying);
    let mut settings = fixture.settings();
    settings.busy_timeout = Duration::from_secs(10);
    let next = SqliteStore::open(&settings).await.unwrap();
    assert_eq!(
        next.claim_writer(&instance()).await.unwrap().last_batch,
        Some(BatchNumber(1))
    );
    assert!(stored(&next, 0).await.is_empty());
    drop(store);
}

#[tokio::test]
async fn a_full_file_is_transient_and_loses_nothing() {
    let fixture = Sqlite::new().await.unwrap();
    let mut settings = fixture.settings();
    settings.max_size = Some(3 << 20);
    opened(&fixture, 2).await.close().await;
    let store = SqliteStore::open(&settings).await.unwrap();
    store.claim_writer(&instance()).await.unwrap();
    let many = |from: i64| {
        (from..from + 60_000)
            .map(|n| (n as u32 % 2, n, 1.0))
            .collect::<Vec<_>>()
    };
    commit(&store, vec![batch(2, rows(&many(0)))]).await;
    let next = group(vec![
        batch(3, rows(&many(100_000))),
        batch(4, rows(&many(200_000))),
    ]);
    for _ in 0..3 {
        let error = store.commit(&next).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        assert_eq!(
            (stored(&store, 0).await.len(), stored(&store, 1).await.len()),
            (30_000, 30_000)
        );
        assert_eq!(store.last_batch(&instance()).await.unwrap(), Some(BatchNumber(2)));
    }
    // There is room again, and it goes on by itself.
    let expiry = history::Expiry {
        readings_before: Some(Timestamp(90_000)),
        ..Default::default()
    };
    assert_eq!(store.expire(&expiry).await.unwrap(), 60_000);
    let smaller = group(vec![next.batches[0].clone()]);
    assert_eq!(store.commit(&smaller).await.unwrap().batches[0].stored, 60_000);
    let ledger = store.ledger_total().await.unwrap();
    assert_eq!((ledger.received, ledger.stored), (120_000, 120_000));
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_interrupted() {
    let fixture = Sqlite::new().await.unwrap();
    let store = opened(&fixture, 2).await;
    let readings: Vec<_> = (0..60_000).map(|n| (0, i64::from(n), 1.0)).collect();
    commit(&store, vec![batch(2, rows(&readings))]).await;
    store.close().await;
    let mut settings = fixture.settings();
    settings.query_timeout = Duration::ZERO;
    let store = SqliteStore::open(&settings).await.unwrap();
    let error = store.buckets(SeriesId(0), &everything(), 7).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Refused, "{error}");
    // The service's own reads are not limited, and come after on the same connections.
    let loaded = store.load_sensors(&[SensorKey(0)], 100_000).await.unwrap();
    assert_eq!(loaded.sensors[0].tail.len(), 60_000);
}
