//! How the program ends, so that whoever started it can tell what to do.

use std::process;

/// The exit codes. They are documented in `--help` and in `docs/operations.md`, and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Done, or stopped cleanly.
    Success = 0,
    /// Failed while running.
    Failed = 1,
    /// The configuration or the command line is wrong.
    Usage = 2,
    /// The address to listen on is taken.
    AddressInUse = 3,
    /// The data directory or the database cannot be used.
    Storage = 4,
    /// The database was made by a newer version.
    DatabaseTooNew = 5,
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        process::ExitCode::from(code as u8)
    }
}

/// Why a command failed: one clear line, and the code to exit with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    pub code: ExitCode,
    pub message: String,
}

impl CommandError {
    pub fn new(code: ExitCode, message: impl ToString) -> Self {
        CommandError {
            code,
            message: message.to_string(),
        }
    }
}
