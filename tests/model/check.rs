//! What must hold after every schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use sensorhive::actors::ingest::Intake;
use sensorhive::actors::sensor::{Inspect, Inspection};
use sensorhive::actors::shard::env::Mode;
use sensorhive::actors::shard::messages::{Command, Find};
use sensorhive::core::Aggregate;
use sensorhive::domain::{Flags, LedgerDelta, RejectReason, SensorKey, SeriesId, Timestamp, WindowResult};
use sensorhive::startup::pipeline::Pipeline;
use sensorhive::storage::Store;
use sensorhive::storage::history::{Page, StoredDeadLetter, StoredPoint};

use super::world::{self, POISON, SENSORS, Source, Told, WINDOW};

/// What a schedule came to.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub stored: u64,
    pub duplicate: u64,
    pub conflict: u64,
    pub poison: u64,
    pub undelivered: u64,
    pub rewinds: u64,
    pub restarts: u64,
    pub windows: u64,
    pub revised: u64,
    pub late: u64,
    pub lost: u64,
    pub orphans: u64,
    pub unreadable: u64,
    pub quarantines: u64,
    pub starts: u64,
    pub refused: u64,
}

pub const EVER: Page = Page {
    from: Timestamp::MIN,
    to: Timestamp::MAX,
    limit: 100_000,
    newest_first: false,
};

