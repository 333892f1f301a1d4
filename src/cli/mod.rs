//! From the command line to a command: reads the arguments, loads the settings, sets up logging, hands over.
//!
//! Invariants: what a command answers goes to standard output, everything else to standard error; a failure is one message
//! and one of the documented exit codes. With wrong settings nothing is started, opened or written.

pub mod args;
mod commands;
mod detect;
pub mod exit;
mod produce;
mod restore;
mod simulate;
mod test_email;

use std::io::Write;

use clap::Parser;

use crate::settings::{Layers, Settings};
use crate::{telemetry, tls};
use args::{Cli, Command};
use exit::{CommandError, ExitCode};

/// The whole program. Help and errors in the arguments end it here, with clap's own codes 0 and 2.
pub fn main() -> ExitCode {
    tls::install_provider();
    match execute(Cli::parse()) {
        Ok(()) => ExitCode::Success,
        Err(error) => {
            // Where nobody can be told, the code still tells.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            error.code
        }
    }
}

fn execute(mut cli: Cli) -> Result<(), CommandError> {
    let command = cli.command.take().unwrap_or(Command::Run);
    match command {
        Command::CheckConfig { defaults: true } => commands::show_defaults(),
        Command::CheckConfig { defaults: false } => commands::show_config(&load(&cli, false)?),
        Command::Run => commands::run(&start(&cli, false)?),
        Command::Demo => commands::run(&start(&cli, true)?),
        Command::Migrate => commands::migrate(&start(&cli, false)?),
        Command::Token { command } => commands::token(&start(&cli, false)?, command),
        Command::TestEmail(args) => test_email::test_email(&start(&cli, false)?, &args),
        Command::RestoreArchive(args) => restore::restore_archive(&start(&cli, false)?, &args),
        Command::Detect(args) => {
            start(&cli, false)?;
            detect::detect(&args)
        }
        Command::Simulate(args) => {
            start(&cli, false)?;
            simulate::simulate(&args)
        }
    }
}

/// Loads the settings and begins to log as they say.
fn start(cli: &Cli, demo: bool) -> Result<Settings, CommandError> {
    let settings = load(cli, demo)?;
    telemetry::init(&settings.log).map_err(|error| CommandError::new(ExitCode::Failed, error))?;
    Ok(settings)
}

fn load(cli: &Cli, demo: bool) -> Result<Settings, CommandError> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let set = cli
        .set
        .iter()
        .map(|(key, value)| (key.clone(), format!("--set {key}"), value.clone()));
    let level = cli
        .log_level
        .clone()
        .map(|level| ("log.level".to_owned(), "--log-level".to_owned(), level));
    let format = cli.log_format.map(|format| {
        let format = format.as_str().to_owned();
        ("log.format".to_owned(), "--log-format".to_owned(), format)
    });
    let layers = Layers {
        demo,
        file: cli.config.clone(),
        environment: std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        flags: set.chain(level).chain(format).collect(),
    };
    layers
        .load()
        .map_err(|error| CommandError::new(ExitCode::Usage, error))
}
