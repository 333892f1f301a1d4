//! A place on disk, and an instance of the service that runs there.
//!
//! Invariant: no process outlives its instance.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::api::Api;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What every instance here is told: no readings but those of the test, and no limit on how often it asks.
const QUIET: &str = "[http]\nlisten = '127.0.0.1:0'\nrequests_per_second = 0\n[sources.host]\nkind = 'host'\nenabled = false\n[mqtt_listener]\nenabled = false\n";

/// Prints a line that `cargo test` does not capture.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "fault test: {line}");
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}

/// A data directory and the settings of whoever runs in it.
pub struct Place {
    directory: TempDir,
    flags: Vec<String>,
}

impl Place {
    /// `settings` is TOML without `[http]`, `[mqtt_listener]` and `[sources.host]`; `flags` are `KEY=VALUE`.
    pub fn new(settings: &str, flags: &[&str]) -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("settings.toml"),
            format!("{QUIET}{settings}"),
        )
        .unwrap();
        Arc::new(Self {
            directory,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn database(&self) -> PathBuf {
        self.path("data/sensorhive.db")
    }

    /// Everything that was logged here.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `sensorhive`, with the settings of this place; it logs into a file.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorhive"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SENSORHIVE") {
                command.env_remove(name);
            }
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"));
        command
            .current_dir(self.directory.path())
            .arg("--config")
            .arg("settings.toml");
        for flag in self.flags.iter().map(String::as_str).chain(flags.iter().copied()) {
            command.arg("--set").arg(flag);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap());
        command
    }

    /// A connection of another process to the database.
    pub async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.database());
        options.busy_timeout(PATIENCE).connect().await.unwrap()
    }
}

/// A process that may not be ready yet.
pub struct Starting {
    process: Process,
    lines: mpsc::UnboundedReceiver<String>,
    place: Arc<Place>,
}

impl Starting {
    pub fn new(place: &Arc<Place>, flags: &[&str]) -> Self {
        Self::of(place.command(flags), place)
    }

    pub fn of(mut command: Command, place: &Arc<Place>) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tx, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tx.send(line);
            }
        });
        Self {
            process: Process(child),
            lines,
            place: place.clone(),
        }
    }

    pub fn kill9(mut self) {
        self.process.kill9();
    }

    /// Waits until it listens. `token` is one that is known already.
    pub async fn ready(mut self, token: Option<String>) -> Instance {
        let mut token = token.unwrap_or_default();
        let mut mqtt = None;
        let address: SocketAddr = loop {
            let line = match tokio::time::timeout(PATIENCE, self.lines.recv()).await {
                Ok(Some(line)) => line,
                Ok(None) => panic!("it ended before it listened:\n{}", self.place.log()),
                Err(_) => panic!("it does not come to listen:\n{}", self.place.log()),
            };
            if let Some(text) = line.strip_prefix("admin token: ") {
                text.clone_into(&mut token);
            } else if let Some(text) = line.strip_prefix("listening on mqtt://") {
                mqtt = Some(text.parse().unwrap());
            } else if let Some(text) = line.strip_prefix("listening on http://") {
                break text.parse().unwrap();
            }
        };
        Instance {
            process: self.process,
            api: Api::new(address, &token),
            mqtt,
            token,
            place: self.place,
        }
    }
}

/// A running service.
pub struct Instance {
    process: Process,
    pub api: Api,
    /// Where MQTT devices connect, if anywhere.
    #[allow(dead_code, reason = "not every test binary has devices")]
    pub mqtt: Option<SocketAddr>,
    pub token: String,
    pub place: Arc<Place>,
}

impl Instance {
    pub async fn start(place: &Arc<Place>) -> Self {
        Starting::new(place, &[]).ready(None).await
    }

    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    pub fn sigterm(&self) {
        rustix::process::kill_process(self.process.pid(), Signal::TERM).unwrap();
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the end of the process", async || {
            self.process.0.try_wait().unwrap()
        })
        .await
    }

    /// Starts it again where it was, after it ended or was killed.
    pub async fn again(mut self, flags: &[&str]) -> Self {
        self.kill9();
        Starting::new(&self.place, flags)
            .ready(Some(self.token.clone()))
            .await
    }

    /// The most bytes that a file it writes may have.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        rustix::process::prlimit(Some(self.process.pid()), Resource::Fsize, limit).unwrap();
    }

    /// Bytes in memory.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.0.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

struct Process(Child);

impl Process {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn kill9(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}
