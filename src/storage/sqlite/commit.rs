//! One transaction for a group of batches.
//!
//! Invariants: each table is passed over once for the whole group, whatever the number of batches. The `writers`
//! row is advanced first, so that a fenced process learns it before it has done any work. Nothing here begins or
//! ends the transaction: an error at any point leaves the database as it was.

use sqlx::sqlite::SqliteConnection;

use super::fault::Fault;
use super::statement::MultiRow;
use super::{alerts, arrivals, ledger, outbox, positions, readings, windows};
use crate::domain::{BatchTime, DeadLetter, Home};
use crate::storage::commit::MADE_ELSEWHERE;
use crate::storage::judgement::outcomes;
use crate::storage::outbox::{News, Wanted};
use crate::storage::{
    CommitGroup, CommitReport, CompleteBatch, ErrorClass, SensorDefinition, SeriesDefinition,
};

/// Does everything that `group` asks for, inside the caller's transaction. `epoch` is what the instance claimed, `wanted` what goes
/// into the outbox.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    epoch: i64,
    wanted: Wanted,
) -> Result<CommitReport, Fault> {
    advance_writer(connection, group, epoch).await?;
    let batches = &group.batches;
    positions::hold(connection, batches).await?;
    write_definitions(connection, batches).await?;
    write_batch_times(connection, batches).await?;

    let judged = readings::store(connection, batches).await?;
    readings::flag_poison(connection, batches).await?;
    ledger::write_sensors(connection, batches, &judged).await?;
    ledger::write_sources(connection, batches).await?;
    let mut news = News::default();
    let revised = windows::write(connection, batches, wanted.windows.then_some(&mut news)).await?;
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
    Ok(report)
}

async fn advance_writer(
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    epoch: i64,
) -> Result<(), Fault> {
    let (Some(first), Some(last)) = (group.batches.first(), group.batches.last()) else {
        return Ok(());
    };
    let row: Option<(i64, Option<i64>)> =
        sqlx::query_as("SELECT epoch, last_batch FROM writers WHERE instance = ?")
            .bind(&group.instance.0)
            .fetch_optional(&mut *connection)
            .await?;
    match row {
        Some((stored, last_batch)) if stored == epoch => {
            // An earlier attempt at this very group, whose answer was lost, has come through.
            if last_batch == Some(last.number.0 as i64) {
                return Err(Fault::found(
                    ErrorClass::Unknown,
                    "these batches are committed already",
                ));
            }
            if last_batch.is_some_and(|last_batch| last_batch >= first.number.0 as i64) {
                return Err(Fault::found(
                    ErrorClass::Refused,
                    "a later batch is committed already",
                ));
            }
        }
        _ => {
            return Err(Fault::found(
                ErrorClass::Fenced,
                "another process writes in this one's place",
            ));
        }
    }
    sqlx::query("UPDATE writers SET last_batch = ?, active = ? WHERE instance = ?")
        .bind(last.number.0 as i64)
        .bind(last.at.active.0)
        .bind(&group.instance.0)
        .execute(connection)
        .await?;
    Ok(())
}

static SENSORS: MultiRow = MultiRow::new(
    "INSERT INTO sensors (id, sensor_id, tags, home) VALUES",
    "(?,?,?,?)",
    "ON CONFLICT (id) DO UPDATE SET tags = excluded.tags, home = CASE
         WHEN home IS NULL THEN excluded.home WHEN ifnull(excluded.home, home) = home THEN home ELSE '*' END
     WHERE tags IS NOT excluded.tags OR home IS NOT ifnull(excluded.home, home)",
    512,
);
static SERIES: MultiRow = MultiRow::new(
    "INSERT INTO series (id, sensor_id, metric, unit) VALUES",
    "(?,?,?,?)",
    "ON CONFLICT (id) DO UPDATE SET unit = excluded.unit WHERE unit IS NOT excluded.unit",
    512,
);

async fn write_definitions(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
) -> Result<(), Fault> {
    let mut sensors: Vec<(&SensorDefinition, String)> = Vec::new();
    for sensor in batches.iter().flat_map(|batch| &batch.sensors) {
        let tags =
            serde_json::to_string(&sensor.tags).map_err(|error| Fault::found(ErrorClass::Refused, error))?;
        sensors.push((sensor, tags));
    }
    SENSORS
        .execute(connection, &sensors, |values, (sensor, tags)| {
            values
                .add(i64::from(sensor.key.0))
                .add(sensor.id.as_str())
                .add(tags.as_str())
                .add(sensor.home.as_ref().map(Home::as_str));
        })
        .await
        .map_err(made_elsewhere)?;
    let series: Vec<&SeriesDefinition> = batches.iter().flat_map(|batch| &batch.series).collect();
    SERIES
        .execute(connection, &series, |values, series| {
            values
                .add(i64::from(series.id.0))
                .add(i64::from(series.sensor.0))
                .add(series.metric.as_str())
                .add(series.unit.as_deref());
        })
        .await
        .map_err(made_elsewhere)
}

