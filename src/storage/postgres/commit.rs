//! One transaction for a group of batches.
//!
//! Invariants: each table is written once for the whole group, whatever the number of batches. The `writers` row is
//! advanced first, so that a fenced process learns it before it has done any work, and so that a transaction that was left
//! behind by a lost connection, and commits after all, is waited for and seen. Nothing here begins or ends the
//! transaction: an error at any point leaves the database as it was.

use sqlx::postgres::PgConnection;

use super::Claim;
use super::entries::Pending;
use super::fault::Fault;
use super::statement::{bytes, number, text};
use super::time::Time;
use super::{
    EntrySettings, alerts, arrivals, entries, ledger, outbox, positions, readings, rollup, scattered, windows,
};
use crate::domain::{BatchTime, DeadLetter, Home, Timestamp};
use crate::storage::commit::MADE_ELSEWHERE;
use crate::storage::judgement::outcomes;
use crate::storage::outbox::{News, Wanted};
use crate::storage::{
    CommitGroup, CommitReport, CompleteBatch, ErrorClass, InstanceId, SensorDefinition, SeriesDefinition,
};

/// What one group leaves to the next. It is true only once the transaction has committed.
pub(super) struct Course {
    /// How the next group is written.
    pub way: readings::Way,
    pub pending: Pending,
    pub entries: EntrySettings,
    /// Whether there may be other instances.
    pub shared: bool,
}

impl Course {
    pub fn new(entries: EntrySettings, shared: bool) -> Self {
        Self {
            way: readings::Way::default(),
            pending: Pending::Unknown,
            entries,
            shared,
        }
    }

    /// Takes it for a group. Until what became of that is known, nothing is known of what is pending.
    pub fn take(&mut self) -> Self {
        Self {
            pending: std::mem::take(&mut self.pending),
            ..*self
        }
    }
}

/// Raises the epoch of a writer, and tells its last batch and where the active clock of any writer was furthest. What an earlier process left to be added up is added up, so that it is known that nothing waits.
pub(super) async fn claim(
    connection: &mut PgConnection,
    instance: &InstanceId,
) -> Result<(Claim, Option<i64>, i64), Fault> {
    let (epoch, taken, last_batch, active) = sqlx::query_as(
        "INSERT INTO writers (instance, epoch, last_batch, active) VALUES ($1, 1, NULL, 0)
         ON CONFLICT (instance) DO UPDATE SET epoch = writers.epoch + 1
         RETURNING epoch, taken, last_batch, greatest(active, (SELECT max(active) FROM writers))",
    )
    .bind(&instance.0)
    .fetch_one(&mut *connection)
    .await?;
    entries::settle(connection, instance).await?;
    Ok((Claim { epoch, taken }, last_batch, active))
}

/// Does everything that `group` asks for, inside the caller's transaction. `claim` is what the instance claimed, `wanted`
/// what goes into the outbox.
pub(super) async fn write(
    connection: &mut PgConnection,
    group: &CommitGroup,
    claim: Claim,
    course: Course,
    wanted: Wanted,
) -> Result<(CommitReport, Course), Fault> {
    let claimed = advance_writer(connection, group, claim).await?;
    let batches = &group.batches;
    positions::hold(connection, batches).await?;
    if course.shared {
        scattered::guard(connection, batches).await?;
    }
    write_sensors(connection, batches).await?;
    if course.shared {
        scattered::check(connection, batches).await?;
    }
    write_series(connection, batches).await?;
    write_batch_times(connection, batches).await?;

    let (judged, way) = readings::store(connection, batches, course.way).await?;
    readings::flag_poison(connection, batches).await?;
    rollup::note(connection, batches, &judged, claimed).await?;
    let pending = ledger::write_sensors(connection, group, &judged, course.pending, course.entries).await?;
    ledger::write_sources(connection, batches).await?;
    let mut news = News::default();
    let revised = windows::write(
        connection,
        batches,
        course.shared,
        wanted.windows.then_some(&mut news),
    )
    .await?;
    write_anomalies(connection, batches, wanted.anomalies.then_some(&mut news)).await?;
    alerts::write(connection, batches, wanted.alerts.then_some(&mut news)).await?;
    write_snapshots(connection, batches).await?;
    let contradictions = readings::dead_letters(connection, batches, &judged).await?;
    write_dead_letters(connection, batches, &contradictions).await?;
    positions::write(connection, batches).await?;
    arrivals::write(connection, batches).await?;
    if wanted.any() {
        outbox::write(connection, group, &judged, news, wanted).await?;
    }

    let mut report = CommitReport {
        batches: judged.reports(batches.len()),
    };
    for (batch, result) in revised {
        report.batches[batch].revised.push(result);
    }
    let course = Course {
        way,
        pending,
        ..course
    };
    Ok((report, course))
}

