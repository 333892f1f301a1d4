//! Decode, route, window, jump and threshold with a store that keeps nothing, beside bare decoding of the same payloads on as
//! many threads, turn by turn.

use std::hint::black_box;
use std::sync::Arc;

use sensorhive::actors::ingest::Intake;
use sensorhive::decode::JsonMapping;
use sensorhive::storage::null::NullStore;

use crate::load::{Load, Sum};
use crate::table::{Row, Spent, percent};
use crate::world::{self, THREADS};

const TURNS: usize = 8;
/// Readings of a turn.
const READINGS: usize = 500_000;

pub fn run(sensors: u32, batch: usize, target: &'static str, least: f64) -> Row {
    let (mut through, mut bare) = (Spent::default(), Spent::default());
    actix::System::new().block_on(async {
        let store = Arc::new(NullStore::new());
        let pipeline = world::start(store.clone()).await;
        let share = sensors / THREADS;
        let mut loads: Vec<(Intake, Load)> = (0..THREADS)
            .map(|n| {
                let intake = world::intake(&pipeline, &format!("source-{n}"));
                (intake, Load::new(n * share, share, world::past()))
            })
            .collect();
        // The first turn starts the sensors.
        for turn in 0..=TURNS {
            let work: Vec<(Intake, Vec<String>)> = loads
                .iter_mut()
                .map(|(intake, load)| (intake.clone(), load.payloads(READINGS / THREADS as usize, batch)))
                .collect();
            let (mut piped, mut decoded) = (Spent::default(), Spent::default());
            decoded.on(|| decode(&work));
            piped.on(|| world::send(&work));
            if turn > 0 {
                add(&mut through, piped);
                add(&mut bare, decoded);
            }
        }
        assert_eq!(store.rows(), ((TURNS + 1) * READINGS) as u64);
        world::stop(pipeline).await;
    });
    let readings = TURNS * READINGS;
    let told = |spent: &Spent| {
        format!(
            "{:.0} k/s, {:.2} s CPU/M",
            spent.per_second(readings) / 1e3,
            spent.cores_per_million(readings)
        )
    };
    let wall = bare.wall.as_secs_f64() / through.wall.as_secs_f64();
    let cores = bare.cores.as_secs_f64() / through.cores.as_secs_f64();
    // On a machine that others use, the scheduler gives more to who has more threads; and cores that idle are no merit either.
    let ratio = wall.min(cores);
    println!(
        "through, {sensors} sensors, {batch} readings a batch: {} beside {}: {} on the wall, {} of the cores",
        told(&through),
        told(&bare),
        percent(wall),
        percent(cores)
    );
    Row {
        name: format!("through, {sensors} sensors, {batch} a batch"),
        measured: told(&through),
        ceiling: told(&bare),
        ratio: percent(ratio),
        target,
        met: ratio >= least,
    }
}

fn decode(work: &[(Intake, Vec<String>)]) {
    let mapping = JsonMapping::default();
    std::thread::scope(|scope| {
        for (_, payloads) in work {
            scope.spawn(|| black_box(Sum::of(payloads, &mapping).total));
        }
    });
}

fn add(sum: &mut Spent, spent: Spent) {
    sum.wall += spent.wall;
    sum.cores += spent.cores;
}
