//! From the settings of a source in Redis to what it is told, password and all.

use std::path::PathBuf;

use redis::{Client, IntoConnectionInfo, RedisError};

use crate::actors::ingest::IntakeSettings;
use crate::actors::ingest::redis::{RedisInput, RedisOptions};
use crate::settings::{FileBegin, Oldest, PayloadSettings, RedisSettings, Settings};

/// Why Redis cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    #[error("password_file {} cannot be read: {error}", file.display())]
    Password { file: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Client(#[from] RedisError),
}

pub(super) fn options(redis: &RedisSettings, settings: &Settings) -> Result<RedisOptions, RedisSetupError> {
    crate::tls::install_provider();
    let mut info = redis.url.as_str().into_connection_info()?;
    let mut login = info.redis_settings().clone();
    if let Some(file) = &redis.password_file {
        let password = std::fs::read_to_string(file).map_err(|error| RedisSetupError::Password {
            file: file.clone(),
            error,
        })?;
        login = login.set_password(password.trim_end_matches(['\r', '\n']));
    }
    if let Some(username) = &redis.username {
        login = login.set_username(username);
    }
    info = info.set_redis_settings(login);
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
        client: Client::open(info)?,
        what,
        max_payload: usize::try_from(settings.limits.payload).unwrap_or(usize::MAX),
    })
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
