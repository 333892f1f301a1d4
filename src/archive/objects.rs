//! The place where objects lie: a directory, or a bucket of S3 or what is compatible with it.
//!
//! Invariants: an object is there as a whole or not at all, and in a directory it is on the disk when it is said to be
//! written. No secret is in what is said of a place.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::ClientConfigKey;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use secrecy::{ExposeSecret, SecretString};

use super::ArchiveError;
use crate::domain::Day;

/// Longer ones are none of ours, and are not read into memory.
const LONGEST: u64 = 512 << 20;
/// How long a bucket may take for an object.
const TIMEOUT: &str = "300 seconds";

#[derive(Debug, Clone)]
pub enum Location {
    Directory(PathBuf),
    S3(S3Location),
}

#[derive(Debug, Clone)]
pub struct S3Location {
    pub bucket: String,
    /// May be empty.
    pub prefix: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    /// The key and the file with its secret; without, what `AWS_*` or the machine says.
    pub key: Option<(String, PathBuf)>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => write!(f, "{}", path.display()),
            Location::S3(S3Location { bucket, prefix, .. }) if prefix.is_empty() => {
                write!(f, "s3://{bucket}")
            }
            Location::S3(S3Location { bucket, prefix, .. }) => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// An open place.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    place: String,
}

impl Objects {
    /// Makes the directory where it is missing; a bucket is not asked for anything yet.
    pub fn open(location: &Location) -> Result<Self, ArchiveError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            ArchiveError::place(format!("opening the archive at {location}"), error)
        };
        let store: Arc<dyn ObjectStore> = match location {
            Location::Directory(path) => {
                std::fs::create_dir_all(path).map_err(|error| failed(error.into()))?;
                let store = LocalFileSystem::new_with_prefix(path).map_err(|error| failed(error.into()))?;
                Arc::new(store.with_fsync(true))
            }
            Location::S3(s3) => s3.open().map_err(failed)?,
        };
        Ok(Self::new(store, location.to_string()))
    }

    /// Any other store of objects; `place` is what it is called.
    pub fn new(store: Arc<dyn ObjectStore>, place: impl Into<String>) -> Self {
        Self {
            store,
            place: place.into(),
        }
    }

    /// Where it is.
    pub fn place(&self) -> &str {
        &self.place
    }

    pub async fn put(&self, object: &str, bytes: Bytes) -> Result<(), ArchiveError> {
        let path = self.path(object)?;
        let put = self.store.put(&path, bytes.into()).await;
        put.map(drop)
            .map_err(|error| self.failed("writing", object, error))
    }

    pub async fn get(&self, object: &str) -> Result<Bytes, ArchiveError> {
        let path = self.path(object)?;
        let failed = |error| match error {
            Error::NotFound { .. } => ArchiveError::Missing {
                object: object.to_owned(),
            },
            error => self.failed("reading", object, error),
        };
        let answer = self.store.get(&path).await.map_err(failed)?;
        if answer.meta.size > LONGEST {
            return Err(ArchiveError::Damaged {
                object: object.to_owned(),
                why: format!("it has {} bytes", answer.meta.size),
            });
        }
        answer.bytes().await.map_err(failed)
    }

    pub async fn exists(&self, object: &str) -> Result<bool, ArchiveError> {
        let path = self.path(object)?;
        match self.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("looking for", object, error)),
        }
    }

    /// The names of all objects of readings, sorted.
    pub async fn list(&self) -> Result<Vec<String>, ArchiveError> {
        let path = self.path("readings")?;
        let names = self
            .store
            .list(Some(&path))
            .map_ok(|meta| meta.location.to_string());
        let mut names: Vec<String> = names
            .try_collect()
            .await
            .map_err(|error| self.failed("listing", "readings", error))?;
        names.sort_unstable();
        Ok(names)
    }

    fn path(&self, object: &str) -> Result<Path, ArchiveError> {
        Path::parse(object).map_err(|error| self.failed("naming", object, error.into()))
    }

    fn failed(&self, what: &str, object: &str, error: Error) -> ArchiveError {
        ArchiveError::place(format!("{what} {object} at {}", self.place), error)
    }
}

impl S3Location {
    fn open(&self) -> Result<Arc<dyn ObjectStore>, Box<dyn std::error::Error + Send + Sync>> {
        crate::tls::install_provider();
        // An object as a whole within this time, also on a slow line; `AWS_*` may say otherwise.
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&self.bucket);
        if builder.get_config_value(&timeout).is_none() {
            builder = builder.with_config(timeout, TIMEOUT);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some((key, file)) = &self.key {
            let secret = read_secret(file)?;
            builder = builder
                .with_access_key_id(key)
                .with_secret_access_key(secret.expose_secret());
        }
        let store = builder.build()?;
        if self.prefix.is_empty() {
            return Ok(Arc::new(store));
        }
        let prefix = Path::parse(&self.prefix)?;
        Ok(Arc::new(PrefixStore::new(store, prefix)))
    }
}

fn read_secret(file: &std::path::Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(file).map(SecretString::from);
    let text = text.map_err(|error| format!("the secret in {} cannot be read: {error}", file.display()))?;
    match text.expose_secret().lines().next().map(str::trim) {
        Some(secret) if !secret.is_empty() => Ok(SecretString::from(secret)),
        _ => Err(format!("{} is empty", file.display())),
    }
}

/// The name of a part of a day, such as `readings/2026/03/14-1.parquet`.
pub fn name(day: Day, part: u32) -> String {
    match day.date() {
        Some((year, month, date)) => format!("readings/{year:04}/{month:02}/{date:02}-{part}.parquet"),
        None => format!("readings/{day}-{part}.parquet"),
    }
}

/// The day and the part that a name tells.
pub fn parse_name(name: &str) -> Option<(Day, u32)> {
    let name = name.strip_prefix("readings/")?.strip_suffix(".parquet")?;
    let (date, part) = name.rsplit_once('-')?;
    Some((date.replace('/', "-").parse().ok()?, part.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_day_and_part() {
        let day: Day = "2026-03-04".parse().unwrap();
        assert_eq!(name(day, 12), "readings/2026/03/04-12.parquet");
        assert_eq!(parse_name("readings/2026/03/04-12.parquet"), Some((day, 12)));
        for other in [
            "readings/2026/03/04.parquet",
            "readings/x-1.parquet",
            "2026/03/04-1.parquet",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_secret_is_never_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let location = Location::S3(S3Location {
            bucket: "b".to_owned(),
            prefix: "p/q".to_owned(),
            region: None,
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            key: Some(("me".to_owned(), file.path().to_owned())),
        });
        let objects = Objects::open(&location).unwrap();
        assert_eq!(objects.place(), "s3://b/p/q");
        let told = format!("{location:?} {objects:?}");
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[tokio::test]
    async fn what_is_written_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::open(&Location::Directory(directory.path().join("a/b"))).unwrap();
        assert!(objects.list().await.unwrap().is_empty());
        let name = "readings/2026/03/04-1.parquet";
        assert!(matches!(
            objects.get(name).await,
            Err(ArchiveError::Missing { .. })
        ));
        objects.put(name, Bytes::from_static(b"one")).await.unwrap();
        objects.put(name, Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(objects.get(name).await.unwrap(), "two");
        assert_eq!(objects.list().await.unwrap(), [name]);
        assert!(objects.get("../secret").await.is_err());
    }
}
