//! One service on a database: a second one is told so at its start, and the first one is not disturbed.
//!
//! Invariant: the lock belongs to a session, so that one whose process was killed leaves none behind; where the machine
//! itself is gone, the server notices within half a minute. The writer's epoch is what keeps two apart that got past
//! this all the same.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::PostgresSettings;
use super::connection::{Servers, within};
use super::fault::Fault;
use crate::storage::{ErrorClass, StoreError};

/// "sensorhiv" in ASCII, of eight bytes: nobody else's lock has this number by chance.
const KEY: i64 = 0x7365_6e73_6f72_6869;

/// Held for as long as this value lives.
#[derive(Debug)]
pub struct SessionLock(#[expect(dead_code, reason = "closing it gives the lock back")] PgConnection);

impl SessionLock {
    /// Takes the lock that belongs to the database.
    pub async fn take(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let servers = Servers::new(settings);
        let what = format!("opening {}", servers.describe());
        within(
            settings.connect_timeout.max(Duration::from_secs(1)),
            take(&servers),
        )
        .await
        .map_err(|fault: Fault| fault.during(what))
    }
}

async fn take(servers: &Servers) -> Result<SessionLock, Fault> {
    let mut connection = servers.connect().await?;
    sqlx::raw_sql(
        "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3",
    )
    .execute(&mut connection)
    .await?;
    let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(KEY)
        .fetch_one(&mut connection)
        .await?;
    if taken {
        return Ok(SessionLock(connection));
    }
    Err(Fault::found(
        ErrorClass::Unusable,
        "another sensorhive is running on it; stop that one, or set storage.url to another database",
    ))
}