/// Returns up to when readings are claimed for rollups; that stays so until the end of the transaction.
async fn advance_writer(
    connection: &mut PgConnection,
    group: &CommitGroup,
    claim: Claim,
) -> Result<Timestamp, Fault> {
    let (Some(first), Some(last)) = (group.batches.first(), group.batches.last()) else {
        return Ok(Timestamp::MIN);
    };
    let claimed: Option<Time> = sqlx::query_scalar(
        "WITH rollups AS (SELECT until FROM rollup_state WHERE name = 'claimed' FOR SHARE)
         UPDATE writers SET last_batch = $1, active = $2
         WHERE instance = $3 AND epoch = $4 AND taken = $6 AND (last_batch IS NULL OR last_batch < $5)
         RETURNING (SELECT until FROM rollups)",
    )
    .bind(last.number.0 as i64)
    .bind(last.at.active.0)
    .bind(&group.instance.0)
    .bind(claim.epoch)
    .bind(first.number.0 as i64)
    .bind(claim.taken)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(Time(claimed)) = claimed {
        return Ok(claimed);
    }
    let row: Option<(i64, Option<i64>, i64)> =
        sqlx::query_as("SELECT epoch, last_batch, taken FROM writers WHERE instance = $1")
            .bind(&group.instance.0)
            .fetch_optional(connection)
            .await?;
    match row {
        // An earlier attempt at this very group, given up because its answer was lost, has come through meanwhile.
        Some((epoch, Some(batch), _)) if epoch == claim.epoch && batch == last.number.0 as i64 => Err(
            Fault::found(ErrorClass::Unknown, "these batches are committed already"),
        ),
        Some((epoch, _, taken)) if epoch == claim.epoch && taken != claim.taken => Err(Fault::found(
            ErrorClass::Moved,
            "another instance has taken partitions over",
        )),
        Some((epoch, ..)) if epoch == claim.epoch => Err(Fault::found(
            ErrorClass::Refused,
            "a later batch is committed already",
        )),
        _ => Err(Fault::found(
            ErrorClass::Fenced,
            "another process writes in this one's place",
        )),
    }
}

/// In a group, what the last batch says of a row is what stays: a statement may touch each row once.
fn newest<'a, T, K: Ord>(all: impl Iterator<Item = &'a T>, key: impl Fn(&T) -> K) -> Vec<&'a T> {
    let mut all: Vec<&T> = all.collect();
    // The sort is stable, so the last of a run is the newest.
    all.sort_by_key(|item| key(item));
    all.chunk_by(|a, b| key(a) == key(b))
        .filter_map(|same| same.last().copied())
        .collect()
}

async fn write_sensors(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let sensors = newest(
        batches.iter().flat_map(|batch| &batch.sensors),
        |sensor: &SensorDefinition| sensor.key,
    );
    if sensors.is_empty() {
        return Ok(());
    }
    let mut tags = Vec::with_capacity(sensors.len());
    for sensor in &sensors {
        let json =
            serde_json::to_string(&sensor.tags).map_err(|error| Fault::found(ErrorClass::Refused, error))?;
        tags.push(text(&json).into_owned());
    }
    sqlx::query(
        "INSERT INTO sensors (id, sensor_id, tags, home)
         SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[])
         ON CONFLICT (id) DO UPDATE SET tags = excluded.tags, home = CASE
             WHEN sensors.home IS NULL THEN excluded.home
             WHEN excluded.home IS NULL OR excluded.home = sensors.home THEN sensors.home
             ELSE $5 END
         WHERE (sensors.tags, sensors.home) IS DISTINCT FROM (excluded.tags, coalesce(excluded.home, sensors.home))",
    )
    .bind(sensors.iter().map(|sensor| number(sensor.key.0)).collect::<Vec<_>>())
    .bind(sensors.iter().map(|sensor| sensor.id.as_str()).collect::<Vec<_>>())
    .bind(tags)
    .bind(sensors.iter().map(|sensor| sensor.home.as_ref().map(|home| text(home.as_str()))).collect::<Vec<_>>())
    .bind(Home::several().as_str())
    .execute(connection)
    .await
    .map_err(made_elsewhere)?;
    Ok(())
}

/// The numbers are ours alone: what is not unique is a name.
fn made_elsewhere(error: sqlx::Error) -> Fault {
    let fault = Fault::from(error);
    match fault.is_unique_violation() {
        true => Fault::found(ErrorClass::Moved, MADE_ELSEWHERE),
        false => fault,
    }
}

