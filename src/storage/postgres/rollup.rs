//! Rollups: readings by the minute, the hour and the day, kept up to date while readings come in.
//!
//! Invariants, whatever the layout:
//! - A transaction that stores a reading before `claimed`, or flags one there, notes its hour in `rollup_dirty`. `claimed` is
//!   moved forward only between such transactions ([`advance`] waits for the one under way, since each holds a share lock
//!   on it), so that whatever is not noted is seen by those who then make the rollups up to `claimed`.
//! - All before `done` is in the rollups, but for the hours that are noted. `done` is never after `claimed`.
//! - An hour is forgotten only after it was made anew from readings that were committed when it was noted.
//! - Nothing is made anew from readings that have begun to expire.
//!
//! So a question that reads `done`, what is noted, rollups and readings in one snapshot gets exact answers at any time. That is
//! why continuous aggregates are refreshed from here and by no policy of their own: nobody could say what those show.
//!
//! How it fails: each piece is a transaction that moves `done` or forgets hours with the work that they stand for, or, with
//! continuous aggregates, after it. What fails is done again the next time.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::connection::{Servers, command, within};
use super::fault::Fault;
use super::partitions::Layout;
use super::resolution::{DAY, HOUR, MINUTE, OF_BUCKETS, OF_READINGS, Resolution, floor};
use super::statement::number;
use super::time::Time;
use crate::domain::{Micros, Timestamp};
use crate::storage::CompleteBatch;
use crate::storage::judgement::{Judgement, Verdict, key, outcomes};

/// Readings are left alone for so long, since most that are late come within it.
const SETTLED: Micros = 2 * MINUTE;
/// Hours that continuous aggregates show wrongly are left so for this long, since they are made anew for all series at once.
const PATIENCE: Micros = 15 * MINUTE;
/// Readings that are rolled up at once, about.
const PIECE: i64 = 1_000_000;
/// The longest time that is rolled up at once.
const LONGEST_PIECE: Micros = 32 * DAY;
/// Noted hours that are made anew at once: as many rows, or, for all series, hours.
const NOTED_ROWS: i64 = 2_000;
const NOTED_HOURS: i64 = 24;
/// How long a piece may take before the server is given up.
const LIMIT: Duration = Duration::from_secs(600);

/// "rollups" in ASCII.
const KEY: i64 = 0x0072_6f6c_6c75_7073;

/// The right to make rollups or to delete what they are made of: one session of all has it.
pub(super) struct Keeper<'a> {
    connection: PgConnection,
    layout: &'a Layout,
}

#[derive(Debug, Clone, Copy)]
struct State {
    claimed: Timestamp,
    done: Timestamp,
    expired: Timestamp,
}

