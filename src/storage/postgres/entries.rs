//! Ledgers of very many sensors, kept as entries until they are added up.
//!
//! A new version of a sensor's row costs more than a reading. A group that speaks of many sensors therefore leaves one row with
//! all that it adds ([`append`]), and only every so many of them are the sums added to the sensors' rows.
//!
//! Invariants: `sensor_ledger` and the entries together say what is true at every commit. [`Pending`] is what the entries of this
//! instance come to; it is known only while every transaction since they were last added up is known to have committed, and else
//! the database adds them up itself ([`settle`]).

use rustc_hash::FxHashMap;
use sqlx::postgres::PgConnection;

use super::fault::Fault;
use super::statement::number;
use super::time::Time;
use crate::domain::{LedgerDelta, SensorKey, Timestamp};
use crate::storage::InstanceId;
use crate::storage::tally::Change;

/// What entries come to that are not added up yet.
#[derive(Default)]
pub(super) enum Pending {
    #[default]
    Unknown,
    Known(Sums),
}

#[derive(Default)]
pub(super) struct Sums {
    by_sensor: FxHashMap<SensorKey, Change>,
    changes: usize,
}

impl Sums {
    pub fn is_empty(&self) -> bool {
        self.by_sensor.is_empty()
    }

    /// Changes of single sensors.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// A complete snapshot holds what came before it.
    pub fn cover(&mut self, sensor: SensorKey) {
        if let Some(change) = self.by_sensor.get_mut(&sensor) {
            change.tail_from = None;
            change.delta.unprocessed = 0;
        }
    }

    pub fn add(&mut self, changes: &[(SensorKey, Change)]) {
        self.changes += changes.len();
        for (sensor, change) in changes {
            self.by_sensor.entry(*sensor).or_default().add(change);
        }
    }

    /// All there is, by sensor.
    pub fn take(&mut self) -> Vec<(SensorKey, Change)> {
        self.changes = 0;
        let mut all: Vec<_> = self.by_sensor.drain().collect();
        all.sort_unstable_by_key(|(sensor, _)| *sensor);
        all
    }
}

/// Adds an entry. `up_to` is the last batch of the group.
pub(super) async fn append(
    connection: &mut PgConnection,
    instance: &InstanceId,
    up_to: i64,
    changes: &[(SensorKey, Change)],
) -> Result<(), Fault> {
    let time = |micros: Option<i64>| micros.map(|micros| Time(Timestamp(micros)));
    let count = |usual: u64, of: fn(&LedgerDelta) -> u64| -> Option<Vec<i32>> {
        let unusual = changes.iter().any(|(_, change)| of(&change.delta) != usual);
        unusual.then(|| {
            let counts = changes.iter().map(|(_, change)| of(&change.delta));
            counts
                .map(|count| i32::try_from(count).unwrap_or(i32::MAX))
                .collect()
        })
    };
    let tails = changes
        .iter()
        .any(|(_, change)| change.tail_from != change.last_time);
    let tails = tails.then(|| {
        let tails = changes.iter().map(|(_, change)| time(change.tail_from));
        tails.collect::<Vec<_>>()
    });
    sqlx::query(
        "INSERT INTO ledger_entries (instance, up_to, tail_from, sensors, received, stored, duplicate, rejected, filtered, late,
             unprocessed, last_times, last_seqs, tail_froms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(&instance.0)
    .bind(up_to)
    .bind(time(changes.iter().filter_map(|(_, change)| change.tail_from).min()))
    .bind(changes.iter().map(|(sensor, _)| number(sensor.0)).collect::<Vec<_>>())
    .bind(count(1, |delta| delta.received))
    .bind(count(1, |delta| delta.stored))
    .bind(count(0, |delta| delta.duplicate))
    .bind(count(0, |delta| delta.rejected))
    .bind(count(0, |delta| delta.filtered))
    .bind(count(0, |delta| delta.late))
    .bind(count(0, |delta| delta.unprocessed))
    .bind(changes.iter().map(|(_, change)| time(change.last_time)).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, change)| change.last_seq).collect::<Vec<_>>())
    .bind(tails)
    .execute(connection)
    .await?;
    Ok(())
}

/// Drops the entries of an instance, which are added up.
pub(super) async fn clear(connection: &mut PgConnection, instance: &InstanceId) -> Result<(), Fault> {
    sqlx::query("DELETE FROM ledger_entries WHERE instance = $1")
        .bind(&instance.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds the entries of an instance to the sensors' rows.
pub(super) async fn settle(connection: &mut PgConnection, instance: &InstanceId) -> Result<(), Fault> {
    sqlx::query(SETTLE)
        .bind(&instance.0)
        .execute(&mut *connection)
        .await?;
    clear(connection, instance).await
}

const SETTLE: &str = "MERGE INTO sensor_ledger AS l USING (
         SELECT sensor_id, sum(p.received)::bigint AS received, sum(p.stored)::bigint AS stored,
             sum(p.duplicate)::bigint AS duplicate, sum(p.rejected)::bigint AS rejected, sum(p.filtered)::bigint AS filtered,
             sum(p.late)::bigint AS late, coalesce(sum(p.unprocessed) FILTER (WHERE p.up_to > coalesce(b.covered, -1)), 0)::bigint
             AS unprocessed, max(p.last_time) AS last_time, max(p.last_seq) AS last_seq,
             min(p.tail_from) FILTER (WHERE p.up_to > coalesce(b.covered, -1)) AS tail_from
         FROM pending_ledger p LEFT JOIN sensor_ledger b USING (sensor_id) WHERE p.instance = $1 GROUP BY sensor_id
     ) AS c ON c.sensor_id = l.sensor_id
     WHEN MATCHED THEN UPDATE SET
         received = l.received + c.received,
         stored = l.stored + c.stored,
         duplicate = l.duplicate + c.duplicate,
         rejected = l.rejected + c.rejected,
         filtered = l.filtered + c.filtered,
         late = l.late + c.late,
         unprocessed = l.unprocessed + c.unprocessed,
         last_time = greatest(l.last_time, c.last_time),
         last_seq = greatest(l.last_seq, c.last_seq),
         tail_from = least(l.tail_from, c.tail_from)
     WHEN NOT MATCHED THEN INSERT (sensor_id, received, stored, duplicate, rejected, filtered, late, unprocessed, last_time,
         last_seq, tail_from)
         VALUES (c.sensor_id, c.received, c.stored, c.duplicate, c.rejected, c.filtered, c.late, c.unprocessed, c.last_time,
         c.last_seq, c.tail_from)";
