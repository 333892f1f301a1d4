//! Acknowledged MQTT messages a second, in one run: Mosquitto alone, from a publisher to a subscriber; from a publisher through
//! Mosquitto into the service, until Mosquitto has all acknowledgements; and from devices to the service's own listener, where
//! PUBACK means stored. Into a store that keeps nothing, and into SQLite.
//!
//! `cargo bench --bench mqtt -- [messages]`. Everything is QoS 1, MQTT 3.1.1, a JSON object of 103 bytes a message, on loopback. A
//! part of the messages goes before the clocks are started, so that connections and sensors that are new are left out. CPU of the
//! service is that of this process without the threads that publish; that of Mosquitto is its own.

mod device;
mod lanes;
#[allow(dead_code, reason = "another bench uses the rest")]
#[path = "../pipeline/load.rs"]
mod load;
#[path = "../../tests/support/mosquitto/mod.rs"]
mod mosquitto;
#[path = "../pipeline/place.rs"]
mod place;
#[allow(dead_code, reason = "another bench uses the rest")]
#[path = "../pipeline/table.rs"]
mod table;
#[allow(dead_code, reason = "another bench uses the rest")]
#[path = "../pipeline/world.rs"]
mod world;

use lanes::{Devices, Into, Measured};

/// What a publisher to Mosquitto may have under way.
const PUBLISHER: Devices = Devices {
    connections: 1,
    window: 1_000,
};
/// What may be under way to whoever subscribes: Mosquitto's default, and more.
const IN_FLIGHT: [u16; 2] = [20, 1_000];

fn main() {
    let messages = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(200_000);
    println!("{messages} messages each");
    header();
    let mut alone = None;
    for in_flight in IN_FLIGHT {
        let Some(measured) = lanes::alone(in_flight, messages) else {
            return;
        };
        // The faster one is the ceiling of all.
        alone = alone.max(Some(measured.per_second()));
        row(
            &format!("Mosquitto alone, {in_flight} in flight"),
            &measured,
            alone,
        );
    }
    for store in [Into::Null, Into::Sqlite] {
        for in_flight in IN_FLIGHT {
            if let Some(measured) = lanes::source(store, in_flight, messages) {
                let name = format!("Mosquitto to source, {store}, {in_flight} in flight");
                row(&name, &measured, alone);
            }
        }
    }
    for store in [Into::Null, Into::Sqlite] {
        for connections in [1, 32] {
            for window in [20, 1_000] {
                let devices = Devices { connections, window };
                let measured = lanes::listener(store, devices, messages);
                let name = format!("listener, {store}, {connections} connections, window {window}");
                row(&name, &measured, alone);
            }
        }
    }
}

fn header() {
    line([
        "way",
        "messages/s",
        "of Mosquitto",
        "s CPU/M, service",
        "s CPU/M, Mosquitto",
    ]);
    line(["---", "---", "---", "---", "---"]);
}

fn row(name: &str, measured: &Measured, alone: Option<u64>) {
    let share = measured.per_second() as f64 / alone.unwrap_or(1) as f64;
    let cores = |cores: Option<f64>| cores.map_or("".to_owned(), |cores| format!("{cores:.2}"));
    line([
        name,
        &measured.per_second().to_string(),
        &table::percent(share),
        &cores(measured.service()),
        &cores(measured.mosquitto()),
    ]);
}

fn line([name, rate, share, service, mosquitto]: [&str; 5]) {
    println!("| {name:<52} | {rate:>10} | {share:>12} | {service:>16} | {mosquitto:>18} |");
}
