//! The PostgreSQL servers, the faults and the proxy that other tests stand on do what they say.
#![cfg(target_os = "linux")]

#[path = "support/postgres/mod.rs"]
mod postgres;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use postgres::{Database, Disk, Flavor, Mode, Options, Private, Proxy, Server, runs};
use sqlx::{Connection, PgConnection};

/// How long what cannot come is waited for.
const A_WHILE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);

async fn run(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<()> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ())
}

async fn numbers(connection: &mut PgConnection) -> Vec<i32> {
    let query = sqlx::query_scalar("SELECT n FROM numbers ORDER BY n");
    query.fetch_all(connection).await.unwrap()
}

/// A server of the test's own, and a database with a table.
async fn private() -> Option<(Private, Database)> {
    let server = Server::private().await?;
    let database = server.database(Flavor::Plain).await?;
    run(&mut database.connect().await, "CREATE TABLE numbers (n integer)")
        .await
        .unwrap();
    Some((server, database))
}

/// SQLSTATE of what failed.
fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

#[tokio::test]
async fn databases_are_empty_and_apart() {
    let Some((server, first)) = private().await else {
        return;
    };
    let second = server.database(Flavor::Plain).await.unwrap();
    assert_ne!(first.url(), second.url());
    run(&mut first.connect().await, "INSERT INTO numbers VALUES (1)")
        .await
        .unwrap();
    run(&mut second.connect().await, "CREATE TABLE numbers (n integer)")
        .await
        .unwrap();
    assert!(numbers(&mut second.connect().await).await.is_empty());
    let extensions: Vec<String> = sqlx::query_scalar("SELECT extname FROM pg_extension")
        .fetch_all(&mut second.connect().await)
        .await
        .unwrap();
    assert_eq!(extensions, ["plpgsql"]);
    let address: String = sqlx::query_scalar("SHOW listen_addresses")
        .fetch_one(&mut second.connect().await)
        .await
        .unwrap();
    assert_eq!(address, "127.0.0.1");
}

/// The parts that only the extension's full edition has.
#[tokio::test]
async fn timescale_compresses_and_aggregates() {
    let Some(server) = Server::private().await else {
        return;
    };
    let Some(database) = server.database(Flavor::Timescale).await else {
        return;
    };
    let mut connection = database.connect().await;
    for sql in [
        "CREATE TABLE points (series integer, time timestamptz NOT NULL, value float8, UNIQUE (series, time))",
        "SELECT create_hypertable('points', by_range('time', INTERVAL '1 day'))",
        "INSERT INTO points SELECT 1, time, 1
         FROM generate_series('2026-01-01'::timestamptz, '2026-01-03', '1 minute') time",
        "CREATE MATERIALIZED VIEW hours WITH (timescaledb.continuous) AS
         SELECT series, time_bucket('1 hour', time) AS hour, sum(value) FROM points GROUP BY 1, 2",
        "ALTER TABLE points SET (timescaledb.compress, timescaledb.compress_segmentby = 'series')",
        "SELECT compress_chunk(chunk) FROM show_chunks('points') chunk",
    ] {
        run(&mut connection, sql).await.unwrap();
    }
    let (rows, compressed): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT sum(sum)::bigint FROM hours),
                (SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(rows, 2 * 24 * 60 + 1);
    assert!(compressed >= 2, "{compressed}");
    let telemetry: String = sqlx::query_scalar("SHOW timescaledb.telemetry_level")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(telemetry, "off");
}

#[tokio::test]
async fn a_database_is_dropped_with_its_value() {
    let Some((server, database)) = private().await else {
        return;
    };
    let exists = async |name: &str| -> bool {
        let query =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)").bind(name);
        query.fetch_one(&mut server.connect().await).await.unwrap()
    };
    let name = database.name().to_owned();
    assert!(exists(&name).await);
    // Somebody who is still connected does not keep it.
    let _connection = database.connect().await;
    drop(database);
    assert!(!exists(&name).await);
}

#[tokio::test]
async fn there_is_one_shared_server() {
    let Some(server) = Server::shared().await else {
        return;
    };
    assert!(std::ptr::eq(server, Server::shared().await.unwrap()));
    let version: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&mut server.connect().await)
        .await
        .unwrap();
    assert!(version.starts_with(server.version()), "{version}");
}

