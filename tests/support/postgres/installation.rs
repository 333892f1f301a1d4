//! The PostgreSQL that is installed here, and the account that its programs run as.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub struct Installation {
    programs: PathBuf,
    /// Whether servers have to load TimescaleDB's library.
    pub timescale: bool,
    /// Set where we are root, as whom PostgreSQL refuses to run.
    pub account: Option<Account>,
}

#[derive(Clone, Copy)]
pub struct Account {
    pub user: u32,
    pub group: u32,
}

impl Installation {
    /// Looks in `PATH` first, then where distributions put it, the newest version first.
    pub fn find() -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Installation>> = OnceLock::new();
        FOUND.get_or_init(Self::look).as_ref()
    }

    /// One of PostgreSQL's programs, as an account that may run it, apart from signals of the terminal.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        for (name, _) in std::env::vars_os() {
            // They would be taken for settings.
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).process_group(0);
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }

    fn look() -> Option<Self> {
        let programs = directories()
            .into_iter()
            .filter_map(|directory| {
                directory
                    .join("initdb")
                    .canonicalize()
                    .ok()?
                    .parent()
                    .map(Path::to_owned)
            })
            .find(|directory| directory.join("postgres").is_file())?;
        let asked =
            |what| answer(programs.join("pg_config"), what).or_else(|| answer("pg_config".into(), what));
        let has = |what, file| asked(what).is_some_and(|directory| directory.join(file).is_file());
        Some(Self {
            timescale: has("--sharedir", "extension/timescaledb.control")
                && has("--pkglibdir", "timescaledb.so"),
            account: rustix::process::geteuid().is_root().then(unprivileged),
            programs,
        })
    }
}

fn directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<_> = std::env::split_paths(&path).collect();
    all.extend(answer("pg_config".into(), "--bindir"));
    let mut installed: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    installed.sort();
    all.extend(installed.into_iter().rev().map(|(_, directory)| directory));
    all
}

/// The directory that `pg_config` names.
fn answer(program: PathBuf, what: &str) -> Option<PathBuf> {
    let output = Command::new(program).arg(what).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().into())
}

fn unprivileged() -> Account {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next()? == name;
            let user = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            is_it.then_some(Account { user, group })
        })
    };
    find("postgres").or_else(|| find("nobody")).expect(
        "PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody` to run it as",
    )
}
