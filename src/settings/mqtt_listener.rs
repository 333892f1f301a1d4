//! `[mqtt_listener]`: devices that connect straight to the service, by MQTT.
//!
//! Invariant: no secret is in here; where one is, the name of its file is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{MappingSettings, PayloadSettings, units};
use crate::decode::TopicPattern;
use crate::domain::{MetricName, SensorId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttListenerSettings {
    pub enabled: bool,
    /// Port 0 lets the system choose.
    #[serde(deserialize_with = "listen")]
    pub listen: SocketAddr,
    /// Whether `listen` is what somebody chose: then a port that is taken is an error.
    #[serde(skip)]
    pub chosen: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    #[serde(deserialize_with = "units::between::<1, 1_000_000, _, _>")]
    pub max_connections: u32,
    /// The longest packet, in bytes.
    #[serde(with = "units::size")]
    pub max_packet: u64,
    /// The most messages of a device that are under way.
    #[serde(deserialize_with = "units::between::<1, 65_535, _, _>")]
    pub receive_maximum: u16,
    /// The most bytes of a device that are under way.
    #[serde(with = "units::size")]
    pub max_in_flight: u64,
    /// How long a device may be silent that asks for no limit or a longer one.
    #[serde(with = "keep_alive")]
    pub keep_alive: Duration,
    /// How long a login may take.
    #[serde(with = "units::interval")]
    pub connect_timeout: Duration,
    /// How long the session of a device is kept after its connection.
    #[serde(with = "units::interval")]
    pub session_kept: Duration,
    pub users: Vec<ListenerUser>,
    /// The topics that are taken, and what they say; with none, any.
    pub topics: Vec<TopicPattern>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_sensor: Option<SensorId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_metric: Option<MetricName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingSettings>,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerUser {
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// The file whose first line is the password. Without it the password is a token of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Where it may publish, as topic filters; anywhere if there is no such key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Vec<TopicPattern>>,
}

impl MqttListenerSettings {
    pub fn payload(&self) -> PayloadSettings<'_> {
        PayloadSettings {
            default_sensor: self.default_sensor.as_ref(),
            default_metric: self.default_metric.as_ref(),
            mapping: self.mapping.as_ref(),
            topics: &self.topics,
        }
    }
}

fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let expected = "an address and a port such as \"127.0.0.1:1883\" or \"[::1]:1883\"";
    units::parsed(deserializer, expected, |text| text.parse().ok())
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let good = |text: &str| (1..=256).contains(&text.len()) && !text.contains(char::is_control);
    let expected = "1 to 256 bytes of text without control characters";
    units::parsed(deserializer, expected, |text| good(text).then(|| text.to_owned()))
}

mod keep_alive {
    use super::units::duration;
    use super::*;

    pub use duration::serialize;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let expected = "a duration from \"1s\" to \"65535s\", in whole seconds";
        units::parsed(deserializer, expected, |text| {
            let kept = duration::parse(text)?;
            let whole = kept.subsec_nanos() == 0;
            (whole && (1..=65_535).contains(&kept.as_secs())).then_some(kept)
        })
    }
}