#[tokio::test]
async fn a_frozen_server_answers_once_it_is_thawed() {
    let Some((server, database)) = private().await else {
        return;
    };
    let mut connection = database.connect().await;
    server.freeze();
    let mut query = tokio::spawn(async move { run(&mut connection, "INSERT INTO numbers VALUES (1)").await });
    let mut newcomer = Box::pin(PgConnection::connect(database.url()));
    assert!(tokio::time::timeout(A_WHILE, &mut query).await.is_err());
    assert!(tokio::time::timeout(A_WHILE, &mut newcomer).await.is_err());
    assert!(server.pids().len() > 3);
    server.thaw();
    query.await.unwrap().unwrap();
    assert_eq!(numbers(&mut newcomer.await.unwrap()).await, [1]);
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_was_committed() {
    let Some((server, database)) = private().await else {
        return;
    };
    let mut connection = database.connect().await;
    let before = server.pids();
    for frozen in [false, true] {
        run(&mut connection, "INSERT INTO numbers VALUES (1)")
            .await
            .unwrap();
        run(&mut connection, "BEGIN; INSERT INTO numbers VALUES (2)")
            .await
            .unwrap();
        if frozen {
            server.freeze();
        }
        server.kill();
        assert!(server.pids().is_empty());
        assert!(run(&mut connection, "COMMIT").await.is_err());
        assert!(PgConnection::connect(database.url()).await.is_err());
        server.start().await;
        connection = database.connect().await;
    }
    assert_eq!(numbers(&mut connection).await, [1, 1]);
    let now = server.pids();
    assert!(before.iter().all(|pid| !now.contains(pid)));
    assert!(
        server.log().contains("was not properly shut down"),
        "{}",
        server.log()
    );
}

#[tokio::test]
async fn a_stopped_server_comes_back() {
    let Some((server, database)) = private().await else {
        return;
    };
    let mut connection = database.connect().await;
    run(&mut connection, "INSERT INTO numbers VALUES (1)")
        .await
        .unwrap();
    server.stop().await;
    assert!(server.pids().is_empty());
    // It was told.
    let error = run(&mut connection, "SELECT 1").await.unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("57P01"), "{error}");
    server.start().await;
    assert_eq!(numbers(&mut database.connect().await).await, [1]);
}

#[tokio::test]
async fn full_tables_fail_what_needs_room_and_go_on_when_there_is_some() {
    let options = Options {
        settings: vec![("autovacuum", "off".into())],
        disk: Some(Disk::Tables(128 << 20)),
    };
    let Some(server) = Private::with(&options).await else {
        return;
    };
    let database = server.database(Flavor::Plain).await.unwrap();
    let mut connection = database.connect().await;
    run(&mut connection, "CREATE TABLE numbers (n integer)")
        .await
        .unwrap();
    server.fill_disk(1 << 20);
    let much = "INSERT INTO numbers SELECT * FROM generate_series(1, 1000000)";
    let error = run(&mut connection, much).await.unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("53100"), "{error}");
    assert!(numbers(&mut connection).await.is_empty());
    server.empty_disk();
    run(&mut connection, much).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_takes_the_server_down_and_loses_nothing() {
    let options = Options {
        settings: vec![("autovacuum", "off".into())],
        disk: Some(Disk::Everything(192 << 20)),
    };
    let Some(server) = Private::with(&options).await else {
        return;
    };
    let database = server.database(Flavor::Plain).await.unwrap();
    let mut connection = database.connect().await;
    run(
        &mut connection,
        "CREATE TABLE numbers (n integer); CREATE TABLE ballast (text text)",
    )
    .await
    .unwrap();
    run(&mut connection, "INSERT INTO numbers VALUES (1)")
        .await
        .unwrap();
    server.fill_disk(0);
    // What exists of the log is used up, without a table that grows with it.
    let many =
        "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000)) FROM generate_series(1, 200)";
    assert!(run(&mut connection, many).await.is_err());
    assert!(server.log().contains("PANIC"), "{}", server.log());
    server.empty_disk();
    server.kill();
    server.start().await;
    assert_eq!(numbers(&mut database.connect().await).await, [1]);
}

