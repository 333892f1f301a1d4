//! Bytes a sensor of one series: the growth of a process that only does this.

use std::sync::Arc;

use sensorhive::storage::null::NullStore;

use crate::load::Load;
use crate::table::{Row, resident};
use crate::world;

const SENSORS: u32 = 100_000;
/// What starting threads and filling pools takes is in before the measuring begins.
const WARM: u32 = 1_000;

/// In a process of its own; prints a line a state.
pub fn measure() {
    actix::System::new().block_on(async {
        let pipeline = world::start(Arc::new(NullStore::new())).await;
        let intake = world::intake(&pipeline, "source");
        let mut warm = Load::new(SENSORS, WARM, world::past());
        for payload in warm.payloads(50 * WARM as usize, 1_000) {
            world::store(&intake, &payload).await;
        }
        let before = resident();
        let mut load = Load::new(0, SENSORS, world::past());
        for (rounds, state) in [(4, "4 readings"), (70, "a full ring")] {
            while load.rounds() < rounds {
                for payload in load.payloads(10_000, 1_000) {
                    world::store(&intake, &payload).await;
                }
            }
            let (all, running) = world::running(&pipeline).await;
            assert_eq!(
                (all, running),
                ((SENSORS + WARM) as usize, (SENSORS + WARM) as usize)
            );
            println!(
                "{state},{all},{}",
                resident().saturating_sub(before) / SENSORS as usize
            );
        }
        world::stop(pipeline).await;
    });
}

pub fn run() -> Vec<Row> {
    let output = crate::alone("measure-memory").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let bytes: usize = fields[2].parse().unwrap();
            println!(
                "memory, {}: {} actors, {bytes} bytes a sensor",
                fields[0], fields[1]
            );
            Row {
                name: format!("memory of an idle sensor, {}", fields[0]),
                measured: format!("{bytes} bytes"),
                ceiling: format!("{:.1} GiB a million", bytes as f64 * 1e6 / f64::from(1 << 30)),
                ratio: String::new(),
                target: "6144 bytes",
                met: bytes <= 6_144,
            }
        })
        .collect()
}
