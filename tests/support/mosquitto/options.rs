//! What a broker is told.

use std::path::PathBuf;

/// Empty: everybody may do everything, and what the broker holds is kept in memory alone.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether sessions and what is queued for them are written to disk, at each change. [`Broker::kill`] loses what was
    /// not, see [`Broker::save`].
    ///
    /// [`Broker::kill`]: super::Broker::kill
    /// [`Broker::save`]: super::Broker::save
    pub persistent: bool,
    /// Without any, nobody is asked for a password.
    pub users: Vec<User>,
    /// Certificate chain and key, both PEM: then the listener speaks TLS alone.
    pub tls: Option<(String, String)>,
    /// With TLS: authorities, PEM, one of which must have signed the client's certificate.
    pub client_ca: Option<String>,
    /// More lines of `mosquitto.conf`.
    pub lines: Vec<String>,
}

/// Who may connect. Neither may have a colon in it.
#[derive(Clone, Debug)]
pub struct User {
    pub name: &'static str,
    pub password: &'static str,
}

impl Options {
    pub fn persistent() -> Self {
        Self {
            persistent: true,
            ..Self::default()
        }
    }

    /// With this line of `mosquitto.conf`, too.
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

/// The files of a broker, in its directory.
pub(super) struct Files {
    pub config: PathBuf,
    pub log: PathBuf,
    pub store: PathBuf,
    pub passwords: PathBuf,
}
