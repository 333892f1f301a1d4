//! Sends bytes to a mail server, and tells apart what may work later from what never will.
//!
//! Invariants: without the encryption that was asked for nothing is said but a greeting; a password is never sent
//! without encryption but to this machine. Every step has a time-out. Each recipient is answered by itself. A
//! connection is used again only where its last mail was answered.
//! How it fails: only what the server says, with 5xx, of a recipient or of the mail itself is for good. What it says of
//! our login, our sender or its own state may change, and a mail that waits is better than one that is lost. Where the
//! answer to the whole mail is missing it may have been taken: it is sent again, with the same Message-ID.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout};

use super::wire::Wire;
use crate::actors::alerting::deliver::{Accepted, Answered, DeliveryError, Trouble};
use crate::actors::alerting::words;

/// Servers hang up after five minutes, as a rule; firewalls forget sooner.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct SmtpOptions {
    pub host: String,
    pub port: u16,
    /// What this machine is called.
    pub hello: String,
    pub encryption: Encryption,
    /// PEM; whom to trust beside those whom the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// Name, and the file whose first line is the password. Read for each login, so that it may change.
    pub login: Option<(String, PathBuf)>,
    /// For each step.
    pub timeout: Duration,
    /// Connections that are kept open for the next mail.
    pub idle: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    None,
    /// Asked for after the greeting; without it nothing is sent.
    StartTls,
    /// From the first byte.
    Tls,
}

/// A mail server.
pub struct Smtp {
    options: SmtpOptions,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("options", &self.options).finish()
    }
}

impl Smtp {
    pub fn new(options: SmtpOptions) -> Self {
        crate::tls::install_provider();
        Self {
            options,
            idle: Mutex::default(),
        }
    }

    /// Sends one mail to all of `to`, which is not empty.
    pub async fn send(&self, from: &Address, to: &[Address], mail: &[u8]) -> Result<Accepted, DeliveryError> {
        let mut connection = self.connection().await?;
        let outcome = self.transaction(&mut connection, from, to, mail).await;
        let can_go_on = match &outcome {
            Ok(_) => true,
            Err(Outcome::Broken(_)) => false,
            // What was begun is given up, so that the next mail does not find it.
            Err(Outcome::Answered(_)) => self.step(Stage::Sender, connection.command(Rset)).await.is_ok(),
        };
        if can_go_on {
            self.keep(connection).await;
        }
        match outcome {
            Ok(accepted) => Ok(accepted),
            Err(Outcome::Answered(error) | Outcome::Broken(error)) => Err(error),
        }
    }

