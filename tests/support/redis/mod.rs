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

use redis::{AsyncConnectionConfig, Client, TlsCertificates};
use tempfile::TempDir;

use port::free_port;
use watchdog::Watchdog;

const ABSENT: &str = "Redis: not found; install redis-server";

pub struct Server {
    directory: TempDir,
    port: u16,
    process: Child,
    watchdog: Option<Watchdog>,
    /// PEM of who has signed its certificate, where it speaks TLS alone.
    ca: Option<String>,
}

impl Server {
    /// One that keeps what it has on disk, so that it can be killed as well.
    pub async fn start() -> Option<Self> {
        Self::start_with(None).await
    }

    /// One that speaks TLS alone, as `localhost`: with its certificate and key, and whoever has signed both it and its clients.
    #[allow(dead_code, reason = "not every test binary speaks TLS")]
    pub async fn with_tls(certificate: &str, key: &str, ca: &str) -> Option<Self> {
        Self::start_with(Some([certificate, key, ca])).await
    }

    async fn start_with(tls: Option<[&str; 3]>) -> Option<Self> {
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
        for (name, pem) in TLS_FILES.into_iter().zip(tls.into_iter().flatten()) {
            fs::write(directory.path().join(name), pem).unwrap();
        }
        let process = spawn(&directory, port, tls.is_some());
        watchdog.watch(Some(process.id()));
        let server = Self {
            directory,
            port,
            process,
            watchdog: Some(watchdog),
            ca: tls.map(|[_, _, ca]| ca.to_owned()),
        };
        server.up().await;
        Some(server)
    }

    pub fn url(&self) -> String {
        match self.ca {
            None => format!("redis://127.0.0.1:{}/0", self.port),
            Some(_) => format!("rediss://localhost:{}/0", self.port),
        }
    }

    fn client(&self) -> Client {
        match &self.ca {
            None => Client::open(self.url()).unwrap(),
            Some(ca) => {
                // Another test may have done it.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(ca.clone().into_bytes()),
                };
                Client::build_with_tls(self.url(), certificates).unwrap()
            }
        }
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        // Only to end a test that hangs: what the client has for itself is too short for a busy machine.
        let patience = Some(Duration::from_secs(60));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(patience)
            .set_response_timeout(patience);
        let client = self.client();
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap()
    }

    /// SIGKILL, and up again with what was on disk.
    #[allow(dead_code, reason = "not every test binary does it at once")]
    pub async fn crash(&mut self) {
        self.kill();
        self.again().await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Up again, with what was on disk.
    pub async fn again(&mut self) {
        self.process = spawn(&self.directory, self.port, self.ca.is_some());
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.watch(Some(self.process.id()));
        }
        self.up().await;
    }

    async fn up(&self) {
        let client = self.client();
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

const TLS_FILES: [&str; 3] = ["certificate", "key", "ca"];

fn spawn(directory: &TempDir, port: u16, tls: bool) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.path().join("log"))
        .unwrap();
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    if tls {
        command.args([
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-auth-clients",
            "optional",
        ]);
        let options = ["--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file"];
        for (option, name) in options.into_iter().zip(TLS_FILES) {
            command.arg(option).arg(directory.path().join(name));
        }
    } else {
        command.args(["--port", &port]);
    }
    command
        .args(["--bind", "127.0.0.1", "--save", ""])
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
