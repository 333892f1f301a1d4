//! The way to a broker: TCP, with TLS where the address says so.
//!
//! How it fails: every error says which file or address it is about. Certificates and keys are never in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rumqttc::tokio_rustls::TlsConnector;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Broker, TlsFiles};

pub trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the broker cannot be reached: {0}")]
    Connect(io::Error),
    #[error("TLS with the broker failed: {0}")]
    Tls(io::Error),
    #[error("the file {} {what}", .path.display())]
    File { path: PathBuf, what: String },
    #[error("the machine has no certificates to trust; name a `tls.ca_file`")]
    NoRoots,
    #[error("the certificate and key for TLS are of no use: {0}")]
    Identity(rustls::Error),
    #[error("`{0}` is no name that a certificate could be for")]
    Name(String),
}

pub async fn open(broker: &Broker, files: &TlsFiles) -> Result<Box<dyn Transport>, TransportError> {
    let secure = match broker.tls {
        true => Some((config(files).await?, name(broker)?)),
        false => None,
    };
    let stream = TcpStream::connect((broker.host.as_str(), broker.port)).await;
    let stream = stream.map_err(TransportError::Connect)?;
    stream.set_nodelay(true).map_err(TransportError::Connect)?;
    Ok(match secure {
        None => Box::new(stream),
        Some((config, name)) => {
            let connecting = TlsConnector::from(config).connect(name, stream);
            Box::new(connecting.await.map_err(TransportError::Tls)?)
        }
    })
}

fn name(broker: &Broker) -> Result<ServerName<'static>, TransportError> {
    ServerName::try_from(broker.host.clone()).map_err(|_| TransportError::Name(broker.host.clone()))
}

async fn config(files: &TlsFiles) -> Result<Arc<ClientConfig>, TransportError> {
    crate::tls::install_provider();
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for certificate in chain(path).await? {
                roots.add(certificate).map_err(|error| unusable(path, error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TransportError::NoRoots);
            }
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = chain(certificate).await?;
            let text = read(key).await?;
            let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| unusable(key, error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(TransportError::Identity)?
        }
    };
    Ok(Arc::new(config))
}

async fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let text = read(path).await?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(unusable(path, "there is no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(unusable(path, error)),
    }
}

pub(super) async fn read(path: &Path) -> Result<Vec<u8>, TransportError> {
    tokio::fs::read(path).await.map_err(|error| TransportError::File {
        path: path.to_owned(),
        what: format!("cannot be read: {error}"),
    })
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> TransportError {
    TransportError::File {
        path: path.to_owned(),
        what: format!("is of no use: {why}"),
    }
}
