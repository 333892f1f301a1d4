//! A broker that belongs to one test.
//!
//! Invariant: neither process nor directory outlive this value or our process.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::options::{Files, Options};
use super::port::free_port;
use super::programs::program;
use super::watchdog::Watchdog;

/// How long a broker may take to come up, or to go down, before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Broker {
    directory: PathBuf,
    files: Files,
    address: SocketAddr,
    has_tls: bool,
    server: Option<Child>,
    /// Dropped first, by hand: it ends the broker, which is then reaped.
    watchdog: Option<Watchdog>,
}

impl Broker {
    /// A broker that takes connections. `None`, and a line that says why, where there can be none.
    pub async fn start(options: &Options) -> Option<Self> {
        let mut broker = Self::create(options)?;
        broker.again().await;
        Some(broker)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With the scheme `mqtt`, or `mqtts` where it speaks TLS. Certificates should be for `localhost`.
    pub fn url(&self) -> String {
        match self.has_tls {
            true => format!("mqtts://localhost:{}", self.address.port()),
            false => format!("mqtt://{}", self.address),
        }
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.server.as_ref().expect("the broker was started").id()
    }

    /// SIGKILL. It is gone when this returns.
    pub fn kill(&mut self) {
        if let Some(server) = &mut self.server {
            // It may have ended by itself.
            let _ = server.kill();
        }
        self.reap();
    }

    /// SIGTERM: it writes its sessions to disk, if it is to keep them, and ends.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.until("the broker to end", |broker| !broker.is_alive()).await;
        self.reap();
    }

    /// SIGSTOP: connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again on the same port and directory, after it was killed or stopped. It takes connections when this
    /// returns.
    pub async fn again(&mut self) {
        assert!(!self.is_alive(), "the broker is running already");
        self.reap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.files.log)
            .unwrap();
        let server = program("mosquitto")
            .expect("it was there when this broker was made")
            .arg("-c")
            .arg(&self.files.config)
            .current_dir(&self.directory)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.watchdog.as_mut().unwrap().watch(Some(server.id()));
        self.server = Some(server);
        self.until("the broker to take connections", |broker| {
            assert!(broker.is_alive(), "the broker ended:\n{}", broker.log());
            std::net::TcpStream::connect(broker.address).is_ok()
        })
        .await;
    }

    /// Makes it write its sessions to disk now; they are there when this returns.
    pub async fn save(&mut self) {
        // A new file takes the place of the old one.
        let version = |broker: &Self| {
            std::fs::metadata(&broker.files.store)
                .ok()
                .map(|file| (file.ino(), file.mtime_nsec()))
        };
        let before = version(self);
        self.signal(Signal::USR1);
        self.until("the broker to save", |broker| version(broker) != before)
            .await;
    }

    /// Whether it runs: it may also have gone down by itself.
    pub fn is_alive(&mut self) -> bool {
        let server = self.server.as_mut();
        server.is_some_and(|server| server.try_wait().unwrap().is_none())
    }

    /// What the broker has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.files.log).unwrap_or_default()).into_owned()
    }

    /// Where it, its log and its sessions are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn create(options: &Options) -> Option<Self> {
        program("mosquitto")?;
        let temporary = tempfile::Builder::new().prefix("sensorhive-mosquitto-").tempdir();
        let directory = temporary.unwrap().keep();
        let watchdog = Watchdog::over(&directory);
        let broker = Self {
            files: Files {
                config: directory.join("mosquitto.conf"),
                log: directory.join("log"),
                store: directory.join("mosquitto.db"),
                passwords: directory.join("passwords"),
            },
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            has_tls: options.tls.is_some(),
            server: None,
            watchdog: Some(watchdog),
            directory,
        };
        broker.configure(options)?;
        Some(broker)
    }

    fn configure(&self, options: &Options) -> Option<()> {
        let mut config = format!("listener {} {}\n", self.address.port(), self.address.ip());
        let write = |name: &str, text: &str| {
            let path = self.directory.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        if let Some((chain, key)) = &options.tls {
            let (chain, key) = (write("server.crt", chain), write("server.key", key));
            let _ = writeln!(config, "certfile {chain}\nkeyfile {key}");
        }
        if let Some(ca) = &options.client_ca {
            let _ = writeln!(
                config,
                "cafile {}\nrequire_certificate true",
                write("clients.crt", ca)
            );
        }
        // As root it would become another account, which may not write here.
        config += "user root\nlog_dest stderr\nlog_type all\nmax_queued_messages 0\n";
        let _ = writeln!(config, "allow_anonymous {}", options.users.is_empty());
        if !options.users.is_empty() {
            self.make_passwords(options)?;
            let _ = writeln!(config, "password_file {}", self.files.passwords.display());
        }
        if options.persistent {
            let _ = writeln!(
                config,
                "persistence true\npersistence_location {}/\nautosave_on_changes true\nautosave_interval 1",
                self.directory.display()
            );
        }
        for line in &options.lines {
            let _ = writeln!(config, "{line}");
        }
        std::fs::write(&self.files.config, config).unwrap();
        Some(())
    }

    fn make_passwords(&self, options: &Options) -> Option<()> {
        let mut plain = String::new();
        for user in &options.users {
            let _ = writeln!(plain, "{}:{}", user.name, user.password);
        }
        std::fs::write(&self.files.passwords, plain).unwrap();
        // It replaces what is in the file by hashes.
        let output = program("mosquitto_passwd")?
            .arg("-U")
            .arg(&self.files.passwords)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mosquitto_passwd failed: {error}");
        Some(())
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("the broker was started");
        kill_process(Pid::from_child(server), signal).unwrap();
    }

    /// Takes note of its end, and waits for it.
    fn reap(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.watch(None);
        }
    }

    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let asking = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, asking).await.is_err() {
            panic!("waited in vain for {what}:\n{}", self.log());
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.watchdog.take());
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
    }
}
