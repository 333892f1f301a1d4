//! The tables: TimescaleDB where it may be had, migrations, and how long chunks stay uncompressed.
//!
//! Invariant: whether readings lie in hypertables or in native partitions is decided when the tables are made, and stays.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnection;

use super::fault::Fault;
use super::partitions::{Layout, Table};
use super::resolution::Resolution;
use super::{PostgresSettings, Timescale};
use crate::storage::ErrorClass;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// The oldest PostgreSQL that is known to work, as `server_version_num`.
const OLDEST: i32 = 150_000;

/// Several instances may start at once: one after the other makes tables and sets policies. The lock goes with the connection.
pub(super) async fn wait_for_others(connection: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query("SELECT pg_advisory_lock(hashtext('sensorhive tables'))")
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn run(connection: &mut PgConnection, timescale: Timescale) -> Result<(), Fault> {
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::integer")
        .fetch_one(&mut *connection)
        .await?;
    if version < OLDEST {
        return Err(Fault::found(
            ErrorClass::Unusable,
            format!("PostgreSQL 15 or newer is needed, this is {}", version / 10_000),
        ));
    }
    install(connection, timescale).await?;
    MIGRATIONS
        .run_direct(None, connection, false)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Fault::Sql(error),
            MigrateError::VersionMissing(version) => Fault::found(
                ErrorClass::TooNew,
                format!("the database is at version {version}, newer than this program: run the newer one"),
            ),
            error => Fault::found(ErrorClass::Unusable, error),
        })
}

/// Sees to it that the extension is there where it is wanted, before the first table is made.
async fn install(connection: &mut PgConnection, timescale: Timescale) -> Result<(), Fault> {
    let laid_out: bool = sqlx::query_scalar("SELECT to_regclass('layout') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if laid_out {
        return Ok(());
    }
    let wanted = if timescale == Timescale::Off { "off" } else { "on" };
    sqlx::query("SELECT set_config('sensorhive.timescaledb', $1, false)")
        .bind(wanted)
        .execute(&mut *connection)
        .await?;
    if timescale == Timescale::Off {
        return Ok(());
    }
    let (available, installed): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb'),
             EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if installed {
        return Ok(());
    }
    let why = if available {
        match sqlx::raw_sql("CREATE EXTENSION IF NOT EXISTS timescaledb CASCADE")
            .execute(connection)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) => format!(
                "timescaledb could not be installed ({error}): have an administrator run CREATE EXTENSION timescaledb in this database"
            ),
        }
    } else {
        "the server does not have timescaledb".to_owned()
    };
    match timescale {
        Timescale::Required => Err(Fault::found(ErrorClass::Unusable, why)),
        Timescale::Auto | Timescale::Off => {
            tracing::warn!(
                why,
                "readings will lie in native partitions, for good; see storage.timescaledb"
            );
            Ok(())
        }
    }
}

/// Policies that follow the settings, whatever they were before.
pub(super) async fn set_policies(
    connection: &mut PgConnection,
    layout: &Layout,
    settings: &PostgresSettings,
) -> Result<(), Fault> {
    if !matches!(layout, Layout::Hypertables { .. }) {
        return Ok(());
    }
    let rollups = Resolution::ALL.map(Resolution::name);
    for table in Table::ALL.map(Table::name).into_iter().chain(rollups) {
        sqlx::query("SELECT remove_compression_policy($1::regclass, if_exists => true)")
            .bind(table)
            .execute(&mut *connection)
            .await?;
        if let Some(age) = settings.compress_after {
            sqlx::query("SELECT add_compression_policy($1::regclass, $2::bigint * interval '1 microsecond')")
                .bind(table)
                .bind(micros(age))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
