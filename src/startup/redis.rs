//! From the settings of a source or an output in Redis to what it is told, password and all.

use std::path::{Path, PathBuf};

use redis::{Client, ClientTlsConfig, IntoConnectionInfo, RedisError, TlsCertificates};

use super::outputs;
use crate::actors::ingest::IntakeSettings;
use crate::actors::ingest::redis::{RedisInput, RedisOptions};
use crate::actors::outputs::{LatestKeys, RedisTarget};
use crate::settings::{
    FileBegin, Oldest, PayloadSettings, RedisOutputSettings, RedisSettings, Settings, TlsSettings,
};

/// Why Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    #[error("{key} {} cannot be read: {error}", file.display())]
    File {
        key: &'static str,
        file: PathBuf,
        error: std::io::Error,
    },
    #[error(transparent)]
    Client(#[from] RedisError),
}

pub(super) fn options(redis: &RedisSettings, settings: &Settings) -> Result<RedisOptions, RedisSetupError> {
    let what = if let Some(key) = &redis.list {
        RedisInput::List {
            key: key.clone(),
            from_left: redis.oldest == Oldest::Left,
        }
    } else if let Some(key) = &redis.stream {
        RedisInput::Stream {
            key: key.clone(),
            group: redis.group.clone(),
            field: redis.field.clone(),
            at_end: redis.begin == FileBegin::End,
            claim_after: redis.claim_after,
        }
    } else {
        RedisInput::Channels(redis.channels.clone())
    };
    Ok(RedisOptions {
        client: client(
            &redis.url,
            redis.username.as_deref(),
            redis.password_file.as_deref(),
            &redis.tls,
        )?,
        what,
        max_payload: usize::try_from(settings.limits.payload).unwrap_or(usize::MAX),
    })
}

pub(super) fn target(redis: &RedisOutputSettings) -> Result<RedisTarget, RedisSetupError> {
    Ok(RedisTarget {
        client: client(
            &redis.url,
            redis.username.as_deref(),
            redis.password_file.as_deref(),
            &redis.tls,
        )?,
        latest: (!redis.latest.is_empty()).then(|| LatestKeys {
            prefix: redis.latest.clone(),
            ttl: redis.ttl,
        }),
        streams: outputs::topics(&redis.streams),
        max_entries: redis.max_entries,
        channels: outputs::topics(&redis.channels),
    })
}

/// Connects to nobody yet.
fn client(
    url: &str,
    username: Option<&str>,
    password_file: Option<&Path>,
    tls: &TlsSettings,
) -> Result<Client, RedisSetupError> {
    crate::tls::install_provider();
    let mut info = url.into_connection_info()?;
    let mut login = info.redis_settings().clone();
    if let Some(file) = password_file {
        let password = std::fs::read_to_string(file).map_err(|error| unread("password_file", file, error))?;
        login = login.set_password(password.trim_end_matches(['\r', '\n']));
    }
    if let Some(username) = username {
        login = login.set_username(username);
    }
    info = info.set_redis_settings(login);
    if *tls == TlsSettings::default() {
        return Ok(Client::open(info)?);
    }
    let client_tls = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read("tls.cert_file", cert)?,
            client_key: read("tls.key_file", key)?,
        }),
        _ => None,
    };
    let ca = tls.ca_file.as_deref().map(|file| read("tls.ca_file", file));
    let certificates = TlsCertificates {
        client_tls,
        root_cert: ca.transpose()?,
    };
    Ok(Client::build_with_tls(info, certificates)?)
}

fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, RedisSetupError> {
    std::fs::read(file).map_err(|error| unread(key, file, error))
}

fn unread(key: &'static str, file: &Path, error: std::io::Error) -> RedisSetupError {
    RedisSetupError::File {
        key,
        file: file.to_owned(),
        error,
    }
}

/// Its way in: as that of any source, with what payloads mean.
pub(super) fn intake(redis: &RedisSettings, intakes: &IntakeSettings) -> IntakeSettings {
    let mut intake = intakes.clone();
    let payload = PayloadSettings {
        default_sensor: redis.default_sensor.as_ref(),
        default_metric: redis.default_metric.as_ref(),
        mapping: redis.mapping.as_ref(),
        topics: &[],
    };
    intake.mapping = payload.json(intake.mapping.max_items);
    intake
}