/// The numbers are ours alone: what is not unique is a name.
fn made_elsewhere(fault: Fault) -> Fault {
    match fault.is_unique_violation() {
        true => Fault::found(ErrorClass::Moved, MADE_ELSEWHERE),
        false => fault,
    }
}

static BATCHES: MultiRow = MultiRow::new(
    "INSERT INTO batches (number, time, active) VALUES",
    "(?,?,?)",
    "",
    512,
);

async fn write_batch_times(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
) -> Result<(), Fault> {
    BATCHES
        .execute(connection, batches, |values, batch| {
            values
                .add(batch.number.0 as i64)
                .add(batch.at.now.0)
                .add(batch.at.active.0);
        })
        .await
}

/// A detector finds the same thing again when a reading is replayed: the first finding stays.
static ANOMALIES: MultiRow = MultiRow::new(
    "INSERT INTO anomalies (series_id, time, detector, level, value, score, expected, low, high, explanation) VALUES",
    "(?,?,?,?,?,?,?,?,?,?)",
    "ON CONFLICT (series_id, time, detector, level) DO NOTHING",
    512,
);

async fn write_anomalies(
    connection: &mut SqliteConnection,
    batches: &[CompleteBatch],
    news: Option<&mut News>,
) -> Result<(), Fault> {
    let anomalies: Vec<_> = outcomes(batches)
        .flat_map(|(batch, outcome)| outcome.anomalies.iter().map(move |anomaly| (batch, anomaly)))
        .collect();
    if let Some(news) = news.filter(|_| !anomalies.is_empty()) {
        news.found(
            &anomalies,
            &outbox::known_anomalies(connection, &anomalies).await?,
        );
    }
    ANOMALIES
        .execute(connection, &anomalies, |values, (_, anomaly)| {
            values
                .add(i64::from(anomaly.series.0))
                .add(anomaly.time.0)
                .add(anomaly.detector.as_str())
                .add(anomaly.level.as_str())
                .add(anomaly.value)
                .add(anomaly.score)
                .add(anomaly.expected)
                .add(anomaly.band.low)
                .add(anomaly.band.high)
                .add(anomaly.explanation.as_str());
        })
        .await
}

static SNAPSHOTS: MultiRow = MultiRow::new(
    "INSERT INTO sensor_snapshots (sensor_id, seq, deadline, state) VALUES",
    "(?,?,?,?)",
    "ON CONFLICT (sensor_id) DO UPDATE SET seq = excluded.seq, deadline = excluded.deadline, state = excluded.state",
    512,
);

async fn write_snapshots(connection: &mut SqliteConnection, batches: &[CompleteBatch]) -> Result<(), Fault> {
    let mut snapshots: Vec<_> = outcomes(batches)
        .flat_map(|(_, outcome)| &outcome.snapshots)
        .collect();
    // The newest of each sensor: the sort is stable, so it is the last of its run.
    snapshots.sort_by_key(|snapshot| snapshot.sensor);
    let newest: Vec<_> = snapshots
        .chunk_by(|a, b| a.sensor == b.sensor)
        .filter_map(|of_one_sensor| of_one_sensor.last())
        .collect();
    SNAPSHOTS
        .execute(connection, &newest, |values, snapshot| {
            values
                .add(i64::from(snapshot.sensor.0))
                .add(snapshot.seq.0 as i64)
                .add(snapshot.deadline.map(|deadline| deadline.0))
                .add(snapshot.state.as_slice());
        })
        .await
}

static DEAD_LETTERS: MultiRow = MultiRow::new(
    "INSERT INTO dead_letters (time, source, position, sensor_id, reason, detail, payload, message_key) VALUES",
    "(?,?,?,?,?,?,?,?)",
    "",
    512,
);

/// Writes what the batches bring and what the transaction found, with the time of the batch each came in.
async fn write_dead_letters(
    connection: &mut SqliteConnection,
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
    DEAD_LETTERS
        .execute(connection, &letters, |values, (at, letter)| {
            let kept = letter.payload.len().min(DeadLetter::MAX_PAYLOAD);
            values
                .add(at.now.0)
                .add(letter.source.as_str())
                .add(letter.position.as_str())
                .add(letter.sensor.map(|sensor| i64::from(sensor.0)))
                .add(letter.reason.as_str())
                .add(letter.detail.as_str())
                .add(&letter.payload[..kept])
                .add(letter.key.as_deref());
        })
        .await
}
