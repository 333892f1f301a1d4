//! From the settings to what the parts are given.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use super::pipeline::PipelineSettings;
use crate::actors::ingest::IntakeSettings;
use crate::actors::permits::Share;
use crate::actors::query_cache;
use crate::actors::registry::RegistryLimits;
use crate::actors::shard::env::ShardSettings;
use crate::actors::storage::maintenance::Retention;
use crate::actors::supervision::{Backoff, CrashBudget, Policy};
use crate::archive::{Limits, Location, S3Location};
use crate::decode::JsonMapping;
use crate::decode::range::TimeRange;
use crate::domain::{Micros, SourceName};
use crate::settings::{self, ArchiveUrl, PostgresUrl, Settings, StorageSettings, TimescaleDb};
use crate::storage::sqlite::{SqliteSettings, Synchronous};
use crate::storage::{ErrorClass, InstanceId, PostgresSettings, StoreError, Timescale};

/// Readings that pass a sensor by are kept for its catch-up up to this number.
const HELD_READINGS: usize = 4_096;
/// Stored readings that one load may bring.
const LOAD_READINGS: usize = 200_000;
/// State whose snapshots one batch of a drain takes, in bytes.
const DRAIN_BYTES: usize = 4 << 20;
/// A reading may be replayed for as long as its sensor may be paused or quarantined.
const BATCH_TIMES: Duration = Duration::from_secs(30 * 86_400);
const IDEMPOTENCY_KEYS: Duration = Duration::from_secs(86_400);
/// How long a commit waits for another process's lock before it counts as failed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Of what other programs do to the database, such as bringing archived days back, nobody tells us: questions whose answers
/// are kept show it so much later.
const ANSWER_LIFE: Micros = 60_000_000;
/// The service itself and what is pushed over HTTP have a share of their own beside the configured sources.
const BUILT_IN_SOURCES: u32 = 2;

pub(super) fn sqlite(path: &Path, settings: &StorageSettings) -> SqliteSettings {
    SqliteSettings {
        path: path.to_owned(),
        synchronous: match settings.synchronous {
            settings::Synchronous::Full => Synchronous::Full,
            settings::Synchronous::Normal => Synchronous::Normal,
        },
        readers: settings.readers,
        busy_timeout: BUSY_TIMEOUT,
        query_timeout: settings.query_timeout,
        max_size: None,
    }
}

/// Fails with [`ErrorClass::Unusable`] where the password cannot be read.
pub(super) fn postgres(
    url: &PostgresUrl,
    settings: &StorageSettings,
) -> Result<PostgresSettings, StoreError> {
    let unusable = |what: String, why: String| StoreError::new(ErrorClass::Unusable, what, why);
    let mut postgres =
        PostgresSettings::from_url(url.expose()).map_err(|why| unusable("storage.url".to_owned(), why))?;
    if let Some(file) = &settings.password_file {
        let password = std::fs::read_to_string(file).map_err(|error| {
            unusable(
                format!("reading storage.password_file {}", file.display()),
                error.to_string(),
            )
        })?;
        let password = password.trim_end_matches(['\r', '\n']);
        postgres.servers = postgres
            .servers
            .into_iter()
            .map(|server| server.password(password))
            .collect();
    }
    Ok(PostgresSettings {
        timescale: match settings.timescaledb {
            TimescaleDb::Auto => Timescale::Auto,
            TimescaleDb::Off => Timescale::Off,
            TimescaleDb::Required => Timescale::Required,
        },
        synchronous: settings.synchronous == settings::Synchronous::Full,
        readers: settings.readers,
        write_timeout: settings.write_timeout,
        query_timeout: settings.query_timeout,
        chunk_interval: settings.chunk_interval,
        compress_after: settings.compress_after,
        ..postgres
    })
}

