//! `[http]`: the web server.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::units;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Port 0 lets the system choose.
    #[serde(deserialize_with = "listen")]
    pub listen: SocketAddr,
    /// Pages of these origins may call the API from a browser; `*` means any.
    #[serde(deserialize_with = "origins")]
    pub cors_origins: Vec<String>,
    /// The longest request body, in bytes.
    #[serde(with = "units::size")]
    pub max_body: u64,
    /// How long an answer may take.
    #[serde(with = "units::interval")]
    pub request_timeout: Duration,
    /// Allowed to each client address; 0 sets no limit.
    #[serde(deserialize_with = "units::between::<0, 1_000_000, _, _>")]
    pub requests_per_second: u32,
}

fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let expected = "an address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    units::parsed(deserializer, expected, |text| text.parse().ok())
}

fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Origin(#[serde(deserialize_with = "origin")] String);

    let origins = Vec::<Origin>::deserialize(deserializer)?;
    Ok(origins.into_iter().map(|Origin(origin)| origin).collect())
}

/// A scheme, a host and perhaps a port, exactly as browsers send it.
fn origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let expected = "\"*\", or an origin such as \"https://example.org\" without a path";
    units::parsed(deserializer, expected, |text| {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
        let good = text == "*" || host.is_some_and(|host| !host.is_empty() && host.chars().all(plain));
        good.then(|| text.to_owned())
    })
}
