//! Where the rows by time lie: hypertables, or native partitions made as they are needed.
//!
//! Invariants: every row that is written has a partition to go to. All before `layout.origin` lies in one partition,
//! `*_past`, everything after it in partitions of one interval each, which never overlap, whatever the interval was when
//! they were made. There is no default partition: with one, the newest rows could not be found without looking into all.
//!
//! How it fails: as the database does; a partition is made in a transaction of its own and is there or not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::connection::command;
use super::fault::Fault;
use super::resolution::Resolution;
use super::time::Time;
use crate::domain::{Micros, Timestamp};
use crate::storage::judgement::outcomes;
use crate::storage::{CompleteBatch, ErrorClass};

/// Windows are few beside readings: their partitions span this many times as much.
const WINDOW_SPAN: i64 = 7;
/// Partitions are made this many ahead. Each costs a look into it when the newest reading is looked for.
const AHEAD: i64 = 1;

/// How rows are laid out by time.
pub(super) enum Layout {
    /// TimescaleDB, with its version.
    Hypertables {
        version: String,
        /// Where the rows of the continuous aggregates lie, in the order of [`Resolution::ALL`]. What is asked by the name of an
        /// aggregate looks into the newest readings, too.
        rollups: [String; 3],
    },
    Partitions(Partitions),
}

/// A table that is partitioned by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Readings,
    Windows,
}

impl Table {
    pub const ALL: [Table; 2] = [Table::Readings, Table::Windows];

    pub fn name(self) -> &'static str {
        match self {
            Table::Readings => "readings",
            Table::Windows => "windows",
        }
    }
}

/// What partitions there are, by their first time.
pub(super) struct Partitions {
    origin: Timestamp,
    interval: Micros,
    known: Mutex<BTreeMap<(Table, Timestamp), Timestamp>>,
}