pub async fn check(pipeline: &Pipeline, sources: &[Source<'_>], seed: u64) -> Outcome {
    let store = pipeline.store.as_ref();
    pipeline.settle().await;
    let sensors = running(pipeline, seed).await;
    let letters = store.dead_letters(None, 100_000).await.unwrap();
    let restarts = store.restarts(None, 100_000).await.unwrap();
    let mut told = Told::new();
    for source in sources {
        told.extend(&source.told);
    }
    let refused: BTreeSet<(u32, i64)> = sources
        .iter()
        .flat_map(|source| &source.refused)
        .copied()
        .collect();
    let mut outcome = Outcome {
        undelivered: sources.iter().map(|source| source.undelivered).sum(),
        restarts: restarts.len() as u64,
        refused: refused.len() as u64,
        quarantines: restarts.iter().filter(|row| row.reason == "quarantine").count() as u64,
        ..Outcome::default()
    };
    for (number, key, series) in &sensors {
        let rows = store.readings(*series, &EVER).await.unwrap();
        stored_exactly_once(*number, &rows, &told, &refused, seed);
        let windows = closed_windows(store, *series, &rows, seed).await;
        outcome.windows += windows.len() as u64;
        outcome.revised += windows.iter().filter(|window| window.revision > 0).count() as u64;
        accounted_for(store, *key, &rows, &letters, &mut outcome, seed).await;
    }
    let total = store.ledger_total().await.unwrap();
    assert!(total.balances(), "seed {seed}: {total:?}");
    let sent: u64 = sources.iter().map(|source| source.received).sum();
    assert!(total.received >= sent, "seed {seed}: {total:?} of {sent} sent");
    for source in sources {
        room_is_given_back(&source.intake(), seed).await;
    }
    for (_, key, _) in &sensors {
        comes_back_the_same(pipeline, *key, seed).await;
    }
    outcome
}

/// Waits until every sensor runs and has nothing left to do; gives number, key and series of each.
async fn running(pipeline: &Pipeline, seed: u64) -> Vec<(u32, SensorKey, SeriesId)> {
    let mut sensors = Vec::new();
    for number in 0..SENSORS {
        let Some(info) = pipeline.rails.registry().sensor_named(&format!("s{number}")) else {
            continue;
        };
        inspect_when(pipeline, info.key, seed, |seen| {
            seen.mode == Mode::Running
                && seen
                    .state
                    .series
                    .iter()
                    .all(|series| nothing_open(&seen.state, series))
        })
        .await;
        let series = info.series.first().expect("it has a series").1;
        sensors.push((number, info.key, series));
    }
    pipeline.settle().await;
    sensors
}

fn nothing_open(_: &sensorhive::core::SensorView, series: &sensorhive::core::view::SeriesView) -> bool {
    series.windows.iter().all(|windows| {
        windows
            .open
            .iter()
            .all(|window| window.count == 0 && !window.incomplete)
    })
}

async fn inspect_when(
    pipeline: &Pipeline,
    key: SensorKey,
    seed: u64,
    wanted: impl Fn(&Inspection) -> bool,
) -> Inspection {
    let shard = pipeline.rails.registry().shard_of_key(key).unwrap();
    let mut last = None;
    for _ in 0..2_000 {
        if let Ok(Some(sensor)) = pipeline.shards[usize::from(shard)].send(Find(key)).await
            && let Ok(seen) = sensor.send(Inspect).await
        {
            if wanted(&seen) {
                return seen;
            }
            if matches!(seen.mode, Mode::Paused | Mode::Quarantined) {
                world::command_sensor(pipeline, shard, key, Command::Resume).await;
            }
            last = Some(seen);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("seed {seed}: sensor {} does not come to rest: {last:?}", key.0);
}

/// Promises 1 and 2: for every time that was told, one row with the value that came first; poison may have been taken out.
fn stored_exactly_once(
    sensor: u32,
    rows: &[StoredPoint],
    told: &Told,
    refused: &BTreeSet<(u32, i64)>,
    seed: u64,
) {
    let stored: BTreeMap<i64, &StoredPoint> = rows.iter().map(|row| (row.time.0, row)).collect();
    assert_eq!(stored.len(), rows.len(), "seed {seed}: a time is stored twice");
    for ((of, time), value) in told.iter().filter(|((of, _), _)| *of == sensor) {
        match stored.get(time) {
            Some(row) if *value <= POISON => {
                assert_eq!(
                    row.value, *value,
                    "seed {seed}: s{of} at {time} has another value"
                );
            }
            // Stored: it came late, and detectors see only what is newest; or it passed by. Or it was taken out, and a later
            // value for the same time came in.
            Some(_) => {}
            None => assert!(*value > POISON, "seed {seed}: s{of} at {time} is lost"),
        }
    }
    let times: BTreeSet<i64> = told
        .keys()
        .chain(refused)
        .filter(|(of, _)| *of == sensor)
        .map(|(_, time)| *time)
        .collect();
    assert!(
        stored.keys().all(|time| times.contains(time)),
        "seed {seed}: a reading that nobody sent"
    );
    let sequences: BTreeSet<_> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(
        sequences.len(),
        rows.len(),
        "seed {seed}: a sequence was given twice"
    );
}

/// Every span with readings has one window, computed from exactly the stored readings.
pub async fn closed_windows(
    store: &dyn Store,
    series: SeriesId,
    rows: &[StoredPoint],
    seed: u64,
) -> Vec<WindowResult> {
    let windows = store.windows(series, &EVER).await.unwrap();
    let mut spans: BTreeMap<i64, Vec<&StoredPoint>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.flags.has(Flags::POISON)) {
        spans
            .entry(row.time.0.div_euclid(WINDOW) * WINDOW)
            .or_default()
            .push(row);
    }
    let found: BTreeMap<i64, &WindowResult> = windows
        .iter()
        .map(|window| (window.span.start.0, window))
        .collect();
    let superfluous: Vec<_> = found
        .iter()
        .filter(|(start, _)| !spans.contains_key(start))
        .collect();
    let missing: Vec<_> = spans
        .iter()
        .filter(|(start, _)| !found.contains_key(start))
        .collect();
    assert!(
        superfluous.is_empty() && missing.is_empty(),
        "seed {seed}: series {} has other windows than its readings: {superfluous:?} too many, none for {missing:?}",
        series.0
    );
    for (start, rows) in &spans {
        let oracle = Aggregate::from_rows(rows.iter().map(|row| (row.time, row.value)))
            .unwrap()
            .result(found[start].span, 0);
        let window = found[start];
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()));
        let same = window.count == oracle.count
            && window.min == oracle.min
            && window.max == oracle.max
            && window.first == oracle.first
            && window.last == oracle.last
            && near(window.mean, oracle.mean)
            && near(window.stddev, oracle.stddev);
        assert!(
            same,
            "seed {seed}: window {window:?}, its readings say {oracle:?}"
        );
    }
    windows
}

/// Promise 4, for one sensor.
async fn accounted_for(
    store: &dyn Store,
    key: SensorKey,
    rows: &[StoredPoint],
    letters: &[StoredDeadLetter],
    outcome: &mut Outcome,
    seed: u64,
) {
    let ledger: LedgerDelta = store.sensor_ledger(key).await.unwrap().ledger;
    assert!(ledger.balances(), "seed {seed}: {ledger:?}");
    assert_eq!(ledger.stored, rows.len() as u64, "seed {seed}: {ledger:?}");
    assert_eq!(
        ledger.unprocessed, 0,
        "seed {seed}: everybody has caught up: {ledger:?}"
    );
    let late = rows.iter().filter(|row| row.flags.has(Flags::LATE)).count() as u64;
    assert_eq!(ledger.late, late, "seed {seed}: {ledger:?}");
    let of = |reason| {
        letters
            .iter()
            .filter(move |letter| letter.letter.sensor == Some(key) && letter.letter.reason == reason)
            .count() as u64
    };
    let poison_stored = rows.iter().filter(|row| row.flags.has(Flags::POISON)).count() as u64;
    let reasons = [
        RejectReason::Conflict,
        RejectReason::Panic,
        RejectReason::Invalid,
        RejectReason::Refused,
    ];
    let rejected: u64 = reasons.map(of).iter().sum();
    assert_eq!(
        ledger.rejected + poison_stored,
        rejected,
        "seed {seed}: {ledger:?}"
    );
    outcome.stored += ledger.stored;
    outcome.duplicate += ledger.duplicate;
    outcome.conflict += of(RejectReason::Conflict);
    outcome.poison += of(RejectReason::Panic);
    outcome.late += late;
}

