//! Where the database is and how long anything may take.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::storage::Wanted;

/// Whether TimescaleDB is made use of. Decided once, when the tables are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timescale {
    /// Where the server has it and lets us.
    #[default]
    Auto,
    Off,
    /// Not to start without it.
    Required,
}

#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// The servers of one cluster, at least one; the first of them that takes writes is used.
    pub servers: Vec<PgConnectOptions>,
    pub timescale: Timescale,
    /// Whether a commit waits until it would survive a crash of the server.
    pub synchronous: bool,
    /// Connections for reading.
    pub readers: u32,
    pub connect_timeout: Duration,
    /// How long a transaction that writes may take.
    pub write_timeout: Duration,
    /// How long a query for history may take.
    pub query_timeout: Duration,
    /// How much time a new chunk or partition of readings spans.
    pub chunk_interval: Duration,
    /// The age at which chunks are compressed; `None` is never. TimescaleDB alone does that.
    pub compress_after: Option<Duration>,
    /// Whether several instances run on the database.
    pub shared: bool,
    pub entries: EntrySettings,
    /// What is put into the outbox.
    pub outbox: Wanted,
}

/// When ledgers are kept as entries and added up later, instead of at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntrySettings {
    /// Sensors of one group from which on an entry is cheaper than a new version of each one's row.
    pub sensors: usize,
    /// Changes of single sensors after which they are added up. In memory each takes at most about 100 bytes.
    pub changes: usize,
}

impl Default for EntrySettings {
    fn default() -> Self {
        Self {
            sensors: 5_000,
            changes: 1_000_000,
        }
    }
}

impl PostgresSettings {
    pub fn new(servers: Vec<PgConnectOptions>) -> Self {
        Self {
            servers,
            timescale: Timescale::Auto,
            synchronous: true,
            readers: 4,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            query_timeout: Duration::from_secs(10),
            chunk_interval: Duration::from_secs(86_400),
            compress_after: Some(Duration::from_secs(7 * 86_400)),
            shared: false,
            entries: EntrySettings::default(),
            outbox: Wanted::default(),
        }
    }

    /// Takes `postgres://user:password@host:port,host:port/database?options`. The error never repeats the text, which may hold a
    /// password.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let servers = one_a_host(url)?
            .iter()
            .map(|url| PgConnectOptions::from_str(url).map_err(|_| MALFORMED.to_owned()))
            .collect::<Result<Vec<_>, _>>()?;
        if servers
            .iter()
            .any(|server| server.get_database().is_none_or(str::is_empty))
        {
            return Err("names no database: add /NAME after the host".to_owned());
        }
        Ok(Self::new(servers))
    }
}

const MALFORMED: &str = "must be \"postgres://USER@HOST:PORT/DATABASE\"";

/// libpq takes several hosts in one address; each becomes an address of its own.
fn one_a_host(url: &str) -> Result<Vec<String>, String> {
    let (scheme, rest) = url.split_once("://").ok_or(MALFORMED)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    Ok(hosts
        .split(',')
        .map(|host| format!("{scheme}://{user}{host}{path}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(url: &str) -> Vec<(String, u16)> {
        let settings = PostgresSettings::from_url(url).unwrap();
        let server = |options: &PgConnectOptions| (options.get_host().to_owned(), options.get_port());
        settings.servers.iter().map(server).collect()
    }

    #[test]
    fn an_address_may_name_several_servers() {
        assert_eq!(servers("postgres://me@db/hive"), [("db".to_owned(), 5432)]);
        assert_eq!(
            servers("postgresql://me:a%2Cb@one:5433,two/hive?application_name=x"),
            [("one".to_owned(), 5433), ("two".to_owned(), 5432)]
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in [
            "postgres://me:secret@db",
            "postgres:me:secret",
            "postgres://me:secret@db:port/hive",
        ] {
            let error = PostgresSettings::from_url(url).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
