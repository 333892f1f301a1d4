//! What each subcommand does, one function each.

use std::io::Write;

use super::args::{SimulateArgs, TokenCommand};
use super::exit::{CommandError, ExitCode};
use crate::settings::{DEFAULTS, Settings};

type Outcome = Result<(), CommandError>;

fn not_wired(command: &str) -> CommandError {
    CommandError::new(
        ExitCode::Failed,
        format!("`sensorhive {command}` is not wired to the service"),
    )
}

/// Runs the service until it is told to stop.
pub fn run(settings: Settings) -> Outcome {
    let database = std::path::absolute(settings.storage.url.path())
        .unwrap_or_else(|_| settings.storage.url.path().to_owned());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), database = %database.display(), "starting");
    for part in &settings.unavailable {
        tracing::warn!(part, "configured, but not available in this version");
    }
    Err(not_wired("run"))
}

/// Brings the database to the newest version.
pub fn migrate(_settings: Settings) -> Outcome {
    Err(not_wired("migrate"))
}

/// Makes, lists and revokes tokens.
pub fn token(_settings: Settings, _command: TokenCommand) -> Outcome {
    Err(not_wired("token"))
}

/// Prints made-up readings, or sends them to a running instance.
pub fn simulate(_args: SimulateArgs) -> Outcome {
    Err(not_wired("simulate"))
}

/// Prints the settings in force. That they could be loaded is the check.
pub fn show_config(settings: &Settings) -> Outcome {
    let mut text = String::from("# The configuration is good. In force:\n\n");
    text += &settings
        .to_toml()
        .map_err(|error| CommandError::new(ExitCode::Failed, error))?;
    for part in &settings.unavailable {
        text += &format!("\n# Not available in this version: {part}");
    }
    print(text.trim_end())
}

/// Prints the defaults with their explanations.
pub fn show_defaults() -> Outcome {
    print(DEFAULTS.trim_end())
}

/// Writes to standard output; that nobody reads any more, as in `| head`, is no failure.
fn print(text: &str) -> Outcome {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CommandError::new(
            ExitCode::Failed,
            format!("cannot write: {error}"),
        )),
        _ => Ok(()),
    }
}
