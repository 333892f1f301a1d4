//! From the settings of polled URLs to what the source is told, secrets and all.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Identity};

use crate::actors::ingest::IntakeSettings;
use crate::actors::ingest::http_poll::{HttpPollOptions, PolledUrl};
use crate::settings::{HttpPollSettings, PayloadSettings};

/// Where answers may send us on to, one after the other.
const REDIRECTS: usize = 3;

/// Why URLs cannot be polled.
#[derive(Debug, thiserror::Error)]
pub enum HttpPollSetupError {
    #[error("{key} {} cannot be read: {error}", file.display())]
    File {
        key: &'static str,
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{0} has what no header can have")]
    NoHeader(&'static str),
    #[error("{key} {} is of no use: {error}", file.display())]
    Pem {
        key: &'static str,
        file: PathBuf,
        error: reqwest::Error,
    },
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

pub(super) fn options(settings: &HttpPollSettings) -> Result<HttpPollOptions, HttpPollSetupError> {
    crate::tls::install_provider();
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) else {
            return Err(HttpPollSetupError::NoHeader("headers"));
        };
        headers.insert(name, value);
    }
    let authorization = match (
        &settings.bearer_token_file,
        &settings.username,
        &settings.password_file,
    ) {
        (Some(file), ..) => Some(format!("Bearer {}", secret("bearer_token_file", file)?)),
        (None, Some(username), Some(file)) => {
            let both = format!("{username}:{}", secret("password_file", file)?);
            Some(format!("Basic {}", BASE64.encode(both.as_bytes())))
        }
        _ => None,
    };
    if let Some(authorization) = authorization {
        let value = HeaderValue::from_str(&authorization);
        let mut value = value.map_err(|_| HttpPollSetupError::NoHeader("the token or password"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let mut client = reqwest::Client::builder()
        .default_headers(headers)
        .timeout(settings.timeout)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
        .user_agent(concat!("sensorhive/", env!("CARGO_PKG_VERSION")));
    let tls = &settings.tls;
    if let Some(file) = &tls.ca_file {
        let key = "tls.ca_file";
        let authorities = Certificate::from_pem_bundle(&read(key, file)?);
        client = client.tls_certs_only(authorities.map_err(|error| pem(key, file, error))?);
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        let mut both = read("tls.cert_file", cert)?;
        both.push(b'\n');
        both.extend(read("tls.key_file", key)?);
        let identity = Identity::from_pem(&both).map_err(|error| pem("tls.cert_file", cert, error))?;
        client = client.identity(identity);
    }
    let client = client.build()?;
    let urls = settings.urls.all().into_iter().filter_map(|(url, sensor)| {
        Some(PolledUrl {
            url: reqwest::Url::parse(url).ok()?,
            sensor: sensor.map(|sensor| sensor.as_str().to_owned()),
        })
    });
    Ok(HttpPollOptions {
        urls: urls.collect(),
        client,
        interval: settings.interval,
        error_interval: settings.error_interval,
        max_body: usize::try_from(settings.max_body).unwrap_or(usize::MAX),
    })
}

/// Its way in: as that of any source, with what answers mean.
pub(super) fn intake(settings: &HttpPollSettings, intakes: &IntakeSettings) -> IntakeSettings {
    let mut intake = intakes.clone();
    let payload = PayloadSettings {
        default_sensor: settings.default_sensor.as_ref(),
        default_metric: settings.default_metric.as_ref(),
        mapping: settings.mapping.as_ref(),
        topics: &[],
    };
    intake.mapping = payload.json(intake.mapping.max_items);
    intake
}

fn secret(key: &'static str, file: &Path) -> Result<String, HttpPollSetupError> {
    let text = std::fs::read_to_string(file).map_err(|error| unread(key, file, error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, HttpPollSetupError> {
    std::fs::read(file).map_err(|error| unread(key, file, error))
}

fn unread(key: &'static str, file: &Path, error: std::io::Error) -> HttpPollSetupError {
    HttpPollSetupError::File {
        key,
        file: file.to_owned(),
        error,
    }
}

fn pem(key: &'static str, file: &Path, error: reqwest::Error) -> HttpPollSetupError {
    HttpPollSetupError::Pem {
        key,
        file: file.to_owned(),
        error,
    }
}
