//! Logging: events go to standard error, for people or as JSON. Standard output is left to what a command answers.
//!
//! Invariants: set up once, before anything else runs; an event that cannot be written, as on a full disk, is lost, and nothing
//! else happens. Setting up fails only if it was done already, or the level is no filter.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log level is not a filter: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging is set up already: {0}")]
    AlreadySetUp(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends every event at or above the level to standard error from now on.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&settings.level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // They would be printed to where the event could not be written, and that failure is a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(TelemetryError::AlreadySetUp)
}
