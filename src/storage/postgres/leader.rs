//! One instance of all looks after what they have in common: rollups, retention, the archive.
//!
//! Invariant: the lock belongs to a session, so that one whose process or machine is gone leads no more, and whoever asks next takes
//! its place. Nothing that a leader does depends on being alone: two that overlap for a moment do work twice, no harm.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::connection::{Servers, command, within};
use super::fault::Fault;

/// "leader" in ASCII.
const KEY: i64 = 0x6c65_6164_6572;

pub(super) struct Leader {
    /// Where there is only one instance, it leads without asking.
    shared: bool,
    session: tokio::sync::Mutex<Option<PgConnection>>,
}

impl Leader {
    pub fn new(shared: bool) -> Self {
        Self {
            shared,
            session: tokio::sync::Mutex::default(),
        }
    }

    /// Whether we lead; tries to.
    pub async fn leads(&self, servers: &Servers) -> Result<bool, Fault> {
        if !self.shared {
            return Ok(true);
        }
        let mut session = self.session.lock().await;
        if let Some(held) = session.as_mut() {
            if within(servers.timeout(), command(held, "SELECT")).await.is_ok() {
                return Ok(true);
            }
            tracing::warn!("this instance leads no more, its session with the database is gone");
            *session = None;
        }
        let mut connection = servers.connect().await?;
        let keep_alive =
            "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";
        within(servers.timeout(), command(&mut connection, keep_alive)).await?;
        let ask = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(KEY);
        let leads: bool = within(servers.timeout(), ask.fetch_one(&mut connection)).await?;
        if leads {
            tracing::info!("this instance leads: it looks after rollups, retention and the archive");
            *session = Some(connection);
        } else {
            let _ = connection.close().await;
        }
        Ok(leads)
    }

    /// Leads no more.
    pub async fn end(&self) {
        if let Some(session) = self.session.lock().await.take() {
            let _ = session.close().await;
        }
    }
}
