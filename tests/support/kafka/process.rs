//! A broker's process and its directory.
//!
//! Invariant: neither outlives this value or our process. A small shell process ends the broker and removes the directory
//! when its own standard input ends; the writing end of that is ours alone.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::installation::Installation;

pub struct Process {
    installation: &'static Installation,
    pub directory: PathBuf,
    pub address: SocketAddr,
    running: Mutex<Running>,
}

struct Running {
    broker: Option<Child>,
    watchdog: Child,
}

impl Process {
    /// A fresh broker that has not been started. `settings` beat those of the harness.
    pub fn create(installation: &'static Installation, settings: &[(&str, String)]) -> Self {
        let builder = tempfile::Builder::new().prefix("sensorhive-kafka-").tempdir();
        let directory = builder.unwrap().keep();
        let watchdog = Command::new("/bin/sh")
            .args(["-c", include_str!("watchdog.sh"), "watchdog"])
            .arg(&directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let process = Self {
            installation,
            directory,
            address,
            running: Mutex::new(Running {
                broker: None,
                watchdog,
            }),
        };
        process.configure(settings);
        process.format();
        process
    }

    /// Starts it, or starts it again where it was.
    pub fn spawn(&self) {
        let mut running = self.running.lock();
        if let Some(mut last) = running.broker.take() {
            assert!(
                last.try_wait().unwrap().is_some(),
                "the broker is running already"
            );
        }
        let log = self.open_log();
        let mut command = self.installation.java("kafka.Kafka");
        command
            .arg(self.configuration())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let broker = command.spawn().unwrap();
        running.watch(Some(broker.id()));
        running.broker = Some(broker);
    }

    pub fn is_alive(&self) -> bool {
        let mut running = self.running.lock();
        running
            .broker
            .as_mut()
            .is_some_and(|broker| broker.try_wait().unwrap().is_none())
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(broker) = &self.running.lock().broker {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(broker), signal);
        }
    }

    /// Waits for its end.
    pub fn reap(&self) {
        let mut running = self.running.lock();
        if let Some(mut broker) = running.broker.take() {
            let _ = broker.wait();
        }
        running.watch(None);
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.join("log")).unwrap_or_default()).into_owned()
    }

    fn configure(&self, settings: &[(&str, String)]) {
        let controller = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let listener = format!("PLAINTEXT://{}", self.address);
        let mut lines = vec![
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            ("controller.quorum.voters", format!("1@{controller}")),
            ("listeners", format!("{listener},CONTROLLER://{controller}")),
            ("advertised.listeners", listener),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            ),
            ("log.dirs", self.directory.join("data").display().to_string()),
        ];
        // One node, and nobody to wait for.
        for (name, value) in [
            ("offsets.topic.replication.factor", "1"),
            ("offsets.topic.num.partitions", "1"),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("group.min.session.timeout.ms", "1000"),
            ("auto.create.topics.enable", "false"),
            ("message.max.bytes", "8388608"),
            ("num.network.threads", "2"),
            ("num.io.threads", "2"),
            ("background.threads", "2"),
            ("log.cleaner.enable", "false"),
            ("log.retention.check.interval.ms", "1000"),
            ("log.initial.task.delay.ms", "1000"),
            ("controlled.shutdown.enable", "false"),
        ] {
            lines.push((name, value.to_owned()));
        }
        lines.extend(settings.iter().cloned());
        let mut file = File::create(self.configuration()).unwrap();
        for (name, value) in lines {
            writeln!(file, "{name}={value}").unwrap();
        }
    }

    fn format(&self) {
        let log = self.open_log();
        let mut command = self.installation.java("kafka.tools.StorageTool");
        command
            .args(["format", "--cluster-id", "c2Vuc29yaGl2ZS10ZXN0cw", "--config"])
            .arg(self.configuration())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        self.running.lock().watch(Some(child.id()));
        let status = child.wait().unwrap();
        self.running.lock().watch(None);
        assert!(status.success(), "formatting failed:\n{}", self.log());
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    fn open_log(&self) -> File {
        let path: &Path = &self.directory.join("log");
        File::options().create(true).append(true).open(path).unwrap()
    }
}

impl Running {
    /// Tells the watchdog which process is the broker now.
    fn watch(&mut self, broker: Option<u32>) {
        let line = broker.map(|pid| pid.to_string()).unwrap_or_default() + "\n";
        let stdin = self.watchdog.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = self.running.get_mut();
        drop(running.watchdog.stdin.take());
        let _ = running.watchdog.wait();
        if let Some(mut broker) = running.broker.take() {
            let _ = broker.wait();
        }
    }
}

/// One that the system does not give to outgoing connections, so that it is still there when a broker comes back to it.
fn free_port() -> u16 {
    loop {
        let port = 15_000 + (getrandom::u32().unwrap() % 17_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
