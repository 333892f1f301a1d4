//! Who runs on a database: one service alone, or several that say so. Whoever may not is told so at its start, and nobody that
//! runs is disturbed.
//!
//! Invariants: alone, a service holds the lock of the database for itself. Several hold it together, each with the lock of its
//! name for itself. The locks belong to a session, so that one whose process was killed leaves none behind; where the machine
//! itself is gone, the server notices within half a minute. The writer's epoch is what keeps two apart that got past this all
//! the same.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use twox_hash::XxHash64;

use super::PostgresSettings;
use super::connection::{Servers, within};
use super::fault::Fault;
use crate::storage::{ErrorClass, InstanceId, StoreError};

/// "sensorhiv" in ASCII, of eight bytes: nobody else's lock has this number by chance.
const KEY: i64 = 0x7365_6e73_6f72_6869;
/// The first half of the lock of an instance; the second is made of its name.
const INSTANCES: i32 = 0x7365_6e73;

/// Held for as long as this value lives.
#[derive(Debug)]
pub struct SessionLock(#[expect(dead_code, reason = "closing it gives the lock back")] PgConnection);

impl SessionLock {
    /// Takes the lock of the database, alone, or together with others as `instance`.
    pub async fn take(
        settings: &PostgresSettings,
        instance: Option<&InstanceId>,
    ) -> Result<Self, StoreError> {
        let servers = Servers::new(settings);
        let what = format!("opening {}", servers.describe());
        within(
            settings.connect_timeout.max(Duration::from_secs(1)),
            take(&servers, instance),
        )
        .await
        .map_err(|fault: Fault| fault.during(what))
    }
}

async fn take(servers: &Servers, instance: Option<&InstanceId>) -> Result<SessionLock, Fault> {
    let mut connection = servers.connect().await?;
    sqlx::raw_sql(
        "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3",
    )
    .execute(&mut connection)
    .await?;
    let lock = match instance {
        None => "SELECT pg_try_advisory_lock($1)",
        Some(_) => "SELECT pg_try_advisory_lock_shared($1)",
    };
    let taken: bool = sqlx::query_scalar(lock)
        .bind(KEY)
        .fetch_one(&mut connection)
        .await?;
    if !taken {
        let why = match instance {
            None => {
                "another sensorhive is running on it; stop that one, or set storage.url to another database. Several may share \
                     it where each has storage.shared = true"
            }
            Some(_) => {
                "a sensorhive without storage.shared is running on it; stop that one, or set storage.shared there, too"
            }
        };
        return Err(Fault::found(ErrorClass::Unusable, why));
    }
    if let Some(InstanceId(name)) = instance {
        let named: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
            .bind(INSTANCES)
            .bind(XxHash64::oneshot(0, name.as_bytes()) as i32)
            .fetch_one(&mut connection)
            .await?;
        if !named {
            let why = format!(
                "another instance with the name {name:?} is running on it; give each its own by storage.instance"
            );
            return Err(Fault::found(ErrorClass::Unusable, why));
        }
    }
    Ok(SessionLock(connection))
}
