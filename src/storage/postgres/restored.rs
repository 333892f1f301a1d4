//! The way back from the cold archive.
//!
//! Invariants: what is stored stays as it is. Numbers of sensors and series, and sequences, are given out by the service
//! while it runs; whoever makes some beside it would collide with it, and must be alone.

use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::connection::command;
use super::fault::Fault;
use super::partitions::{Layout, Table};
use super::statement::{number, text};
use super::time::Time;
use crate::domain::{Seq, SeriesId, Timestamp};
use crate::storage::ErrorClass;
use crate::storage::adoption::{Adoption, Given, Known};
use crate::storage::archives::{Adopted, Restored, SeriesName};
use crate::storage::history::StoredPoint;

/// Archived readings go into chunks that are compressed long since.
const BEGIN: &str = "BEGIN READ WRITE; SET LOCAL statement_timeout = '60s';
    SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)
    FROM pg_extension WHERE extname = 'timescaledb'";

pub(super) async fn adopt(
    store: &PostgresStore,
    names: &[SeriesName],
    newest: Seq,
    alone: bool,
) -> Result<Adopted, Fault> {
    let mut reader = store.reader().await?;
    command(reader.connection(), BEGIN).await?;
    let result = adopt_in(reader.connection(), names, newest, alone).await;
    reader.finish(result, true).await
}

async fn adopt_in(
    connection: &mut PgConnection,
    names: &[SeriesName],
    newest: Seq,
    alone: bool,
) -> Result<Adopted, Fault> {
    let known: Vec<(Option<i32>, Option<i32>)> = sqlx::query_as(
        "SELECT n.id, s.id FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (sensor, metric, place)
         LEFT JOIN sensors n ON n.sensor_id = k.sensor LEFT JOIN series s ON s.sensor_id = n.id AND s.metric = k.metric
         ORDER BY k.place",
    )
    .bind(names.iter().map(|name| name.sensor.as_str()).collect::<Vec<_>>())
    .bind(names.iter().map(|name| name.metric.as_str()).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let known: Vec<Known> = known
        .into_iter()
        .map(|(sensor, series)| (sensor.map(|id| id as u32), series.map(|id| id as u32)))
        .collect();
    let (next_sensor, next_series, next_batch): (i32, i32, i64) = sqlx::query_as(
        "SELECT greatest(n.sensors, (SELECT max(id) + 1 FROM sensors))::integer,
             greatest(n.series, (SELECT max(id) + 1 FROM series))::integer, b.next FROM batch_numbers b, numbers n",
    )
    .fetch_one(&mut *connection)
    .await?;
    let given = Given {
        next_sensor: next_sensor as u32,
        next_series: next_series as u32,
        next_batch: next_batch as u64,
    };
    let plan = Adoption::plan(names, &known, newest, given);
    if let Some(refused) = plan.refused().filter(|_| !alone) {
        return Ok(refused);
    }
    let mut tags = Vec::with_capacity(plan.sensors.len());
    for (_, name) in &plan.sensors {
        let json =
            serde_json::to_string(&name.tags).map_err(|error| Fault::found(ErrorClass::Refused, error))?;
        tags.push(text(&json).into_owned());
    }
    let sensors = &plan.sensors;
    sqlx::query("INSERT INTO sensors (id, sensor_id, tags) SELECT * FROM unnest($1::integer[], $2::text[], $3::text[])")
        .bind(sensors.iter().map(|(sensor, _)| number(*sensor)).collect::<Vec<_>>())
        .bind(sensors.iter().map(|(_, name)| name.sensor.as_str()).collect::<Vec<_>>())
        .bind(tags)
        .execute(&mut *connection)
        .await?;
    let series = &plan.series;
    sqlx::query(
        "INSERT INTO series (id, sensor_id, metric, unit)
         SELECT * FROM unnest($1::integer[], $2::integer[], $3::text[], $4::text[])",
    )
    .bind(
        series
            .iter()
            .map(|(series, _, _)| number(*series))
            .collect::<Vec<_>>(),
    )
    .bind(
        series
            .iter()
            .map(|(_, sensor, _)| number(*sensor))
            .collect::<Vec<_>>(),
    )
    .bind(
        series
            .iter()
            .map(|(_, _, name)| name.metric.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        series
            .iter()
            .map(|(_, _, name)| name.unit.as_deref().map(text))
            .collect::<Vec<_>>(),
    )
    .execute(&mut *connection)
    .await?;
    if let Some(next) = plan.next_batch {
        sqlx::query("UPDATE batch_numbers SET next = $1")
            .bind(next as i64)
            .execute(connection)
            .await?;
    }
    Ok(Adopted::Series(plan.all))
}

pub(super) async fn restore(
    store: &PostgresStore,
    rows: &[(SeriesId, StoredPoint)],
) -> Result<Restored, Fault> {
    let (Some(first), Some(last)) = (
        rows.iter().map(|(_, point)| point.time).min(),
        rows.iter().map(|(_, point)| point.time).max(),
    ) else {
        return Ok(Restored::default());
    };
    if let Layout::Partitions(partitions) = &store.layout {
        let times = rows.iter().map(|(_, point)| (Table::Readings, point.time));
        store
            .make_partitions(partitions, partitions.missing_of(times))
            .await?;
    }
    let mut reader = store.reader().await?;
    command(reader.connection(), BEGIN).await?;
    let result = restore_in(reader.connection(), rows, first, last).await;
    reader.finish(result, true).await
}

async fn restore_in(
    connection: &mut PgConnection,
    rows: &[(SeriesId, StoredPoint)],
    first: Timestamp,
    last: Timestamp,
) -> Result<Restored, Fault> {
    let mut restored = Restored::default();
    let series: Vec<i32> = rows.iter().map(|(series, _)| number(series.0)).collect();
    let times: Vec<Time> = rows.iter().map(|(_, point)| Time(point.time)).collect();
    // What is there before tells duplicates from what this transaction stores.
    let there: Vec<(i64, f64)> = sqlx::query_as(
        "SELECT k.place, r.value FROM unnest($1::integer[], $2::timestamptz[]) WITH ORDINALITY AS k (series_id, time, place)
         CROSS JOIN LATERAL (SELECT value FROM readings WHERE series_id = k.series_id AND time = k.time
             AND time >= $3 AND time <= $4 OFFSET 0) r",
    )
    .bind(&series)
    .bind(&times)
    .bind(Time(first))
    .bind(Time(last))
    .fetch_all(&mut *connection)
    .await?;
    for (place, value) in there {
        let place = place as usize - 1;
        if rows[place].1.value == value {
            restored.duplicates += 1;
        } else {
            restored.conflicts.push((place, value));
        }
    }
    let stored = sqlx::query(
        "INSERT INTO readings (series_id, time, value, seq, flags)
         SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::float8[], $4::bigint[], $5::smallint[])
         ON CONFLICT (series_id, time) DO NOTHING",
    )
    .bind(&series)
    .bind(&times)
    .bind(rows.iter().map(|(_, point)| point.value).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|(_, point)| point.seq.0 as i64)
            .collect::<Vec<_>>(),
    )
    .bind(
        rows.iter()
            .map(|(_, point)| i16::from(point.flags.0))
            .collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    restored.stored = stored.rows_affected();
    Ok(restored)
}
