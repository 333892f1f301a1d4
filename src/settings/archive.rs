//! `[storage.archive]`: where readings past an age are copied to.
//!
//! Invariant: no secret is in here; where one is, the name of its file is.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveSettings {
    pub url: ArchiveUrl,
    /// The age at which a day is archived, counted from its end.
    #[serde(with = "age", default = "after")]
    pub after: Duration,
    /// Of the bucket. Without it, `AWS_REGION` or `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Address of a server that is compatible with S3, such as `http://127.0.0.1:9000`. Without it, that of Amazon.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "endpoint"
    )]
    pub endpoint: Option<String>,
    /// Without it, credentials are looked for as Amazon's tools do: in `AWS_*`, or from the machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The file whose first line is the secret that belongs to the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
}

/// Where the objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveUrl {
    Directory(PathBuf),
    /// `prefix` may be empty.
    S3 {
        bucket: String,
        prefix: String,
    },
}

impl ArchiveUrl {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const FORMS: &str = "must be a path, \"file:///PATH\" or \"s3://BUCKET/PREFIX\"";
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let letter = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if bucket.is_empty() || !bucket.chars().all(letter) {
                return Err("must name a bucket after \"s3://\", of letters, digits, '-', '.' and '_'");
            }
            let prefix = prefix.trim_matches('/');
            if prefix.contains(['?', '#']) || prefix.chars().any(char::is_control) {
                return Err("takes nothing after the prefix: credentials have keys of their own");
            }
            return Ok(ArchiveUrl::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            });
        }
        let path = match text.strip_prefix("file:") {
            Some(rest) => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err("must have an absolute path after \"file://\"");
                }
                path
            }
            None if text.contains("://") => return Err(FORMS),
            None => text,
        };
        if path.is_empty() {
            return Err(FORMS);
        }
        Ok(ArchiveUrl::Directory(PathBuf::from(path)))
    }
}

impl fmt::Display for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveUrl::Directory(path) => write!(f, "{}", path.display()),
            ArchiveUrl::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            ArchiveUrl::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl Serialize for ArchiveUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ArchiveUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text is never repeated in an error: it may hold a password.
        let text = String::deserialize(deserializer)?;
        ArchiveUrl::parse(text.trim()).map_err(serde::de::Error::custom)
    }
}

fn after() -> Duration {
    Duration::from_secs(90 * 86_400)
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    use serde::de::Error;

    let text = String::deserialize(deserializer)?;
    match reqwest::Url::parse(text.trim()) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => Err(D::Error::custom(
            "must hold no credentials: they have keys of their own",
        )),
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => {
            Ok(Some(text.trim().trim_end_matches('/').to_owned()))
        }
        _ => Err(D::Error::custom(
            "must be an address such as \"http://127.0.0.1:9000\"",
        )),
    }
}

/// A day at least: that is what goes into the archive as a whole.
mod age {
    use super::*;
    pub use units::duration::serialize;

    const EXPECTED: &str = "a duration of at least a day, such as \"90d\"";

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        units::parsed(deserializer, EXPECTED, |text| {
            units::duration::parse(text).filter(|age| *age >= Duration::from_secs(86_400))
        })
    }
}
