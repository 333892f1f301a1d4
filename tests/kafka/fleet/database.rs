//! What is stored, asked of the database itself.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::traffic::{Series, Step, Window};

/// Sensors of the test are called `f…`; the instances' own are not.
const OURS: &str = "JOIN series s ON s.id = r.series_id JOIN sensors e ON e.id = s.sensor_id WHERE e.sensor_id ~ '^f[0-9]+$'";

/// The sums over the sensors of the test, and what of its source belongs to no sensor.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Ledger {
    pub received: i64,
    pub stored: i64,
    pub duplicate: i64,
    pub rejected: i64,
    pub filtered: i64,
    pub unprocessed: i64,
}

pub async fn ledger(connection: &mut PgConnection) -> Ledger {
    let columns = "received, stored, duplicate, rejected, filtered, unprocessed";
    let sums = columns
        .split(", ")
        .map(|column| format!("coalesce(sum({column}), 0)::bigint AS {column}"));
    let sql = format!(
        "SELECT {} FROM (SELECT {columns} FROM (SELECT sensor_id AS id, {columns} FROM sensor_ledger
             UNION ALL SELECT p.sensor_id, p.received, p.stored, p.duplicate, p.rejected, p.filtered,
                 CASE WHEN p.up_to <= l.covered THEN 0 ELSE p.unprocessed END
                 FROM pending_ledger p LEFT JOIN sensor_ledger l USING (sensor_id)) of_sensors
             JOIN sensors USING (id) WHERE sensors.sensor_id ~ '^f[0-9]+$'
             UNION ALL SELECT {columns} FROM source_ledger WHERE source = 'plant') AS parts",
        sums.collect::<Vec<_>>().join(", ")
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .unwrap()
}

pub async fn letters(connection: &mut PgConnection) -> i64 {
    let letters = sqlx::query_scalar("SELECT count(*) FROM dead_letters WHERE source = 'plant'");
    letters.fetch_one(connection).await.unwrap()
}

/// Partition to offset.
pub async fn positions(connection: &mut PgConnection) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT partition, \"offset\" FROM positions WHERE source = 'plant' AND \"offset\" IS NOT NULL",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    rows.into_iter().collect()
}

/// How many messages were read and stored.
pub async fn sum(connection: &mut PgConnection) -> i64 {
    positions(connection).await.values().sum()
}

/// How many partitions an instance has.
pub async fn owned(connection: &mut PgConnection, instance: &str) -> i64 {
    let owned = sqlx::query_scalar("SELECT count(*) FROM positions WHERE source = 'plant' AND owner = $1");
    owned.bind(instance).fetch_one(connection).await.unwrap()
}

/// Of each series: rows, distinct times, the sum of the times and that of the values.
pub async fn readings(connection: &mut PgConnection) -> BTreeMap<Series, (i64, i64, i64, f64)> {
    let sql = format!(
        "SELECT e.sensor_id, s.metric, count(*), count(DISTINCT r.time),
             sum((extract(epoch FROM r.time) * 1000000)::bigint)::bigint, sum(r.value) FROM readings r {OURS} GROUP BY 1, 2"
    );
    let rows: Vec<(String, String, i64, i64, i64, f64)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .unwrap();
    let row =
        |(sensor, metric, rows, distinct, times, values)| ((sensor, metric), (rows, distinct, times, values));
    rows.into_iter().map(row).collect()
}

/// Of each series, by their start.
pub async fn windows(connection: &mut PgConnection) -> BTreeMap<Series, BTreeMap<i64, Window>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        sensor_id: String,
        metric: String,
        start: i64,
        size: i64,
        count: i64,
        min: f64,
        max: f64,
        mean: f64,
        stddev: f64,
        first: f64,
        last: f64,
        revision: i32,
    }
    let sql = format!(
        "SELECT e.sensor_id, s.metric, (extract(epoch FROM start) * 1000000)::bigint AS start, size, count, min, max, mean, stddev,
             first, last, revision FROM windows r {OURS}"
    );
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .unwrap();
    let mut all: BTreeMap<Series, BTreeMap<i64, Window>> = BTreeMap::new();
    for row in rows {
        assert_eq!(row.size, super::traffic::WINDOW);
        let window = Window {
            count: row.count,
            min: row.min,
            max: row.max,
            mean: row.mean,
            stddev: row.stddev,
            first: row.first,
            last: row.last,
            revision: row.revision,
        };
        all.entry((row.sensor_id, row.metric))
            .or_default()
            .insert(row.start, window);
    }
    all
}

/// Of each series, by their time.
pub async fn steps(connection: &mut PgConnection) -> BTreeMap<Series, BTreeMap<i64, Step>> {
    let sql = format!(
        "SELECT e.sensor_id, s.metric, (extract(epoch FROM r.time) * 1000000)::bigint, r.value, r.expected FROM anomalies r {OURS}
             AND detector = 'jump'"
    );
    let rows: Vec<(String, String, i64, f64, f64)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .unwrap();
    let mut all: BTreeMap<Series, BTreeMap<i64, Step>> = BTreeMap::new();
    for (sensor, metric, time, value, before) in rows {
        all.entry((sensor, metric))
            .or_default()
            .insert(time, Step { value, before });
    }
    all
}