/// Where and when readings are archived; `None` where they are not.
pub(super) fn archive(settings: &StorageSettings) -> Option<(Location, Limits)> {
    let archive = settings.archive.as_ref()?;
    let location = match &archive.url {
        ArchiveUrl::Directory(path) => Location::Directory(path.clone()),
        ArchiveUrl::S3 { bucket, prefix } => Location::S3(S3Location {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            region: archive.region.clone(),
            endpoint: archive.endpoint.clone(),
            key: archive
                .access_key_id
                .clone()
                .zip(archive.secret_access_key_file.clone()),
        }),
    };
    let limits = Limits {
        after: archive.after,
        retention: settings.retention,
    };
    Some((location, limits))
}

pub(super) fn pipeline(settings: &Settings) -> PipelineSettings {
    let cores = available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX));
    let shards = match settings.pipeline.shards {
        0 => cores,
        shards => shards,
    };
    let supervision = &settings.supervision;
    let policy = Policy {
        budget: CrashBudget {
            crashes: supervision.crashes,
            within: supervision.within,
        },
        backoff: Backoff {
            base: supervision.backoff_base,
            max: supervision.backoff_max,
            ..Backoff::default()
        },
        stable_after: supervision.stable_after,
        ..Policy::default()
    };
    let storage = &settings.storage;
    PipelineSettings {
        instance: InstanceId("sensorhive".to_owned()),
        internal: name("internal"),
        shards,
        limits: RegistryLimits {
            sensors: settings.limits.sensors as usize,
            series_per_sensor: settings.limits.series_per_sensor as usize,
        },
        shard: ShardSettings {
            snapshot_tail: storage.snapshot_tail,
            snapshot_interval: storage.snapshot_interval,
            snapshot_bytes_per_second: storage.snapshot_bytes_per_second / u64::from(shards),
            passivate_after: supervision.passivate_after,
            held_readings: HELD_READINGS,
            load_readings: LOAD_READINGS,
            drain_bytes: DRAIN_BYTES,
            policy: Arc::new(policy),
        },
        retention: Retention {
            // What is archived is dropped by the archive, once it is verified.
            readings: storage.retention.filter(|_| storage.archive.is_none()),
            dead_letters: storage.dead_letter_retention,
            restarts: storage.restart_retention,
            batches: Some(BATCH_TIMES),
            idempotency_keys: Some(IDEMPOTENCY_KEYS),
        },
        query_cache: query_cache(storage),
        policy,
    }
}

/// Here belongs what it means for answers if others commit to the database, too: their `life` is how long such a commit may
/// go unseen, which must then be a second at most.
fn query_cache(settings: &StorageSettings) -> query_cache::Limits {
    query_cache::Limits {
        bytes: settings.query_cache,
        life: ANSWER_LIFE,
    }
}

/// Every source has the same share of what may be on its way.
pub(super) fn intakes(settings: &Settings) -> IntakeSettings {
    let configured = settings
        .sources
        .values()
        .filter(|source| source.enabled())
        .count();
    let sources = BUILT_IN_SOURCES + u32::try_from(configured).unwrap_or(u32::MAX - BUILT_IN_SOURCES);
    let limits = &settings.limits;
    let bytes = u32::try_from(limits.bytes_in_flight).unwrap_or(u32::MAX);
    let share = Share {
        readings: (limits.readings_in_flight / sources).max(1),
        bytes: (bytes / sources).max(1),
    };
    let batch_readings = limits.batch_readings.min(share.readings);
    IntakeSettings {
        share,
        time_range: TimeRange {
            min_time: limits.min_time,
            max_future: Micros::try_from(limits.max_future.as_micros()).unwrap_or(Micros::MAX),
        },
        batch_readings,
        mapping: JsonMapping {
            max_items: batch_readings as usize,
            ..JsonMapping::default()
        },
    }
}

/// The name of a built-in source.
pub(super) fn name(name: &'static str) -> SourceName {
    match SourceName::parse(name) {
        Ok(name) => name,
        Err(error) => unreachable!("built-in names are valid, {name} {error}"),
    }
}
