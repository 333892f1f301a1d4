//! A server's directory: its data, its log, its Unix socket, and perhaps a disk of its own.
//!
//! It is removed by the watchdog, not by this value.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::installation::Installation;
use super::options::{Disk, Options};

pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// An empty one, of the account that the server runs as.
    pub fn create(installation: &Installation) -> Self {
        let builder = tempfile::Builder::new().prefix("sensorhive-postgres-").tempdir();
        let path = builder.unwrap().keep();
        if let Some(account) = installation.account {
            chown(&path, Some(account.user), Some(account.group)).unwrap();
        }
        Self { path }
    }

    /// Makes everything ready for the server; `watch` hears of the process that works on it. The error says why there can
    /// be none with such a disk.
    pub fn initialize(
        &self,
        installation: &Installation,
        options: &Options,
        address: SocketAddr,
        watch: impl FnOnce(u32),
    ) -> Result<(), String> {
        if let Some(disk) = options.disk {
            self.mount(installation, disk)?;
        }
        self.run_initdb(installation, options, watch);
        self.configure(installation, options, address);
        Ok(())
    }

    /// A copy of the server at `primary`, which follows that one.
    pub fn follow(
        &self,
        installation: &Installation,
        primary: SocketAddr,
        address: SocketAddr,
        watch: impl FnOnce(u32),
    ) {
        let connection = format!(
            "host={} port={} user=sensorhive application_name=standby",
            primary.ip(),
            primary.port()
        );
        let mut command = installation.program("pg_basebackup");
        command
            .args([
                "--write-recovery-conf",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--no-sync",
            ])
            .arg("--dbname")
            .arg(connection)
            .arg("-D")
            .arg(self.data())
            .current_dir(&self.path);
        run(command, watch);
        self.configure(installation, &Options::default(), address);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// To be written at its end.
    pub fn open_log(&self) -> File {
        let path = self.path.join("log");
        File::options().create(true).append(true).open(path).unwrap()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path.join("log")).unwrap_or_default()).into_owned()
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

    fn ballast(&self) -> PathBuf {
        self.data().join("ballast")
    }

    fn mount(&self, installation: &Installation, disk: Disk) -> Result<(), String> {
        let Some(account) = installation.account else {
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
        let reason = match output {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        let first_line = reason.lines().next().unwrap_or_default();
        // Which directory it was says nothing, and would make a line of its own each time.
        let reason = first_line.rsplit(": ").next().unwrap_or_default();
        Err(format!("a disk of limited size: mount: {reason}"))
    }

    fn run_initdb(&self, installation: &Installation, options: &Options, watch: impl FnOnce(u32)) {
        let mut command = installation.program("initdb");
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
            .current_dir(&self.path);
        if let Some(Disk::Tables(_)) = options.disk {
            command.arg("--waldir").arg(self.path.join("log-of-changes"));
        }
        run(command, watch);
    }

    fn configure(&self, installation: &Installation, options: &Options, address: SocketAddr) {
        let mut settings = vec![
            ("shared_buffers", "64MB".to_owned()),
            ("max_connections", "100".to_owned()),
            ("max_wal_size", "256MB".to_owned()),
            ("min_wal_size", "32MB".to_owned()),
            // In its directory, so that a killed server leaves nothing elsewhere.
            ("dynamic_shared_memory_type", "mmap".to_owned()),
        ];
        if installation.timescale {
            settings.push(("shared_preload_libraries", "timescaledb".to_owned()));
            settings.push(("timescaledb.telemetry_level", "off".to_owned()));
            // One for each database with the extension, and some for jobs.
            settings.push(("timescaledb.max_background_workers", "32".to_owned()));
            settings.push(("max_worker_processes", "48".to_owned()));
        }
        settings.extend(options.settings.iter().cloned());
        // No setting moves it off the loopback device, or away from its port and directory.
        settings.push(("listen_addresses", address.ip().to_string()));
        settings.push(("port", address.port().to_string()));
        settings.push(("unix_socket_directories", self.path.display().to_string()));
        let path = self.data().join("postgresql.conf");
        let mut file = File::options().append(true).open(path).unwrap();
        for (name, value) in settings {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).unwrap();
        }
    }
}

/// Runs a program that makes a server's data, to its end.
fn run(mut command: Command, watch: impl FnOnce(u32)) {
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    watch(child.id());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {error}");
}
