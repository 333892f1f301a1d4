//! Lines for whoever reads the output of a test run: what was skipped and why, and what the tests ran on.
//!
//! They go past the capture of the test harness, each once a process, so that a script can collect them.

use std::collections::BTreeSet;
use std::io::Write;

use parking_lot::Mutex;

/// Whether nothing may be missing.
pub fn everything_is_required() -> bool {
    std::env::var_os("SENSORHIVE_TEST_REQUIRE").is_some_and(|value| value == "all")
}

pub fn skipped(reason: &str) {
    say_once(format!("skipped: {reason}\n"));
}

/// `name` is a database with its version.
pub fn ran_on(name: &str) {
    say_once(format!("store tests ran on: {name}\n"));
}

fn say_once(line: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().insert(line.clone()) {
        // In one write, so that it stays one line where others write too.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
