//! What each subcommand does, one function each.

use std::io::Write;

use secrecy::ExposeSecret;

use super::args::{RoleArg, TokenCommand};
use super::exit::{CommandError, ExitCode};
use crate::clock::{Clock, SystemClock};
use crate::settings::{DEFAULTS, Settings, StorageUrl};
use crate::startup::{ListenerError, Service, StartError, Stopped, open_store};
use crate::storage::history::TokenRow;
use crate::storage::{ErrorClass, Store, StoreError};
use crate::web::ServeError;
use crate::web::auth::Role;
use crate::web::tokens;

pub(super) type Outcome = Result<(), CommandError>;

/// Runs the service until it is told to stop.
pub fn run(settings: &Settings) -> Outcome {
    let database = database(settings);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), database, "starting");
    for part in &settings.unavailable {
        tracing::warn!(part, "configured, but not available in this version");
    }
    actix::System::new().block_on(async {
        // Before anything starts, so that an early signal is not lost.
        let stop = stop_signal().map_err(|error| CommandError::new(ExitCode::Failed, error))?;
        outlive_size_limits().map_err(|error| CommandError::new(ExitCode::Failed, error))?;
        let mut service = Service::start(settings).await?;
        announce(&service)?;
        tokio::select! {
            () = stop => {}
            fault = service.fault() => {
                service.stop().await;
                return Err(CommandError::new(ExitCode::Storage, fault));
            }
        }
        match service.stop().await {
            Stopped::Drained => Ok(()),
            Stopped::GaveUp => Err(CommandError::new(
                ExitCode::Failed,
                "the drain took longer than pipeline.drain_timeout; what was not stored was not acknowledged",
            )),
        }
    })
}

fn announce(service: &Service) -> Outcome {
    tracing::info!(address = %service.address, "ready");
    if let Some(token) = &service.first_token {
        print(&format!("admin token: {}", token.expose_secret()))?;
    }
    if let Some(address) = service.mqtt_address {
        print(&format!("listening on mqtt://{address}"))?;
    }
    print(&format!("listening on http://{}", service.address))
}

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to stop by SIGTERM"),
            _ = interrupt.recv() => tracing::info!("told to stop by SIGINT"),
        }
    })
}

/// Makes a write past the limit on file sizes (`ulimit -f`) fail like one on a full disk. Unheeded, its signal kills.
fn outlive_size_limits() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    /// On Linux for x86, ARM and RISC-V, on the BSDs and on macOS.
    const SIGXFSZ: i32 = 25;
    // The handler stays when the stream is dropped.
    signal(SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// Brings the database to the newest version.
pub fn migrate(settings: &Settings) -> Outcome {
    with_store(settings, async |store| {
        print(&format!("{} is up to date", store.describe()))?;
        Ok(())
    })
}

/// Makes, lists and revokes tokens.
pub fn token(settings: &Settings, command: TokenCommand) -> Outcome {
    with_store(settings, async |store| match command {
        TokenCommand::Create { role, name } => {
            let name = name.unwrap_or_else(|| format!("{} token", Role::from(role).as_str()));
            if store.tokens().await?.iter().any(|token| token.name == name) {
                let text = format!("there is a token named {name:?} already; choose another --name");
                return Err(CommandError::new(ExitCode::Usage, text));
            }
            let made = tokens::create(store, role.into(), &name, SystemClock.now()).await;
            let (_, text) = made.map_err(|error| CommandError::new(ExitCode::Failed, error))?;
            print(text.expose_secret())
        }
        TokenCommand::List => {
            let tokens = store.tokens().await?;
            tokens.iter().try_for_each(|token| {
                print(&format!(
                    "{}\t{}\t{}\t{}",
                    token.id,
                    token.role,
                    token.created_at,
                    token.name.escape_debug()
                ))
            })
        }
        TokenCommand::Revoke { name } => {
            let token = find(&store.tokens().await?, &name)?;
            store.revoke_token(&token.id).await?;
            print(&format!("revoked {} ({})", token.name.escape_debug(), token.role))
        }
    })
}

/// The token of that id or, where it is the only one, of that name.
fn find(tokens: &[TokenRow], name: &str) -> Result<TokenRow, CommandError> {
    if let Some(token) = tokens.iter().find(|token| token.id == name) {
        return Ok(token.clone());
    }
    let named: Vec<&TokenRow> = tokens.iter().filter(|token| token.name == name).collect();
    match named.as_slice() {
        [token] => Ok((*token).clone()),
        [] => Err(CommandError::new(
            ExitCode::Usage,
            format!("there is no token {name:?}; see `token list`"),
        )),
        many => {
            let text = format!(
                "{} tokens are named {name:?}; give the id that `token list` shows",
                many.len()
            );
            Err(CommandError::new(ExitCode::Usage, text))
        }
    }
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

pub(super) fn with_store(settings: &Settings, work: impl AsyncFnOnce(&dyn Store) -> Outcome) -> Outcome {
    actix::System::new().block_on(async {
        let store = open_store(settings).await?;
        let outcome = work(store.as_ref()).await;
        store.close().await;
        outcome
    })
}

/// Where the data is, as it is shown: the absolute path of a file, an address without its password.
fn database(settings: &Settings) -> String {
    match &settings.storage.url {
        StorageUrl::Sqlite(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            path.display().to_string()
        }
        StorageUrl::Postgres(url) => url.to_string(),
    }
}

/// Writes to standard output; that nobody reads any more, as in `| head`, is no failure.
pub(super) fn print(text: &str) -> Outcome {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CommandError::new(
            ExitCode::Failed,
            format!("cannot write: {error}"),
        )),
        _ => Ok(()),
    }
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Role {
        match role {
            RoleArg::Admin => Role::Admin,
            RoleArg::Operator => Role::Operator,
            RoleArg::Viewer => Role::Viewer,
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let code = match error.class {
            ErrorClass::TooNew => ExitCode::DatabaseTooNew,
            _ => ExitCode::Storage,
        };
        CommandError::new(code, error)
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => error.into(),
            StartError::Serve(ServeError::AddressInUse(_)) => taken(&error, "http.listen"),
            StartError::Listener(ListenerError::AddressInUse(_)) => taken(&error, "mqtt_listener.listen"),
            error => CommandError::new(ExitCode::Failed, error),
        }
    }
}

fn taken(error: &StartError, key: &str) -> CommandError {
    let text = format!("{error}; stop what listens there, or set {key} to another");
    CommandError::new(ExitCode::AddressInUse, text)
}
