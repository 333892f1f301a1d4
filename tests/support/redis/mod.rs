//! A real Redis for one test: a port and a directory of its own, on 127.0.0.1 alone, gone when the test process is.
//!
//! How it fails: where `redis-server` is not installed it is `None`, and a line says so; with `SENSORHIVE_TEST_REQUIRE=all` a panic.

#![allow(clippy::duplicate_mod)]

#[path = "../postgres/port.rs"]
mod port;
#[allow(dead_code)]
#[path = "../postgres/report.rs"]
mod report;
#[allow(dead_code)]
#[path = "../postgres/watchdog.rs"]
mod watchdog;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::Client;
use tempfile::TempDir;

use port::free_port;
use watchdog::Watchdog;

const ABSENT: &str = "Redis: not found; install redis-server";

pub struct Server {
    directory: TempDir,
    port: u16,
    process: Child,
    watchdog: Option<Watchdog>,
}

impl Server {
    /// One that keeps what it has on disk, so that it can be killed as well.
    pub async fn start() -> Option<Self> {
        let present = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if !present.is_ok_and(|status| status.success()) {
            assert!(!report::everything_is_required(), "{ABSENT}");
            report::skipped(ABSENT);
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let port = free_port();
        let mut watchdog = Watchdog::over(directory.path());
        let process = spawn(&directory, port);
        watchdog.watch(Some(process.id()));
        let server = Self {
            directory,
            port,
            process,
            watchdog: Some(watchdog),
        };
        server.up().await;
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// SIGKILL, and up again with what was on disk.
    pub async fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(&self.directory, self.port);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.watch(Some(self.process.id()));
        }
        self.up().await;
    }

    async fn up(&self) {
        let client = Client::open(self.url()).unwrap();
        let ping = async || {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PING").query_async::<String>(&mut connection).await
        };
        let up = async {
            while ping().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), up)
            .await
            .expect("redis comes up");
    }
}

fn spawn(directory: &TempDir, port: u16) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.path().join("log"))
        .unwrap();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--daemonize",
            "no",
            "--dir",
        ])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.watchdog.take();
    }
}