#[tokio::test]
async fn the_answer_to_a_commit_is_lost() {
    let Some((server, database)) = private().await else {
        return;
    };
    let proxy = Proxy::before(server.address()).await;
    let url = proxy.url(database.url());
    proxy.lose_answers(1);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    run(&mut transaction, "INSERT INTO numbers VALUES (1)")
        .await
        .unwrap();
    assert_eq!(proxy.answers_lost(), 0);
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Io(_)), "{error}");
    assert_eq!(proxy.answers_lost(), 1);
    // It is stored all the same.
    assert_eq!(numbers(&mut database.connect().await).await, [1]);
    // It was one.
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    run(&mut transaction, "INSERT INTO numbers VALUES (2)")
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(proxy.answers_lost(), 1);
    // By a prepared statement, too.
    proxy.lose_answers(1);
    run(&mut connection, "BEGIN; INSERT INTO numbers VALUES (3)")
        .await
        .unwrap();
    assert!(sqlx::query("COMMIT").execute(&mut connection).await.is_err());
    assert_eq!(proxy.answers_lost(), 2);
    assert_eq!(numbers(&mut database.connect().await).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_commit_is_lost() {
    let Some((server, database)) = private().await else {
        return;
    };
    let proxy = Proxy::before(server.address()).await;
    let url = proxy.url(database.url());
    proxy.lose_commits(1);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    run(&mut transaction, "INSERT INTO numbers VALUES (1)")
        .await
        .unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Io(_)), "{error}");
    assert_eq!((proxy.commits_lost(), proxy.answers_lost()), (1, 0));
    assert!(numbers(&mut database.connect().await).await.is_empty());
}

#[tokio::test]
async fn connections_are_refused_cut_silent_and_late() {
    let Some((server, database)) = private().await else {
        return;
    };
    let proxy = Proxy::before(server.address()).await;
    let url = proxy.url(database.url());
    let mut connection = PgConnection::connect(&url).await.unwrap();

    proxy.set(Mode::Refuse).await;
    let error = PgConnection::connect(&url).await.unwrap_err();
    assert!(
        matches!(&error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused),
        "{error}"
    );
    run(&mut connection, "INSERT INTO numbers VALUES (1)")
        .await
        .unwrap();
    proxy.set(Mode::Pass).await;
    let mut other = PgConnection::connect(&url).await.unwrap();

    proxy.cut();
    for connection in [&mut connection, &mut other] {
        assert!(run(connection, "SELECT 1").await.is_err());
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();

    proxy.set(Mode::Silence).await;
    let mut query = tokio::spawn(async move {
        run(&mut connection, "INSERT INTO numbers VALUES (2)")
            .await
            .unwrap();
        connection
    });
    assert!(tokio::time::timeout(A_WHILE, &mut query).await.is_err());
    assert!(
        tokio::time::timeout(A_WHILE, PgConnection::connect(&url))
            .await
            .is_err()
    );
    assert_eq!(numbers(&mut database.connect().await).await, [1]);
    proxy.set(Mode::Pass).await;
    let mut connection = query.await.unwrap();
    assert_eq!(numbers(&mut database.connect().await).await, [1, 2]);

    proxy.delay(PATIENCE * 60);
    assert!(
        tokio::time::timeout(A_WHILE, numbers(&mut connection))
            .await
            .is_err()
    );
}

/// Run again as a process of its own, which is told to start a server and is killed.
#[tokio::test]
async fn a_server_ends_with_its_process() {
    const CHILD: &str = "SENSORHIVE_TEST_HARNESS_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let server = Server::private().await.unwrap();
        server.freeze();
        let pids: Vec<String> = server.pids().iter().map(u32::to_string).collect();
        println!("\n{CHILD} {} {}", server.directory().display(), pids.join(" "));
        std::future::pending::<()>().await;
    }
    // Where there is none, the child could not start one either.
    if Server::private().await.is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_ends_with_its_process", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(child.stdout.as_mut().unwrap())
        .lines()
        .find_map(|line| Some(line.unwrap().strip_prefix(CHILD)?.trim().to_owned()))
        .unwrap();
    let (directory, pids) = line.split_once(' ').unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(
        Path::new(directory).is_dir() && pids.len() > 3 && runs(pids[0]),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = async {
        while Path::new(directory).exists() || pids.iter().any(|pid| runs(*pid)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, gone).await.is_ok(),
        "still there: {line}"
    );
}
