//! What the core costs alone: nanoseconds a reading, bytes a series, and snapshots. Run by `cargo bench --bench core`.
//!
//! Times are those on a core. Every series has the default window and ring, with jump and threshold detection; one reading a second each, in order.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sensorhive::core::{DetectorSpec, Effects, Season, SensorState, SeriesConfig, decode, encode};
use sensorhive::domain::{ActiveTime, BatchTime, Flags, Reading, SeriesId, Timestamp};

const START: i64 = 1_730_332_800_000_000;
const SECOND: i64 = 1_000_000;
const READINGS: usize = 5_000_000;

fn main() {
    let config = Arc::new(SeriesConfig {
        detectors: vec![
            DetectorSpec::Jump { threshold: 5.0 },
            DetectorSpec::Threshold { above: 80.0 },
        ],
        ..SeriesConfig::default()
    });
    println!("window of 60 s + jump + threshold, ring of {}", config.ring);
    for sensors in [1, 1_000, 100_000] {
        per_reading(&config, sensors);
    }
    per_series(&config);
    per_detector();
    snapshots(&config);
}

fn observe(sensor: &mut SensorState, config: &Arc<SeriesConfig>, second: usize, effects: &mut Effects) {
    let time = START + second as i64 * SECOND;
    let at = BatchTime {
        now: Timestamp(time),
        active: ActiveTime(time),
    };
    // 20 ± 2, without what a call to sine would cost.
    let value = 18.0 + (second * 7_919 % 4_001) as f64 / 1_000.0;
    let reading = Reading {
        series: SeriesId(1),
        time: Timestamp(time),
        value,
        index: 0,
        flags: Flags::NONE,
    };
    black_box(sensor.observe(black_box(&reading), at, &|_| config.clone(), effects));
}

fn sensors(config: &Arc<SeriesConfig>, count: usize, seconds: usize) -> Vec<SensorState> {
    let mut effects = Effects::default();
    let mut sensors = vec![SensorState::new(); count];
    for second in 0..seconds {
        sensors
            .iter_mut()
            .for_each(|sensor| observe(sensor, config, second, &mut effects));
    }
    sensors
}

fn per_reading(config: &Arc<SeriesConfig>, count: usize) {
    let warm = 70;
    let mut sensors = sensors(config, count, warm);
    let rounds = READINGS / count;
    let (mut effects, mut windows) = (Effects::default(), 0);
    let start = Stopwatch::start();
    for second in warm..warm + rounds {
        for sensor in &mut sensors {
            observe(sensor, config, second, &mut effects);
            windows += effects.windows.len();
            effects.clear();
        }
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / (rounds * count) as f64;
    println!("{count:>7} sensors: {nanoseconds:6.1} ns a reading, {windows} windows closed");
}

/// Each detector alone, without windows, and all of them together with a window.
fn per_detector() {
    let alone = [
        ("jump", DetectorSpec::Jump { threshold: 5.0 }),
        ("threshold", DetectorSpec::Threshold { above: 80.0 }),
        (
            "silence",
            DetectorSpec::Silence {
                after: 3_600 * SECOND,
            },
        ),
        (
            "rate",
            DetectorSpec::Rate {
                above: 5.0,
                per: SECOND,
            },
        ),
        (
            "stuck",
            DetectorSpec::Stuck {
                after: 60 * SECOND,
                within: 0.0,
            },
        ),
        (
            "z_score",
            DetectorSpec::ZScore {
                above: 4.0,
                window: 60,
            },
        ),
        ("ewma", DetectorSpec::Ewma { above: 4.0, span: 60 }),
        (
            "hampel",
            DetectorSpec::Hampel {
                above: 4.0,
                window: 60,
            },
        ),
        (
            "seasonal",
            DetectorSpec::Seasonal {
                above: 4.0,
                season: Season::Day,
            },
        ),
        (
            "shift",
            DetectorSpec::Shift {
                above: 10.0,
                span: 60,
            },
        ),
        ("ensemble", DetectorSpec::Ensemble {}),
    ];
    let with = |detectors: Vec<DetectorSpec>, windows| {
        Arc::new(SeriesConfig {
            windows,
            detectors,
            ..SeriesConfig::default()
        })
    };
    let bare = cost(&with(Vec::new(), Vec::new()));
    println!("without windows and detectors: {:.1} ns a reading", bare.0);
    for (name, spec) in alone {
        let (nanoseconds, bytes) = cost(&with(vec![spec], Vec::new()));
        let (more, grown) = (nanoseconds - bare.0, bytes.saturating_sub(bare.1));
        println!("{name:>10}: {more:6.1} ns a reading, {grown:5} bytes a series");
    }
    let all = alone.into_iter().map(|(_, spec)| spec).collect();
    let (nanoseconds, bytes) = cost(&with(all, SeriesConfig::default().windows));
    println!(
        "{:>10}: {nanoseconds:6.1} ns a reading, {bytes:5} bytes a sensor of one series",
        "all"
    );
}

/// Nanoseconds a reading, and bytes by its own account.
fn cost(config: &Arc<SeriesConfig>) -> (f64, usize) {
    let mut sensor = sensors(config, 1, 600).remove(0);
    let mut effects = Effects::default();
    let rounds = 500_000;
    let start = Stopwatch::start();
    for second in 600..600 + rounds {
        observe(&mut sensor, config, second, &mut effects);
        effects.clear();
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / rounds as f64;
    (nanoseconds, sensor.memory())
}

fn per_series(config: &Arc<SeriesConfig>) {
    let count = 20_000;
    for (name, seconds) in [("idle, 4 readings heard", 4), ("full ring", 130)] {
        let before = resident();
        let sensors = sensors(config, count, seconds);
        let grown = resident().saturating_sub(before) / count;
        let told = sensors.iter().map(SensorState::memory).sum::<usize>() / count;
        println!("a sensor of one series, {name}: {told} bytes by its own account, {grown} by the system's");
    }
}

fn snapshots(config: &Arc<SeriesConfig>) {
    let sensor = sensors(config, 1, 130).remove(0);
    let bytes = encode(&sensor);
    let rounds = 100_000;
    let start = Stopwatch::start();
    for _ in 0..rounds {
        black_box(encode(black_box(&sensor)));
    }
    let encoding = start.elapsed().as_nanos() / rounds;
    let start = Stopwatch::start();
    for _ in 0..rounds {
        assert!(black_box(decode(black_box(&bytes), &|_| config.clone())).is_ok());
    }
    let decoding = start.elapsed().as_nanos() / rounds;
    println!(
        "snapshot of a full ring: {} bytes, {encoding} ns to encode, {decoding} ns to decode",
        bytes.len()
    );
}

/// Counts the time that this process had a core, so that a busy machine does not show; where the system does not tell
/// it, the time on the wall.
struct Stopwatch {
    wall: Instant,
    core: Option<Duration>,
}

impl Stopwatch {
    fn start() -> Self {
        Stopwatch {
            wall: Instant::now(),
            core: on_core(),
        }
    }

    fn elapsed(&self) -> Duration {
        match (self.core, on_core()) {
            (Some(before), Some(now)) => now - before,
            _ => self.wall.elapsed(),
        }
    }
}

fn on_core() -> Option<Duration> {
    let times = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Bytes of memory in use by this process; 0 where the system does not tell.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok())
        .unwrap_or(0)
        * 4_096
}
