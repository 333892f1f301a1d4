//! The Mosquitto that is installed here.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::report;

const ABSENT: &str = "Mosquitto: not found; install mosquitto and mosquitto-clients";

/// `mosquitto_pub`, the client that publishes; its arguments are the caller's.
pub fn publisher() -> Option<Command> {
    program("mosquitto_pub")
}

/// One of Mosquitto's programs, with nothing on its standard input. `None`, and a line that says so, where it is not
/// installed.
pub(super) fn program(name: &str) -> Option<Command> {
    let Some(path) = find(name) else {
        assert!(!report::everything_is_required(), "{ABSENT}");
        report::skipped(ABSENT);
        return None;
    };
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    Some(command)
}

/// In `PATH`, and where Debian puts what only root is thought to start.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
