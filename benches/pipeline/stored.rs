//! The whole way into SQLite, beside bare multi-row inserts of the same rows into the same table of a second file, turn by
//! turn.

use std::time::{Duration, Instant};

use sensorhive::actors::ingest::Intake;
use sensorhive::domain::{BatchNumber, Flags, Reading, Seq, SeriesId};

use crate::bare::Bare;
use crate::load::{Load, Said, payload};
use crate::place;
use crate::table::{Row, percent};
use crate::world::{self, THREADS};

const SENSORS: u32 = 1_000;
const TURNS: usize = 10;
/// Readings of a turn, and rows of a bare transaction.
const READINGS: usize = 100_000;
const BATCH: usize = 1_000;

pub fn run() -> Row {
    let directory = place::directory();
    let (mut stored, mut bare) = (Duration::ZERO, Duration::ZERO);
    actix::System::new().block_on(async {
        let pipeline = world::start(place::open(&directory.path().join("stored.db")).await).await;
        let mut inserts = Bare::new(&directory.path().join("bare.db")).await;
        let share = SENSORS / THREADS;
        let mut loads: Vec<(Intake, Load)> = (0..THREADS)
            .map(|n| {
                let intake = world::intake(&pipeline, &format!("source-{n}"));
                (intake, Load::new(n * share, share, world::past()))
            })
            .collect();
        for turn in 0..TURNS {
            let (mut work, mut rows) = (Vec::new(), Vec::new());
            for (intake, load) in &mut loads {
                let said: Vec<Said> = (0..READINGS / THREADS as usize).map(|_| load.next()).collect();
                work.push((intake.clone(), said.chunks(BATCH).map(payload).collect()));
                rows.extend(said);
            }
            let rows: Vec<(Seq, Reading)> = (0..)
                .zip(&rows)
                .map(|(index, said)| {
                    (
                        Seq::new(BatchNumber(turn as u64 + 1), index),
                        reading(index, said),
                    )
                })
                .collect();
            let began = Instant::now();
            world::send(&work);
            stored += began.elapsed();
            let began = Instant::now();
            inserts.insert(&rows).await;
            bare += began.elapsed();
        }
        assert_eq!(
            pipeline.statistics.summary(world::now()).total_events,
            (TURNS * READINGS) as u64
        );
        world::stop(pipeline).await;
    });
    let rate = |took: Duration| (TURNS * READINGS) as f64 / took.as_secs_f64() / 1e3;
    let ratio = bare.as_secs_f64() / stored.as_secs_f64();
    Row {
        name: format!("stored in SQLite, {SENSORS} sensors, {BATCH} a batch"),
        measured: format!("{:.0} k/s", rate(stored)),
        ceiling: format!("{:.0} k/s bare inserts", rate(bare)),
        ratio: percent(ratio),
        target: "60 % of bare",
        met: ratio >= 0.6,
    }
}

fn reading(index: u32, said: &Said) -> Reading {
    Reading {
        series: SeriesId(said.sensor + 1),
        time: said.time,
        value: said.value,
        index,
        flags: Flags::NONE,
    }
}
