//! Certificates for mail servers, made for one test.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;

/// A certificate for `localhost`, and who signed it: files in a directory of their own.
pub struct Certificates {
    _directory: tempfile::TempDir,
    pub authority: PathBuf,
    pub certificate: String,
    pub key: String,
    pub acceptor: TlsAcceptor,
}

impl Certificates {
    pub fn make() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let server = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .unwrap()
            .signed_by(&server, &issuer)
            .unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                server.serialize_der().try_into().unwrap(),
            )
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        Self {
            authority: write("ca.pem", authority.pem()),
            certificate: write("server.pem", certificate.pem()).display().to_string(),
            key: write("server.key", server.serialize_pem()).display().to_string(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            _directory: directory,
        }
    }
}