/// Notes the hours before `claimed` in which the group stored or flagged readings, inside the writer's transaction.
pub(super) async fn note(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    judged: &Judgement,
    claimed: Timestamp,
) -> Result<(), Fault> {
    let stored = judged.firsts.iter().map(|&at| &judged.rows[at]);
    let stored = stored.filter(|row| row.verdict == Verdict::Stored).map(key);
    let poisoned = outcomes(batches).flat_map(|(_, outcome)| &outcome.poison);
    let mut hours: Vec<(u32, Timestamp)> = stored
        .chain(poisoned.map(|(series, time)| (series.0, time.0)))
        .filter(|(_, time)| *time < claimed.0)
        .map(|(series, time)| (series, floor(Timestamp(time), HOUR)))
        .collect();
    let Some(at) = batches.last().map(|batch| batch.at).filter(|_| !hours.is_empty()) else {
        return Ok(());
    };
    hours.sort_unstable();
    hours.dedup();
    sqlx::query("INSERT INTO rollup_dirty (hour, since, series_id) SELECT hour, $1, series FROM unnest($2::timestamptz[], $3::integer[]) AS k (hour, series)")
        .bind(Time(at.now))
        .bind(hours.iter().map(|(_, hour)| Time(*hour)).collect::<Vec<_>>())
        .bind(hours.iter().map(|(series, _)| number(*series)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

impl<'a> Keeper<'a> {
    /// `None` where somebody else is at it.
    pub async fn new(servers: &Servers, layout: &'a Layout) -> Result<Option<Self>, Fault> {
        let mut connection = servers.connect().await?;
        let settings = format!(
            "SET statement_timeout = {0}; SET lock_timeout = {0}; SET client_connection_check_interval = 1000; SET jit = off;
             SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
             SET client_min_messages = warning;
             SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', false)
             FROM pg_extension WHERE extname = 'timescaledb'",
            LIMIT.as_millis()
        );
        within(servers.timeout(), connection.execute(AssertSqlSafe(settings))).await?;
        let alone = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(KEY);
        let alone: bool = within(servers.timeout(), alone.fetch_one(&mut connection)).await?;
        if alone {
            return Ok(Some(Self { connection, layout }));
        }
        let _ = connection.close().await;
        Ok(None)
    }

    pub async fn end(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "a connection to the database could not be closed");
        }
    }

    /// Brings the rollups up to shortly before `now`.
    pub async fn bring_up(&mut self, now: Timestamp) -> Result<(), Fault> {
        let settled = floor(now.saturating_sub(SETTLED), MINUTE);
        within(LIMIT, self.advance("claimed", settled)).await?;
        let mut state = within(LIMIT, self.state()).await?;
        self.roll_up(&mut state).await?;
        match self.layout {
            Layout::Partitions(_) => while within(LIMIT, self.redo_some(&state)).await? {},
            Layout::Hypertables { .. } => {
                let before = now.saturating_sub(PATIENCE);
                while within(LIMIT, self.refresh_some(&state, before)).await? {}
            }
        }
        Ok(())
    }

    /// Says that readings before `before` are about to go.
    pub async fn expire(&mut self, before: Timestamp) -> Result<(), Fault> {
        within(LIMIT, self.advance("expired", before)).await
    }

    async fn advance(&mut self, name: &str, until: Timestamp) -> Result<(), Fault> {
        sqlx::query("UPDATE rollup_state SET until = $1 WHERE name = $2 AND until < $1")
            .bind(Time(until))
            .bind(name)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn state(&mut self) -> Result<State, Fault> {
        let of = "SELECT until FROM rollup_state WHERE name = ";
        let (Time(claimed), Time(done), Time(expired)) = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT ({of} 'claimed'), ({of} 'done'), ({of} 'expired')"
        )))
        .fetch_one(&mut self.connection)
        .await?;
        Ok(State {
            claimed,
            done,
            expired,
        })
    }

    /// Rolls up what lies between `done` and `claimed`, piece by piece.
    async fn roll_up(&mut self, state: &mut State) -> Result<(), Fault> {
        let mut width = LONGEST_PIECE;
        let mut from = state.done;
        if from == Timestamp::MIN {
            from = within(LIMIT, self.next_reading(from, state.claimed)).await?;
        }
        while from < state.claimed {
            let to = state.claimed.min(from.saturating_add(width));
            let rows = within(LIMIT, self.count(from, to)).await?;
            if rows > PIECE && to.since(from) > MINUTE {
                width = floor(Timestamp(to.since(from) / 2), MINUTE).0.max(MINUTE);
                continue;
            }
            if rows == 0 && state.claimed.since(to) > DAY {
                from = within(LIMIT, self.next_reading(to, state.claimed)).await?;
                continue;
            }
            if rows > 0 || state.done == Timestamp::MIN {
                within(LIMIT, self.piece(state.done, from, to)).await?;
                state.done = to;
            }
            if rows < PIECE / 4 {
                width = (width * 2).min(LONGEST_PIECE);
            }
            from = to;
        }
        // What is left to be told is that there was nothing, but hours and days may have ended meanwhile.
        if state.done < state.claimed {
            within(LIMIT, self.piece(state.done, state.claimed, state.claimed)).await?;
            state.done = state.claimed;
        }
        Ok(())
    }

    /// The minute of the first reading in `[from, before)`, or `before`. One look into the key for each series.
    async fn next_reading(&mut self, from: Timestamp, before: Timestamp) -> Result<Timestamp, Fault> {
        let first: Option<Time> = sqlx::query_scalar(
            "SELECT min(r.time) FROM series s CROSS JOIN LATERAL (SELECT time FROM readings
                 WHERE series_id = s.id AND time >= $1 AND time < $2 ORDER BY time LIMIT 1) r",
        )
        .bind(Time(from))
        .bind(Time(before))
        .fetch_one(&mut self.connection)
        .await?;
        Ok(first.map_or(before, |Time(time)| floor(time, MINUTE)))
    }

    /// How many readings there are, as far as it matters.
    async fn count(&mut self, from: Timestamp, to: Timestamp) -> Result<i64, Fault> {
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT FROM readings WHERE time >= $1 AND time < $2 LIMIT $3) r",
        );
        let count = count.bind(Time(from)).bind(Time(to)).bind(PIECE + 1);
        Ok(count.fetch_one(&mut self.connection).await?)
    }

    /// Rolls up the readings in `[from, to)`, and what hours and days are whole by then, and moves `done` from where it was to
    /// `to`.
    async fn piece(&mut self, done: Timestamp, from: Timestamp, to: Timestamp) -> Result<(), Fault> {
        let plain = matches!(self.layout, Layout::Partitions(_));
        if plain {
            command(&mut self.connection, "BEGIN").await?;
        }
        for of in Resolution::ALL {
            let start = match of.finer() {
                None => from,
                Some(_) if done == Timestamp::MIN => floor(from, of.span()),
                Some(_) => floor(done, of.span()),
            };
            let end = floor(to, of.span());
            if start < end && plain {
                self.add_up(of, start, end).await?;
            } else if start < end {
                self.refresh(of, start, end).await?;
            }
        }
        self.advance("done", to).await?;
        if plain {
            command(&mut self.connection, "COMMIT").await?;
        }
        Ok(())
    }

    /// Adds up one resolution from the next finer one, for every series.
    async fn add_up(&mut self, of: Resolution, start: Timestamp, end: Timestamp) -> Result<(), Fault> {
        let insert = insert(of, "", "$1", "$2");
        sqlx::query(AssertSqlSafe(insert))
            .bind(Time(start))
            .bind(Time(end))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Makes some noted hours anew, each for its series. `false` where none are left.
    async fn redo_some(&mut self, state: &State) -> Result<bool, Fault> {
        command(&mut self.connection, "BEGIN").await?;
        let noted: Vec<(i64, i32, Time)> =
            sqlx::query_as("SELECT id, series_id, hour FROM rollup_dirty ORDER BY id LIMIT $1")
                .bind(NOTED_ROWS)
                .fetch_all(&mut self.connection)
                .await?;
        if noted.is_empty() {
            command(&mut self.connection, "COMMIT").await?;
            return Ok(false);
        }
        for of in Resolution::ALL {
            let mut spans: Vec<(i32, Timestamp, Timestamp)> = noted
                .iter()
                .filter(|(_, _, Time(hour))| *hour >= state.expired)
                .filter_map(|(_, series, Time(hour))| {
                    let (start, end) = changed_by(of, *hour, state.done)?;
                    Some((*series, start, end))
                })
                .collect();
            spans.sort_unstable();
            spans.dedup();
            self.redo(of, &spans).await?;
        }
        sqlx::query("DELETE FROM rollup_dirty WHERE id = ANY($1)")
            .bind(noted.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
            .execute(&mut self.connection)
            .await?;
        command(&mut self.connection, "COMMIT").await?;
        Ok(true)
    }

    async fn redo(&mut self, of: Resolution, spans: &[(i32, Timestamp, Timestamp)]) -> Result<(), Fault> {
        if spans.is_empty() {
            return Ok(());
        }
        let asked =
            "unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) AS asked (id, start, \"end\")";
        let delete = format!(
            "DELETE FROM {} r USING {asked} WHERE r.series_id = asked.id
                 AND r.bucket >= asked.start AND r.bucket < asked.\"end\"",
            of.name()
        );
        let insert = insert(of, asked, "asked.start", "asked.\"end\"");
        for sql in [delete, insert] {
            sqlx::query(AssertSqlSafe(sql))
                .bind(spans.iter().map(|(series, ..)| *series).collect::<Vec<_>>())
                .bind(spans.iter().map(|(_, start, _)| Time(*start)).collect::<Vec<_>>())
                .bind(spans.iter().map(|(_, _, end)| Time(*end)).collect::<Vec<_>>())
                .execute(&mut self.connection)
                .await?;
        }
        Ok(())
    }

    /// Makes some hours anew that were noted before `before`, for all series. `false` where none are left.
    async fn refresh_some(&mut self, state: &State, before: Timestamp) -> Result<bool, Fault> {
        let noted: Vec<(Time, Vec<i64>)> = sqlx::query_as(
            "SELECT hour, array_agg(id) FROM rollup_dirty GROUP BY hour HAVING min(since) <= $1 ORDER BY hour LIMIT $2",
        )
        .bind(Time(before))
        .bind(NOTED_HOURS)
        .fetch_all(&mut self.connection)
        .await?;
        let mut hours: Vec<Timestamp> = noted.iter().map(|(Time(hour), _)| *hour).collect();
        hours.retain(|hour| *hour >= state.expired);
        for of in Resolution::ALL {
            let spans = hours.iter().filter_map(|hour| changed_by(of, *hour, state.done));
            for (start, end) in together(spans) {
                self.refresh(of, start, end).await?;
            }
        }
        let ids: Vec<i64> = noted.into_iter().flat_map(|(_, ids)| ids).collect();
        sqlx::query("DELETE FROM rollup_dirty WHERE id = ANY($1)")
            .bind(&ids)
            .execute(&mut self.connection)
            .await?;
        Ok(!ids.is_empty())
    }

    async fn refresh(&mut self, of: Resolution, start: Timestamp, end: Timestamp) -> Result<(), Fault> {
        // A procedure that commits takes no parameters that need a plan.
        sqlx::query("CALL refresh_continuous_aggregate($1::regclass, $2::timestamptz, $3::timestamptz)")
            .bind(of.name())
            .bind(Time(start))
            .bind(Time(end))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}

/// The buckets that show an hour, as far as they are made.
fn changed_by(of: Resolution, hour: Timestamp, done: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let span = of.span().max(HOUR);
    let start = floor(hour, span);
    let end = start.saturating_add(span).min(floor(done, of.span()));
    (start < end).then_some((start, end))
}

/// Ascending spans, those that touch as one.
fn together(spans: impl Iterator<Item = (Timestamp, Timestamp)>) -> Vec<(Timestamp, Timestamp)> {
    let mut all: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (start, end) in spans {
        match all.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => all.push((start, end)),
        }
    }
    all
}

/// Adds up what lies in `[start, end)` into its buckets; `asked` are series with stretches of their own, or
/// nothing for all series.
fn insert(of: Resolution, asked: &str, start: &str, end: &str) -> String {
    let (from, time, columns, sound) = match of.finer() {
        None => ("readings", "time", OF_READINGS, "AND r.flags & 4 = 0"),
        Some(finer) => (finer.name(), "bucket", OF_BUCKETS, ""),
    };
    let (asked, of_series) = match asked {
        "" => (String::new(), ""),
        asked => (
            format!("{asked} CROSS JOIN LATERAL"),
            "r.series_id = asked.id AND",
        ),
    };
    format!(
        "INSERT INTO {} AS b (series_id, bucket, count, min, max, sum, first, last, first_time, last_time)
         SELECT made.* FROM {asked} (SELECT series_id, date_bin({} * interval '1 microsecond', {time}, timestamptz 'epoch'),
             {columns} FROM {from} r WHERE {of_series} r.{time} >= {start} AND r.{time} < {end} {sound} GROUP BY 1, 2) made
         ON CONFLICT (series_id, bucket) DO UPDATE SET count = excluded.count, min = excluded.min, max = excluded.max,
             sum = excluded.sum, first = excluded.first, last = excluded.last, first_time = excluded.first_time,
             last_time = excluded.last_time",
        of.name(),
        of.span()
    )
}
