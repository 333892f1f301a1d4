//! The figures of the whole way of a reading, each beside its ceiling from the same run.
//!
//! `cargo bench --bench pipeline -- [through[-1k|-100k]] [stored] [restart] [memory] [recovery]`; without a name all of them. Databases lie in
//! `SENSORHIVE_BENCH_DIR` or the system's temporary directory. Figures of a machine that others use, too, are compared only
//! with figures of the same run.

#[path = "../support/bare.rs"]
mod bare;
mod load;
mod memory;
mod place;
mod recovery;
mod restart;
mod stored;
mod table;
mod through;
mod world;

use std::path::Path;
use std::process::Command;

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    match asked.first().map(String::as_str) {
        Some("measure-memory") => return memory::measure(),
        Some("prepare-recovery") => return recovery::prepare(Path::new(&asked[1])),
        _ => {}
    }
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| name.starts_with(asked.as_str()));
    let mut rows = Vec::new();
    if wanted("through-1k") {
        rows.push(through::run(1_000, 1_000, "60 % of bare", 0.6));
    }
    if wanted("through-100k") {
        rows.push(through::run(100_000, 1_000, "40 % of bare", 0.4));
    }
    if wanted("stored") {
        rows.push(stored::run());
    }
    if wanted("restart") {
        rows.extend(restart::run());
    }
    if wanted("memory") {
        rows.extend(memory::run());
    }
    if wanted("recovery") {
        rows.extend(recovery::run());
    }
    table::print(&rows);
}

/// A part of this program in a process of its own.
fn alone(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(part);
    command
}