async fn write_series(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let series = newest(
        batches.iter().flat_map(|batch| &batch.series),
        |series: &SeriesDefinition| series.id,
    );
    if series.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO series (id, sensor_id, metric, unit)
         SELECT * FROM unnest($1::integer[], $2::integer[], $3::text[], $4::text[])
         ON CONFLICT (id) DO UPDATE SET unit = excluded.unit WHERE series.unit IS DISTINCT FROM excluded.unit",
    )
    .bind(series.iter().map(|series| number(series.id.0)).collect::<Vec<_>>())
    .bind(series.iter().map(|series| number(series.sensor.0)).collect::<Vec<_>>())
    .bind(series.iter().map(|series| series.metric.as_str()).collect::<Vec<_>>())
    .bind(series.iter().map(|series| series.unit.as_deref().map(text)).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(made_elsewhere)?;
    Ok(())
}

async fn write_batch_times(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO batches (number, time, active) SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[])",
    )
    .bind(batches.iter().map(|batch| batch.number.0 as i64).collect::<Vec<_>>())
    .bind(batches.iter().map(|batch| Time(batch.at.now)).collect::<Vec<_>>())
    .bind(batches.iter().map(|batch| batch.at.active.0).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A detector finds the same thing again when a reading is replayed: the first finding stays.
async fn write_anomalies(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    news: Option<&mut News>,
) -> Result<(), Fault> {
    let all: Vec<_> = outcomes(batches)
        .flat_map(|(batch, outcome)| outcome.anomalies.iter().map(move |anomaly| (batch, anomaly)))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    if let Some(news) = news {
        news.found(&all, &outbox::known_anomalies(connection, &all).await?);
    }
    sqlx::query(
        "INSERT INTO anomalies (series_id, time, detector, level, value, score, expected, low, high, explanation)
         SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::text[], $4::text[], $5::float8[], $6::float8[],
             $7::float8[], $8::float8[], $9::float8[], $10::text[])
         ON CONFLICT (series_id, time, detector, level) DO NOTHING",
    )
    .bind(all.iter().map(|(_, anomaly)| number(anomaly.series.0)).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| Time(anomaly.time)).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| anomaly.detector.as_str()).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| anomaly.level.as_str()).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| anomaly.value).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| anomaly.score).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| anomaly.expected).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| anomaly.band.low).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| anomaly.band.high).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, anomaly)| text(&anomaly.explanation)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_snapshots(connection: &mut PgConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let snapshots = newest(
        outcomes(batches).flat_map(|(_, outcome)| &outcome.snapshots),
        |snapshot: &crate::storage::Snapshot| snapshot.sensor,
    );
    if snapshots.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO sensor_snapshots (sensor_id, seq, deadline, state)
         SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bytea[])
         ON CONFLICT (sensor_id) DO UPDATE SET seq = excluded.seq, deadline = excluded.deadline, state = excluded.state",
    )
    .bind(snapshots.iter().map(|snapshot| number(snapshot.sensor.0)).collect::<Vec<_>>())
    .bind(snapshots.iter().map(|snapshot| snapshot.seq.0 as i64).collect::<Vec<_>>())
    .bind(snapshots.iter().map(|snapshot| snapshot.deadline.map(|deadline| deadline.0)).collect::<Vec<_>>())
    .bind(snapshots.iter().map(|snapshot| snapshot.state.as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what the batches bring and what the transaction found, with the time of the batch each came in.
async fn write_dead_letters(
    connection: &mut PgConnection,
    batches: &[CompleteBatch],
    contradictions: &[(usize, DeadLetter)],
) -> Result<(), Fault> {
    let mut letters: Vec<(BatchTime, &DeadLetter)> = Vec::new();
    for batch in batches {
        let of_sensors = batch.outcomes.iter().flat_map(|outcome| &outcome.dead_letters);
        letters.extend(
            batch
                .dead_letters
                .iter()
                .chain(of_sensors)
                .map(|letter| (batch.at, letter)),
        );
    }
    letters.extend(
        contradictions
            .iter()
            .map(|(batch, letter)| (batches[*batch].at, letter)),
    );
    if letters.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO dead_letters (time, source, position, sensor_id, reason, detail, payload, message_key)
         SELECT time, source, position, sensor_id, reason, detail, payload, message_key
         FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::bytea[], $8::text[])
             WITH ORDINALITY AS letter (time, source, position, sensor_id, reason, detail, payload, message_key, place)
         ORDER BY place",
    )
    .bind(letters.iter().map(|(at, _)| Time(at.now)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, letter)| letter.source.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, letter)| text(&letter.position)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, letter)| letter.sensor.map(|sensor| number(sensor.0))).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, letter)| letter.reason.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, letter)| text(&letter.detail)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, letter)| bytes(&letter.payload, DeadLetter::MAX_PAYLOAD)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, letter)| letter.key.as_deref().map(text)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