    /// One that is open and answers, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, DeliveryError> {
        loop {
            let Some((mut connection, since)) = self.idle.lock().pop() else {
                return self.open().await;
            };
            let answers = since.elapsed() < IDLE
                && timeout(self.options.timeout, connection.test_connected())
                    .await
                    .unwrap_or(false);
            if answers {
                return Ok(connection);
            }
        }
    }

    async fn keep(&self, mut connection: AsyncSmtpConnection) {
        if self.options.idle > self.idle.lock().len() && !connection.has_broken() {
            self.idle.lock().push((connection, Instant::now()));
        } else {
            // It has done its work; whether it hears that we leave does not matter.
            let _ = timeout(self.options.timeout, connection.quit()).await;
        }
    }

    async fn open(&self) -> Result<AsyncSmtpConnection, DeliveryError> {
        let SmtpOptions { host, port, .. } = &self.options;
        let tls = match self.options.encryption {
            Encryption::None => None,
            _ => Some(self.tls().await?),
        };
        let implicit = tls.clone().filter(|_| self.options.encryption == Encryption::Tls);
        let hello = ClientId::Domain(self.options.hello.clone());
        let server = (host.as_str(), *port);
        // A host may have two addresses, of which one does not answer.
        let each = self.options.timeout / 2;
        let mut connection = match implicit {
            Some(tls) => {
                let connecting =
                    AsyncSmtpConnection::connect_tokio1(server, Some(each), &hello, Some(tls), None);
                self.step(Stage::Connect, connecting).await?
            }
            None => {
                let wire = Box::new(self.wire(each).await?);
                let greeting = AsyncSmtpConnection::connect_with_transport(wire, &hello);
                self.step(Stage::Connect, greeting).await?
            }
        };
        if let Some(tls) = tls.filter(|_| self.options.encryption == Encryption::StartTls) {
            if !connection.can_starttls() {
                let _ = timeout(self.options.timeout, connection.quit()).await;
                return Err(DeliveryError::retry(
                    Trouble::Tls,
                    format!("{host}:{port} does not offer STARTTLS"),
                ));
            }
            self.step(Stage::Tls, connection.starttls(tls, &hello)).await?;
        }
        if let Some((name, file)) = &self.options.login {
            let credentials = credentials(name, file).await?;
            self.step(Stage::Login, connection.auth(DEFAULT_MECHANISMS, &credentials))
                .await?;
        }
        Ok(connection)
    }

    async fn wire(&self, each: Duration) -> Result<Wire, DeliveryError> {
        let SmtpOptions { host, port, .. } = &self.options;
        let connected = timeout(self.options.timeout, Wire::connect(host, *port, each)).await;
        let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        connected.map_err(|error| {
            let trouble = match error.kind() {
                std::io::ErrorKind::TimedOut => Trouble::TimeOut,
                _ => Trouble::Connection,
            };
            DeliveryError::retry(trouble, format!("{error}, {}", Stage::Connect))
        })
    }

    async fn tls(&self) -> Result<TlsParameters, DeliveryError> {
        let mut builder = TlsParameters::builder(self.options.host.clone());
        if let Some(file) = &self.options.ca_file {
            let unusable = |why: &dyn fmt::Display| {
                DeliveryError::retry(Trouble::Setup, format!("{}: {why}", file.display()))
            };
            let pem = tokio::fs::read(file).await.map_err(|error| unusable(&error))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| unusable(&error))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder
            .build()
            .map_err(|error| DeliveryError::retry(Trouble::Tls, told(&error)))
    }

    async fn transaction(
        &self,
        connection: &mut AsyncSmtpConnection,
        from: &Address,
        to: &[Address],
        mail: &[u8],
    ) -> Result<Accepted, Outcome> {
        let server = connection.server_info();
        let wide = |address: &Address| !AsRef::<str>::as_ref(address).is_ascii();
        let mut parameters = Vec::new();
        if wide(from) || to.iter().any(wide) {
            if !server.supports_feature(Extension::SmtpUtfEight) {
                let text = "the server takes no addresses with other letters than those of ASCII";
                return Err(Outcome::Answered(DeliveryError::retry(Trouble::Busy, text)));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        self.answered(
            Stage::Sender,
            connection.command(Mail::new(Some(from.clone()), parameters)),
        )
        .await?;
        let mut said = Accepted::default();
        for address in to {
            let command = Rcpt::new(address.clone(), Vec::new());
            match self.answered(Stage::Recipient, connection.command(command)).await {
                Ok(_) => said.taken.push(address.to_string()),
                Err(Outcome::Broken(error)) => return Err(Outcome::Broken(error)),
                Err(Outcome::Answered(error)) => {
                    let (list, answer) = match error {
                        DeliveryError::Refused { answer } => (&mut said.refused, answer),
                        DeliveryError::Retry { answer, .. } => (&mut said.waiting, answer),
                    };
                    list.push(Answered {
                        recipient: address.to_string(),
                        answer,
                    });
                }
            }
        }
        if said.taken.is_empty() {
            return Err(Outcome::Answered(nobody(said)));
        }
        self.answered(Stage::Mail, connection.command(Data)).await?;
        let response = self.answered(Stage::Mail, connection.message(mail)).await?;
        said.answer = words::line(&answer(&response), super::super::deliver::ANSWER);
        Ok(said)
    }

    async fn step<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, DeliveryError> {
        self.answered(stage, work).await.map_err(|outcome| match outcome {
            Outcome::Answered(error) | Outcome::Broken(error) => error,
        })
    }

    async fn answered<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Outcome> {
        let SmtpOptions { host, port, .. } = &self.options;
        match timeout(self.options.timeout, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(judge(stage, &error)),
            Err(_) => Err(Outcome::Broken(DeliveryError::retry(
                Trouble::TimeOut,
                format!(
                    "{host}:{port} was silent for {}, {stage}",
                    humantime::format_duration(self.options.timeout)
                ),
            ))),
        }
    }
}

/// What a failure leaves of the connection.
enum Outcome {
    /// It can be used again.
    Answered(DeliveryError),
    Broken(DeliveryError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connect,
    Tls,
    Login,
    Sender,
    Recipient,
    Mail,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connect => "when connecting",
            Stage::Tls => "when encryption was to begin",
            Stage::Login => "when logging in",
            Stage::Sender => "after the sender",
            Stage::Recipient => "after a recipient",
            Stage::Mail => "after the mail",
        })
    }
}