impl Layout {
    pub async fn find(connection: &mut PgConnection, chunk_interval: Duration) -> Result<Self, Fault> {
        let (timescale, Time(origin)): (bool, Time) = sqlx::query_as("SELECT timescale, origin FROM layout")
            .fetch_one(&mut *connection)
            .await?;
        let interval = Micros::try_from(chunk_interval.as_micros())
            .unwrap_or(Micros::MAX / WINDOW_SPAN)
            .max(1);
        if timescale {
            set_chunk_interval(connection, interval).await?;
            let version =
                sqlx::query_scalar("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
                    .fetch_one(&mut *connection)
                    .await?;
            let rollups = [
                materialized(connection, Resolution::Minute).await?,
                materialized(connection, Resolution::Hour).await?,
                materialized(connection, Resolution::Day).await?,
            ];
            return Ok(Layout::Hypertables { version, rollups });
        }
        let partitions = Partitions {
            origin,
            interval,
            known: Mutex::default(),
        };
        partitions.reload(connection).await?;
        Ok(Layout::Partitions(partitions))
    }

    /// Where the rows of a rollup lie.
    pub fn relation(&self, of: Resolution) -> &str {
        match self {
            Layout::Hypertables { rollups, .. } => &rollups[of as usize],
            Layout::Partitions(_) => of.name(),
        }
    }
}

async fn materialized(connection: &mut PgConnection, of: Resolution) -> Result<String, Fault> {
    let relation = sqlx::query_scalar(
        "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
         FROM timescaledb_information.continuous_aggregates
         WHERE view_schema = current_schema() AND view_name = $1",
    )
    .bind(of.name())
    .fetch_optional(connection)
    .await?;
    let gone = || {
        let why = format!("the continuous aggregate {} is missing", of.name());
        Fault::found(ErrorClass::Unusable, why)
    };
    relation.ok_or_else(gone)
}

async fn set_chunk_interval(connection: &mut PgConnection, interval: Micros) -> Result<(), Fault> {
    for (table, interval) in [
        (Table::Readings, interval),
        (Table::Windows, interval.saturating_mul(WINDOW_SPAN)),
    ] {
        sqlx::query("SELECT set_chunk_time_interval($1::regclass, $2::bigint * interval '1 microsecond')")
            .bind(table.name())
            .bind(interval)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

impl Partitions {
    /// The times for which `batches` bring rows and there is no partition.
    pub fn missing(&self, batches: &[CompleteBatch]) -> Vec<(Table, Timestamp)> {
        self.missing_of(outcomes(batches).flat_map(|(_, outcome)| {
            let rows = outcome.rows.iter().map(|row| (Table::Readings, row.reading.time));
            let windows = outcome.windows.iter().map(|window| window.span.start);
            let recompute = outcome.recompute.iter().map(|span| span.start);
            rows.chain(windows.chain(recompute).map(|start| (Table::Windows, start)))
        }))
    }

    /// Those of `times` for which there is no partition.
    pub fn missing_of(&self, times: impl Iterator<Item = (Table, Timestamp)>) -> Vec<(Table, Timestamp)> {
        let known = self.known.lock();
        let mut missing = Vec::new();
        // Neighbors lie in the same partition by far most of the time.
        let mut last: Option<(Table, Range<Timestamp>)> = None;
        for (table, time) in times {
            if time < self.origin
                || last
                    .as_ref()
                    .is_some_and(|(of, span)| *of == table && span.contains(&time))
            {
                continue;
            }
            let span = find(&known, table, time).unwrap_or_else(|| {
                missing.push((table, time));
                self.cell(&known, table, time)
            });
            last = Some((table, span));
        }
        missing
    }

    /// Where the partition of the distant past ends.
    pub fn origin(&self) -> Timestamp {
        self.origin
    }

    /// To be told of a partition that was dropped, by its first time.
    pub fn dropped(&self, table: Table, start: Timestamp) {
        self.known.lock().remove(&(table, start));
    }

    /// Somebody else has made or dropped some: what there is is read again when it is needed.
    pub fn forget(&self) {
        self.known.lock().clear();
    }

    /// What should be there before it is needed.
    pub fn ahead(&self, now: Timestamp) -> Vec<(Table, Timestamp)> {
        let known = self.known.lock();
        let mut ahead = Vec::new();
        for table in Table::ALL {
            for step in 0..=AHEAD {
                let time = now
                    .saturating_add(self.interval(table).saturating_mul(step))
                    .max(self.origin);
                if find(&known, table, time).is_none() {
                    ahead.push((table, time));
                }
            }
        }
        ahead
    }

    /// Makes the partition that `time` belongs to, where it is missing. The caller is in no transaction.
    pub async fn make(
        &self,
        connection: &mut PgConnection,
        table: Table,
        time: Timestamp,
    ) -> Result<(), Fault> {
        if find(&self.known.lock(), table, time).is_some() {
            return Ok(());
        }
        command(connection, "BEGIN READ WRITE").await?;
        // Somebody else may be making it: wait, and look again.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('sensorhive partitions'))")
            .execute(&mut *connection)
            .await?;
        self.reload(connection).await?;
        let span = {
            let known = self.known.lock();
            match find(&known, table, time) {
                Some(_) => None,
                None => Some(self.cell(&known, table, time)),
            }
        };
        let Some(span) = span else {
            return command(connection, "COMMIT").await;
        };
        let (parent, name) = (table.name(), name(table, span.start));
        let (start, end) = (span.start.0, span.end.0);
        // Made apart and attached then: that way the table stays open to readers and writers.
        let sql = format!(
            "CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
             ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES
                 FROM (timestamptz 'epoch' + {start} * interval '1 microsecond')
                 TO (timestamptz 'epoch' + {end} * interval '1 microsecond');
             INSERT INTO partitions (name, parent, start, \"end\") VALUES ('{name}', '{parent}',
                 timestamptz 'epoch' + {start} * interval '1 microsecond', timestamptz 'epoch' + {end} * interval '1 microsecond')"
        );
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut *connection)
            .await?;
        command(connection, "COMMIT").await?;
        tracing::info!(partition = name, "a partition was made");
        self.known.lock().insert((table, span.start), span.end);
        Ok(())
    }

    /// Drops the partitions of `table` that end at or before `before`. Returns how many. The caller is in no transaction.
    pub async fn drop_before(
        &self,
        connection: &mut PgConnection,
        table: Table,
        before: Timestamp,
    ) -> Result<u64, Fault> {
        // Another instance may have dropped some when it did this.
        self.reload(connection).await?;
        let old: Vec<Timestamp> = self
            .known
            .lock()
            .iter()
            .filter(|((of, _), end)| *of == table && **end <= before)
            .map(|((_, start), _)| *start)
            .collect();
        for start in &old {
            let name = name(table, *start);
            let sql = format!(
                "BEGIN READ WRITE; DROP TABLE {name}; DELETE FROM partitions WHERE name = '{name}'; COMMIT"
            );
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut *connection)
                .await?;
            self.known.lock().remove(&(table, *start));
        }
        Ok(old.len() as u64)
    }

    async fn reload(&self, connection: &mut PgConnection) -> Result<(), Fault> {
        let rows: Vec<(String, Time, Time)> = sqlx::query_as("SELECT parent, start, \"end\" FROM partitions")
            .fetch_all(connection)
            .await?;
        let table = |parent: &str| Table::ALL.into_iter().find(|table| table.name() == parent);
        *self.known.lock() = rows
            .into_iter()
            .filter_map(|(parent, Time(start), Time(end))| Some(((table(&parent)?, start), end)))
            .collect();
        Ok(())
    }

    fn interval(&self, table: Table) -> Micros {
        match table {
            Table::Readings => self.interval,
            Table::Windows => self.interval.saturating_mul(WINDOW_SPAN),
        }
    }

    /// The cell of the grid from the origin on that holds `time`, less what others hold of it already.
    fn cell(
        &self,
        known: &BTreeMap<(Table, Timestamp), Timestamp>,
        table: Table,
        time: Timestamp,
    ) -> Range<Timestamp> {
        let interval = self.interval(table);
        let since = time.since(self.origin);
        let start = self.origin.saturating_add(since - since.rem_euclid(interval));
        let end = start.saturating_add(interval);
        let before = known.range((table, Timestamp::MIN)..=(table, time)).next_back();
        let after = known.range((table, time)..=(table, Timestamp::MAX)).next();
        Range {
            start: before.map_or(start, |(_, end)| start.max(*end)),
            end: after.map_or(end, |((_, start), _)| end.min(*start)),
        }
    }
}

fn find(
    known: &BTreeMap<(Table, Timestamp), Timestamp>,
    table: Table,
    time: Timestamp,
) -> Option<Range<Timestamp>> {
    let ((_, start), end) = known.range((table, Timestamp::MIN)..=(table, time)).next_back()?;
    (time < *end).then_some(*start..*end)
}

/// By its first time in seconds, which is never that of another partition of the same table.
fn name(table: Table, start: Timestamp) -> String {
    let name = match start.to_utc() {
        Some(time) => time.format("%Y%m%d_%H%M%S_%6f").to_string(),
        None => start.0.to_string(),
    };
    format!("{}_{}", table.name(), name.trim_end_matches("_000000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(spans: &[(i64, i64)]) -> Partitions {
        Partitions {
            origin: Timestamp(100),
            interval: 10,
            known: Mutex::new(
                spans
                    .iter()
                    .map(|(start, end)| ((Table::Readings, Timestamp(*start)), Timestamp(*end)))
                    .collect(),
            ),
        }
    }

    #[test]
    fn a_new_partition_takes_only_what_is_free() {
        let all = partitions(&[(104, 112), (117, 130)]);
        let cell = |time| {
            let span = all.cell(&all.known.lock(), Table::Readings, Timestamp(time));
            (span.start.0, span.end.0)
        };
        assert_eq!(cell(101), (100, 104));
        assert_eq!(cell(113), (112, 117));
        assert_eq!(cell(131), (130, 140));
        assert_eq!(cell(145), (140, 150));
    }

    #[test]
    fn a_time_is_found_in_its_partition_only() {
        let all = partitions(&[(100, 110), (120, 130)]);
        let known = all.known.lock();
        let found = |time| find(&known, Table::Readings, Timestamp(time)).map(|span| span.start.0);
        assert_eq!(
            [found(100), found(109), found(110), found(119), found(120)],
            [Some(100), Some(100), None, None, Some(120)]
        );
        assert_eq!(find(&known, Table::Windows, Timestamp(100)), None);
    }

    #[test]
    fn a_name_tells_the_start() {
        assert_eq!(
            name(Table::Readings, Timestamp::from_seconds(1_700_000_000)),
            "readings_20231114_221320"
        );
        assert_eq!(
            name(Table::Windows, Timestamp(1)),
            "windows_19700101_000000_000001"
        );
    }
}
