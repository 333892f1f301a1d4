//! From the settings to what the parts are given.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use super::pipeline::PipelineSettings;
use crate::actors::ingest::IntakeSettings;
use crate::actors::ingest::listener;
use crate::actors::permits::Share;
use crate::actors::query_cache;
use crate::actors::registry::RegistryLimits;
use crate::actors::shard::env::ShardSettings;
use crate::actors::storage::maintenance::Retention;
use crate::actors::supervision::{Backoff, CrashBudget, Policy};
use crate::archive::{Limits, Location, S3Location};
use crate::decode::JsonMapping;
use crate::decode::range::TimeRange;
use crate::domain::{Home, Micros, SourceName};
use crate::settings::{
    self, ArchiveUrl, MqttListenerSettings, PostgresUrl, Settings, StorageSettings, TimescaleDb,
};
use crate::storage::sqlite::{SqliteSettings, Synchronous};
use crate::storage::{ErrorClass, InstanceId, PostgresSettings, StoreError, Timescale, Wanted};

/// Readings that pass a sensor by are kept for its catch-up up to this number.
const HELD_READINGS: usize = 4_096;
/// Stored readings that one load may bring.
const LOAD_READINGS: usize = 200_000;
/// State whose snapshots one batch of a drain takes, in bytes.
const DRAIN_BYTES: usize = 4 << 20;
/// A reading may be replayed for as long as its sensor may be paused or quarantined.
const BATCH_TIMES: Duration = Duration::from_secs(30 * 86_400);
const IDEMPOTENCY_KEYS: Duration = Duration::from_secs(86_400);
/// How long ago a message of MQTT may have come first that is sent again, where its session is not known.
const REDELIVERY: Micros = 600_000_000;
/// How long a commit waits for another process's lock before it counts as failed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Of what other programs do to the database, such as bringing archived days back, nobody tells us: questions whose answers
/// are kept show it so much later.
const ANSWER_LIFE: Micros = 60_000_000;
/// The same where other instances commit readings to the database, of which nobody tells us either.
const SHARED_ANSWER_LIFE: Micros = 1_000_000;
/// The service itself and what is pushed over HTTP have a share of their own beside the configured sources; so has the MQTT listener.
const BUILT_IN_SOURCES: u32 = 2;

pub(super) fn sqlite(path: &Path, settings: &StorageSettings, outbox: Wanted) -> SqliteSettings {
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
        outbox,
    }
}

/// Fails with [`ErrorClass::Unusable`] where the password cannot be read.
pub(super) fn postgres(
    url: &PostgresUrl,
    settings: &StorageSettings,
    outbox: Wanted,
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
        shared: settings.shared,
        outbox,
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

/// The name of this instance: where several share the database, what the settings say or the machine is called.
pub(super) fn instance(settings: &Settings) -> InstanceId {
    let StorageSettings { shared, instance, .. } = &settings.storage;
    InstanceId(match (shared, instance.as_str()) {
        (false, _) => "sensorhive".to_owned(),
        (true, "") => sysinfo::System::host_name().unwrap_or_else(|_| "sensorhive".to_owned()),
        (true, name) => name.to_owned(),
    })
}

/// What a sensor of this machine is called: where several instances watch theirs, each with its name.
pub(super) fn own_sensor(settings: &Settings, name: &str) -> String {
    match settings.storage.shared {
        true => format!("{name}-{}", instance(settings).0),
        false => name.to_owned(),
    }
}

/// Where what one instance alone can have comes from.
pub(super) fn own_home(settings: &Settings) -> Option<Home> {
    let shared = settings.storage.shared;
    shared.then(|| Home::instance(&instance(settings).0))
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
        instance: instance(settings),
        shared: settings.storage.shared,
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

/// The life of an answer is how long what others commit to the database may go unseen.
fn query_cache(settings: &StorageSettings) -> query_cache::Limits {
    query_cache::Limits {
        bytes: settings.query_cache,
        life: match settings.shared {
            true => SHARED_ANSWER_LIFE,
            false => ANSWER_LIFE,
        },
    }
}

/// Every source has the same share of what may be on its way.
pub(super) fn intakes(settings: &Settings) -> IntakeSettings {
    let configured = settings
        .sources
        .values()
        .filter(|source| source.enabled())
        .count();
    let built_in = BUILT_IN_SOURCES + u32::from(settings.mqtt_listener.enabled);
    let sources = built_in + u32::try_from(configured).unwrap_or(u32::MAX - built_in);
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

/// Nothing is larger than what may be under way of the listener as a whole.
pub(super) fn listener(settings: &MqttListenerSettings, intakes: &IntakeSettings) -> listener::Limits {
    let room = intakes.share.bytes;
    let at_most = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX).min(room);
    listener::Limits {
        max_connections: settings.max_connections as usize,
        max_packet: at_most(settings.max_packet),
        receive_maximum: settings.receive_maximum,
        in_flight_bytes: at_most(settings.max_in_flight) as usize,
        room,
        keep_alive: u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX),
        connect_timeout: settings.connect_timeout,
        session_kept: settings.session_kept,
        redelivery: REDELIVERY,
    }
}

/// The name of a built-in source.
pub(super) fn name(name: &'static str) -> SourceName {
    match SourceName::parse(name) {
        Ok(name) => name,
        Err(error) => unreachable!("built-in names are valid, {name} {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Layers;

    #[test]
    fn answers_live_for_a_second_at_most_where_other_instances_commit() {
        let mut settings = Layers::default().load().unwrap();
        assert_eq!(pipeline(&settings).query_cache.life, ANSWER_LIFE);
        settings.storage.shared = true;
        assert!(pipeline(&settings).query_cache.life <= 1_000_000);
    }
}