fn judge(stage: Stage, error: &Error) -> Outcome {
    let text = told(error);
    if error.is_permanent() {
        return match stage {
            Stage::Recipient | Stage::Mail => Outcome::Answered(DeliveryError::refused(text)),
            Stage::Login | Stage::Sender => Outcome::Answered(DeliveryError::retry(Trouble::Login, text)),
            Stage::Tls => Outcome::Broken(DeliveryError::retry(Trouble::Tls, text)),
            Stage::Connect => Outcome::Broken(DeliveryError::retry(Trouble::Busy, text)),
        };
    }
    if error.is_transient() {
        // 421: the server is about to hang up.
        let leaves = error.status().is_some_and(|code| u16::from(code) == 421);
        let retry = DeliveryError::retry(Trouble::Busy, text);
        return match leaves || matches!(stage, Stage::Connect | Stage::Tls) {
            true => Outcome::Broken(retry),
            false => Outcome::Answered(retry),
        };
    }
    let trouble = match stage {
        _ if error.is_timeout() => Trouble::TimeOut,
        Stage::Login if error.is_client() => Trouble::Login,
        _ if error.is_tls() || stage == Stage::Tls || speaks_of_tls(error) => Trouble::Tls,
        _ => Trouble::Connection,
    };
    Outcome::Broken(DeliveryError::retry(trouble, format!("{text}, {stage}")))
}

/// Failures of a handshake come as failures of the connection.
fn speaks_of_tls(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Where every recipient was refused it is for good; where one may be taken later, all wait together.
fn nobody(said: Accepted) -> DeliveryError {
    let all = |answered: &[Answered]| {
        let each: Vec<String> = answered
            .iter()
            .map(|one| format!("{}: {}", one.recipient, one.answer))
            .collect();
        each.join("; ")
    };
    match said.waiting.as_slice() {
        [] => DeliveryError::refused(all(&said.refused)),
        waiting => DeliveryError::retry(Trouble::Busy, all(waiting)),
    }
}

/// With its causes, in one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn answer(response: &Response) -> String {
    let lines: Vec<&str> = response.message().collect();
    format!("{} {}", response.code(), lines.join(" "))
}

async fn credentials(name: &str, file: &std::path::Path) -> Result<Credentials, DeliveryError> {
    let unusable = |why: &dyn fmt::Display| {
        DeliveryError::retry(
            Trouble::Setup,
            format!("password_file {} cannot be used: {why}", file.display()),
        )
    };
    let text = tokio::fs::read_to_string(file).await.map(SecretString::from);
    let text = text.map_err(|error| unusable(&error))?;
    match text.expose_secret().lines().next() {
        Some(password) if !password.is_empty() => Ok(Credentials::new(name.to_owned(), password.to_owned())),
        _ => Err(unusable(&"its first line is empty")),
    }
}
