//! A server's processes: started, stopped, killed and frozen as a whole.
//!
//! Invariant: neither processes nor directory outlive this value or our process. Children are found by their parent, which is
//! stopped meanwhile so that it makes no more; a signal to a group would not do, since each of them leads its own.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::installation::Installation;
use super::options::{Disk, Options};
use super::watchdog::Watchdog;

pub struct Process {
    installation: &'static Installation,
    pub directory: PathBuf,
    pub address: SocketAddr,
    running: Mutex<Running>,
}

struct Running {
    server: Option<Child>,
    /// Dropped first, by hand: it ends the server, which is then reaped.
    watchdog: Option<Watchdog>,
}

impl Process {
    /// A fresh server that has not been started. The error says why there can be none with such a disk.
    pub fn create(installation: &'static Installation, options: &Options) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("sensorhive-postgres-")
            .tempdir()
            .unwrap()
            .keep();
        let watchdog = Watchdog::over(&directory);
        if let Some(account) = installation.account {
            chown(&directory, Some(account.user), Some(account.group)).unwrap();
        }
        let process = Self {
            installation,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            directory,
            running: Mutex::new(Running {
                server: None,
                watchdog: Some(watchdog),
            }),
        };
        if let Some(disk) = options.disk {
            process.mount(disk)?;
        }
        process.initialize(options);
        process.configure(options);
        Ok(process)
    }

    /// Starts it, or starts it again where it was.
    pub fn spawn(&self) {
        let mut running = self.running.lock();
        if let Some(mut last) = running.server.take() {
            assert!(
                last.try_wait().unwrap().is_some(),
                "the server is running already"
            );
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let server = self
            .installation
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .current_dir(&self.directory)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        running.watchdog.as_mut().unwrap().watch(Some(server.id()));
        running.server = Some(server);
    }

    /// Whether the server itself is there; without it, its children end by themselves.
    pub fn is_alive(&self) -> bool {
        let mut running = self.running.lock();
        running
            .server
            .as_mut()
            .is_some_and(|server| server.try_wait().unwrap().is_none())
    }

    /// The server and its children; empty when it does not run.
    pub fn pids(&self) -> Vec<u32> {
        match self.pid() {
            Some(server) => [server].into_iter().chain(children(server)).collect(),
            None => Vec::new(),
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(server) = self.pid() {
            send(server, signal);
        }
    }

    pub fn kill(&self) {
        self.freeze();
        // Children first, so that none of them sees the server die.
        let pids = self.pids();
        for pid in pids.iter().rev() {
            send(*pid, Signal::KILL);
        }
        self.reap();
        wait_for(&pids, |state| matches!(state, None | Some('Z' | 'X')));
    }

    /// Takes note of its end, and waits for it.
    pub fn reap(&self) {
        let mut running = self.running.lock();
        if let Some(mut server) = running.server.take() {
            let _ = server.wait();
        }
        if let Some(watchdog) = running.watchdog.as_mut() {
            watchdog.watch(None);
        }
    }

    pub fn freeze(&self) {
        let Some(server) = self.pid() else { return };
        let stopped = |state| matches!(state, None | Some('T' | 'Z' | 'X'));
        send(server, Signal::STOP);
        wait_for(&[server], stopped);
        let children = children(server);
        for pid in &children {
            send(*pid, Signal::STOP);
        }
        wait_for(&children, stopped);
    }

    pub fn thaw(&self) {
        for pid in self.pids() {
            send(pid, Signal::CONT);
        }
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Fills its disk up to some bytes.
    pub fn fill_disk(&self, left: u64) {
        let mut ballast = File::create(self.ballast()).unwrap();
        let zeros = vec![0; 64 << 10];
        while ballast.write_all(&zeros).is_ok() {}
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(left)).unwrap();
    }

    pub fn empty_disk(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn ballast(&self) -> PathBuf {
        self.data().join("ballast")
    }

    fn pid(&self) -> Option<u32> {
        self.is_alive()
            .then(|| self.running.lock().server.as_ref().map(Child::id))?
    }

    fn mount(&self, disk: Disk) -> Result<(), String> {
        let Some(account) = self.installation.account else {
            return Err("a disk of limited size: only root can mount one".into());
        };
        std::fs::create_dir(self.data()).unwrap();
        let options = format!(
            "size={},mode=0700,uid={},gid={}",
            disk.bytes(),
            account.user,
            account.group
        );
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(self.data())
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!(
                "a disk of limited size: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Err(format!("a disk of limited size: mount: {error}")),
        }
    }

    fn initialize(&self, options: &Options) {
        let mut command = self.installation.program("initdb");
        command
            .args([
                "--username=sensorhive",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .arg("-D")
            .arg(self.data())
            .current_dir(&self.directory);
        if let Some(Disk::Tables(_)) = options.disk {
            command.arg("--waldir").arg(self.directory.join("log-of-changes"));
        }
        let output = command.stdout(Stdio::null()).output().unwrap();
        assert!(
            output.status.success(),
            "initdb failed below {}, which `{}` has to be able to reach: {}",
            self.directory.display(),
            "postgres",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn configure(&self, options: &Options) {
        let mut settings = vec![
            ("shared_buffers", "64MB".to_owned()),
            ("max_connections", "100".to_owned()),
            ("max_wal_size", "256MB".to_owned()),
            ("min_wal_size", "32MB".to_owned()),
            // In its directory, so that a killed server leaves nothing elsewhere.
            ("dynamic_shared_memory_type", "mmap".to_owned()),
        ];
        if self.installation.timescale {
            settings.push(("shared_preload_libraries", "timescaledb".to_owned()));
            settings.push(("timescaledb.telemetry_level", "off".to_owned()));
            // One for each database with the extension, and some for jobs.
            settings.push(("timescaledb.max_background_workers", "32".to_owned()));
            settings.push(("max_worker_processes", "48".to_owned()));
        }
        settings.extend(options.settings.iter().cloned());
        // No setting moves it off the loopback device, or away from its port and directory.
        settings.push(("listen_addresses", self.address.ip().to_string()));
        settings.push(("port", self.address.port().to_string()));
        settings.push(("unix_socket_directories", self.directory.display().to_string()));
        let path = self.data().join("postgresql.conf");
        let mut file = File::options().append(true).open(path).unwrap();
        for (name, value) in settings {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = self.running.get_mut();
        drop(running.watchdog.take());
        if let Some(mut server) = running.server.take() {
            let _ = server.wait();
        }
    }
}

/// One that the system does not give to outgoing connections, so that it is still there when a server comes back to it.
pub fn free_port() -> u16 {
    loop {
        let port = 15_000 + (getrandom::u32().unwrap() % 17_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn send(pid: u32, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), signal);
}

fn wait_for(pids: &[u32], is_so: impl Fn(Option<char>) -> bool) {
    while !pids.iter().all(|pid| is_so(status(*pid).map(|(state, _)| state))) {
        std::thread::yield_now();
    }
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| status(*pid).is_some_and(|(_, its_parent)| its_parent == parent))
        .collect()
}

/// State and parent of a process that is there.
fn status(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
