//! The way back from the cold archive.
//!
//! Invariants: what is stored stays as it is. Numbers of sensors and series, and sequences, are given out by the service
//! while it runs; whoever makes some beside it would collide with it, and must be alone.

use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::connection::finish;
use super::fault::Fault;
use super::readings::json;
use super::statement::MultiRow;
use crate::domain::{Seq, SeriesId};
use crate::storage::adoption::{Adoption, Given, Known};
use crate::storage::archives::{Adopted, Restored, SeriesName};
use crate::storage::history::StoredPoint;
use crate::storage::{ErrorClass, StoreError};

pub(super) async fn adopt(
    store: &SqliteStore,
    names: &[SeriesName],
    newest: Seq,
    alone: bool,
) -> Result<Adopted, StoreError> {
    let what = "making sensors and series for an archive";
    let mut writer = store.writer.lock().await;
    let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
    let result = adopt_in(&mut transaction, names, newest, alone).await;
    let (result, sound) = finish(transaction, result, what).await;
    if !sound {
        writer.discard().await;
    }
    result
}

async fn adopt_in(
    connection: &mut SqliteConnection,
    names: &[SeriesName],
    newest: Seq,
    alone: bool,
) -> Result<Adopted, Fault> {
    let keys: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.sensor.as_str(), name.metric.as_str()))
        .collect();
    let known: Vec<Known> = sqlx::query_as(
        "SELECT n.id, s.id FROM json_each(?) k LEFT JOIN sensors n ON n.sensor_id = json_extract(k.value, '$[0]')
         LEFT JOIN series s ON s.sensor_id = n.id AND s.metric = json_extract(k.value, '$[1]') ORDER BY k.key",
    )
    .bind(json(&keys)?)
    .fetch_all(&mut *connection)
    .await?;
    let (next_sensor, next_series, next_batch): (u32, u32, i64) = sqlx::query_as(
        "SELECT max(n.sensors, (SELECT ifnull(max(id), 0) + 1 FROM sensors)),
             max(n.series, (SELECT ifnull(max(id), 0) + 1 FROM series)), b.next FROM batch_numbers b, numbers n",
    )
    .fetch_one(&mut *connection)
    .await?;
    let given = Given {
        next_sensor,
        next_series,
        next_batch: next_batch as u64,
    };
    let plan = Adoption::plan(names, &known, newest, given);
    if let Some(refused) = plan.refused().filter(|_| !alone) {
        return Ok(refused);
    }
    let mut sensors = Vec::with_capacity(plan.sensors.len());
    for (sensor, name) in &plan.sensors {
        let tags =
            serde_json::to_string(&name.tags).map_err(|error| Fault::found(ErrorClass::Refused, error))?;
        sensors.push((*sensor, *name, tags));
    }
    SENSORS
        .execute(connection, &sensors, |values, (sensor, name, tags)| {
            values
                .add(i64::from(*sensor))
                .add(name.sensor.as_str())
                .add(tags.as_str());
        })
        .await?;
    SERIES
        .execute(connection, &plan.series, |values, (series, sensor, name)| {
            values
                .add(i64::from(*series))
                .add(i64::from(*sensor))
                .add(name.metric.as_str())
                .add(name.unit.as_deref());
        })
        .await?;
    if let Some(next) = plan.next_batch {
        sqlx::query("UPDATE batch_numbers SET next = ?")
            .bind(next as i64)
            .execute(connection)
            .await?;
    }
    Ok(Adopted::Series(plan.all))
}

static SENSORS: MultiRow = MultiRow::new(
    "INSERT INTO sensors (id, sensor_id, tags) VALUES",
    "(?,?,?)",
    "",
    512,
);
static SERIES: MultiRow = MultiRow::new(
    "INSERT INTO series (id, sensor_id, metric, unit) VALUES",
    "(?,?,?,?)",
    "",
    512,
);
static READINGS: MultiRow = MultiRow::new(
    "INSERT INTO readings (series_id, time, value, seq, flags) VALUES",
    "(?,?,?,?,?)",
    "ON CONFLICT DO NOTHING",
    4096,
);

pub(super) async fn restore(
    store: &SqliteStore,
    rows: &[(SeriesId, StoredPoint)],
) -> Result<Restored, StoreError> {
    let what = "putting archived readings back";
    let mut writer = store.writer.lock().await;
    let mut transaction = writer.begin().await.map_err(|fault| fault.during(what))?;
    let result = restore_in(&mut transaction, rows).await;
    let (result, sound) = finish(transaction, result, what).await;
    if !sound {
        writer.discard().await;
    }
    result
}

async fn restore_in(
    connection: &mut SqliteConnection,
    rows: &[(SeriesId, StoredPoint)],
) -> Result<Restored, Fault> {
    let mut restored = Restored::default();
    let mut done = 0;
    while done < rows.len() {
        let chunk = &rows[done..done + READINGS.chunk(rows.len() - done)];
        // What is there before tells duplicates from what this statement stores.
        let keys: Vec<(u32, i64)> = chunk
            .iter()
            .map(|(series, point)| (series.0, point.time.0))
            .collect();
        let there: Vec<(i64, f64)> = sqlx::query_as(
            "SELECT keys.key, r.value FROM json_each(?) keys CROSS JOIN readings r
             ON r.series_id = json_extract(keys.value, '$[0]') AND r.time = json_extract(keys.value, '$[1]')",
        )
        .bind(json(&keys)?)
        .fetch_all(&mut *connection)
        .await?;
        for (place, value) in there {
            if chunk[place as usize].1.value == value {
                restored.duplicates += 1;
            } else {
                restored.conflicts.push((done + place as usize, value));
            }
        }
        restored.stored += READINGS
            .execute_chunk(connection, chunk, |values, (series, point)| {
                values
                    .add(i64::from(series.0))
                    .add(point.time.0)
                    .add(point.value)
                    .add(point.seq.0 as i64)
                    .add(i64::from(point.flags.0));
            })
            .await?;
        done += chunk.len();
    }
    Ok(restored)
}
