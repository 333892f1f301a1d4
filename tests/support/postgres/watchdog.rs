//! A small shell process that ends a server and removes its directory when its own standard input ends.
//!
//! Invariant: the writing end of that input is ours alone, so that it ends when it is dropped, and when our process
//! ends in any way, SIGKILL included.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Watchdog(Child);

impl Watchdog {
    /// Takes over `directory`.
    pub fn over(directory: &Path) -> Self {
        let child = Command::new("/bin/sh")
            .args(["-c", include_str!("watchdog.sh"), "watchdog"])
            .arg(directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Self(child.unwrap())
    }

    /// Which process is the server now.
    pub fn watch(&mut self, server: Option<u32>) {
        let line = server.map(|pid| pid.to_string()).unwrap_or_default() + "\n";
        self.0.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