/// Of what a source may have under way nothing stays taken, and nothing was given back twice.
async fn room_is_given_back(intake: &Intake, seed: u64) {
    for _ in 0..2_000 {
        if intake.room() == world::SHARE.readings as usize {
            return;
        }
        // A source hears of its batch just before the room is given back.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let source = intake.source();
    panic!(
        "seed {seed}: {source} has room for {} of {:?}",
        intake.room(),
        world::SHARE
    );
}

/// The state equals what the stored readings make of it.
async fn comes_back_the_same(pipeline: &Pipeline, key: SensorKey, seed: u64) {
    let at_rest = |seen: &Inspection| seen.mode == Mode::Running;
    let before = inspect_when(pipeline, key, seed, at_rest).await;
    let shard = pipeline.rails.registry().shard_of_key(key).unwrap();
    let restarted = |seen: &Inspection| at_rest(seen) && seen.restarts > before.restarts;
    // One that was just leaving memory is asked again.
    let after = 'asked: loop {
        world::command_sensor(pipeline, shard, key, Command::Restart).await;
        for _ in 0..20 {
            let seen = inspect_when(pipeline, key, seed, at_rest).await;
            assert!(
                seen.restarts >= before.restarts,
                "seed {seed}: sensor {} forgets",
                key.0
            );
            if restarted(&seen) {
                break 'asked seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let text = |seen: &Inspection| {
        let mut state = serde_json::to_value(&seen.state).unwrap();
        state.as_object_mut().unwrap().remove("memory");
        state.to_string()
    };
    assert_eq!(
        text(&before),
        text(&after),
        "seed {seed}: sensor {} came back another",
        key.0
    );
}

/// All schedules together, and how often each thing happened that this test is about.
#[derive(Debug, Default)]
pub struct Sum(Outcome);

impl Sum {
    pub fn add(&mut self, outcome: &Outcome) {
        let sum = &mut self.0;
        sum.stored += outcome.stored;
        sum.duplicate += outcome.duplicate;
        sum.conflict += outcome.conflict;
        sum.poison += outcome.poison;
        sum.undelivered += outcome.undelivered;
        sum.rewinds += outcome.rewinds;
        sum.restarts += outcome.restarts;
        sum.windows += outcome.windows;
        sum.revised += outcome.revised;
        sum.late += outcome.late;
        sum.lost += outcome.lost;
        sum.orphans += outcome.orphans;
        sum.unreadable += outcome.unreadable;
        sum.quarantines += outcome.quarantines;
        sum.starts += outcome.starts;
        sum.refused += outcome.refused;
    }

    /// A schedule in which nothing went wrong proves nothing.
    pub fn assert_all_happened(&self, schedules: u64) {
        let sum = &self.0;
        if schedules >= 16 {
            let counts = [
                sum.duplicate,
                sum.conflict,
                sum.poison,
                sum.undelivered,
                sum.rewinds,
                sum.restarts,
                sum.revised,
                sum.late,
                sum.lost,
                sum.orphans,
                sum.unreadable,
                sum.quarantines,
                sum.starts - schedules,
                sum.refused,
            ];
            assert!(
                counts.iter().all(|count| *count > 0),
                "something never happened: {self}"
            );
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = &self.0;
        write!(
            f,
            "{} stored, {} duplicates, {} conflicts, {} poison, {} refused, {} late, {} windows ({} revised), {} batches undelivered, {} \
             answers lost, {} commits on their own, {} unreadable snapshots, {} quarantines, {} rewinds, {} restarts, {} starts",
            sum.stored,
            sum.duplicate,
            sum.conflict,
            sum.poison,
            sum.refused,
            sum.late,
            sum.windows,
            sum.revised,
            sum.undelivered,
            sum.lost,
            sum.orphans,
            sum.unreadable,
            sum.quarantines,
            sum.rewinds,
            sum.restarts,
            sum.starts
        )
    }
}
