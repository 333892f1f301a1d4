//! How well faults of simulated thermometers are found, and how often nothing is: printed by `make quality`, or
//! `cargo bench --bench quality`.
//!
//! Healthy devices of the simulator, into whose readings faults are put here, all from one seed. Each is watched with
//! `ensemble`, `stuck` and `silence`. A fault is found if there is a finding from its beginning to a quarter of an hour after its
//! end; every other finding is false. The first days are for learning, and do not count.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sensorhive::core::{DetectorSpec, Effects, SensorState, SeriesConfig};
use sensorhive::domain::{ActiveTime, BatchTime, Flags, Reading, SeriesId, Timestamp};
use sensorhive::simulate::{Faults, Simulator, SimulatorSettings};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
const START: i64 = 1_772_323_200_000_000;
const SENSORS: u32 = 20;
const LEARNING: i64 = 4;
const DAYS: i64 = 24;
const GRACE: i64 = 15 * MINUTE;
/// Days from one fault of a sensor to the next. What happens every day is usual.
const EVERY: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Spike,
    Drift,
    Stuck,
    Silence,
    LevelShift,
    NoiseBurst,
}

const KINDS: [Kind; 6] = [
    Kind::Spike,
    Kind::Drift,
    Kind::Stuck,
    Kind::Silence,
    Kind::LevelShift,
    Kind::NoiseBurst,
];

struct Episode {
    from: i64,
    to: i64,
    found: Option<i64>,
}

fn main() {
    println!(
        "{:<14} {:>9} {:>7} {:>15} {:>13}",
        "fault", "precision", "recall", "median delay", "false a day"
    );
    for kind in KINDS {
        let (mut episodes, mut false_) = (Vec::new(), 0);
        for device in 0..SENSORS {
            let watched = watch(device, Some(kind), MINUTE, LEARNING, DAYS);
            episodes.extend(watched.0);
            false_ += watched.1;
        }
        let mut delays: Vec<i64> = episodes
            .iter()
            .filter_map(|episode| Some(episode.found? - episode.from))
            .collect();
        delays.sort_unstable();
        let (found, all) = (delays.len(), episodes.len());
        println!(
            "{:<14} {:>9.3} {:>7.3} {:>11.1} min {:>13.3}",
            format!("{kind:?}"),
            found as f64 / (found + false_).max(1) as f64,
            found as f64 / all as f64,
            delays
                .get(found / 2)
                .map_or(f64::NAN, |delay| *delay as f64 / MINUTE as f64),
            false_ as f64 / (i64::from(SENSORS) * (DAYS - LEARNING)) as f64,
        );
    }
    for (name, sensors, gap, days) in [
        ("one a minute", SENSORS, MINUTE, DAYS),
        ("one in 10 s", SENSORS, MINUTE / 6, DAYS),
        ("one a second", 4, MINUTE / 60, 12),
    ] {
        let all: usize = (0..sensors)
            .map(|device| watch(device, None, gap, 0, days).1)
            .sum();
        let later: usize = (0..sensors)
            .map(|device| watch(device, None, gap, LEARNING, days).1)
            .sum();
        println!(
            "no fault, {name}: {:.3} false findings a sensor and day, {:.3} after the first {LEARNING} days",
            all as f64 / (i64::from(sensors) * days) as f64,
            later as f64 / (i64::from(sensors) * (days - LEARNING)) as f64,
        );
    }
}

/// Faults with what was found of them, and how many findings were of none.
fn watch(device: u32, kind: Option<Kind>, gap: i64, learning: i64, days: i64) -> (Vec<Episode>, usize) {
    let settings = SimulatorSettings {
        sensors: 1,
        rate: 1e6 / gap as f64,
        seed: u64::from(device) + 1,
        spike_probability: 0.0,
        faults: Faults::NONE,
    };
    let config = Arc::new(SeriesConfig {
        detectors: vec![
            DetectorSpec::Ensemble {},
            DetectorSpec::Stuck {
                after: 15 * MINUTE,
                within: 0.0,
            },
            DetectorSpec::Silence { after: 10 * MINUTE },
        ],
        ..SeriesConfig::default()
    });
    let mut rng = ChaCha8Rng::seed_from_u64(1_000 + u64::from(device));
    let counted = START + learning * DAY;
    let mut episodes: Vec<Episode> = Vec::new();
    if let Some(kind) = kind {
        for day in (learning..days).step_by(EVERY) {
            let from = START + day * DAY + rng.random_range(0..18 * 60) * MINUTE;
            let lasts = if kind == Kind::Spike {
                1
            } else {
                rng.random_range(60..180)
            };
            episodes.push(Episode {
                from,
                to: from + lasts * MINUTE,
                found: None,
            });
        }
    }
    let simulator = Simulator::new(settings, Timestamp(START)).expect("the settings are sound");
    let (mut state, mut effects, mut false_, mut last) = (SensorState::new(), Effects::default(), 0, 20.0);
    for simulated in simulator.take_while(|reading| reading.time.0 < START + days * DAY) {
        let time = simulated.time;
        let episode = episodes
            .iter()
            .position(|episode| (episode.from..episode.to).contains(&time.0));
        let since = episode.map_or(0, |episode| time.0 - episodes[episode].from) as f64 / MINUTE as f64;
        let healthy = simulated.value;
        let value = match kind.filter(|_| episode.is_some()) {
            None => Some(healthy),
            Some(Kind::Spike) => Some(healthy + 5.0),
            Some(Kind::Drift) => Some(healthy + 0.1 * since),
            Some(Kind::Stuck) => Some(last),
            Some(Kind::Silence) => None,
            Some(Kind::LevelShift) => Some(healthy + 3.0),
            Some(Kind::NoiseBurst) => Some(healthy + rng.random_range(-2.0..2.0)),
        };
        let at = BatchTime {
            now: time,
            active: ActiveTime(time.0),
        };
        state.advance(at, &mut effects);
        if let Some(value) = value {
            last = value;
            let reading = Reading {
                series: SeriesId(1),
                time,
                value,
                index: 0,
                flags: Flags::NONE,
            };
            state.observe(&reading, at, &|_| config.clone(), &mut effects);
        }
        for anomaly in effects
            .anomalies
            .drain(..)
            .filter(|anomaly| anomaly.time.0 >= counted)
        {
            let when = anomaly.time.0;
            let of = |episode: &&mut Episode| (episode.from..episode.to + GRACE).contains(&when);
            match episodes.iter_mut().find(of) {
                Some(episode) => episode.found = episode.found.or(Some(when)),
                None => false_ += 1,
            }
        }
        effects.clear();
    }
    (episodes, false_)
}
