//! Starting the MQTT listener.
//!
//! Invariant: its address is bound, and all its files are read, before the database is opened. How it fails: a port that
//! nobody chose and that is taken is a warning, and there is no listener; everything else is an error.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::pipeline::Pipeline;
use super::plan;
use crate::actors::ingest::listener::{
    Access, ListenerParts, MqttListener, PasswordHash, TokenRole, Tokens, User,
};
use crate::actors::ingest::{Arrivals, Intake, IntakeSettings};
use crate::domain::SourceName;
use crate::settings::{ListenerTls, ListenerUser, MqttListenerSettings, Settings};
use crate::storage::StoreError;
use crate::tls;
use crate::web::auth::Role;
use crate::web::{SourceEntry, TokenService};

/// Why there can be no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    #[error("the address {0} for MQTT is in use")]
    AddressInUse(SocketAddr),
    #[error("mqtt_listener.listen: cannot listen on {address}: {error}")]
    Bind { address: SocketAddr, error: io::Error },
    #[error("{key}: {} cannot be used: {why}", .file.display())]
    File {
        key: &'static str,
        file: PathBuf,
        why: String,
    },
    #[error("mqtt_listener.tls: certificate and key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// What is ready before the database is opened.
pub(super) struct Prepared {
    pub address: SocketAddr,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    users: Vec<(String, User)>,
}

/// Takes the address and reads the files; `None` where there is to be no listener.
pub(super) fn prepare(settings: &Settings) -> Result<Option<Prepared>, ListenerError> {
    let shared = settings.storage.shared;
    let settings = &settings.mqtt_listener;
    if !settings.enabled {
        return Ok(None);
    }
    if shared {
        // One that was asked for is an error of the settings.
        tracing::info!(
            "there is no MQTT listener: what it receives would be everybody's, and the database is shared"
        );
        return Ok(None);
    }
    let users = settings.users.iter().map(user).collect::<Result<_, _>>()?;
    let tls = settings.tls.as_ref().map(server_config).transpose()?;
    let listener = match bind(settings.listen) {
        Err(ListenerError::AddressInUse(address)) if !settings.chosen => {
            tracing::warn!(%address, "the port of the MQTT listener is taken: there is none; set mqtt_listener.listen");
            return Ok(None);
        }
        bound => bound?,
    };
    let address = listener.local_addr().unwrap_or(settings.listen);
    if !address.ip().is_loopback() && tls.is_none() {
        tracing::warn!(%address, "MQTT devices send their passwords in the clear; set mqtt_listener.tls");
    }
    Ok(Some(Prepared {
        address,
        listener,
        tls,
        users,
    }))
}

/// Starts the listener on a thread of its own.
pub(super) fn start(
    pipeline: &mut Pipeline,
    prepared: Prepared,
    settings: &MqttListenerSettings,
    intakes: &IntakeSettings,
    tokens: Arc<TokenService>,
) -> (SourceName, SourceEntry) {
    let name = plan::name("mqtt_listener");
    let intakes = IntakeSettings {
        mapping: settings.payload().json(intakes.mapping.max_items),
        ..intakes.clone()
    };
    let intake = Intake::new(name.clone(), pipeline.rails.clone(), intakes.clone());
    let access = Access {
        anonymous: prepared.address.ip().is_loopback(),
        users: prepared.users.into_iter().collect(),
        tokens: Arc::new(ApiTokens(tokens)),
    };
    let parts = ListenerParts {
        listener: prepared.listener,
        tls: prepared.tls,
        intake: intake.clone(),
        arrivals: Arrivals::new(name.clone(), pipeline.store.clone()),
        limits: plan::listener(settings, &intakes),
        counters: pipeline.metrics.mqtt_listener.clone(),
    };
    let listener = MqttListener::new(parts, access);
    let arbiter = pipeline.arbiter();
    let path = format!("ingest/{name}");
    let (address, handle) = pipeline.supervise(&arbiter, &path, "MqttListener", move || listener);
    tracing::info!(address = %prepared.address, "MQTT devices can connect");
    let entry = SourceEntry {
        kind: "mqtt_listener",
        handle,
        control: address.recipient(),
        seek: None,
        intake,
    };
    (name, entry)
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenerError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenerError::AddressInUse(address),
        _ => ListenerError::Bind { address, error },
    })
}

fn user(settings: &ListenerUser) -> Result<(String, User), ListenerError> {
    let password = settings.password_file.as_deref().map(password).transpose()?;
    let user = User {
        password,
        publish: settings.publish.clone(),
    };
    Ok((settings.name.clone(), user))
}

/// The first line of a file.
fn password(file: &Path) -> Result<PasswordHash, ListenerError> {
    let key = "mqtt_listener.users.password_file";
    let text = std::fs::read(file).map_err(|error| unusable(key, file, error))?;
    let line = text
        .split(|byte| b"\r\n".contains(byte))
        .next()
        .unwrap_or_default();
    if line.is_empty() {
        return Err(unusable(key, file, "its first line is empty"));
    }
    Ok(PasswordHash::new(line))
}

fn server_config(settings: &ListenerTls) -> Result<Arc<ServerConfig>, ListenerError> {
    tls::install_provider();
    let (key, file) = ("mqtt_listener.tls.certificate_file", &settings.certificate_file);
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(key, file, error))?;
    if certificates.is_empty() {
        return Err(unusable(key, file, "there is no certificate in it"));
    }
    let (key, file) = ("mqtt_listener.tls.key_file", &settings.key_file);
    let private = PrivateKeyDer::from_pem_file(file).map_err(|error| unusable(key, file, error))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, private)?;
    Ok(Arc::new(config))
}

fn unusable(key: &'static str, file: &Path, why: impl ToString) -> ListenerError {
    ListenerError::File {
        key,
        file: file.to_owned(),
        why: why.to_string(),
    }
}

/// The tokens of the API, which devices may have for passwords.
struct ApiTokens(Arc<TokenService>);

#[async_trait]
impl Tokens for ApiTokens {
    async fn role(&self, token: &str) -> Result<TokenRole, StoreError> {
        let found = self.0.identify(token).await?;
        Ok(match found {
            None => TokenRole::Unknown,
            Some((role, _)) if role >= Role::Operator => TokenRole::Sender,
            Some(_) => TokenRole::Reader,
        })
    }
}
