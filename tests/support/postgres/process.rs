//! A server's processes: started, stopped, killed and frozen as a whole.
//!
//! Invariant: neither processes nor directory outlive this value or our process. Children are found by their parent,
//! which is stopped meanwhile so that it makes no more; a signal to a group would not do, since each of them leads
//! its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Child;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

use super::directory::Directory;
use super::installation::Installation;
use super::options::Options;
use super::port::free_port;
use super::watchdog::Watchdog;

pub struct Process {
    installation: &'static Installation,
    pub directory: Directory,
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
        Self::make(installation, |directory, address, watchdog| {
            directory.initialize(installation, options, address, |pid| watchdog.watch(Some(pid)))
        })
    }

    /// A standby that follows this server and has not been started.
    pub fn standby(&self) -> Self {
        let standby = Self::make(self.installation, |directory, address, watchdog| {
            directory.follow(self.installation, self.address, address, |pid| {
                watchdog.watch(Some(pid))
            });
            Ok(())
        });
        standby.unwrap()
    }

    fn make(
        installation: &'static Installation,
        fill: impl FnOnce(&Directory, SocketAddr, &mut Watchdog) -> Result<(), String>,
    ) -> Result<Self, String> {
        let directory = Directory::create(installation);
        let mut watchdog = Watchdog::over(directory.path());
        // The children of a server that was killed become ours, and are reaped, also where process 1 does not do that.
        set_child_subreaper(Some(getpid())).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        fill(&directory, address, &mut watchdog)?;
        watchdog.watch(None);
        Ok(Self {
            installation,
            directory,
            address,
            running: Mutex::new(Running {
                server: None,
                watchdog: Some(watchdog),
            }),
        })
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
        let log = self.directory.open_log();
        let server = self
            .installation
            .program("postgres")
            .arg("-D")
            .arg(self.directory.data())
            .current_dir(self.directory.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        running.watchdog.as_mut().unwrap().watch(Some(server.id()));
        running.server = Some(server);
    }

    /// Whether the server itself is there; without it, its children end by themselves.
    pub fn is_alive(&self) -> bool {
        self.pid().is_some()
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
        wait_for(&pids, |pid, state| {
            // The children are ours now.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            has_ended(state)
        });
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
        let stopped = |_, state| state == Some('T') || has_ended(state);
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

    fn pid(&self) -> Option<u32> {
        let mut running = self.running.lock();
        let server = running.server.as_mut()?;
        server.try_wait().unwrap().is_none().then(|| server.id())
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

/// Whether a process still does anything: one that waits to be reaped does not.
pub fn runs(pid: u32) -> bool {
    !has_ended(status(pid).map(|(state, _)| state))
}

fn has_ended(state: Option<char>) -> bool {
    matches!(state, None | Some('Z' | 'X'))
}

fn send(pid: u32, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(id(pid), signal);
}

fn id(pid: u32) -> Pid {
    Pid::from_raw(pid as i32).expect("no process has the number zero")
}

/// Asks of each process, and its state if it is there.
fn wait_for(pids: &[u32], is_so: impl Fn(Pid, Option<char>) -> bool) {
    for pid in pids {
        while !is_so(id(*pid), status(*pid).map(|(state, _)| state)) {
            std::thread::yield_now();
        }
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
